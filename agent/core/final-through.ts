import { toHex } from '../../protocol/bytes.ts';
import { FINAL_THROUGH, type FinalThrough } from '../../protocol/messages/final-through.ts';
import { MAX_FINALS } from './limits.ts';
import { checkSignature, readSigned } from './signed.ts';
import type { TrustBook } from './trust.ts';

/** By approver id in hex: how far its Receipts are final. Shown and kept; nothing is decided by it. */
export type Finals = Map<string, FinalThrough>;

/** Takes an approver's word if it is its own and says more than before. True: it is to be kept. */
export function takeFinal(finals: Finals, trust: TrustBook, cose: Uint8Array): boolean {
  const read = readSigned(FINAL_THROUGH, cose);
  if (!read.ok) return false;
  const final = read.value.value;
  const hex = toHex(final.approver);
  const approver = trust.approvers.get(hex);
  if (!approver || final.sequence <= (finals.get(hex)?.sequence ?? 0)) return false;
  if (!finals.has(hex) && finals.size >= MAX_FINALS) return false;
  if (!checkSignature(trust.trust.verifier, approver.gatewayKey, read.value, 'level').ok) {
    return false;
  }
  finals.set(hex, final);
  return true;
}

/** The same out of the journal, where it was checked before it was kept. */
export function replayFinal(finals: Finals, cose: Uint8Array): void {
  const read = readSigned(FINAL_THROUGH, cose);
  if (read.ok) finals.set(toHex(read.value.value.approver), read.value.value);
}

/** Whether the answer with this sequence of an approver is final. */
export function isFinal(
  finals: ReadonlyMap<string, FinalThrough>,
  approver: Uint8Array,
  sequence: number | undefined,
): boolean {
  return sequence !== undefined && sequence <= (finals.get(toHex(approver))?.sequence ?? 0);
}
