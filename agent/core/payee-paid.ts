import { bytesEqual, toHex } from '../../protocol/bytes.ts';
import { payloadHash } from '../../protocol/ids.ts';
import { PAID } from '../../protocol/messages/envelopes.ts';
import { PAYMENT, type Payment } from '../../protocol/messages/payment.ts';
import { RECEIPT } from '../../protocol/messages/receipt.ts';
import { append } from './effects.ts';
import { MAX_RECENT_SALES } from './limits.ts';
import { forgetOffer } from './payee-offer.ts';
import type { OpenOffer, PayeeEffect, PayeeState } from './payee-types.ts';
import { SALE, type SaleRecord } from './records.ts';
import { checkSignature, readSigned } from './signed.ts';

/**
 * A Payment on an Offer of ours with the approver's Receipt: journal it, then open the gate. The
 * Receipt covers the Payment's payload; the device's signature was the approver's to check, because
 * a payee does not know the device's key.
 */
export function onPaid(state: PayeeState, payload: Uint8Array, out: PayeeEffect[]): void {
  const paid = PAID.decode(payload);
  if (!paid.ok) return;
  const payment = readSigned(PAYMENT, paid.value.payment);
  const receipt = readSigned(RECEIPT, paid.value.receipt);
  if (!payment.ok || !receipt.ok) return;
  const terms = payment.value.value;
  const hash = payloadHash(payment.value.sign1.payload);
  const hex = toHex(hash);
  if (state.recent.has(hex)) return;
  if (!bytesEqual(terms.payee, state.setup.signer.key.id)) return;
  if (!bytesEqual(receipt.value.value.paymentHash, hash)) return;
  const approver = state.trust.approvers.get(toHex(terms.approver));
  const { verifier } = state.trust.trust;
  if (!approver) return;
  if (!checkSignature(verifier, approver.gatewayKey, receipt.value, 'Receipt').ok) return;
  remember(state, hex);
  const offerHex = toHex(terms.offerHash);
  const open = state.open.get(offerHex);
  const record: SaleRecord = {
    payment: paid.value.payment,
    receipt: paid.value.receipt,
    ...(open ? { offer: open.offerCose } : {}),
  };
  const number = append(state, SALE.encode(record), out, 'urgent');
  state.salesKept += 1;
  const closing = state.trust.closings.get(toHex(terms.approver));
  const isClosed = closing !== undefined && receipt.value.value.sequence > closing.throughSequence;
  const fault = isClosed
    ? `its approver was closed at sequence ${closing.throughSequence}`
    : faultOf(open, terms);
  if (fault !== undefined || !open) {
    out.push({ kind: 'notice', code: 'OFFER_MISMATCH', reason: fault ?? '' });
    return;
  }
  open.usedBy = hex;
  state.pending.push({
    number,
    offerHex,
    sale: {
      paymentHash: hash,
      payer: open.payer,
      line: terms.line,
      item: open.item,
      quantity: open.quantity,
      amountMicro: terms.amountMicro,
    },
  });
}

/** Why an accepted Payment opens nothing. It is money all the same, so its evidence is kept. */
function faultOf(open: OpenOffer | undefined, payment: Payment): string | undefined {
  if (!open) return 'a Receipt for an Offer that this device does not remember';
  if (open.usedBy !== undefined) return 'a second Payment was accepted on one Offer';
  const isSame =
    open.amountMicro === payment.amountMicro &&
    open.currency === payment.currency &&
    bytesEqual(open.approver, payment.approver);
  return isSame ? undefined : 'the accepted Payment is not what the Offer asked for';
}

/** Sales up to here are durable: only now is the service released. */
export function onSalesPersisted(state: PayeeState, through: number, out: PayeeEffect[]): void {
  while (state.pending[0] && state.pending[0].number <= through) {
    const { sale, offerHex } = state.pending[0];
    state.pending.shift();
    forgetOffer(state, offerHex);
    state.usages.delete(sale.item);
    out.push({ kind: 'release', sale });
  }
}

export function remember(state: PayeeState, paymentHex: string): void {
  state.recent.add(paymentHex);
  if (state.recent.size <= MAX_RECENT_SALES) return;
  for (const oldest of state.recent) {
    state.recent.delete(oldest);
    return;
  }
}
