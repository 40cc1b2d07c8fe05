import { amountMicro, MAX_AMOUNT_MICRO, type AmountMicro } from '../protocol/amount.ts';
import { decodeSign1, signSign1 } from '../protocol/cose.ts';
import { offerHash, payloadHash } from '../protocol/ids.ts';
import { OFFER } from '../protocol/messages/offer.ts';
import { PAYMENT, type Payment } from '../protocol/messages/payment.ts';
import { RECEIPT, type Receipt } from '../protocol/messages/receipt.ts';
import { CURRENCY, PRICE_MICRO, type BenchWorld } from './world.ts';

const MAX_U32 = 0xffff_ffff;

/** The messages of one purchase, as COSE bytes. */
export interface SampleSale {
  readonly offer: Uint8Array;
  readonly payment: Uint8Array;
  readonly receipt: Uint8Array;
}

export function payloadOf(cose: Uint8Array): Uint8Array {
  const sign1 = decodeSign1(cose);
  if (!sign1.ok) throw new Error(sign1.reason);
  return sign1.value.payload;
}

function amounts(counter: number): Pick<Payment, 'counter' | 'amountMicro' | 'totalMicro'> {
  return {
    counter,
    amountMicro: PRICE_MICRO,
    totalMicro: amountMicro(PRICE_MICRO * BigInt(counter)),
  };
}

/** What `counter` of the n-th payer's line looks like; `payment` and `receipt` replace fields. */
export function sampleSale(
  world: BenchWorld,
  n: number,
  counter: number,
  change: { readonly payment?: Partial<Payment>; readonly receipt?: Partial<Receipt> } = {},
): SampleSale {
  const payer = world.payers[n % world.payers.length]!;
  const { payee, gateway } = world;
  const timeS = Math.floor(Date.now() / 1_000);
  const offer = signSign1(
    payee,
    OFFER.encode({
      payee: payee.key.id,
      approver: gateway.signer.key.id,
      challenge: new Uint8Array(24).fill(counter),
      acceptByMs: 600_000,
      lifetimeMs: 30_000,
      currency: CURRENCY,
      amountMicro: PRICE_MICRO,
      tariffHash: new Uint8Array(32).fill(9),
      tariffVersion: 1,
    }),
  );
  const payment = signSign1(
    payer.signer,
    PAYMENT.encode({
      line: payer.line,
      approver: gateway.signer.key.id,
      payee: payee.key.id,
      ...amounts(counter),
      currency: CURRENCY,
      offerHash: offerHash(payloadOf(offer)),
      timeS,
      timeQuality: 2,
      ...change.payment,
    }),
  );
  const receipt = signSign1(
    gateway.signer,
    RECEIPT.encode({
      paymentHash: payloadHash(payloadOf(payment)),
      epoch: new Uint8Array(8).fill(counter),
      sequence: counter,
      timeS,
      flags: 2,
      statusListVersion: 7,
      nonce: new Uint8Array(16).fill(n),
      ...change.receipt,
    }),
  );
  return { offer, payment, receipt };
}

/** Every number at its longest form; the charged amount of a stream close is not part of a pair. */
export function worstSale(world: BenchWorld): SampleSale {
  const half: AmountMicro = amountMicro(MAX_AMOUNT_MICRO / 2n);
  return sampleSale(world, 0, MAX_U32, {
    payment: {
      amountMicro: half,
      totalMicro: amountMicro(MAX_AMOUNT_MICRO),
      releasedMicro: half,
      currency: 999,
      timeS: MAX_U32,
      timeQuality: 3,
    },
    receipt: { sequence: MAX_U32, timeS: MAX_U32, flags: 15, statusListVersion: MAX_U32 },
  });
}
