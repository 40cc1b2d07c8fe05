import type { AmountMicro } from '../../protocol/amount.ts';
import { HASH_BYTES, ID_BYTES } from '../../protocol/ids.ts';
import {
  AMOUNT,
  bytes,
  bytesBetween,
  message,
  text,
  U32,
  type Codec,
  type Field,
} from '../../protocol/schema.ts';
import { MAX_REF_LENGTH } from './limits.ts';

/**
 * What a device writes into its journal. The numbers stand at key 0 as in messages, in a range of
 * their own: a record is never taken for a message.
 */
const TYPE_START = 64;
const TYPE_RESERVE = 65;
const TYPE_SPENT = 66;
const TYPE_ANSWER = 67;
const TYPE_STATED = 68;
const TYPE_FLOOR = 69;
const TYPE_CLEAN = 70;
const TYPE_SALE = 71;
const TYPE_FINAL = 72;
const TYPE_CLOSED = 73;
const TYPE_HANDED_IN_CLOSE = 74;

const SIGNED: Field<Uint8Array> = bytesBetween(70, 1_024);

/** Every start of the program: boot numbers and counters give the order, clocks do not. */
export interface StartRecord {
  readonly boot: number;
  /** Where the line stands after this start, jumped to the mark if the last end was not clean. */
  readonly counter: number;
  readonly totalMicro: AmountMicro;
  /** Sum jumped over and not given back yet, the last time to this counter. */
  readonly skippedMicro: AmountMicro;
  readonly skippedCounter: number;
}
export const START: Codec<StartRecord> = message<StartRecord>(TYPE_START, {
  boot: [1, U32],
  counter: [2, U32],
  totalMicro: [3, AMOUNT],
  skippedMicro: [4, AMOUNT],
  skippedCounter: [5, U32],
});

/** Counter and total may be used up to these marks. */
export interface ReserveRecord {
  readonly counter: number;
  readonly totalMicro: AmountMicro;
}
export const RESERVE: Codec<ReserveRecord> = message<ReserveRecord>(TYPE_RESERVE, {
  counter: [1, U32],
  totalMicro: [2, AMOUNT],
});

/** A signed Payment with its Offer, written before it leaves. */
export interface SpentRecord {
  readonly ref: string;
  readonly payment: Uint8Array;
  readonly offer: Uint8Array;
}
export const SPENT: Codec<SpentRecord> = message<SpentRecord>(TYPE_SPENT, {
  ref: [1, text(MAX_REF_LENGTH)],
  payment: [2, SIGNED],
  offer: [3, SIGNED],
});

/** A checked Receipt or Void, as its approver sent it. */
export interface AnswerRecord {
  readonly answer: Uint8Array;
}
export const ANSWER: Codec<AnswerRecord> = message<AnswerRecord>(TYPE_ANSWER, {
  answer: [1, SIGNED],
});

/** A checked Statement, as the issuer signed it. */
export interface StatedRecord {
  readonly statement: Uint8Array;
}
export const STATED: Codec<StatedRecord> = message<StatedRecord>(TYPE_STATED, {
  statement: [1, bytesBetween(70, 16_000)],
});

/** Time floor: the latest time that an issuer or witness has signed. */
export interface FloorRecord {
  readonly timeS: number;
}
export const FLOOR: Codec<FloorRecord> = message<FloorRecord>(TYPE_FLOOR, { timeS: [1, U32] });

/** Last record of an orderly end: nothing was reserved beyond what is written here. */
export interface CleanRecord {
  readonly counter: number;
  readonly totalMicro: AmountMicro;
}
export const CLEAN: Codec<CleanRecord> = message<CleanRecord>(TYPE_CLEAN, {
  counter: [1, U32],
  totalMicro: [2, AMOUNT],
});

/** A payee's sale: the gate opens only when this is durable. */
export interface SaleRecord {
  readonly payment: Uint8Array;
  readonly receipt: Uint8Array;
  /** Absent where the Offer was forgotten at a restart between Offer and Receipt. */
  readonly offer?: Uint8Array;
}
export const SALE: Codec<SaleRecord> = message<SaleRecord>(TYPE_SALE, {
  payment: [1, SIGNED],
  receipt: [2, SIGNED],
  offer: [3, SIGNED, 'optional'],
});

/** An approver's word that its answers are final through a sequence, as it signed it. */
export interface FinalRecord {
  readonly final: Uint8Array;
}
export const FINAL: Codec<FinalRecord> = message<FinalRecord>(TYPE_FINAL, { final: [1, SIGNED] });

/** The end of an allowance: nothing is signed under its generation any more. The Close is signed after this is durable. */
export interface ClosedRecord {
  readonly generation: number;
  /** Of the allowance. */
  readonly expiresS: number;
  /** Of the Close. */
  readonly payload: Uint8Array;
}
export const CLOSED: Codec<ClosedRecord> = message<ClosedRecord>(TYPE_CLOSED, {
  generation: [1, U32],
  expiresS: [2, U32],
  payload: [3, bytesBetween(1, 256)],
});

/** A gateway has said that it has the Close. */
export interface HandedInCloseRecord {
  readonly closeHash: Uint8Array;
  readonly approver: Uint8Array;
}
export const HANDED_IN_CLOSE: Codec<HandedInCloseRecord> = message<HandedInCloseRecord>(
  TYPE_HANDED_IN_CLOSE,
  { closeHash: [1, bytes(HASH_BYTES)], approver: [2, bytes(ID_BYTES)] },
);

/** The record's number: a canonical map begins with key 0 and a value of 64 … 255 (18 xx). */
export function recordType(record: Uint8Array): number {
  return record[1] === 0 && record[2] === 0x18 ? (record[3] ?? 0) : 0;
}
