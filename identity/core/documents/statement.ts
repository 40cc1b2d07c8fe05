import type { AmountMicro } from '../../../protocol/amount.ts';
import {
  CLAIM_SUBJECT,
  claims,
  HEX_ID,
  ISSUED,
  type ClaimsCodec,
  type Issued,
} from '../../../protocol/claims.ts';
import { HASH_BYTES } from '../../../protocol/ids.ts';
import {
  AMOUNT,
  bytes,
  bytesBetween,
  listOf,
  record,
  text,
  U32,
  U53,
} from '../../../protocol/schema.ts';
import { CLAIM_STATEMENT, CURRENCY } from './standard.ts';

/** A log's head that the statement rests on. */
interface AsOfHead {
  readonly origin: string;
  readonly size: number;
  readonly root: Uint8Array;
}

/** Counters `from` … `to`, both with, settled with this sum. */
interface SettledRange {
  readonly from: number;
  readonly to: number;
  readonly sumMicro: AmountMicro;
}

/** A refund credited to the line, or a payment in dispute. */
interface PaymentSum {
  readonly paymentHash: Uint8Array;
  readonly amountMicro: AmountMicro;
}

const HEAD = record<AsOfHead>('as-of head', {
  origin: [1, text(128)],
  size: [2, U53],
  root: [3, bytes(HASH_BYTES)],
});
const RANGE = record<SettledRange>('settled range', {
  from: [1, U32],
  to: [2, U32],
  sumMicro: [3, AMOUNT],
});
const PAYMENT_SUM = record<PaymentSum>('payment and sum', {
  paymentHash: [1, bytes(HASH_BYTES)],
  amountMicro: [2, AMOUNT],
});

/** Entries of one list in a statement. */
const MAX_ENTRIES = 128;

interface OfLine extends Issued {
  /** `sub` is the line. */
  readonly line: Uint8Array;
}

/** The centre's account of one line as of the heads named. Signed by the issuer. */
export interface Statement extends OfLine {
  /** Counts up on the line. */
  readonly number: number;
  readonly currency: number;
  readonly heads: readonly AsOfHead[];
  /** "Recorded through counter n except […]": what the device may forget. */
  readonly recordedThrough: number;
  readonly except: readonly number[];
  readonly settled: readonly SettledRange[];
  readonly settledTotalMicro: AmountMicro;
  /** Counters that are recorded and not settled yet. */
  readonly open: readonly number[];
  /** Cumulative sum given back: Voids, closes, and totals jumped over after an unclean start. */
  readonly releasedMicro: AmountMicro;
  readonly credits: readonly PaymentSum[];
  readonly disputes: readonly PaymentSum[];
  /** The new allowance as its COSE bytes. */
  readonly allowance?: Uint8Array;
}

function contradiction(value: Statement): string | undefined {
  let last = 0;
  for (const { from, to } of value.settled) {
    if (from <= last || to < from) return 'settled ranges overlap or do not ascend';
    last = to;
  }
  const sum = value.settled.reduce((total, range) => total + range.sumMicro, 0n);
  if (sum > value.settledTotalMicro) return 'settled ranges add up to more than the settled total';
  if (value.except.some((counter) => counter > value.recordedThrough)) {
    return 'an exception is above the recorded counter';
  }
  return undefined;
}

export const STATEMENT: ClaimsCodec<Statement> = claims<OfLine, Statement>(
  'kiri/statement',
  CLAIM_STATEMENT,
  { ...ISSUED, line: [CLAIM_SUBJECT, HEX_ID] },
  {
    number: [1, U32],
    currency: [2, CURRENCY],
    heads: [3, listOf(HEAD, MAX_ENTRIES)],
    recordedThrough: [4, U32],
    except: [5, listOf(U32, MAX_ENTRIES)],
    settled: [6, listOf(RANGE, MAX_ENTRIES)],
    settledTotalMicro: [7, AMOUNT],
    open: [8, listOf(U32, MAX_ENTRIES)],
    releasedMicro: [9, AMOUNT],
    credits: [10, listOf(PAYMENT_SUM, MAX_ENTRIES)],
    disputes: [11, listOf(PAYMENT_SUM, MAX_ENTRIES)],
    allowance: [12, bytesBetween(70, 2048), 'optional'],
  },
  contradiction,
);
