import type { Signer } from '../../../protocol/public-key.ts';
import { signSign1 } from '../../../protocol/cose.ts';
import { U32, U53, bytes, message, text } from '../../../protocol/schema.ts';
import type { Codec } from '../../../protocol/schema.ts';
import { civilTime, dayStartS } from './civil-time.ts';
import type { BusinessZone } from './civil-time.ts';

const DAY_S = 86_400;

/** How long the exact time and the payee of a presented receipt stay: the time in which a line can be disputed. */
export const DISPUTE_HORIZON_DAYS = 548;
/** What card systems ask for at least; a shorter horizon is refused. */
export const DISPUTE_HORIZON_DAYS_MIN = 120;

/** Receipts paid before this moment have passed the horizon: the start of a day, so that one day passes as a whole. */
export const horizonS = (nowS: number, days: number, zone: BusinessZone): number =>
  dayStartS(civilTime(nowS - days * DAY_S, zone).dayNumber, zone);

/** What is left of a time: the start of its business day, which the accounting line names anyway. */
export const dayOf = (timeS: number, zone: BusinessZone): number =>
  dayStartS(civilTime(timeS, zone).dayNumber, zone);

/** What the clearing signs about one batch of erasures. Nothing of it says what was erased. */
export type RetentionStatement = {
  readonly atS: number;
  readonly horizonS: number;
  readonly receipts: number;
  /** Sum of their charges, in micro-units: unchanged by the erasure. */
  readonly chargeMicro: string;
  /** SHA-256 over their Receipt hashes in the order of the batch. */
  readonly receiptsSha256: Uint8Array;
};

const RETENTION_TYPE = 67;
/** The `typ` header of the signed statement. */
const RETENTION_TYP = 'kiri-retention';

export const RETENTION: Codec<RetentionStatement> = message<RetentionStatement>(RETENTION_TYPE, {
  atS: [1, U53],
  horizonS: [2, U53],
  receipts: [3, U32],
  chargeMicro: [4, text(40)],
  receiptsSha256: [5, bytes(32)],
});

export const signRetention = (signer: Signer, statement: RetentionStatement): Uint8Array =>
  signSign1(signer, RETENTION.encode(statement), { kid: signer.key.id, typ: RETENTION_TYP });
