/**
 * Looks through a log folder for anything that known documents and messages say: keys, ids, references, names, places,
 * amounts. A log shows none of it (DESIGN section 5); this is how that is checked on a real one.
 */
import { readFile, readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { toDiskError } from '../../platform/disk-error.ts';
import { toHex } from '../../protocol/bytes.ts';
import { decodeCanonical } from '../../protocol/cbor/decode.ts';
import { encodeCanonical } from '../../protocol/cbor/encode.ts';
import { type CborValue, Tagged } from '../../protocol/cbor/value.ts';
import { decodeSign, decodeSign1 } from '../../protocol/cose.ts';
import { MAX_MESSAGE_BYTES } from '../../protocol/schema.ts';

/** Shorter byte strings and texts stand anywhere by chance. */
const MIN_BYTES = 8;
const MIN_TEXT = 4;
/** Numbers up to here take three bytes at most: in a megabyte of ciphertext each of them occurs. */
const MAX_COMMON_NUMBER = 0xffffn;

/** One thing that must not be found, in one of the forms that it could have. */
export interface Needle {
  /** Which document and field it is from; never the value. */
  readonly what: string;
  readonly form: Buffer;
}

export interface Find {
  /** Below the folder. */
  readonly path: string;
  readonly offset: number;
  readonly what: string;
}

const formsOfBytes = (bytes: Uint8Array): readonly Buffer[] => {
  const raw = Buffer.from(bytes);
  const texts = [
    toHex(bytes),
    raw.toString('base64').replace(/=+$/, ''),
    raw.toString('base64url'),
  ];
  return [raw, ...new Set(texts)].map((form) => Buffer.from(form));
};

/** An amount as CBOR writes it, as a 64-bit number, and in digits. */
const formsOfNumber = (value: bigint): readonly Buffer[] => {
  const fixed = Buffer.alloc(8);
  fixed.writeBigUInt64BE(value);
  return [Buffer.from(encodeCanonical(value)), fixed, Buffer.from(value.toString())];
};

const formsOf = (value: CborValue): readonly Buffer[] => {
  if (value instanceof Uint8Array) return value.length < MIN_BYTES ? [] : formsOfBytes(value);
  if (typeof value === 'string') {
    if (value.length < MIN_TEXT) return [];
    // Ids stand as hexadecimal text in claims (RFC 8392): look for the bytes, too.
    const isHex = /^(?:[0-9a-f]{2}){8,}$/.test(value);
    return [Buffer.from(value), ...(isHex ? [Buffer.from(value, 'hex')] : [])];
  }
  return typeof value === 'bigint' && value > MAX_COMMON_NUMBER ? formsOfNumber(value) : [];
};

const walk = (value: CborValue, at: string, needles: Needle[]): void => {
  for (const form of formsOf(value)) needles.push({ what: at, form });
  if (value instanceof Tagged) walk(value.value, at, needles);
  else if (Array.isArray(value)) {
    for (const [index, item] of value.entries()) walk(item, `${at}[${index}]`, needles);
  } else if (value instanceof Map) {
    for (const [key, item] of value) walk(item, `${at}/${String(key)}`, needles);
  }
};

/**
 * Everything that a signed document or message says, and a public key (COSE_Key) as a whole. Not what the log is itself
 * known by: its origin, the issuer's name for the status list.
 * @param known texts that may stand in the log, such as its origin
 */
export const needlesOf = (
  name: string,
  bytes: Uint8Array,
  known: readonly string[],
): readonly Needle[] => {
  const single = decodeSign1(bytes);
  const several = single.ok ? undefined : decodeSign(bytes);
  const payload = single.ok ? single.value.payload : several?.ok ? several.value.payload : bytes;
  const decoded = decodeCanonical(payload, { maxBytes: MAX_MESSAGE_BYTES });
  const needles: Needle[] = [];
  if (decoded.ok) walk(decoded.value, name, needles);
  return needles.filter(({ form }) => !known.some((text) => text.includes(form.toString('utf8'))));
};

/**
 * Searches every file of a folder, also its `state/`, and every file's name.
 * @throws KiriError DISK_*
 */
export const scanLog = async (
  root: string,
  needles: readonly Needle[],
): Promise<{ readonly files: number; readonly bytes: number; readonly finds: readonly Find[] }> => {
  const finds: Find[] = [];
  // What every receipt of a line repeats is looked for once.
  const unique = [...new Map(needles.map((one) => [one.form.toString('latin1'), one])).values()];
  let [files, bytes] = [0, 0];
  try {
    for (const entry of await readdir(root, { recursive: true, withFileTypes: true })) {
      if (!entry.isFile()) continue;
      const path = join(entry.parentPath, entry.name).slice(join(root, '/').length);
      const content = await readFile(join(root, path));
      files += 1;
      bytes += content.length;
      for (const { what, form } of unique) {
        const offset = content.indexOf(form);
        if (offset >= 0) finds.push({ path, offset, what });
        else if (path.includes(form.toString('latin1'))) finds.push({ path, offset: -1, what });
      }
    }
  } catch (error) {
    throw toDiskError(error, 'scan', root);
  }
  return { files, bytes, finds };
};
