/** The issuer's check of what one cut left in a folder, from docs/clearing.md alone. */
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { arrayAt, bigintAt, bytesAt, textAt, type Cbor } from './cbor.ts';
import { openSigned, sha256 } from './cose.ts';
import { checkEvidence, type Evidence } from './evidence.ts';
import { luhnHolds, readMessage, readRecords, unblock, type Message } from './ipm.ts';

const CROCKFORD = '0123456789ABCDEFGHJKMNPQRSTVWXYZ';

interface Total {
  readonly currency: string;
  readonly sign: string;
  readonly lines: bigint;
  readonly minor: bigint;
}

export interface Line {
  readonly number: number;
  readonly arn: string;
  readonly sign: 'debit' | 'credit';
  readonly minor: bigint;
  readonly account: string;
  readonly evidence: Evidence;
}

export interface CheckedFile {
  readonly name: string;
  readonly fileId: string;
  readonly sha256: Uint8Array;
  readonly bytes: number;
  readonly records: number;
  readonly totals: readonly Total[];
  readonly lines: readonly Line[];
}

const must = (holds: boolean, what: string): void => {
  if (!holds) throw new Error(what);
};

export const element = (message: Message, number: number): string => {
  const value = message.elements.get(number);
  if (value === undefined) throw new Error(`no DE${number}`);
  return value;
};

/** PDS 9501: the account itself, or X and its UTF-8 bytes in hex where it has other characters than every code page. */
const inFile = (account: string): string =>
  /^[ "#%&'()*+,\-./0-9:;<=>?@A-Z_`]+$/.test(account) && !/^X([0-9A-F]{2})*$/.test(account)
    ? account
    : `X${Buffer.from(account, 'utf8').toString('hex').toUpperCase()}`;

const pdsOf = (message: Message, tag: string): string => {
  const value = message.pds.get(tag);
  if (value === undefined) throw new Error(`no PDS ${tag}`);
  return value;
};

/** First 60 bits, 5 to a character. */
const shortId = (id: string): string =>
  [
    ...BigInt(`0x${id.slice(0, 15)}`)
      .toString(2)
      .padStart(60, '0')
      .matchAll(/.{5}/g),
  ]
    .map(([bits]) => CROCKFORD[Number.parseInt(bits, 2)])
    .join('');

const readTotals = (map: Cbor, key: number): readonly Total[] =>
  arrayAt(map, key).map((total) => ({
    currency: String(bigintAt(total, 1)).padStart(3, '0'),
    sign: textAt(total, 2),
    lines: bigintAt(total, 3),
    minor: BigInt(textAt(total, 4)),
  }));

const totalOf = (lines: readonly Line[], currency: string): readonly Total[] =>
  (['debit', 'credit'] as const).flatMap((sign) => {
    const own = lines.filter((line) => line.sign === sign);
    const minor = own.reduce((sum, line) => sum + line.minor, 0n);
    return own.length === 0 ? [] : [{ currency, sign, lines: BigInt(own.length), minor }];
  });

const presentment = (message: Message, row: Record<string, unknown>, folder: string): Line => {
  const number = Number(element(message, 71));
  const arn = element(message, 31);
  const processing = element(message, 3);
  must(
    message.mti === '1240' && element(message, 24) === '200',
    `record ${number}: not a 1240/200`,
  );
  must(processing === '000000' || processing === '200000', `record ${number}: DE3`);
  must(/^\d{23}$/.test(arn) && luhnHolds(arn), `record ${number}: ARN ${arn}`);
  const sign = processing === '000000' ? 'debit' : 'credit';
  const minor = BigInt(element(message, 4));
  const account = pdsOf(message, '9501');
  const id = String(row['aggregateId']);
  must(row['number'] === number && row['arn'] === arn, `record ${number}: its row is another`);
  must(
    row['sign'] === sign && row['amountMinor'] === String(minor),
    `record ${number}: its amount`,
  );
  must(element(message, 37) === shortId(id), `record ${number}: DE37 is not of ${id}`);
  const evidence = checkEvidence(readFileSync(join(folder, 'evidence', `${id}.cbor`)), id);
  must(inFile(evidence.key.account) === account, `record ${number}: evidence of another account`);
  must(
    evidence.key.sign === sign && evidence.presentedMinor === minor,
    `record ${number}: evidence`,
  );
  must(evidence.key.category === element(message, 26), `record ${number}: DE26`);
  must(pdsOf(message, '0148') === `${element(message, 49)}0`, `record ${number}: PDS 0148`);
  return { number, arn, sign, minor, account, evidence };
};

const ends = (messages: readonly Message[], fileId: string, sum: bigint): void => {
  const [first, last] = [messages[0] as Message, messages[messages.length - 1] as Message];
  must(first.mti === '1644' && element(first, 24) === '697', 'no header');
  must(last.mti === '1644' && element(last, 24) === '695', 'no trailer');
  must(pdsOf(first, '0105') === fileId && pdsOf(last, '0105') === fileId, 'PDS 0105');
  must(BigInt(pdsOf(last, '0301')) === sum, 'PDS 0301');
  must(Number(pdsOf(last, '0306')) === messages.length, 'PDS 0306');
};

/** Every check that the page names, for the file `name` (without its ending) below `folder`. */
export const checkFile = (folder: string, name: string, clearingKey: Uint8Array): CheckedFile => {
  const read = (ending: string): Buffer => readFileSync(join(folder, 'clearing', name + ending));
  const [file, lines] = [read('.ipm'), read('.lines.jsonl')];
  const manifest = openSigned(read('.manifest'), clearingKey, 'kiri-settlement-manifest');
  must(textAt(manifest, 1) === `${name}.ipm`, 'the manifest is of another file');
  must(sha256(file).equals(bytesAt(manifest, 7)), 'SHA-256 of the file');
  must(BigInt(file.length) === bigintAt(manifest, 8), 'length of the file');
  must(sha256(lines).equals(bytesAt(manifest, 11)), 'SHA-256 of the lines file');
  const messages = readRecords(unblock(file)).map(readMessage);
  must(BigInt(messages.length) === bigintAt(manifest, 9), 'number of records');
  for (const [index, message] of messages.entries())
    must(Number(element(message, 71)) === index + 1, 'DE71');
  const rows = lines
    .toString('utf8')
    .trimEnd()
    .split('\n')
    .map((row) => JSON.parse(row) as Record<string, unknown>);
  must(Array.isArray(rows[0]?.['anchors']), 'no anchors');
  const bodies = messages.slice(1, -1);
  must(rows.length === bodies.length + 1, 'one row for every line');
  const checked = bodies.map((body, at) => presentment(body, rows[at + 1] ?? {}, folder));
  must(new Set(checked.map(({ arn }) => arn)).size === checked.length, 'an ARN twice');
  const sum = checked.reduce((before, line) => before + line.minor, 0n);
  ends(messages, textAt(manifest, 2), sum);
  const totals = totalOf(checked, element(bodies[0] as Message, 49));
  must(
    JSON.stringify(totals, bigintText) === JSON.stringify(readTotals(manifest, 10), bigintText),
    'totals',
  );
  return {
    name,
    fileId: textAt(manifest, 2),
    sha256: sha256(file),
    bytes: file.length,
    records: messages.length,
    totals,
    lines: checked,
  };
};

const bigintText = (_key: string, value: unknown): unknown =>
  typeof value === 'bigint' ? String(value) : value;

/** Every file of the folder that is ready, which means: has a signed manifest. */
export const filesOf = (folder: string): readonly string[] =>
  readdirSync(join(folder, 'clearing'))
    .filter((name) => name.endsWith('.manifest'))
    .map((name) => name.slice(0, -'.manifest'.length))
    .toSorted();
