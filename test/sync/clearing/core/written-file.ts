import { concatBytes } from '../../../../protocol/bytes.ts';
import type { Coded } from '../../../../sync/clearing/core/fault.ts';
import { IpmFileWriter } from '../../../../sync/clearing/core/ipm-file.ts';
import type { IpmProfile } from '../../../../sync/clearing/core/ipm-profile.ts';
import type { FileHeader, PresentmentRecord } from '../../../../sync/clearing/core/ipm-record.ts';

/** A settlement file as the writer makes it, as a whole. */
export const writtenFile = (
  header: FileHeader,
  lines: readonly PresentmentRecord[],
  profile: IpmProfile,
): Coded<Uint8Array> => {
  const chunks: Uint8Array[] = [];
  const opened = IpmFileWriter.open(header, profile, (chunk) => chunks.push(chunk));
  if (!opened.ok) return opened;
  for (const line of lines) {
    const added = opened.value.add(line);
    if (!added.ok) return added;
  }
  const totals = opened.value.end();
  return totals.ok ? { ok: true, value: concatBytes(...chunks) } : totals;
};
