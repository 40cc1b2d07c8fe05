import { sha256 } from '@noble/hashes/sha2.js';
import { ACCEPTED_RECORD, SIGNED_RECORD, VOID_RECORD } from '../../../approval/records.ts';
import { toHex } from '../../../protocol/bytes.ts';
import { RECEIPT } from '../../../protocol/messages/receipt.ts';
import { REFUSAL } from '../../../protocol/messages/refusal.ts';
import { violated } from '../violation.ts';
import type { GatewayJournals } from './log-feed.ts';

/**
 * SHA-256 of every signed answer's payload in the order of the SIGNED journal, hex: what the log has to hold. Read from the
 * durable records alone, beside the code that the ledger reads them with.
 */
export function expectedAnswers({ money, signed }: GatewayJournals): readonly string[] {
  const payloads = new Map<number, Uint8Array>();
  for (const record of money) {
    const accepted = ACCEPTED_RECORD.decode(record);
    if (accepted.ok) {
      const receipt = RECEIPT.decode(accepted.value.receiptPayload);
      if (receipt.ok) payloads.set(receipt.value.sequence, accepted.value.receiptPayload);
      continue;
    }
    const voided = VOID_RECORD.decode(record);
    const refusal = voided.ok ? REFUSAL.decode(voided.value.refusalPayload) : voided;
    if (voided.ok && refusal.ok) {
      payloads.set(refusal.value.sequence ?? 0, voided.value.refusalPayload);
    }
  }
  const hashes: string[] = [];
  for (const record of signed) {
    const decoded = SIGNED_RECORD.decode(record);
    if (!decoded.ok) violated('the ledger hears of every answer', 'an unreadable SIGNED record');
    for (const { sequence } of decoded.value.rows) {
      const payload = payloads.get(sequence);
      if (!payload) violated('the ledger hears of every answer', `${sequence} has no answer`);
      hashes.push(toHex(sha256(payload)));
    }
  }
  return hashes;
}
