import { createHash } from 'node:crypto';
import { closeSync, fstatSync, openSync, readdirSync, readSync } from 'node:fs';
import { join, relative, sep } from 'node:path';
import type { Findings } from './findings.ts';

/** Files of one folder at most. */
const MAX_FILES = 200_000;
/** Longest artefact that is parsed as a whole: a settlement file of a million lines is below it. */
export const MAX_ARTEFACT_BYTES: number = 512 * 1024 * 1024;
/** Keys, documents, messages, proofs: everything that is one small thing. */
const MAX_SMALL_BYTES = 1_048_576;
const CHUNK_BYTES = 1_048_576;
/** One for all: hashing is synchronous, and a new one per file would be most of its cost. */
const CHUNK: Buffer = Buffer.alloc(CHUNK_BYTES);

/** SHA-256 by the runtime's own code: several times faster than the portable one. */
export const nativeSha256 = (bytes: Uint8Array): Uint8Array =>
  new Uint8Array(createHash('sha256').update(bytes).digest());

/** SHA-256 of a file of any size, in hex, read piece by piece. */
export function hashFile(path: string): string {
  const hash = createHash('sha256');
  const file = openSync(path, 'r');
  try {
    for (;;) {
      const bytes = readSync(file, CHUNK, 0, CHUNK_BYTES, null);
      if (bytes === 0) return hash.digest('hex');
      hash.update(CHUNK.subarray(0, bytes));
    }
  } finally {
    closeSync(file);
  }
}

function readWhole(path: string, maxBytes: number): Uint8Array | string {
  const file = openSync(path, 'r');
  try {
    const { size } = fstatSync(file);
    if (size > maxBytes) return `${size} bytes, at most ${maxBytes} are read`;
    const bytes = new Uint8Array(size);
    let at = 0;
    while (at < size) {
      const got = readSync(file, bytes, at, size - at, null);
      if (got === 0) break;
      at += got;
    }
    return bytes.subarray(0, at);
  } finally {
    closeSync(file);
  }
}

/** Regular files below a folder, found once; links are faults and never followed. Paths use `/`. */
export class Artefacts {
  readonly root: string;
  /** Sorted by UTF-16 units, as CONTENTS.sha256 is. */
  readonly paths: readonly string[];
  readonly #known: ReadonlySet<string>;
  readonly #findings: Findings;

  constructor(root: string, findings: Findings, recursive = true) {
    this.root = root;
    this.#findings = findings;
    const found: string[] = [];
    for (const entry of readdirSync(root, { recursive, withFileTypes: true })) {
      if (entry.isDirectory()) continue;
      const path = relative(root, join(entry.parentPath, entry.name)).split(sep).join('/');
      if (!entry.isFile()) findings.fault(path, 'neither a file nor a folder');
      else if (found.length < MAX_FILES) found.push(path);
      else findings.fault('.', `more than ${MAX_FILES} files`);
    }
    this.paths = found.toSorted((a, b) => (a < b ? -1 : 1));
    this.#known = new Set(this.paths);
  }

  has(path: string): boolean {
    return this.#known.has(path);
  }

  /** Paths that begin with `prefix`, in order. */
  below(prefix: string): readonly string[] {
    return this.paths.filter((path) => path.startsWith(prefix));
  }

  /** The bytes; a missing, unreadable or over-long file is a fault. */
  read(path: string, maxBytes: number = MAX_SMALL_BYTES): Uint8Array | undefined {
    if (!this.#known.has(path)) {
      this.#findings.fault(path, 'missing');
      return undefined;
    }
    const bytes = this.#findings.guard(path, () => readWhole(join(this.root, path), maxBytes));
    if (typeof bytes !== 'string') return bytes;
    this.#findings.fault(path, bytes);
    return undefined;
  }
}
