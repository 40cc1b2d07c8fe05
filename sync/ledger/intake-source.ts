/** The intake journal as entries of the intake log: what approver-source.ts is for a gateway's. */
import { journalReader } from '../../platform/journal-reader.ts';
import type { JournalReader } from '../../platform/ports.ts';
import { decodeSign1 } from '../../protocol/cose.ts';
import { payloadHash } from '../../protocol/ids.ts';
import { KiriError } from '../../protocol/kiri-error.ts';
import { HAND_IN } from '../../protocol/messages/envelopes.ts';
import { EVIDENCE } from '../../protocol/messages/evidence.ts';
import type { Checked } from '../../protocol/refusal.ts';
import { INTAKE_RECORD } from './core/intake-record.ts';
import type { EntrySource, LedgerEntry } from './ledger-types.ts';

const must = <T>(checked: Checked<T>, index: number): T => {
  if (checked.ok) return checked.value;
  throw new KiriError('JOURNAL_CORRUPT', `intake journal, record ${index}: ${checked.reason}`);
};

const entryOf = (record: Uint8Array, index: number): LedgerEntry => {
  const { handIn, party, answeredAtMs } = must(INTAKE_RECORD.decode(record), index);
  const { payment, outcome, offer, credit, close } = must(HAND_IN.decode(handIn), index);
  return {
    receiptPayloadHash: payloadHash(must(decodeSign1(outcome), index).payload),
    payloadPlain: EVIDENCE.encode({
      payment,
      outcome,
      offer,
      answeredAtMs,
      ...(credit && { credit }),
      ...(close && { close }),
    }),
    partyRef: party,
    acceptedAtMs: answeredAtMs,
  };
};

/** @param folder the intake journal's */
export const intakeSource = (folder: string): { reader: JournalReader; source: EntrySource } => ({
  reader: journalReader(folder),
  source: (record, index) => [entryOf(record, index)],
});
