import { nextNumber } from './counters.ts';
import { JST, civilTime, yymmdd } from './core/civil-time.ts';
import { feeToTake } from './core/merchant-account.ts';
import { planPayout } from './core/payout.ts';
import type { Payout } from './core/payout.ts';
import { payoutHeader } from './core/payout-terms.ts';
import type { PayoutTerms } from './core/payout-terms.ts';
import { KiriError } from '../../protocol/kiri-error.ts';
import { enterMerchant, merchantAccountOf } from './merchant-accounts.ts';
import type { PayoutDocument } from './payout-file.ts';
import { readReturned } from './returned-transfers.ts';
import { numberOf, textOf } from './sql.ts';
import type { SqlSession } from './sql.ts';

/** ISO 4217 numeric code of the yen, the only currency of these files. */
const YEN = 392;
const MICRO_PER_YEN = 1_000_000n;
/** Transfers in one file at most; DE-like counters of the bank hold 999,999, readers' patience less. */
const TRANSFERS_MAX = 100_000;
/** The trailer's total has twelve digits. */
const TOTAL_YEN_MAX = 999_999_999_999n;
const SEQUENCE_MAX = 99_999;

/** One payout of one acquirer: what its files hold, and what stays with its merchants and why. */
export type PayoutAssignment = {
  readonly files: readonly string[];
  readonly carried: Payout['carried'];
};

type Line = Payout['lines'][number];

/** Lines in files, in order, each within what one file can hold. */
const inFiles = (lines: readonly Line[]): Line[][] => {
  const files: Line[][] = [];
  let total = 0n;
  for (const line of lines) {
    const { amountYen } = line.transfer;
    const file = files.at(-1);
    if (!file || file.length >= TRANSFERS_MAX || total + amountYen > TOTAL_YEN_MAX) {
      files.push([line]);
      total = amountYen;
    } else {
      file.push(line);
      total += amountYen;
    }
  }
  return files;
};

type Assigning = {
  readonly session: SqlSession;
  readonly terms: PayoutTerms;
  readonly transferDay: string;
  readonly mode: 'P' | 'T';
  readonly nowS: number;
};

const assignFile = async (
  { session, terms, transferDay, mode, nowS }: Assigning,
  lines: readonly Line[],
  fees: ReadonlyMap<string, bigint>,
): Promise<string> => {
  const { acquirer, clientCode, profile } = terms;
  const sequence = await nextNumber(session, `payout ${clientCode}`);
  if (sequence > SEQUENCE_MAX) {
    throw new KiriError('FILE_SEQUENCE_EXHAUSTED', `no payout number left for ${clientCode}`);
  }
  const date = yymmdd(civilTime(nowS, JST));
  const number = String(sequence).padStart(5, '0');
  const fileName = `KIRI.${profile.name}.${clientCode}.D${date}.S${number}.${mode}`;
  const transfers = lines.map(({ merchant, transfer: { amountYen: _amount, ...rest } }) => ({
    merchant,
    ...rest,
  }));
  const header = payoutHeader(terms, transferDay);
  const document: PayoutDocument = { profile, header, transfers, cutS: nowS };
  await session.run(
    `INSERT INTO payouts (file_name, acquirer, client_code, sequence, state, cut_s, document)
     VALUES (?, ?, ?, ?, 'assigned', ?, ?)`,
    fileName,
    acquirer,
    clientCode,
    BigInt(sequence),
    BigInt(nowS),
    JSON.stringify(document),
  );
  for (const [at, { merchant, transfer }] of lines.entries()) {
    const paidMicro = transfer.amountYen * MICRO_PER_YEN;
    const feeMicro = fees.get(merchant) ?? 0n;
    await session.run(
      `INSERT INTO payout_lines (file_name, number, merchant, currency, paid_micro, fee_micro)
       VALUES (?, ?, ?, ?, ?, ?)`,
      fileName,
      BigInt(at + 1),
      merchant,
      BigInt(YEN),
      paidMicro.toString(),
      feeMicro.toString(),
    );
    const entry = { acquirer, merchant, currency: YEN, nowS, reference: `${fileName} ${merchant}` };
    if (feeMicro > 0n)
      await enterMerchant(session, { ...entry, kind: 'fee', amountMicro: feeMicro });
    await enterMerchant(session, { ...entry, kind: 'paid', amountMicro: paidMicro });
  }
  return fileName;
};

/**
 * Assigns what an acquirer's merchants are paid now, in the caller's transaction: fees are taken, accounts lowered, file
 * numbers used up. Merchants below zero or the minimum, and those without an account, keep all of it, fees due included.
 */
export const assignPayout = async (work: Assigning): Promise<PayoutAssignment> => {
  const { session, terms } = work;
  const rows = await session.all(
    "SELECT * FROM merchant_accounts WHERE acquirer = ? AND payable_micro <> '0' ORDER BY merchant, currency",
    terms.acquirer,
  );
  const fees = new Map<string, bigint>();
  const balances = rows.map((row) => {
    const account = merchantAccountOf(row);
    const merchant = textOf(row, 'merchant');
    const currency = numberOf(row, 'currency');
    const feeMicro = currency === YEN ? feeToTake(account, MICRO_PER_YEN) : 0n;
    if (currency === YEN) fees.set(merchant, feeMicro);
    return { merchant, currency, payableMicro: account.payableMicro - feeMicro };
  });
  const { lines, carried } = planPayout(
    balances,
    (merchant) => terms.payees.get(merchant),
    terms.minimumYen,
    await readReturned(session, terms.acquirer),
  );
  const files: string[] = [];
  for (const part of inFiles(lines)) files.push(await assignFile(work, part, fees));
  return { files, carried };
};
