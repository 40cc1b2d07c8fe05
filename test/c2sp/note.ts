/** C2SP signed-note, tlog-checkpoint and tlog-cosignature, read from their texts alone. What is wrong is thrown. */
import { createHash, createPublicKey, verify } from 'node:crypto';

/** An artefact is not what its specification says. */
export class Wrong extends Error {}

export function demand(holds: unknown, what: string): asserts holds {
  if (!holds) throw new Wrong(what);
}

/** RFC 4648 section 4, in its one canonical spelling (section 3.5). */
export function fromBase64(text: string): Buffer {
  const bytes = Buffer.from(text, 'base64');
  demand(bytes.toString('base64') === text, 'not base64');
  return bytes;
}

/** "ASCII decimal with no leading zeroes (unless it is zero)". */
export function fromDecimal(text: string): number {
  demand(/^(0|[1-9]\d*)$/.test(text), 'not a decimal');
  const value = Number(text);
  demand(Number.isSafeInteger(value), 'number too large');
  return value;
}

export interface Key {
  readonly name: string;
  /** Key id in hex. */
  readonly id: string;
  readonly type: number;
  /** Raw public key in hex. */
  readonly point: string;
}

/** The same keys and signatures come again and again in the tests; answers are remembered up to so many. */
const MAX_REMEMBERED = 4_096;

function remember<T>(make: (name: string) => T): (name: string) => T {
  const known = new Map<string, T>();
  return (name) => {
    const found = known.get(name);
    if (found !== undefined) return found;
    if (known.size >= MAX_REMEMBERED) known.clear();
    const made = make(name);
    known.set(name, made);
    return made;
  };
}

const ED25519_SPKI = Buffer.from('302a300506032b6570032100', 'hex');

/** By the raw key in hex. */
const keyObject = remember((point) =>
  createPublicKey({
    key: Buffer.concat([ED25519_SPKI, Buffer.from(point, 'hex')]),
    format: 'der',
    type: 'spki',
  }),
);

/** By raw key, signature and message, in hex with spaces between. */
const isSigned = remember((claim) => {
  const [point = '', signature = '', message = ''] = claim.split(' ');
  const [data, bytes] = [Buffer.from(message, 'hex'), Buffer.from(signature, 'hex')];
  return verify(null, data, keyObject(point), bytes);
});

const holds = ({ point }: Key, message: string, signature: Buffer): boolean =>
  isSigned(`${point} ${signature.toString('hex')} ${Buffer.from(message).toString('hex')}`);

function demandName(name: string): void {
  demand(name !== '' && !/[\s\u0085+]/u.test(name), 'not a key name');
}

/** vkey: name+hash+base64(type || key). */
export function readVkey(text: string): Key {
  const at = [text.indexOf('+'), text.indexOf('+', text.indexOf('+') + 1)] as const;
  demand(at[0] > 0 && at[1] > at[0], 'not a vkey');
  const [name, id] = [text.slice(0, at[0]), text.slice(at[0] + 1, at[1])];
  demandName(name);
  const body = fromBase64(text.slice(at[1] + 1));
  demand(body.length === 33, 'not an Ed25519 vkey');
  const digest = createHash('sha256').update(`${name}\n`).update(body).digest('hex');
  demand(digest.slice(0, 8) === id, 'key id does not match');
  return { name, id, type: body[0]!, point: body.subarray(1).toString('hex') };
}

export interface Line {
  readonly name: string;
  readonly id: string;
  /** After the key id. */
  readonly signature: Buffer;
}

export interface Note {
  /** With its last newline. */
  readonly text: string;
  readonly lines: readonly Line[];
}

function readUtf8(bytes: Uint8Array): string {
  try {
    return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch {
    throw new Wrong('not UTF-8');
  }
}

const MIN_LIMIT = 16;
/** Verifiers set a limit of their own above 16. */
const MAX_LINES = 4 * MIN_LIMIT;

/** Signature lines: em dash, space, name, space, base64(id || signature), newline. */
export function readLines(text: string): Line[] {
  demand(text.endsWith('\n'), 'the last line has no newline');
  const lines = text.slice(0, -1).split('\n');
  demand(lines.length <= MAX_LINES, 'too many signatures');
  return lines.map((line) => {
    const fields = line.split(' ');
    demand(fields.length === 3 && fields[0] === '—', 'not a signature line');
    demandName(fields[1]!);
    const bytes = fromBase64(fields[2]!);
    demand(bytes.length > 4, 'no signature after the key id');
    const [id, signature] = [bytes.subarray(0, 4).toString('hex'), bytes.subarray(4)];
    return { name: fields[1]!, id, signature };
  });
}

export function readNote(bytes: Uint8Array): Note {
  const whole = readUtf8(bytes);
  // oxlint-disable-next-line no-control-regex -- that is what is refused
  demand(!/[\x00-\x09\x0b-\x1f]/.test(whole), 'control character');
  const blank = whole.lastIndexOf('\n\n');
  demand(blank >= 0, 'no signatures');
  return { text: whole.slice(0, blank + 1), lines: readLines(whole.slice(blank + 2)) };
}

/** Ed25519 over the text, or (type 4) over `cosignature/v1`, a time line and the text. */
function verifyLine(text: string, key: Key, { signature }: Line): bigint | undefined {
  if (key.type === 0x01) {
    demand(holds(key, text, signature), `${key.name}: bad signature`);
    return undefined;
  }
  demand(key.type === 0x04 && signature.length === 72, `${key.name}: bad cosignature`);
  const timeS = signature.readBigUInt64BE(0);
  demand(timeS < 2n ** 63n, 'cosignature time above 2^63 - 1');
  const message = `cosignature/v1\ntime ${timeS}\n${text}`;
  demand(holds(key, message, signature.subarray(8)), `${key.name}: bad cosignature`);
  return timeS;
}

/** Known keys that signed, with the cosignature's time. Unknown ones are ignored, a bad signature of a known one is not. */
export function verifiedKeys(note: Note, known: readonly Key[]): Map<Key, bigint | undefined> {
  const signed = new Map<Key, bigint | undefined>();
  for (const line of note.lines) {
    const key = known.find(({ name, id }) => name === line.name && id === line.id);
    if (key) signed.set(key, verifyLine(note.text, key, line));
  }
  demand(signed.size > 0, 'no signature of a known key');
  return signed;
}

export interface Checkpoint {
  readonly origin: string;
  readonly size: number;
  readonly root: Buffer;
}

/** tlog-checkpoint: origin, size, root, extension lines; none of them empty. */
export function readCheckpoint(text: string): Checkpoint {
  const lines = text.split('\n');
  demand(lines.pop() === '', 'the text ends in no newline');
  demand(lines.length >= 3 && !lines.includes(''), 'fewer than three lines, or an empty one');
  const root = fromBase64(lines[2]!);
  demand(root.length === 32, 'no SHA-256 root');
  return { origin: lines[0]!, size: fromDecimal(lines[1]!), root };
}
