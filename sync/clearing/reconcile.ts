import { BUCKETS, assertBalanced, emptyBalance, totalsOf } from './core/ledger-states.ts';
import type { Bucket, KeyBalance, Sign } from './core/ledger-states.ts';
import { readAtRisk } from './at-risk.ts';
import type { AtRisk } from './at-risk.ts';
import type { PresentmentState } from './core/presentment-states.ts';
import { readBearers } from './bearers.ts';
import { readClosedSums } from './closed-sums.ts';
import { readFees } from './fee-book.ts';
import type { FeeReport } from './fee-book.ts';
import type { BearerSum } from './bearers.ts';
import { readMerchants } from './merchant-report.ts';
import type { MerchantReport } from './merchant-report.ts';
import { pageOfReturns } from './returned-transfers.ts';
import type { ReturnedTransfer } from './returned-transfers.ts';
import { readWaiting } from './waiting-credits.ts';
import type { WaitingCredits } from './waiting-credits.ts';
import { amountOf, numberOf, textOf } from './sql.ts';
import type { SqlRow, SqlSession } from './sql.ts';

/** The books of one currency, added up. All sums in micro-units. */
type CurrencyBooks = {
  readonly currency: number;
  readonly acceptedMicro: bigint;
  readonly creditsMicro: bigint;
  readonly buckets: Readonly<Record<Bucket, bigint>>;
  /** open + disputed + charged back. */
  readonly presentedMicro: bigint;
};

/** Something a person should look at: value at risk or a record that could not be booked. */
type ClearingFinding = {
  readonly kind: string;
  readonly reference: string;
  readonly detail: string;
};

/** Both sides of the books, counted independently of each other. */
export type Reconciliation = {
  readonly receipts: number;
  /** Refunds and corrections, each a record of its own. */
  readonly credits: number;
  readonly books: readonly CurrencyBooks[];
  readonly findings: readonly ClearingFinding[];
  /** Refunds whose Payment has not come, or is held back. */
  readonly waitingCredits: WaitingCredits;
  /** Who bears what the payer or the merchant must not, by the rules of the documents. */
  readonly bearers: readonly BearerSum[];
  /** Merchants' accounts: earned = paid + payable. */
  readonly merchants: MerchantReport['accounts'];
  /** Transfers that a bank gave back, the first thousand. */
  readonly returnedTransfers: readonly ReturnedTransfer[];
  /** Fees of issuers (1740): charged − received = owed. */
  readonly fees: FeeReport['accounts'];
  /** Gaps in sequences and totals: payments that exist and that no log has brought yet. */
  readonly atRisk: AtRisk;
  /** What does not add up, in words; empty if everything does. */
  readonly differences: readonly string[];
  readonly reconciles: boolean;
};

/** Findings reported at most; the store keeps them all. */
const FINDINGS_MAX = 1000;

type Counted = {
  number: number;
  /** Per key. */
  readonly sumMicro: Map<string, bigint>;
};

const RECEIPTS =
  'SELECT id, key_id, charge_micro AS amount FROM receipts WHERE id > ? ORDER BY id LIMIT 4096';
const CREDITS =
  'SELECT id, key_id, amount_micro AS amount FROM credits WHERE id > ? ORDER BY id LIMIT 4096';

/** Sealed receipts as they were counted one by one when they left the hot table (seal-segments.ts). */
const SEALED =
  'SELECT key_id, receipts, charge_micro AS amount FROM segment_sums ORDER BY key_id, name';

const addSealed = async (session: SqlSession, counted: Counted): Promise<Counted> => {
  for (const row of await session.all(SEALED)) {
    const keyId = textOf(row, 'key_id');
    counted.sumMicro.set(keyId, (counted.sumMicro.get(keyId) ?? 0n) + amountOf(row, 'amount'));
    counted.number += numberOf(row, 'receipts');
  }
  return counted;
};

/** Receipt by receipt, or credit by credit, without looking at the books. */
const countEach = async (session: SqlSession, sql: string): Promise<Counted> => {
  const counted: Counted = { number: 0, sumMicro: new Map() };
  let after = -1n;
  for (;;) {
    const rows = await session.all(sql, after);
    const last = rows.at(-1);
    if (!last) return counted;
    for (const row of rows) {
      const keyId = textOf(row, 'key_id');
      const sum = counted.sumMicro.get(keyId) ?? 0n;
      counted.sumMicro.set(keyId, sum + amountOf(row, 'amount'));
      counted.number++;
    }
    after = last['id'] as bigint;
  }
};

const loadBalances = async (
  session: SqlSession,
): Promise<Map<string, { currency: number; balance: KeyBalance }>> => {
  const balances = new Map<string, { currency: number; balance: KeyBalance }>();
  for (const row of await session.all('SELECT key_id, sign, currency, source_micro FROM keys')) {
    const balance = emptyBalance(textOf(row, 'sign') as Sign);
    balance.sourceMicro = amountOf(row, 'source_micro');
    balances.set(textOf(row, 'key_id'), { currency: numberOf(row, 'currency'), balance });
  }
  for (const row of await session.all('SELECT key_id, bucket, amount_micro FROM balances')) {
    const entry = balances.get(textOf(row, 'key_id'));
    if (entry)
      entry.balance.buckets[textOf(row, 'bucket') as Bucket] = amountOf(row, 'amount_micro');
  }
  return balances;
};

/** Replays the journal of moves and compares with the balances it should have led to. */
const journalDifferences = async (
  session: SqlSession,
  balances: ReadonlyMap<string, { balance: KeyBalance }>,
): Promise<{ differences: string[]; movedIn: (keyId: string) => bigint }> => {
  const replayed = new Map<string, bigint>();
  const add = (name: string, amount: bigint): void => {
    replayed.set(name, (replayed.get(name) ?? 0n) + amount);
  };
  const rows = await session.all(
    'SELECT key_id, from_bucket, to_bucket, amount_micro FROM books_journal ORDER BY id',
  );
  for (const row of rows) {
    const keyId = textOf(row, 'key_id');
    const amount = amountOf(row, 'amount_micro');
    add(`${keyId} ${textOf(row, 'from_bucket')}`, -amount);
    add(`${keyId} ${textOf(row, 'to_bucket')}`, amount);
  }
  const differences: string[] = [];
  for (const [keyId, { balance }] of balances) {
    for (const bucket of BUCKETS) {
      const expected = replayed.get(`${keyId} ${bucket}`) ?? 0n;
      if (expected !== balance.buckets[bucket]) {
        differences.push(
          `${bucket} of key ${keyId}: journal ${expected}, books ${balance.buckets[bucket]}`,
        );
      }
    }
  }
  // What one key was given is what another one gave: seen from between them.
  const movedIn = (keyId: string): bigint => -(replayed.get(`${keyId} transferred`) ?? 0n);
  const net = [...balances.keys()].reduce((sum, keyId) => sum + movedIn(keyId), 0n);
  if (net !== 0n) differences.push(`between keys: ${net} micro-units more came in than went out`);
  return { differences, movedIn };
};

/** Where the books hold what one line presents: whole before it is presented and where it is given up, else split. */
export const bucketsOfLine = (row: SqlRow): readonly (readonly [Bucket, bigint])[] => {
  const state = textOf(row, 'state') as PresentmentState;
  const amount = amountOf(row, 'amount_micro');
  if (state === 'queued' || state === 'inFile' || state === 'parked') return [[state, amount]];
  if (state === 'released') return [];
  const disputed = amountOf(row, 'disputed_micro');
  const chargedBack = amountOf(row, 'charged_back_micro');
  return [
    ['presentedOpen', amount - disputed - chargedBack],
    ['presentedDisputed', disputed],
    ['presentedChargedBack', chargedBack],
  ];
};

const LINE_BUCKETS = [
  'queued',
  'inFile',
  'parked',
  'presentedOpen',
  'presentedDisputed',
  'presentedChargedBack',
] as const;

/** Lines of files against the books: what the lines say stands in a bucket is what stands there, per key. */
const presentedDifferences = async (
  session: SqlSession,
  balances: ReadonlyMap<string, { balance: KeyBalance }>,
  closed: ReadonlyMap<string, bigint>,
): Promise<string[]> => {
  const byLines = new Map<string, bigint>();
  const rows = await session.all(
    `SELECT a.key_id, p.amount_micro, p.state, p.disputed_micro, p.charged_back_micro
     FROM presentments p JOIN aggregates a ON a.aggregate_id = p.aggregate_id`,
  );
  for (const row of rows) {
    for (const [bucket, amount] of bucketsOfLine(row)) {
      const name = `${textOf(row, 'key_id')} ${bucket}`;
      byLines.set(name, (byLines.get(name) ?? 0n) + amount);
    }
  }
  const differences: string[] = [];
  for (const [keyId, { balance }] of balances) {
    for (const bucket of LINE_BUCKETS) {
      const standing = byLines.get(`${keyId} ${bucket}`) ?? 0n;
      const lines = standing + (closed.get(`${bucket} ${keyId}`) ?? 0n);
      const books = balance.buckets[bucket];
      if (books !== lines) {
        differences.push(`${bucket} of key ${keyId}: books ${books}, lines of files ${lines}`);
      }
    }
  }
  return differences;
};

/**
 * `released` must be covered by Voids and stream closes of the same line (DESIGN §4). It lowers nothing here, so a
 * device that claims too much is listed, not charged differently. The sum is cumulative, so a line's last claim decides.
 */
const releaseFindings = async (session: SqlSession): Promise<ClearingFinding[]> => {
  const claimed = await session.all(
    `SELECT line, max(counter) AS counter FROM all_receipts WHERE released_micro <> '0' GROUP BY line ORDER BY line`,
  );
  const findings: ClearingFinding[] = [];
  for (const { line: claimant, counter: last } of claimed) {
    const [line, counter] = [claimant as Uint8Array, last as bigint];
    const claims = await session.all(
      `SELECT released_micro FROM all_receipts WHERE line = ? AND counter = ? AND released_micro <> '0' ORDER BY id`,
      line,
      counter,
    );
    const voids = await session.all(
      'SELECT amount_micro FROM voids WHERE line = ? AND counter < ?',
      line,
      counter,
    );
    const closes = await session.all(
      'SELECT amount_micro, charge_micro FROM all_receipts WHERE line = ? AND counter < ?',
      line,
      counter,
    );
    const proven =
      voids.reduce((sum, one) => sum + amountOf(one, 'amount_micro'), 0n) +
      closes.reduce(
        (sum, one) => sum + amountOf(one, 'amount_micro') - amountOf(one, 'charge_micro'),
        0n,
      );
    const released = claims
      .map((claim) => amountOf(claim, 'released_micro'))
      .reduce((most, one) => (one > most ? one : most), 0n);
    if (released <= proven) continue;
    const reference = `${Buffer.from(line).toString('hex')}/${counter}`;
    findings.push({
      kind: 'RELEASE_UNPROVEN',
      reference,
      detail: `${released} released, ${proven} proven micro-units`,
    });
  }
  return findings;
};

const currencyBooks = (
  balances: ReadonlyMap<string, { currency: number; balance: KeyBalance }>,
): CurrencyBooks[] => {
  const byCurrency = new Map<number, KeyBalance[]>();
  for (const { currency, balance } of balances.values()) {
    byCurrency.set(currency, [...(byCurrency.get(currency) ?? []), balance]);
  }
  return [...byCurrency]
    .toSorted(([a], [b]) => a - b)
    .map(([currency, list]) => {
      const { acceptedMicro, creditsMicro, buckets } = totalsOf(list);
      const { presentedOpen, presentedDisputed, presentedChargedBack } = buckets;
      const presentedMicro = presentedOpen + presentedDisputed + presentedChargedBack;
      return { currency, acceptedMicro, creditsMicro, buckets, presentedMicro };
    });
};

/**
 * Adds everything up anew: receipts one by one against the accepted side, the journal of moves against the
 * balances, the lines of files against what the books call presented, and the invariant per key and in total.
 */
export const reconcileStore = async (session: SqlSession): Promise<Reconciliation> => {
  const receipts = await addSealed(session, await countEach(session, RECEIPTS));
  const credits = await countEach(session, CREDITS);
  const balances = await loadBalances(session);
  const merchants = await readMerchants(session);
  const fees = await readFees(session);
  const closed = await readClosedSums(session);
  const journal = await journalDifferences(session, balances);
  const differences = [
    ...merchants.differences,
    ...fees.differences,
    ...journal.differences,
    ...(await presentedDifferences(session, balances, closed)),
  ];
  for (const [keyId, { balance }] of balances) {
    assertBalanced(balance, keyId);
    const counted = balance.sign === 'debit' ? receipts : credits;
    const gone = closed.get(`${balance.sign === 'debit' ? 'receipts' : 'credits'} ${keyId}`) ?? 0n;
    const sum = (counted.sumMicro.get(keyId) ?? 0n) + gone + journal.movedIn(keyId);
    if (sum !== balance.sourceMicro) {
      differences.push(`key ${keyId}: one by one ${sum}, books ${balance.sourceMicro}`);
    }
  }
  const total = totalsOf([...balances.values()].map((entry) => entry.balance));
  if (!total.reconciles) differences.push('the books in total');
  const noted = await session.all(
    'SELECT kind, reference, detail FROM findings ORDER BY id LIMIT ?',
    BigInt(FINDINGS_MAX),
  );
  const findings = noted.map((row) => ({
    kind: textOf(row, 'kind'),
    reference: textOf(row, 'reference'),
    detail: textOf(row, 'detail'),
  }));
  return {
    receipts: receipts.number,
    credits: credits.number,
    books: currencyBooks(balances),
    findings: [...findings, ...(await releaseFindings(session))],
    waitingCredits: await readWaiting(session),
    bearers: await readBearers(session),
    merchants: merchants.accounts,
    returnedTransfers: await pageOfReturns(session),
    fees: fees.accounts,
    atRisk: await readAtRisk(session),
    differences,
    reconciles: differences.length === 0,
  };
};
