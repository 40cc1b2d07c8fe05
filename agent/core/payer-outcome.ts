import { fromHex } from '../../protocol/bytes.ts';
import type { RefusalCode, Refused } from '../../protocol/refusal.ts';
import type { KeptPayment, OpenPayment, PayerEffect } from './payer-types.ts';

/** Nothing was signed for this want. */
export function refusedOutcome(ref: string, { code, reason }: Refused): PayerEffect {
  return { kind: 'outcome', outcome: { kind: 'refused', ref, code, reason } };
}

export function refusedClose({ code, reason }: Refused): PayerEffect {
  return { kind: 'closed', outcome: { kind: 'refused', code, reason } };
}

export function voidOutcome(open: OpenPayment, code: RefusalCode): PayerEffect {
  return {
    kind: 'outcome',
    outcome: {
      kind: 'refused',
      ref: open.ref,
      code,
      reason: 'the approver has signed a Void',
      paymentHash: open.hash,
    },
  };
}

export function acceptedOutcome(open: OpenPayment, receiptCose?: Uint8Array): PayerEffect {
  return {
    kind: 'outcome',
    outcome: {
      kind: 'accepted',
      ref: open.ref,
      paymentHash: open.hash,
      amountMicro: open.payment.amountMicro,
      counter: open.payment.counter,
      evidence: {
        paymentCose: open.paymentCose,
        offerCose: open.offerCose,
        ...(receiptCose ? { receiptCose } : {}),
      },
    },
  };
}

export function outcomeOfOpen(open: OpenPayment, reason: string): PayerEffect {
  return {
    kind: 'outcome',
    outcome: {
      kind: 'unknown',
      ref: open.ref,
      paymentHash: open.hash,
      ...(open.lastCode ? { code: open.lastCode } : {}),
      reason,
    },
  };
}

/** The same answer again; the bytes stand in the journal. */
export function outcomeOfKept(kept: KeptPayment, hashHex: string): PayerEffect {
  const { ref, amountMicro, counter } = kept;
  const paymentHash = fromHex(hashHex);
  if (kept.state === 'accepted') {
    return {
      kind: 'outcome',
      outcome: { kind: 'accepted', ref, paymentHash, amountMicro, counter },
    };
  }
  return {
    kind: 'outcome',
    outcome: {
      kind: 'refused',
      ref,
      code: kept.code ?? 'ASK_CENTRE',
      reason: 'the approver has signed a Void',
      paymentHash,
    },
  };
}
