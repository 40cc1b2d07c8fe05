/**
 * Settlement files laid out by hand: every element as it stands in the file, length digits and padding included.
 * Bitmap, record length and blocks are counted here; nothing of the project's writer is used.
 */

import { block as inWholeBlocks } from '../../../issuer-side/ipm.ts';

export type Script = 'latin1' | 'cp500';

/** One element: its number and its characters in the file, with length digits and padding. */
export type Element = readonly [de: number, text: string];
export type HandMadeRecord = { readonly mti: string; readonly elements: readonly Element[] };

// IBM code page 500, the characters used here: letters in three runs of 9, 9 and 8, digits from F0.
const SIGNS: Readonly<Record<string, number>> = { ' ': 0x40, '/': 0x61, '-': 0x60 };
const RUNS = [
  ['ABCDEFGHI', 0xc1],
  ['JKLMNOPQR', 0xd1],
  ['STUVWXYZ', 0xe2],
  ['0123456789', 0xf0],
] as const;

const byteOf = (character: string, script: Script): number => {
  if (script === 'latin1') return character.charCodeAt(0);
  const sign = SIGNS[character];
  if (sign !== undefined) return sign;
  for (const [run, first] of RUNS) {
    if (run.includes(character)) return first + run.indexOf(character);
  }
  throw new Error(`no byte for ${character}`);
};

const inScript = (text: string, script: Script): number[] =>
  Array.from(text, (character) => byteOf(character, script));

/** Bit 1 says that all 128 bits stand here; bit n says that element n follows. */
const bitmapOf = (elements: readonly Element[]): number[] => {
  const bits = Array.from({ length: 128 }, (_, at) =>
    at === 0 || elements.some(([de]) => de === at + 1) ? '1' : '0',
  ).join('');
  return Array.from({ length: 16 }, (_, at) => parseInt(bits.slice(at * 8, at * 8 + 8), 2));
};

/** A record without its length. */
export const recordBytes = ({ mti, elements }: HandMadeRecord, script: Script): number[] => [
  ...inScript(mti, script),
  ...bitmapOf(elements),
  ...elements.flatMap(([, text]) => inScript(text, script)),
];

/** Each record behind four bytes of length, and four zero bytes at the end. */
export const stream = (records: readonly (readonly number[])[]): number[] => [
  ...records.flatMap((record) => [0, 0, record.length >> 8, record.length & 255, ...record]),
  0,
  0,
  0,
  0,
];

/** Blocks of 1012 bytes and two bytes 40, the last one filled up with 40. */
export const inBlocks = (bytes: readonly number[]): number[] => {
  const out: number[] = [];
  for (let at = 0; at < bytes.length; at += 1012) {
    const block = bytes.slice(at, at + 1012);
    out.push(...block, ...Array.from({ length: 1014 - block.length }, () => 0x40));
  }
  return out;
};

/** Records as they are, framed and blocked: a file whatever they mean. */
export const fileOfRecords = (
  records: readonly Uint8Array[],
  framing: 'none' | '1014' = '1014',
): Uint8Array => {
  const parts = records.flatMap((record) => {
    const length = Buffer.alloc(4);
    length.writeUInt32BE(record.length);
    return [length, record];
  });
  const bytes = Buffer.concat([...parts, Buffer.alloc(4)]);
  return new Uint8Array(framing === '1014' ? inWholeBlocks(bytes) : bytes);
};

const FILE_ID = '0022611210000003281502201';

/** PDS 0165, and DE2 of both lines, with its length, where the file has card numbers. */
export type Variant = {
  readonly indicator: 'C' | 'M';
  readonly card?: string;
};

/** One 1240; the last digits of the ARNs were worked out by hand with the Luhn rule. */
const presentment = (
  { indicator, card }: Variant,
  line: {
    readonly processing: string;
    readonly amount: string;
    readonly arn: string;
    readonly aggregate: string;
    readonly number: string;
  },
  delimiter: string,
): HandMadeRecord => ({
  mti: '1240',
  elements: [
    ...(card === undefined ? [] : [[2, card] as const]),
    [3, line.processing],
    [4, line.amount],
    [12, '261121083000'],
    [22, '000210W00110'],
    [24, '200'],
    [26, '4784'],
    [31, `23${line.arn}`],
    [33, '1100000032815'],
    [37, line.aggregate],
    [41, 'GATE0001'],
    [42, 'MERCHANT-01    '],
    [43, `47${['TOLL GATE 1', '1-2 BAY ROAD', 'TOKYO', '1350063   13 JPN'].join(delimiter)}`],
    [48, `038014800439200165001${indicator}9501012KIRI-ACC-001`],
    [49, '392'],
    [71, line.number],
    [94, '1100000032815'],
  ],
});

/** Header, a debit of 3,850 yen, a credit of 150 yen, trailer. */
export const handMadeRecords = (
  delimiter: '\\' | '/',
  variant: Variant = { indicator: 'C' },
): readonly HandMadeRecord[] => [
  {
    mti: '1644',
    elements: [
      [24, '697'],
      [48, `0400105025${FILE_ID}0122001T`],
      [71, '00000001'],
    ],
  },
  presentment(
    variant,
    {
      processing: '000000',
      amount: '000000003850',
      arn: '01234566325000000000012',
      aggregate: '0123456789AB',
      number: '00000002',
    },
    delimiter,
  ),
  presentment(
    variant,
    {
      processing: '200000',
      amount: '000000000150',
      arn: '01234566325000000000020',
      aggregate: '0123456789AC',
      number: '00000003',
    },
    delimiter,
  ),
  {
    mti: '1644',
    elements: [
      [24, '695'],
      [48, `0700105025${FILE_ID}03010160000000000004000030600800000004`],
      [71, '00000004'],
    ],
  },
];

/** The file as bytes; `onRecord` may change one record before it is framed. */
export const handMadeFile = (
  script: Script,
  framing: 'vbs' | '1014',
  onRecord: (bytes: number[], at: number) => number[] = (bytes) => bytes,
  variant?: Variant,
): Uint8Array => {
  const records = handMadeRecords(script === 'cp500' ? '/' : '\\', variant).map((one, at) =>
    onRecord(recordBytes(one, script), at),
  );
  const bytes = stream(records);
  return Uint8Array.from(framing === '1014' ? inBlocks(bytes) : bytes);
};
