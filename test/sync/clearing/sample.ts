import { ed25519 } from '@noble/curves/ed25519.js';
import { sha256 } from '@noble/hashes/sha2.js';
import { utf8ToBytes } from '../../../protocol/bytes.ts';
import { ALG_EDDSA, publicKey } from '../../../protocol/public-key.ts';
import type { PublicKey, Signer } from '../../../protocol/public-key.ts';
import type { AggregateKey, Programme } from '../../../sync/clearing/core/aggregate.ts';
import { JST } from '../../../sync/clearing/core/civil-time.ts';
import type { VerifiedReceipt } from '../../../sync/clearing/core/ingest.ts';
import { ClearingService } from '../../../sync/clearing/clearing-service.ts';
import type { ClearingOptions } from '../../../sync/clearing/clearing-service.ts';
import type { VerifiedItem } from '../../../sync/clearing/core/ingest.ts';
import type { SqlDatabase } from '../../../sync/clearing/sql.ts';
import type { LedgerAnchor } from '../../../sync/clearing/core/lines-file.ts';
import type { SettlementDirectory } from '../../../sync/clearing/core/directory.ts';
import { openTestStore } from './store.ts';

export const DAY_S = 86_400;
/** 2026-11-21 00:00:00 in Tokyo. */
export const TOKYO_MIDNIGHT_S: number = Date.UTC(2026, 10, 20, 15) / 1000;

const secret = sha256(utf8ToBytes('clearing test key'));
export const signer: Signer = {
  key: publicKey(ALG_EDDSA, ed25519.getPublicKey(secret)) as PublicKey,
  sign: (message) => ed25519.sign(message, secret),
};

export const policyHash: Uint8Array = sha256(utf8ToBytes('policy'));

export const programme: Programme = {
  name: 'bilateral',
  zone: JST,
  thresholdMicro: 10_000_000_000n,
  windowMinimumMicro: 1_000_000n,
  maxAgeS: 5 * DAY_S,
};

export const directoryOf = (rule: Programme = programme): SettlementDirectory => ({
  programme: (name) => (name === rule.name ? rule : undefined),
  details: (key) =>
    key.merchant.startsWith('unknown')
      ? undefined
      : {
          member: '00000032815',
          bin: '123456',
          merchantId: key.merchant.toUpperCase(),
          terminalId: 'GATE0001',
          acceptor: {
            name: 'Toll Gate 霧',
            street: '1-2 Bay Road',
            city: 'Tokyo',
            postcode: '1350063',
            region: '13',
            country: 'JPN',
          },
        },
});

export const hashOf = (text: string): Uint8Array => sha256(utf8ToBytes(text));

export const keyWith = (part: Partial<Omit<AggregateKey, 'sign'>>): Omit<AggregateKey, 'sign'> => ({
  issuer: 'issuer-1',
  acquirer: 'acquirer-1',
  merchant: 'merchant-1',
  programme: 'bilateral',
  account: 'KIRI-ACC-001',
  party: 'party-1',
  mcc: '4784',
  currency: 392,
  ...part,
});

/** One line's receipts, with totals that rise as an honest device's do. */
export class LineOfReceipts {
  readonly name: string;
  counter = 0;
  totalMicro = 0n;

  constructor(name: string) {
    this.name = name;
  }

  next(amountMicro: bigint, part: Partial<VerifiedReceipt> = {}): VerifiedReceipt {
    this.counter++;
    this.totalMicro += amountMicro;
    return {
      kind: 'receipt',
      level: 'L2',
      paymentHash: hashOf(`payment ${this.name} ${this.counter}`),
      receiptHash: hashOf(`receipt ${this.name} ${this.counter}`),
      line: hashOf(`line ${this.name}`).subarray(0, 16),
      counter: this.counter,
      amountMicro,
      totalMicro: this.totalMicro,
      releasedMicro: 0n,
      approver: hashOf('gateway').subarray(0, 16),
      sequence: this.counter,
      payee: hashOf('gate').subarray(0, 16),
      key: keyWith({}),
      businessTimeS: TOKYO_MIDNIGHT_S + 30_600,
      isTimeFlagged: false,
      origin: 'gateway.example/2026q4',
      leafIndex: this.counter - 1,
      ...part,
    };
  }
}

export const NOON_S: number = TOKYO_MIDNIGHT_S + DAY_S / 2;
export const anchors: readonly LedgerAnchor[] = [
  { origin: 'gateway.example/2026q4', size: 1000, root: 'ab'.repeat(32) },
];

/** A clearing in memory whose files land in a map. */
export const inMemory = async (
  more: Partial<ClearingOptions> = {},
): Promise<{ service: ClearingService; files: Map<string, string>; database: SqlDatabase }> => {
  const files = new Map<string, string>();
  const database = more.database ?? (await openTestStore());
  const service = await ClearingService.open(
    {
      database,
      signer,
      outFolder: 'out',
      directory: directoryOf(),
      policyHash,
      mode: 'T',
      writeFile: async (path, bytes) => void files.set(path, Buffer.from(bytes).toString('hex')),
      ...more,
    },
    NOON_S,
  );
  return { service, files, database };
};

/** Thirty receipts of three lines over two merchants and three accounts. */
export const history = (): VerifiedItem[] => {
  const lines = ['a', 'b', 'c'].map((name) => new LineOfReceipts(name));
  return Array.from({ length: 30 }, (_, at) => {
    const line = lines[at % 3] as LineOfReceipts;
    const key = keyWith({ merchant: `merchant-${at % 2}`, account: `ACC-${at % 3}` });
    return line.next(BigInt(1_234_567 * (at + 1)), { key });
  });
};
