/** What stands in the files of a history, as any reader sees them, and what the second bookkeeper says must. */
import { plainPds, readPlainIpm } from './plain-ipm.ts';
import type { SecondDesk } from './second-desk.ts';
import type { SecondLines } from './second-lines.ts';

const IPM = /\.(\d{11})\.D\d{6}\.S(\d{5})\.T\.ipm$/;

const sorted = (lines: Iterable<string>): string => [...lines].toSorted().join('\n');

const linesIn = (path: string, bytes: Buffer, member: string, sequence: string): string[] => {
  const found: string[] = [];
  const [head, ...rest] = readPlainIpm(bytes);
  const arns = new Set<string>();
  const trailer = rest.pop();
  let sum = 0n;
  for (const record of rest) {
    const field = (element: number): string => record.fields.get(element) ?? '';
    const arn = field(31);
    if (arns.has(arn)) throw new Error(`ARN ${arn} twice`);
    arns.add(arn);
    sum += BigInt(field(4));
    const account = plainPds(record).get('9501');
    const sign = field(3) === '000000' ? 'debit' : 'credit';
    const merchant = field(42).trim().toLowerCase();
    const place = `${member} ${Number(sequence)} ${merchant} ${account}`;
    found.push(`${place} ${field(49)} ${sign} ${BigInt(field(4))}`);
  }
  const totals = trailer && plainPds(trailer);
  const isWhole =
    plainPds(head!)
      .get('0105')
      ?.endsWith(member + sequence) === true &&
    BigInt(totals?.get('0301') ?? -1) === sum &&
    Number(totals?.get('0306')) === rest.length + 2;
  if (!isWhole) throw new Error(`${path}: header or trailer is wrong`);
  return found;
};

/** Every line of every settlement file. */
export const filesFound = (files: ReadonlyMap<string, Buffer>): string => {
  const found: string[] = [];
  for (const [path, bytes] of files) {
    const [, member, sequence] = IPM.exec(path) ?? [];
    if (member === undefined || sequence === undefined) continue;
    found.push(...linesIn(path, bytes, member, sequence));
  }
  return sorted(found);
};

export const filesBooked = ({ files }: SecondLines): string =>
  sorted(
    files.flatMap(({ member, sequence, lines }) =>
      lines.map(({ line, minor }) => {
        const { merchant, account: funding, currency, sign } = line.account;
        return `${member} ${sequence} ${merchant} ${funding} ${currency} ${sign} ${minor}`;
      }),
    ),
  );

const amountsText = (yen: readonly bigint[]): string =>
  yen.toSorted((a, b) => Number(a - b)).join(' ');

/** Transfers as the bank reads them: records of 120 bytes, kind 2, ten digits of yen from the 81st on. */
export const payoutsFound = (files: ReadonlyMap<string, Buffer>): string =>
  [...files.keys()]
    .toSorted()
    .filter((path) => /^out\/payouts\/.+\.txt$/.test(path))
    .map((path) => {
      const whole = files.get(path)!.toString('latin1').replaceAll('\r\n', '');
      const transfers = (whole.match(/.{120}/gs) ?? []).filter((record) => record.startsWith('2'));
      return amountsText(transfers.map((record) => BigInt(record.slice(80, 90))));
    })
    .join('\n');

export const payoutsBooked = ({ payouts }: SecondDesk): string =>
  payouts.map((transfers) => amountsText(transfers.map(({ yen }) => yen))).join('\n');
