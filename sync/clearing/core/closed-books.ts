import type { Signer } from '../../../protocol/public-key.ts';
import { signSign1 } from '../../../protocol/cose.ts';
import { U32, U53, bytes, message } from '../../../protocol/schema.ts';
import type { Codec } from '../../../protocol/schema.ts';
import { civilTime, dayStartS, monthStartDay } from './civil-time.ts';
import type { BusinessZone } from './civil-time.ts';

/** How long accounting records stay after a fiscal year: companies in Japan keep them 7 years, 10 with a loss carried forward. */
export const ACCOUNTING_YEARS = 10;
/** Fewer are refused. */
export const ACCOUNTING_YEARS_MIN = 7;
/** A company's fiscal year ends with this month, where the configuration names no other. */
export const FISCAL_YEAR_END_MONTH = 3;
/** The years count from the day on which the tax return of a fiscal year is due: two months after its end. */
const RETURN_DUE_MONTHS = 2;
const MONTHS_A_YEAR = 12;

export type AccountingTerms = {
  readonly years: number;
  /** 1 … 12. */
  readonly yearEndMonth: number;
  readonly zone: BusinessZone;
};

/** What was cut and booked before this moment may go: the start of the oldest fiscal year that must still be kept. */
export const accountingHorizonS = (nowS: number, terms: AccountingTerms): number => {
  const { years, yearEndMonth, zone } = terms;
  const now = civilTime(nowS, zone);
  // Months since the year 0 of the last month whose end lies behind years and due date.
  const months = (now.year - years) * MONTHS_A_YEAR + (now.month - 1) - RETURN_DUE_MONTHS;
  const first = yearEndMonth % MONTHS_A_YEAR;
  const year = Math.floor((months - first) / MONTHS_A_YEAR);
  return dayStartS(monthStartDay(year, first + 1), zone);
};

/** What the clearing signs about everything it has deleted of its books. Times are UTC seconds. */
export type ClosedBooks = {
  readonly atS: number;
  /** What lies before was closed, save what is held or open. */
  readonly throughS: number;
  /** Settlement and payout files. */
  readonly files: number;
  /** SHA-256 of the list beside it. */
  readonly listSha256: Uint8Array;
};

const CLOSED_BOOKS_TYPE = 70;
/** The `typ` header of the signed statement. */
export const CLOSED_BOOKS_TYP = 'kiri-closed-books';

export const CLOSED_BOOKS: Codec<ClosedBooks> = message<ClosedBooks>(CLOSED_BOOKS_TYPE, {
  atS: [1, U53],
  throughS: [2, U53],
  files: [3, U32],
  listSha256: [4, bytes(32)],
});

export const signClosedBooks = (signer: Signer, statement: ClosedBooks): Uint8Array =>
  signSign1(signer, CLOSED_BOOKS.encode(statement), {
    kid: signer.key.id,
    typ: CLOSED_BOOKS_TYP,
  });

/** Below the output folder: what was deleted, and the signed statement over it. */
export const CLOSED_FOLDER = 'closed';
export const CLOSED_LIST: string = `${CLOSED_FOLDER}/closed-books.txt`;
export const CLOSED_STATEMENT: string = `${CLOSED_FOLDER}/closed-books.statement`;

/** One line of the list. Hashes in hex. */
export type ClosedEntry =
  | { readonly kind: 'file'; readonly name: string; readonly sha256: string }
  /** The last aggregate of a chain that goes on: the evidence after it names it. */
  | { readonly kind: 'aggregate'; readonly id: string };

/** `file NAME SHA256` or `aggregate ID`, one a line. */
export const formatClosed = (entry: ClosedEntry): string =>
  entry.kind === 'file' ? `file ${entry.name} ${entry.sha256}\n` : `aggregate ${entry.id}\n`;

/** Undefined for a text that {@link formatClosed} would not write. */
export const parseClosed = (text: string): readonly ClosedEntry[] | undefined => {
  if (text !== '' && !text.endsWith('\n')) return undefined;
  const entries: ClosedEntry[] = [];
  for (const line of text.split('\n').slice(0, -1)) {
    const file = /^file ([A-Za-z0-9._-]{1,96}) ([0-9a-f]{64})$/.exec(line);
    const aggregate = /^aggregate ([0-9a-f]{64})$/.exec(line);
    if (file?.[1] && file[2]) entries.push({ kind: 'file', name: file[1], sha256: file[2] });
    else if (aggregate?.[1]) entries.push({ kind: 'aggregate', id: aggregate[1] });
    else return undefined;
  }
  return entries;
};
