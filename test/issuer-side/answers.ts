/** What an issuer sends: a signed acknowledgement, and files of messages with their signed manifest. */
import type { Cbor } from './cbor.ts';
import { sha256, signDocument } from './cose.ts';
import { writeFile, type Message } from './ipm.ts';
import type { CheckedFile, Line } from './settlement.ts';

export interface IssuerSide {
  /** Ed25519 with the issuer's secret key. */
  readonly sign: (bytes: Uint8Array) => Uint8Array;
  readonly publicKey: Uint8Array;
  /** Id of the clearing's key: for whom. */
  readonly clearing: Uint8Array;
  /** 11 digits. */
  readonly member: string;
  /** YYMMDD. */
  readonly day: string;
  readonly nowS: number;
}

/** One file as it goes into the clearing's inbox. */
export interface Outgoing {
  readonly name: string;
  readonly bytes: Uint8Array;
}

const map = (...entries: readonly (readonly [number, Cbor])[]): ReadonlyMap<bigint, Cbor> =>
  new Map(entries.map(([key, value]) => [BigInt(key), value]));

const whole = (value: number | bigint, digits: number): string =>
  String(value).padStart(digits, '0');

export const acknowledge = (
  side: IssuerSide,
  file: CheckedFile,
  number: number,
  verdict: 'accepted' | 'partly' | 'rejected',
): Outgoing => {
  const totals = file.totals.map(({ currency, sign, lines, minor }) =>
    map([1, BigInt(currency)], [2, sign], [3, lines], [4, String(minor)]),
  );
  const payload = map(
    [0, 62n],
    [1, side.clearing],
    [2, BigInt(number)],
    [3, file.fileId],
    [4, `${file.name}.ipm`],
    [5, file.sha256],
    [6, BigInt(file.bytes)],
    [7, BigInt(file.records)],
    [8, totals],
    [9, verdict],
    [10, BigInt(side.nowS)],
  );
  return {
    name: `${file.name}.${whole(number, 10)}.ack`,
    bytes: signDocument(side.sign, side.publicKey, 'kiri-file-acknowledgement', payload),
  };
};

/** A message without its DE71, which the file gives it. */
export interface Draft {
  readonly mti: '1442' | '1644';
  readonly elements: readonly (readonly [number, string])[];
  readonly pds: readonly (readonly [string, string])[];
  readonly minor?: bigint;
}

/** 1644/691: this line is not taken. */
export const rejectLine = (file: CheckedFile, line: Line, errors: string): Draft => ({
  mti: '1644',
  elements: [
    [24, '691'],
    [31, line.arn],
  ],
  pds: [
    ['0005', errors],
    ['0138', whole(line.number, 8)],
    ['0280', file.fileId],
  ],
});

/** 1442/450 of the whole line, 1442/453 of a part of it. */
export const chargeBack = (side: IssuerSide, line: Line, reason: string, minor: bigint): Draft => ({
  mti: '1442',
  minor,
  elements: [
    [3, '000000'],
    [4, whole(minor, 12)],
    [24, minor === line.minor ? '450' : '453'],
    [25, reason],
    [30, whole(line.minor, 12) + whole(0, 12)],
    [31, line.arn],
    [49, '392'],
    [94, side.member],
  ],
  pds: [
    ['0148', '3920'],
    ['9501', line.account],
  ],
});

/** A file of messages and its manifest, in the order in which they are to be put. */
export const messageFile = (
  side: IssuerSide,
  sequence: number,
  number: number,
  drafts: readonly Draft[],
): readonly Outgoing[] => {
  const fileId = `001${side.day}${side.member}${whole(sequence, 5)}`;
  const name = `ISSUER.kiri-ipm-onus.${side.member}.D${side.day}.S${whole(sequence, 5)}.T`;
  const sum = drafts.reduce((before, { minor }) => before + (minor ?? 0n), 0n);
  const header: Draft = {
    mti: '1644',
    elements: [[24, '697']],
    pds: [
      ['0105', fileId],
      ['0122', 'T'],
    ],
  };
  const trailer: Draft = {
    mti: '1644',
    elements: [[24, '695']],
    pds: [
      ['0105', fileId],
      ['0301', whole(sum, 16)],
      ['0306', whole(drafts.length + 2, 8)],
    ],
  };
  const messages: Message[] = [header, ...drafts, trailer].map(({ mti, elements, pds }, index) => ({
    mti,
    elements: new Map([...elements, [71, whole(index + 1, 8)] as const]),
    pds: new Map(pds),
  }));
  const file = writeFile(messages);
  const manifest = map(
    [0, 63n],
    [1, side.clearing],
    [2, BigInt(number)],
    [3, `${name}.ipm`],
    [4, fileId],
    [5, 'kiri-ipm-onus'],
    [6, 1n],
    [7, sha256(file)],
    [8, BigInt(file.length)],
    [9, BigInt(messages.length)],
    [10, BigInt(side.nowS)],
  );
  return [
    { name: `${name}.ipm`, bytes: file },
    {
      name: `${name}.manifest`,
      bytes: signDocument(side.sign, side.publicKey, 'kiri-inbound-manifest', manifest),
    },
  ];
};
