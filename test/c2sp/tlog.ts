/** C2SP tlog-tiles (a folder) and tlog-proof (a file), judged from files, an entry and a policy text. */
import { existsSync, readFileSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { Tree, hashOfLeaf, rootOfPath } from './merkle.ts';
import { Wrong, demand, fromBase64, fromDecimal, type Checkpoint } from './note.ts';
import { finalCheckpoint, readPolicy } from './policy.ts';

export type Verdict<T> =
  { readonly right: true; readonly value: T } | { readonly right: false; readonly reason: string };

/** Turns what is thrown about an artefact into a verdict; anything else that is thrown is a bug here. */
export function judge<T>(check: () => T): Verdict<T> {
  try {
    return { right: true, value: check() };
  } catch (error) {
    if (error instanceof Wrong) return { right: false, reason: error.message };
    throw error;
  }
}

/** Hashes of a full tile, entries of a full bundle. */
export const WIDTH = 256;

/** `x001/x234/067` for 1234067. */
export function pathOfIndex(n: number): string {
  const digits = String(n);
  const padded = digits.padStart(Math.ceil(digits.length / 3) * 3, '0');
  const groups = padded.match(/.{3}/g) ?? [];
  return groups.map((group, at) => (at < groups.length - 1 ? `x${group}` : group)).join('/');
}

/** Hashes (or entries) that level `l` of a tree of `size` has at all. */
const countAt = (size: number, l: number): number => Math.floor(size / WIDTH ** l);

class Folder {
  readonly #root: string;
  readonly #seen = new Set<string>();

  constructor(root: string) {
    this.#root = root;
  }

  /** The first `width` of resource `n`: its partial file, or the full one that took its place. */
  read(kind: string, n: number, width: number): { bytes: Buffer; isFull: boolean } {
    const full = `tile/${kind}/${pathOfIndex(n)}`;
    const partial = `${full}.p/${width}`;
    const found = [...(width < WIDTH ? [partial] : []), full].find((path) =>
      existsSync(join(this.#root, path)),
    );
    demand(found, `${full} is missing`);
    this.#seen.add(found);
    return { bytes: readFileSync(join(this.#root, found)), isFull: found === full };
  }

  checkpoint(): Buffer {
    demand(existsSync(join(this.#root, 'checkpoint')), 'no checkpoint');
    this.#seen.add('checkpoint');
    return readFileSync(join(this.#root, 'checkpoint'));
  }

  /** Everything that was not read yet, with its bytes. */
  others(): readonly (readonly [path: string, bytes: Buffer])[] {
    return readdirSync(this.#root, { recursive: true, withFileTypes: true })
      .filter((entry) => entry.isFile())
      .map((entry) => join(entry.parentPath, entry.name).slice(join(this.#root, '/').length))
      .filter((path) => !this.#seen.has(path))
      .map((path) => [path, readFileSync(join(this.#root, path))]);
  }
}

/** Big-endian uint16 length before every entry. */
function readBundle(bytes: Buffer, count: number, isExact: boolean, what: string): Buffer[] {
  const entries: Buffer[] = [];
  let at = 0;
  for (let n = 0; n < count; n += 1) {
    demand(at + 2 <= bytes.length, `${what} ends early`);
    const end = at + 2 + bytes.readUInt16BE(at);
    demand(end <= bytes.length, `${what} ends inside an entry`);
    entries.push(bytes.subarray(at + 2, end));
    at = end;
  }
  demand(!isExact || at === bytes.length, `${what} goes on after its last entry`);
  return entries;
}

/** The entries of bundle `n` in a tree of `size`. */
function bundleOf(folder: Folder, n: number, size: number): Buffer[] {
  const width = Math.min(WIDTH, size - n * WIDTH);
  const { bytes, isFull } = folder.read('entries', n, width);
  return readBundle(bytes, width, width === WIDTH || !isFull, `entries/${n}`);
}

/** Every hash of a tile: MTH(D[(n * 256 + i) * 256**l : (n * 256 + i + 1) * 256**l]). */
function tileOf(tree: Tree, l: number, n: number, width: number): Buffer {
  const span = WIDTH ** l;
  const hashes = Array.from({ length: width }, (_, i) => {
    const from = (n * WIDTH + i) * span;
    return tree.mth(from, from + span);
  });
  return Buffer.concat(hashes);
}

const RESOURCE = /^tile\/(entries|0|[1-9]\d?)\/((?:x\d{3}\/)*\d{3})(?:\.p\/([1-9]\d{0,2}))?$/;

/** Older partial files of this tree are a prefix of it; what lies beyond the checkpoint is counted, not judged. */
function checkOther(tree: Tree, leaves: readonly Buffer[], path: string, bytes: Buffer): boolean {
  const [, kind, index, partial] = RESOURCE.exec(path) ?? [];
  demand(kind !== undefined && index !== undefined, `${path} is no resource of a log`);
  const n = Number(index.replaceAll(/[x/]/g, ''));
  const width = partial === undefined ? WIDTH : Number(partial);
  demand(pathOfIndex(n) === index && width <= WIDTH, `${path} is not how it is written`);
  const l = kind === 'entries' ? 0 : Number(kind);
  if (n * WIDTH + width > countAt(tree.size, l)) return false;
  if (kind !== 'entries') {
    demand(bytes.equals(tileOf(tree, l, n, width)), `${path} is not of this tree`);
    return true;
  }
  const entries = readBundle(bytes, width, true, path);
  const isOurs = entries.every((entry, i) => hashOfLeaf(entry).equals(leaves[n * WIDTH + i]!));
  demand(isOurs, `${path} is not of this tree`);
  return true;
}

export interface LogFacts extends Checkpoint {
  readonly entries: readonly Buffer[];
  /** Files that the checkpoint says nothing about. */
  readonly beyond: number;
}

function checkFolder(root: string, policyText: Uint8Array): LogFacts {
  const folder = new Folder(root);
  const checkpoint = finalCheckpoint(folder.checkpoint(), readPolicy(policyText));
  const { size } = checkpoint;
  const entries: Buffer[] = [];
  for (let n = 0; n * WIDTH < size; n += 1) entries.push(...bundleOf(folder, n, size));
  const leaves = entries.map(hashOfLeaf);
  const tree = new Tree(leaves);
  demand(tree.mth(0, size).equals(checkpoint.root), 'the entries do not lead to the root');
  for (let l = 0; countAt(size, l) > 0; l += 1) {
    for (let n = 0; n * WIDTH < countAt(size, l); n += 1) {
      const width = Math.min(WIDTH, countAt(size, l) - n * WIDTH);
      const { bytes, isFull } = folder.read(String(l), n, width);
      const expected = tileOf(tree, l, n, width);
      const part = isFull && width < WIDTH ? bytes.subarray(0, expected.length) : bytes;
      demand(part.equals(expected), `tile/${l}/${n} is not of this tree`);
    }
  }
  let beyond = 0;
  for (const [path, bytes] of folder.others()) {
    if (!checkOther(tree, leaves, path, bytes)) beyond += 1;
  }
  return { ...checkpoint, entries, beyond };
}

/** Kiri's payload records of bundle `n`, in the frame of an entry bundle; with them those that came later. */
function recordsOf(folder: string, n: number, count: number): Buffer[] {
  const path = join(folder, 'payload', pathOfIndex(n));
  demand(existsSync(path), `${path} is missing`);
  return readBundle(readFileSync(path), count, false, path);
}

/** Entries of a log's folder (`tlog/` and `payload/`) with their payload records, from bundle `first` up to `size`. */
export const judgeContents = (
  folder: string,
  first: number,
  size: number,
): Verdict<readonly (readonly [entry: Buffer, record: Buffer])[]> =>
  judge(() => {
    const tlog = new Folder(join(folder, 'tlog'));
    const pairs: (readonly [Buffer, Buffer])[] = [];
    for (let n = first; n * WIDTH < size; n += 1) {
      const entries = bundleOf(tlog, n, size);
      const records = recordsOf(folder, n, entries.length);
      pairs.push(...entries.map((entry, at) => [entry, records[at]!] as const));
    }
    return pairs;
  });

/** Judges `<prefix>/` of a tiled log: checkpoint, bundles, tiles of every level and width. */
export const judgeFolder = (root: string, policyText: Uint8Array): Verdict<LogFacts> =>
  judge(() => checkFolder(root, policyText));

export interface ProofFile {
  readonly extra: Buffer | undefined;
  readonly index: number;
  readonly path: readonly Buffer[];
  readonly checkpoint: Buffer;
}

/** tlog-proof: header, extra, index, path, empty line, checkpoint verbatim. */
export function readProofFile(bytes: Uint8Array): ProofFile {
  const all = Buffer.from(bytes);
  const blank = all.indexOf('\n\n');
  demand(blank >= 0, 'no empty line');
  const lines = all.subarray(0, blank).toString('latin1').split('\n');
  demand(lines.shift() === 'c2sp.org/tlog-proof@v1', 'not a tlog-proof');
  const extra = lines[0]?.startsWith('extra ') ? fromBase64(lines.shift()!.slice(6)) : undefined;
  const index = lines.shift() ?? '';
  demand(index.startsWith('index '), 'no index');
  const path = lines.map((line) => fromBase64(line));
  demand(
    path.every((hash) => hash.length === 32) && path.length <= 63,
    'no path of SHA-256 hashes',
  );
  return { extra, index: fromDecimal(index.slice(6)), path, checkpoint: all.subarray(blank + 2) };
}

/** Judges a proof that `entry` is in a log that the policy accepts. */
export const judgeProof = (
  bytes: Uint8Array,
  entry: Uint8Array,
  policyText: Uint8Array,
): Verdict<Checkpoint & { readonly index: number }> =>
  judge(() => {
    const { index, path, checkpoint } = readProofFile(bytes);
    const head = finalCheckpoint(checkpoint, readPolicy(policyText));
    const root = rootOfPath(index, head.size, hashOfLeaf(entry), path);
    demand(root?.equals(head.root), 'the path does not lead to the root');
    return { ...head, index };
  });
