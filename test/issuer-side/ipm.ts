/** The settlement file of docs/clearing.md in latin1: blocks, records, bitmap, elements, private sub-elements. */

/** A fixed length, or the number of digits of the length in front of it. */
const ELEMENTS: ReadonlyMap<number, { readonly fixed: number } | { readonly digits: number }> =
  new Map([
    [3, { fixed: 6 }],
    [4, { fixed: 12 }],
    [12, { fixed: 12 }],
    [22, { fixed: 12 }],
    [24, { fixed: 3 }],
    [25, { fixed: 4 }],
    [26, { fixed: 4 }],
    [30, { fixed: 24 }],
    [31, { digits: 2 }],
    [33, { digits: 2 }],
    [37, { fixed: 12 }],
    [41, { fixed: 8 }],
    [42, { fixed: 15 }],
    [43, { digits: 2 }],
    [48, { digits: 3 }],
    [49, { fixed: 3 }],
    [71, { fixed: 8 }],
    [72, { digits: 3 }],
    [94, { digits: 2 }],
  ]);

export interface Message {
  readonly mti: string;
  readonly elements: ReadonlyMap<number, string>;
  readonly pds: ReadonlyMap<string, string>;
}

const BLOCK = 1014;
const BLOCK_DATA = 1012;

/** The bytes without their blocks; every block must end in 40 40. */
export const unblock = (file: Buffer): Buffer => {
  if (file.length === 0 || file.length % BLOCK !== 0) throw new Error('not whole blocks');
  const parts: Buffer[] = [];
  for (let at = 0; at < file.length; at += BLOCK) {
    if (file.readUInt16BE(at + BLOCK_DATA) !== 0x4040) throw new Error('a block without its end');
    parts.push(file.subarray(at, at + BLOCK_DATA));
  }
  return Buffer.concat(parts);
};

export const block = (bytes: Buffer): Buffer => {
  const parts: Buffer[] = [];
  for (let at = 0; at < bytes.length; at += BLOCK_DATA) {
    const whole = Buffer.alloc(BLOCK, 0x40);
    bytes.copy(whole, 0, at, at + BLOCK_DATA);
    parts.push(whole);
  }
  return Buffer.concat(parts);
};

export const readRecords = (bytes: Buffer): readonly Buffer[] => {
  const records: Buffer[] = [];
  let at = 0;
  for (;;) {
    const length = bytes.readUInt32BE(at);
    at += 4;
    if (length === 0) break;
    if (length > bytes.length - at) throw new Error('a record is cut off');
    records.push(bytes.subarray(at, at + length));
    at += length;
  }
  if (bytes.subarray(at).some((byte) => byte !== 0x40)) throw new Error('bytes behind the end');
  return records;
};

const decimal = (text: string): number => {
  if (!/^\d+$/.test(text)) throw new Error(`not digits: ${text}`);
  return Number(text);
};

const readPds = (text: string): ReadonlyMap<string, string> => {
  const fields = new Map<string, string>();
  for (let at = 0; at < text.length;) {
    const tag = text.slice(at, at + 4);
    const length = decimal(text.slice(at + 4, at + 7));
    if (at + 7 + length > text.length) throw new Error(`PDS ${tag} is cut off`);
    if (fields.has(tag)) throw new Error(`PDS ${tag} stands twice`);
    fields.set(tag, text.slice(at + 7, at + 7 + length));
    at += 7 + length;
  }
  return fields;
};

export const readMessage = (record: Buffer): Message => {
  const text = record.toString('latin1');
  const elements = new Map<number, string>();
  let at = 20;
  const take = (length: number): string => {
    if (length > text.length - at) throw new Error('an element is cut off');
    at += length;
    return text.slice(at - length, at);
  };
  for (let bit = 2; bit <= 128; bit += 1) {
    const byte = record[4 + ((bit - 1) >> 3)] ?? 0;
    if ((byte & (0x80 >> ((bit - 1) & 7))) === 0) continue;
    const shape = ELEMENTS.get(bit);
    if (shape === undefined) throw new Error(`DE${bit} is not of the profile`);
    const length = 'fixed' in shape ? shape.fixed : decimal(take(shape.digits));
    elements.set(bit, take(length));
  }
  if (at !== text.length) throw new Error('bytes behind the last element');
  return { mti: text.slice(0, 4), elements, pds: readPds(elements.get(48) ?? '') };
};

const writePds = (pds: ReadonlyMap<string, string>): string =>
  [...pds].map(([tag, text]) => tag + String(text.length).padStart(3, '0') + text).join('');

/** Bytes of one record, bitmap and all, without its length. */
export const writeMessage = ({ mti, elements, pds }: Message): Buffer => {
  const all = new Map(elements);
  if (pds.size > 0) all.set(48, writePds(pds));
  const bitmap = Buffer.alloc(16);
  bitmap[0] = 0x80;
  let body = '';
  for (const bit of [...all.keys()].toSorted((one, two) => one - two)) {
    const [text, shape] = [all.get(bit) as string, ELEMENTS.get(bit)];
    if (shape === undefined) throw new Error(`DE${bit} is not of the profile`);
    const place = (bit - 1) >> 3;
    bitmap[place] = (bitmap[place] as number) | (0x80 >> ((bit - 1) & 7));
    if ('digits' in shape) body += String(text.length).padStart(shape.digits, '0');
    else if (text.length !== shape.fixed) throw new Error(`DE${bit} has another length`);
    body += text;
  }
  return Buffer.concat([Buffer.from(mti, 'latin1'), bitmap, Buffer.from(body, 'latin1')]);
};

export const writeFile = (messages: readonly Message[]): Buffer => {
  const parts = messages.flatMap((message) => {
    const record = writeMessage(message);
    const length = Buffer.alloc(4);
    length.writeUInt32BE(record.length);
    return [length, record];
  });
  return block(Buffer.concat([...parts, Buffer.alloc(4)]));
};

/** Luhn over all digits, the last being the check digit. */
export const luhnHolds = (digits: string): boolean => {
  let sum = 0;
  for (const [index, digit] of digits.split('').toReversed().entries()) {
    const twice = Number(digit) * (index % 2 === 0 ? 1 : 2);
    sum += twice > 9 ? twice - 9 : twice;
  }
  return sum % 10 === 0;
};
