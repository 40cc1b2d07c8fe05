import { bytesEqual } from '../protocol/bytes.ts';
import { PAID } from '../protocol/messages/envelopes.ts';
import { signedAnswer, type Work } from './answers.ts';
import { MAX_SALES_TOLD } from './limits.ts';
import type { SeenPayment } from './state.ts';

/** The payee's proof of one sale: the Payment and the Receipt for it. */
export function tellSale(work: Work, payeeHex: string, seen: SeenPayment): void {
  const receipt = signedAnswer(work.ports, seen.answer);
  const bytes = PAID.encode({ payment: seen.payment, receipt });
  work.effects.push({ kind: 'reply', to: payeeHex, verb: 'paid', bytes });
}

/**
 * A payee that comes back is told its youngest sales again: the word of a sale may have been lost
 * with its link, or with this approver between the journal and the sending. It releases a sale
 * once however often it hears of it, and a payer that holds its Receipt does not ask again.
 */
export function tellSalesAgain(work: Work, payeeHex: string, payeeId: Uint8Array): void {
  const sales: SeenPayment[] = [];
  for (const seen of work.state.seen.values()) {
    const { answer } = seen;
    if (answer.kind === 'accepted' && answer.durable && bytesEqual(seen.payee, payeeId)) {
      sales.push(seen);
    }
  }
  sales.sort((a, b) => a.answer.sequence - b.answer.sequence);
  for (const seen of sales.slice(-MAX_SALES_TOLD)) tellSale(work, payeeHex, seen);
}
