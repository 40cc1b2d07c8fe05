import { concatBytes } from '../../../protocol/bytes.ts';
import { coded, refused } from './fault.ts';
import type { CodecFault, Coded } from './fault.ts';
import { ZENGIN_RECORD_BYTES, readZenginRecord, writeZenginRecord } from './zengin-record.ts';
import type { ZenginRecordName, ZenginValues } from './zengin-record.ts';

/** How a bank wants the file. Line feeds alone are an error everywhere. */
export type ZenginProfile = {
  readonly name: 'zengin-sougou';
  readonly version: number;
  readonly lineEnd: 'none' | 'crlf';
};

export const ZENGIN_PROFILE: ZenginProfile = { name: 'zengin-sougou', version: 1, lineEnd: 'none' };

/** A bank account: bank 4 digits, branch 3, kind 1 ordinary, 2 current, 4 savings, 9 other, number 7. */
export type ZenginAccount = {
  readonly bank: string;
  readonly bankName: string;
  readonly branch: string;
  readonly branchName: string;
  readonly kind: '1' | '2' | '4' | '9';
  readonly number: string;
};

/** Who pays, and on which day (MMDD, a bank's working day; the bank refuses others). */
type ZenginHeader = {
  readonly clientCode: string;
  readonly clientName: string;
  readonly transferDay: string;
  readonly account: ZenginAccount;
};

/** One transfer in whole yen, 1 … 9,999,999,999. `reference` (at most 20 characters) travels to the payee. */
export type ZenginTransfer = {
  readonly account: ZenginAccount;
  readonly payeeName: string;
  readonly amountYen: bigint;
  readonly reference: string;
};

export type ZenginFile = {
  readonly header: ZenginHeader;
  readonly transfers: readonly ZenginTransfer[];
};

/** The most one transfer can carry: ten digits. */
export const ZENGIN_AMOUNT_MAX = 9_999_999_999n;
const COUNT_MAX = 999_999;
const REFERENCE_MARK = 'Y';
const MONTH_DAYS: readonly number[] = [31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];

const isDay = (text: string): boolean => {
  const day = Number(text.slice(2));
  return /^\d{4}$/.test(text) && day >= 1 && day <= (MONTH_DAYS[Number(text.slice(0, 2)) - 1] ?? 0);
};

const accountValues = (account: ZenginAccount): ZenginValues => ({
  bank: account.bank,
  bankName: account.bankName,
  branch: account.branch,
  branchName: account.branchName,
  accountKind: account.kind,
  accountNumber: account.number,
});

const accountOf = (values: ZenginValues): ZenginAccount => ({
  bank: values['bank'] ?? '',
  bankName: values['bankName'] ?? '',
  branch: values['branch'] ?? '',
  branchName: values['branchName'] ?? '',
  kind: values['accountKind'] as ZenginAccount['kind'],
  number: values['accountNumber'] ?? '',
});

type Refused = { readonly ok: false; readonly fault: CodecFault };

/** What the widths alone do not say; the same for writing and reading. */
const accountFault = (values: ZenginValues, at: number, record: string): Refused | undefined => {
  if (/^0*$/.test(values['bank'] ?? ''))
    return refused('WRONG_VALUE', at, `${record}.bank`, 'no bank');
  if (!/^[1249]$/.test(values['accountKind'] ?? '')) {
    return refused('WRONG_VALUE', at, `${record}.accountKind`, 'none of 1, 2, 4, 9');
  }
  return undefined;
};

const headerFault = (values: ZenginValues, at: number): Refused | undefined => {
  if (!isDay(values['transferDay'] ?? '')) {
    return refused('WRONG_VALUE', at, 'header.transferDay', 'not a day MMDD');
  }
  if (!values['clientName']) return refused('WRONG_VALUE', at, 'header.clientName', 'empty');
  return accountFault(values, at, 'header');
};

const transferFault = (values: ZenginValues, at: number): Refused | undefined => {
  if (/^0*$/.test(values['amount'] ?? '')) {
    return refused('WRONG_VALUE', at, 'data.amount', 'a transfer of nothing');
  }
  if (!values['payeeName']) return refused('WRONG_VALUE', at, 'data.payeeName', 'empty');
  if (values['referenceMark'] !== (values['reference'] ? REFERENCE_MARK : '')) {
    return refused(
      'WRONG_VALUE',
      at,
      'data.referenceMark',
      'Y where a reference stands, else blank',
    );
  }
  return accountFault(values, at, 'data');
};

type Row = { readonly record: ZenginRecordName; readonly values: ZenginValues };

const rowsOf = ({ header, transfers }: ZenginFile): Row[] => {
  const { clientCode, clientName, transferDay, account } = header;
  const total = transfers.reduce((sum, one) => sum + one.amountYen, 0n);
  return [
    {
      record: 'header',
      values: { clientCode, clientName, transferDay, ...accountValues(account) },
    },
    ...transfers.map(({ payeeName, amountYen, reference, account: to }): Row => {
      const referenceMark = reference === '' ? '' : REFERENCE_MARK;
      const amount = amountYen.toString();
      const values = { payeeName, amount, reference, referenceMark, ...accountValues(to) };
      return { record: 'data', values };
    }),
    {
      record: 'trailer',
      values: { count: String(transfers.length), total: total.toString() },
    },
    { record: 'end', values: {} },
  ];
};

const CR = 13;
const LF = 10;

/** The bytes of a payout file. Offsets of faults count from the start of the record that cannot be written. */
export const writeZenginFile = (file: ZenginFile, profile: ZenginProfile): Coded<Uint8Array> => {
  const { transfers } = file;
  if (transfers.length === 0) return refused('WRONG_VALUE', 0, 'trailer.count', 'no transfer');
  if (transfers.length > COUNT_MAX) return refused('OVERFLOW', 0, 'trailer.count', 'six digits');
  if (transfers.some((one) => one.amountYen < 0n)) {
    return refused('NEGATIVE', 0, 'data.amount', 'a negative transfer');
  }
  const parts: Uint8Array[] = [];
  const lineEnd = profile.lineEnd === 'crlf' ? Uint8Array.of(CR, LF) : new Uint8Array(0);
  for (const { record, values } of rowsOf(file)) {
    const written = writeZenginRecord(record, values);
    if (!written.ok) return written;
    const fault =
      (record === 'header' && headerFault(values, 0)) ||
      (record === 'data' && transferFault(values, 0));
    if (fault) return fault;
    parts.push(written.value, lineEnd);
  }
  return coded(concatBytes(...parts));
};

/** Reads record after record; knows where it stands and what a line must end with. */
class Records {
  readonly #bytes: Uint8Array;
  readonly #lineEnd: ZenginProfile['lineEnd'];
  at = 0;
  start = 0;

  constructor(bytes: Uint8Array, lineEnd: ZenginProfile['lineEnd']) {
    this.#bytes = bytes;
    this.#lineEnd = lineEnd;
  }

  /** First character of the next record; empty at the end of the file. */
  get kind(): string {
    const byte = this.#bytes[this.at];
    return byte === undefined ? '' : String.fromCharCode(byte);
  }

  get isAtEnd(): boolean {
    return this.at === this.#bytes.length;
  }

  next(record: ZenginRecordName): Coded<ZenginValues> {
    const read = readZenginRecord(record, this.#bytes, this.at);
    if (!read.ok) return read;
    this.start = this.at;
    this.at += ZENGIN_RECORD_BYTES;
    if (this.#lineEnd === 'crlf') {
      if (this.#bytes[this.at] !== CR || this.#bytes[this.at + 1] !== LF) {
        return refused('MISSING_TERMINATOR', this.at, record, 'no CR LF');
      }
      this.at += 2;
    }
    return read;
  }
}

const transferOf = (values: ZenginValues): ZenginTransfer => ({
  account: accountOf(values),
  payeeName: values['payeeName'] ?? '',
  amountYen: BigInt(values['amount'] ?? ''),
  reference: values['reference'] ?? '',
});

/** Reads a payout file strictly: order of records, every byte, count and total. Offsets count from its start. */
export const readZenginFile = (bytes: Uint8Array, profile: ZenginProfile): Coded<ZenginFile> => {
  const records = new Records(bytes, profile.lineEnd);
  const head = records.next('header');
  if (!head.ok) return head;
  const wrongHead = headerFault(head.value, records.start);
  if (wrongHead) return wrongHead;
  const transfers: ZenginTransfer[] = [];
  while (records.kind === '2') {
    const data = records.next('data');
    if (!data.ok) return data;
    const wrong = transferFault(data.value, records.start);
    if (wrong) return wrong;
    transfers.push(transferOf(data.value));
  }
  const trailer = records.next('trailer');
  if (!trailer.ok) return trailer;
  const total = transfers.reduce((sum, one) => sum + one.amountYen, 0n);
  if (transfers.length === 0 || Number(trailer.value['count']) !== transfers.length) {
    return refused('WRONG_VALUE', records.start + 1, 'trailer.count', `${transfers.length} stand`);
  }
  if (BigInt(trailer.value['total'] ?? '') !== total) {
    return refused('WRONG_VALUE', records.start + 7, 'trailer.total', `the sum is ${total}`);
  }
  const end = records.next('end');
  if (!end.ok) return end;
  if (!records.isAtEnd)
    return refused('TRAILING_DATA', records.at, 'file', 'behind the end record');
  const { clientCode = '', clientName = '', transferDay = '' } = head.value;
  const header = { clientCode, clientName, transferDay, account: accountOf(head.value) };
  return coded({ header, transfers });
};
