import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t from 'tap';
import { Artefacts } from '../../../cli/verify/artefacts.ts';
import { checkEvidence } from '../../../cli/verify/evidence.ts';
import { Findings } from '../../../cli/verify/findings.ts';
import type { CheckedReceipt } from '../../../cli/verify/receipts.ts';
import { aggregateIdOf, encodeEvidence } from '../../../sync/clearing/core/evidence.ts';
import { sumTreeRoot } from '../../../sync/clearing/core/sum-tree.ts';
import { hashOf } from '../../sync/clearing/sample.ts';

const YEN = 1_000_000n;
const id = (byte: number): Uint8Array => new Uint8Array(16).fill(byte);
const paymentHash = hashOf('payment');

/** Of a chain only what a key is made of. */
const payer = { party: { issuer: id(1), fundingAccount: 'ACC-1' }, partyHex: 'party' };

/** What `kiri verify` knows of a Payment of 100 yen. */
const receipt = {
  paymentHash,
  receiptHash: hashOf('receipt'),
  chargedMicro: 100n * YEN,
  payment: { currency: 392 },
  payer,
  payers: [payer],
  payee: {
    acquirer: { subject: id(2) },
    merchant: { merchantId: 'M1', programme: 'BILATERAL', mcc: 4784 },
  },
} as unknown as CheckedReceipt;

const creditLine = (account: string, credits: readonly (readonly [string, bigint, string?])[]) => {
  const leaves = credits.map(([name, amountMicro, payment], at) => ({
    receiptHash: hashOf(name),
    paymentHash: payment === undefined ? paymentHash : hashOf(payment),
    amountMicro,
    origin: 0,
    leafIndex: at,
  }));
  const sumMicro = leaves.reduce((sum, leaf) => sum + leaf.amountMicro, 0n);
  const key = {
    issuer: '01'.repeat(16),
    acquirer: '02'.repeat(16),
    merchant: 'M1',
    programme: 'BILATERAL',
    account,
    party: 'party',
    mcc: '4784',
    currency: 392,
    sign: 'credit' as const,
  };
  return encodeEvidence({
    key,
    lane: 'normal',
    number: 1,
    previous: undefined,
    openingMicro: 0n,
    amountMinor: sumMicro / YEN,
    closingMicro: 0n,
    firstPaidS: 5,
    lastPaidS: 5,
    root: sumTreeRoot(leaves).hash,
    sumMicro,
    origins: ['intake'],
    leaves,
    entries: [],
    conflicts: [],
  });
};

t.test('the evidence of refunds is held against the Payments that were charged', (t) => {
  const faultsOf = (...documents: readonly Uint8Array[]): string[] => {
    const root = mkdtempSync(join(tmpdir(), 'kiri-refunds-'));
    t.teardown(() => rmSync(root, { recursive: true, force: true }));
    mkdirSync(join(root, 'evidence'));
    for (const document of documents) {
      writeFileSync(join(root, 'evidence', `${aggregateIdOf(document)}.cbor`), document);
    }
    const findings = new Findings();
    const files = new Artefacts(root, findings);
    const receipts = new Map([['receipt', receipt]]);
    const accounts = new Map([['party', new Set(['ACC-1', 'ACC-9'])]]);
    checkEvidence({ files, findings, receipts, accounts }, files.below('evidence/'));
    return findings.report().faults.map(({ reason }) => reason);
  };
  t.same(
    faultsOf(
      creditLine('ACC-1', [
        ['a', 60n * YEN],
        ['b', 40n * YEN],
      ]),
    ),
    [],
    'in two steps',
  );
  t.match(
    faultsOf(
      creditLine('ACC-1', [
        ['a', 60n * YEN],
        ['b', 41n * YEN],
      ]),
    ),
    [/more is given back/],
  );
  t.match(
    faultsOf(creditLine('ACC-1', [['a', 60n * YEN]]), creditLine('ACC-1', [['b', 41n * YEN]])),
    [/more is given back/],
    'over two lines too',
  );
  t.match(
    faultsOf(
      creditLine('ACC-1', [['a', 30n * YEN]]),
      creditLine('ACC-1', [
        ['a', 30n * YEN],
        ['c', YEN],
      ]),
    ),
    [/presented twice/],
  );
  t.match(faultsOf(creditLine('ACC-1', [['a', YEN, 'another']])), [/not among those that verify/]);
  t.same(faultsOf(creditLine('ACC-9', [['a', YEN]])), [], 'the account that replaced it');
  t.match(faultsOf(creditLine('ACC-2', [['a', YEN]])), [/not on the key of its Payment/]);
  t.end();
});
