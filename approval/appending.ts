import type { Work } from './answers.ts';
import type { JournalName } from './messages.ts';

/** Emits an append and returns the index that the record gets. */
export function append(
  work: Work,
  journal: JournalName,
  record: Uint8Array,
  afterOffer?: number,
): number {
  if (afterOffer === undefined) work.effects.push({ kind: 'append', journal, record });
  else work.effects.push({ kind: 'append', journal, record, afterOffer });
  const index = work.state.nextIndex[journal];
  work.state.nextIndex[journal] = index + 1;
  return index;
}
