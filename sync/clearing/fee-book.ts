/** Fees of issuers (1740): each booked once under its reference, in a journal of its own beside the books. */
import { currencyOf, microPerMinor } from '../../protocol/currency.ts';
import { feeSumsOf, readClosedMark } from './closed-mark.ts';
import { readClosedSums } from './closed-sums.ts';
import { FEE_MOVES, applyFeeMove, emptyFeeAccount } from './core/fee-account.ts';
import type { FeeAccount, FeeMove } from './core/fee-account.ts';
import { FEE_TABLE } from './core/fee-states.ts';
import type { FeeRefusal, FeeState } from './core/fee-states.ts';
import type { FeeCollection } from './core/inbound-message.ts';
import type { InboundPlace } from './file-positions.ts';
import { lineByArn } from './line-book.ts';
import { amountOf, numberOf, textOf } from './sql.ts';
import type { SqlRow, SqlSession } from './sql.ts';

/** What became of a fee. */
type FeeOutcome =
  | { readonly kind: 'moved' | 'repeated'; readonly reference: string; readonly detail: string }
  | {
      readonly kind: 'refused';
      readonly code: FeeRefusal | 'UNKNOWN_ARN' | 'ORIGINAL_MISMATCH' | 'CURRENCY_MISMATCH';
      readonly reference: string;
      readonly detail: string;
    };

/** The return of what was charged is paid to us, and the other way round. */
const moveOf = ({ use, direction }: FeeCollection): FeeMove => {
  if (use === 'return') return direction === 'paid' ? 'chargeReturned' : 'receiptReturned';
  return direction === 'charged' ? 'charged' : 'received';
};

const feeAccountOf = (row: SqlRow): FeeAccount => ({
  chargedMicro: amountOf(row, 'charged_micro'),
  receivedMicro: amountOf(row, 'received_micro'),
  owedMicro: amountOf(row, 'owed_micro'),
});

type Entry = {
  readonly issuer: string;
  readonly reference: string;
  readonly currency: number;
  readonly move: FeeMove;
  readonly amountMicro: bigint;
};

const enter = async (session: SqlSession, entry: Entry, nowS: number): Promise<void> => {
  const { issuer, reference, currency, move, amountMicro } = entry;
  await session.run(
    `INSERT INTO fee_journal (at_s, issuer, currency, move, amount_micro, reference)
     VALUES (?, ?, ?, ?, ?, ?)`,
    BigInt(nowS),
    issuer,
    BigInt(currency),
    move,
    amountMicro.toString(),
    reference,
  );
  const [row] = await session.all(
    'SELECT * FROM fee_accounts WHERE issuer = ? AND currency = ?',
    issuer,
    BigInt(currency),
  );
  const account = row ? feeAccountOf(row) : emptyFeeAccount();
  applyFeeMove(account, move, amountMicro, issuer);
  await session.run(
    `INSERT INTO fee_accounts (issuer, currency, charged_micro, received_micro, owed_micro)
     VALUES (?, ?, ?, ?, ?) ON CONFLICT (issuer, currency) DO UPDATE SET
       charged_micro = excluded.charged_micro, received_micro = excluded.received_micro,
       owed_micro = excluded.owed_micro`,
    issuer,
    BigInt(currency),
    account.chargedMicro.toString(),
    account.receivedMicro.toString(),
    account.owedMicro.toString(),
  );
};

/** DE73 has two digits of the year, all of this century. */
const unknownOrClosed = async (
  session: SqlSession,
  issuer: string,
  { date }: FeeCollection,
): Promise<FeeState> => {
  const { feesBefore } = await readClosedMark(session, issuer);
  return `20${date}` < feesBefore.replaceAll('-', '') ? 'closed' : 'unknown';
};

/** Books a fee, or its return, in the transaction of the file that it stands in. */
export const bookFee = async (
  session: SqlSession,
  fee: FeeCollection,
  { issuer, number, record }: InboundPlace,
  nowS: number,
): Promise<FeeOutcome> => {
  const { reference, use, direction, amountMinor, reason, arn } = fee;
  const detail = `${use} ${reason}: ${amountMinor} minor units ${direction}`;
  const refused = (code: Extract<FeeOutcome, { kind: 'refused' }>['code']): FeeOutcome => ({
    kind: 'refused',
    code,
    reference,
    detail,
  });
  const [stored] = await session.all(
    'SELECT * FROM fees WHERE issuer = ? AND reference = ?',
    issuer,
    reference,
  );
  const isReturn = use === 'return';
  const state = stored
    ? (textOf(stored, 'state') as FeeState)
    : await unknownOrClosed(session, issuer, fee);
  const answer = FEE_TABLE[state][isReturn ? 'return' : 'collection'];
  if (answer.kind === 'refused') return refused(answer.code);
  if (arn !== undefined && !(await lineByArn(session, arn))) return refused('UNKNOWN_ARN');
  const currency = Number(fee.currency);
  const amountMicro = amountMinor * unitOf(currency);
  if (stored) {
    if (numberOf(stored, 'currency') !== currency) return refused('CURRENCY_MISMATCH');
    // A return gives the whole back, to the side that paid.
    const isOpposite = textOf(stored, 'direction') !== direction;
    if (!isOpposite || amountOf(stored, 'amount_micro') !== amountMicro) {
      return refused('ORIGINAL_MISMATCH');
    }
  }
  if (answer.kind === 'repeated') return { kind: 'repeated', reference, detail };
  if (stored) {
    await session.run(
      'UPDATE fees SET state = ?, returned_s = ? WHERE issuer = ? AND reference = ?',
      answer.to,
      BigInt(nowS),
      issuer,
      reference,
    );
  } else {
    await session.run(
      `INSERT INTO fees (issuer, reference, state, direction, currency, amount_micro, reason, fee_date,
         arn, number, record, booked_s) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
      issuer,
      reference,
      answer.to,
      direction,
      BigInt(currency),
      amountMicro.toString(),
      reason,
      fee.date,
      arn ?? null,
      BigInt(number),
      BigInt(record),
      BigInt(nowS),
    );
  }
  await enter(session, { issuer, reference, currency, move: moveOf(fee), amountMicro }, nowS);
  return { kind: 'moved', reference, detail };
};

/** Micro-units in one minor unit; the profile has refused a currency that nobody knows. */
const unitOf = (numeric: number): bigint => {
  const currency = currencyOf(numeric);
  return currency ? microPerMinor(currency) : 0n;
};

/** The fee account of one issuer in one currency (ISO 4217 numeric). */
type FeeLine = FeeAccount & { readonly issuer: string; readonly currency: number };

export type FeeReport = {
  readonly accounts: readonly FeeLine[];
  /** What does not add up, in words. */
  readonly differences: readonly string[];
};

const PAGE = 4_096;

const nameOf = (row: SqlRow): string => `${textOf(row, 'issuer')} ${numberOf(row, 'currency')}`;

/** What fees that were deleted amount to, by issuer and currency. */
const closedFees = async (session: SqlSession): Promise<Map<string, FeeAccount>> => {
  const sums = await readClosedSums(session);
  const accounts = new Map<string, FeeAccount>();
  for (const row of await session.all(
    'SELECT issuer, currency FROM fee_accounts ORDER BY issuer, currency',
  )) {
    const chargedMicro = sums.get(`charged ${feeSumsOf(row)}`) ?? 0n;
    const receivedMicro = sums.get(`received ${feeSumsOf(row)}`) ?? 0n;
    const owedMicro = chargedMicro - receivedMicro;
    accounts.set(nameOf(row), { chargedMicro, receivedMicro, owedMicro });
  }
  return accounts;
};

/** Adds the journal up; changes the accounts that it begins with. */
const replay = async (
  session: SqlSession,
  accounts: Map<string, FeeAccount>,
): Promise<Map<string, FeeAccount>> => {
  let after = -1n;
  for (;;) {
    const rows = await session.all(
      `SELECT id, issuer, currency, move, amount_micro FROM fee_journal WHERE id > ?
       ORDER BY id LIMIT ${PAGE}`,
      after,
    );
    for (const row of rows) {
      const account = accounts.get(nameOf(row)) ?? emptyFeeAccount();
      accounts.set(nameOf(row), account);
      const move = FEE_MOVES.find((one) => one === textOf(row, 'move'));
      if (move) applyFeeMove(account, move, amountOf(row, 'amount_micro'), nameOf(row));
    }
    const last = rows.at(-1);
    if (rows.length < PAGE || !last) return accounts;
    after = last['id'] as bigint;
  }
};

/** Accounts of fees, each held against its journal and against the fees that stand. */
export const readFees = async (session: SqlSession): Promise<FeeReport> => {
  const closed = await closedFees(session);
  const standing = new Map([...closed].map(([name, { owedMicro }]) => [name, owedMicro]));
  const replayed = await replay(session, closed);
  const rows = await session.all(
    "SELECT issuer, currency, direction, amount_micro FROM fees WHERE state = 'booked' ORDER BY issuer, reference",
  );
  for (const row of rows) {
    const sign = textOf(row, 'direction') === 'charged' ? 1n : -1n;
    const sum = standing.get(nameOf(row)) ?? 0n;
    standing.set(nameOf(row), sum + sign * amountOf(row, 'amount_micro'));
  }
  const accounts: FeeLine[] = [];
  const differences: string[] = [];
  for (const row of await session.all('SELECT * FROM fee_accounts ORDER BY issuer, currency')) {
    const [name, account] = [nameOf(row), feeAccountOf(row)];
    const expected = replayed.get(name) ?? emptyFeeAccount();
    for (const column of Object.keys(account) as (keyof FeeAccount)[]) {
      if (account[column] === expected[column]) continue;
      differences.push(
        `fees of ${name}: ${column} ${account[column]}, journal ${expected[column]}`,
      );
    }
    const sum = standing.get(name) ?? 0n;
    if (sum !== account.owedMicro) {
      differences.push(`fees of ${name}: one by one ${sum}, owed ${account.owedMicro}`);
    }
    accounts.push({
      issuer: textOf(row, 'issuer'),
      currency: numberOf(row, 'currency'),
      ...account,
    });
  }
  return { accounts, differences };
};
