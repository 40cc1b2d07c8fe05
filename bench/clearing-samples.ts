import { createHash } from 'node:crypto';
import { JST } from '../sync/clearing/core/civil-time.ts';
import type { Programme } from '../sync/clearing/core/aggregate.ts';
import { ClearingService } from '../sync/clearing/clearing-service.ts';
import type { SettlementDirectory } from '../sync/clearing/core/directory.ts';
import type { VerifiedReceipt } from '../sync/clearing/core/ingest.ts';
import type { SqlDatabase } from '../sync/clearing/sql.ts';
import type { Signer } from '../protocol/public-key.ts';

/** Lines that receipts come from in turn, and the accounts that these lines are charged to. */
export interface Fleet {
  readonly lines: number;
  readonly accounts: number;
}

/** Noon in Tokyo, 2026-11-21. */
export const NOON_S: number = Date.UTC(2026, 10, 21, 3) / 1_000;

const PROGRAMME: Programme = {
  name: 'BILATERAL',
  zone: JST,
  thresholdMicro: 10_000_000_000n,
  windowMinimumMicro: 1_000_000n,
  maxAgeS: 5 * 86_400,
};

/** 3.85 yen: its fractions are carried. */
const AMOUNT_MICRO = 3_850_000n;

const DIRECTORY: SettlementDirectory = {
  programme: () => PROGRAMME,
  details: (key) => ({
    member: '00000032815',
    bin: '123456',
    merchantId: key.merchant,
    terminalId: 'GATE0001',
    acceptor: {
      name: 'RING ROAD',
      street: '1-2 BAY ROAD',
      city: 'TOKYO',
      postcode: '1350063',
      region: '13',
      country: 'JPN',
    },
  }),
};

const idOf = (what: string, bytes: number): Uint8Array =>
  new Uint8Array(createHash('sha256').update(what).digest().subarray(0, bytes));

/** Receipts as they come out of the checks, without a signature ever made: what booking is measured with. */
export class VerifiedReceipts {
  readonly #lines: readonly Uint8Array[];
  readonly #keys: readonly VerifiedReceipt['key'][];
  readonly #approver: Uint8Array = idOf('approver', 16);
  readonly #payee: Uint8Array = idOf('payee', 16);
  #next = 0;

  constructor({ lines, accounts }: Fleet) {
    this.#lines = Array.from({ length: lines }, (_, line) => idOf(`line ${line}`, 16));
    this.#keys = Array.from({ length: accounts }, (_, account) => ({
      issuer: 'issuer-1',
      acquirer: 'acquirer-1',
      merchant: 'BENCH0000000001',
      programme: PROGRAMME.name,
      account: `account-${account}`,
      party: `party-${account}`,
      mcc: '4784',
      currency: 392,
    }));
  }

  take(count: number): VerifiedReceipt[] {
    return Array.from({ length: count }, () => this.#one(this.#next++));
  }

  #one(n: number): VerifiedReceipt {
    const at = n % this.#lines.length;
    const counter = Math.floor(n / this.#lines.length) + 1;
    return {
      kind: 'receipt',
      level: 'L2',
      origin: 'bench.example/1',
      leafIndex: n,
      row: { approver: this.#approver, sequence: n + 1, isOwnLog: true },
      paymentHash: idOf(`payment ${n}`, 32),
      receiptHash: idOf(`receipt ${n}`, 32),
      line: this.#lines[at]!,
      counter,
      amountMicro: AMOUNT_MICRO,
      totalMicro: AMOUNT_MICRO * BigInt(counter),
      releasedMicro: 0n,
      approver: this.#approver,
      sequence: n + 1,
      payee: this.#payee,
      key: this.#keys[at % this.#keys.length]!,
      businessTimeS: NOON_S + (n % 3_600),
      isTimeFlagged: false,
    };
  }
}

export function openClearing(
  database: SqlDatabase,
  signer: Signer,
  outFolder: string,
): Promise<ClearingService> {
  const policyHash = new Uint8Array(32);
  return ClearingService.open(
    { database, signer, outFolder, directory: DIRECTORY, policyHash, mode: 'T' },
    NOON_S,
  );
}
