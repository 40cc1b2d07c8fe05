/** A line of two Payments, what is given back of it, and what its merchant may be paid. */
import type { ClearingService } from '../../../sync/clearing/clearing-service.ts';
import type { VerifiedCredit } from '../../../sync/clearing/core/credit.ts';
import type { VerifiedReceipt, VerifiedVoid } from '../../../sync/clearing/core/ingest.ts';
import type { SqlDatabase } from '../../../sync/clearing/sql.ts';
import { IssuerSide } from './issuer-side.ts';
import type { GotFile } from './issuer-side.ts';
import { LineOfReceipts, NOON_S, anchors, hashOf, inMemory } from './sample.ts';

const YEN = 1_000_000n;

/** A refund of so much in all. */
export const creditFor = (
  { paymentHash }: Pick<VerifiedReceipt, 'paymentHash'>,
  refundedMicro: bigint,
  part: Partial<VerifiedCredit> = {},
): VerifiedCredit => ({
  kind: 'credit',
  origin: 'intake.example',
  leafIndex: Number(refundedMicro % 1000n),
  creditHash: hashOf(`credit ${Buffer.from(paymentHash).toString('hex')} ${refundedMicro}`),
  paymentHash,
  refundedMicro,
  reason: 'gate stayed shut',
  businessTimeS: NOON_S - 60,
  isTimeFlagged: false,
  ...part,
});

export const voidFor = (receipt: VerifiedReceipt): VerifiedVoid => ({
  kind: 'void',
  origin: 'gw2.example/2026q4',
  leafIndex: 3,
  paymentHash: receipt.paymentHash,
  receiptHash: hashOf(`void ${receipt.counter}`),
  line: receipt.line,
  counter: receipt.counter,
  amountMicro: receipt.amountMicro,
  operator: 'Fog Works',
});

export const payable = async (service: ClearingService): Promise<bigint | undefined> =>
  (await service.reconcile()).merchants[0]?.payableMicro;

export type Charged = {
  readonly service: ClearingService;
  readonly issuer: IssuerSide;
  readonly file: GotFile;
  readonly arn: string;
  readonly database: SqlDatabase;
  readonly paid: readonly [VerifiedReceipt, VerifiedReceipt];
};

/** One line of 600 yen in a written file: two Payments, of 500 and of 100. */
export const chargedLine = async (): Promise<Charged> => {
  const { service, files, database } = await inMemory();
  const line = new LineOfReceipts('car');
  const paid = [line.next(500n * YEN), line.next(100n * YEN)] as const;
  await service.ingestBatch(paid, NOON_S);
  const cut = await service.cut(NOON_S, anchors, true);
  const issuer = new IssuerSide(service, files);
  const file = issuer.got(cut.files[0]?.fileName ?? '');
  return { service, issuer, file, arn: file.lines[0]?.arn ?? '', database, paid };
};
