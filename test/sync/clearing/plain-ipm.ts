/**
 * A settlement file read without the project's codec: latin1, VBS in blocks of 1014, from the table in docs/clearing.md
 * alone. It knows just what the clearing writes and throws at anything else.
 */

/** Element → length if fixed, or the digits of its length prefix below zero. */
const LENGTHS: Readonly<Record<number, number>> = {
  3: 6,
  4: 12,
  12: 12,
  22: 12,
  24: 3,
  25: 4,
  26: 4,
  30: 24,
  31: -2,
  33: -2,
  37: 12,
  38: 6,
  41: 8,
  42: 15,
  43: -2,
  48: -3,
  49: 3,
  62: -3,
  63: -3,
  71: 8,
  72: -3,
  93: -2,
  94: -2,
  95: -2,
  100: -2,
};

export type PlainRecord = {
  readonly mti: string;
  readonly fields: ReadonlyMap<number, string>;
};

function unblocked(file: Buffer): Buffer {
  if (file.length % 1014 !== 0) throw new Error(`${file.length} bytes are no blocks of 1014`);
  const parts: Buffer[] = [];
  for (let at = 0; at < file.length; at += 1014) parts.push(file.subarray(at, at + 1012));
  return Buffer.concat(parts);
}

function recordOf(bytes: Buffer): PlainRecord {
  const fields = new Map<number, string>();
  let at = 20;
  for (let element = 2; element <= 128; element += 1) {
    const bit = (bytes[4 + ((element - 1) >> 3)] ?? 0) & (0x80 >> ((element - 1) & 7));
    if (bit === 0) continue;
    const length = LENGTHS[element];
    if (length === undefined) throw new Error(`element ${element} is in no table`);
    const prefix = length < 0 ? -length : 0;
    const size = length < 0 ? Number(bytes.toString('latin1', at, at + prefix)) : length;
    fields.set(element, bytes.toString('latin1', at + prefix, at + prefix + size));
    at += prefix + size;
  }
  if (at !== bytes.length) throw new Error(`a record of ${bytes.length} bytes ends at ${at}`);
  return { mti: bytes.toString('latin1', 0, 4), fields };
}

/** Every record, header and trailer among them. @throws Error where it is not a whole file */
export function readPlainIpm(file: Buffer): PlainRecord[] {
  const data = unblocked(file);
  const records: PlainRecord[] = [];
  for (let at = 0; ;) {
    const length = data.readUInt32BE(at);
    if (length === 0) return records;
    if (at + 4 + length > data.length) throw new Error('a record goes beyond the end');
    records.push(recordOf(data.subarray(at + 4, at + 4 + length)));
    at += 4 + length;
  }
}

/** The sub-elements of DE48 by tag. */
export function plainPds(record: PlainRecord): Map<string, string> {
  const found = new Map<string, string>();
  const text = record.fields.get(48) ?? '';
  for (let at = 0; at < text.length;) {
    const size = Number(text.slice(at + 4, at + 7));
    found.set(text.slice(at, at + 4), text.slice(at + 7, at + 7 + size));
    at += 7 + size;
  }
  return found;
}
