/** Files of documents in folders that others write into: what is new, what has gone, what cannot be read. */
import { createHash } from 'node:crypto';
import type { BigIntStats } from 'node:fs';
import { lstat, readFile, readdir, stat } from 'node:fs/promises';
import { join, relative, sep } from 'node:path';

const FILES_MAX = 1_000_000;
/** Contents that are told apart, those of files that are gone included: a restart forgets them. */
const CONTENTS_MAX = 2_000_000;
const FILES_AT_ONCE = 64;
/** Time stamps of files are no finer than this everywhere. */
const STAMP_MS = 2_000;

/** The content of a file, with its SHA-256 in hex. */
interface FileContent {
  readonly bytes: Uint8Array;
  readonly sha256: string;
}

/** What one look found. */
export interface FilesFound {
  /** Contents that no look before has found. */
  readonly fresh: readonly FileContent[];
  /** SHA-256 by path of every file that is there. */
  readonly present: ReadonlyMap<string, string>;
  /** The same of files that were there once, and whose content is nowhere else. */
  readonly gone: ReadonlyMap<string, string>;
  /** Paths that cannot be read, and why. */
  readonly troubles: ReadonlyMap<string, string>;
}

interface SeenFile {
  /** Absent where the file may still change without another stamp. */
  readonly stamp?: string;
  readonly sha256: string;
}

/** What is still being written has such a name, or lies in such a folder, until it is renamed. */
const isPassing = (name: string): boolean =>
  name.endsWith('.tmp') || name.split(sep).some((part) => part.startsWith('.'));

/** With the time of the last change of any kind: that of the content can be set to whatever it was before. */
const stampOf = ({ size, mtimeNs, ctimeNs, ino }: BigIntStats): string =>
  `${size} ${mtimeNs} ${ctimeNs} ${ino}`;

const isDanglingLink = (path: string): Promise<boolean> =>
  lstat(path).then(
    (found) => found.isSymbolicLink(),
    () => false,
  );

const reasonOf = (error: unknown): string => {
  const { code, message } = error as NodeJS.ErrnoException;
  return code === 'ENOENT' ? 'is not there' : message;
};

/** Files, and of folders every file in them and below. Only what has another stamp than before is read again. */
export class DocumentFiles {
  readonly #places: readonly string[];
  readonly #bytesMax: number;
  readonly #contentsMax: number;
  #files = new Map<string, SeenFile>();
  #gone = new Map<string, string>();
  readonly #known = new Set<string>();

  constructor(places: readonly string[], bytesMax: number, contentsMax: number = CONTENTS_MAX) {
    this.#places = places;
    this.#bytesMax = bytesMax;
    this.#contentsMax = contentsMax;
  }

  /** @param nowMs of the clock that stamps files */
  async look(nowMs: number): Promise<FilesFound> {
    const troubles = new Map<string, string>();
    const paths = await this.#paths(troubles);
    const files = new Map<string, SeenFile>();
    const fresh: FileContent[] = [];
    for (let at = 0; at < paths.length; at += FILES_AT_ONCE) {
      const part = paths.slice(at, at + FILES_AT_ONCE);
      const looked = await Promise.all(part.map((path) => this.#look(path, nowMs, troubles)));
      for (const [index, one] of looked.entries()) {
        if (!one) continue;
        const { seen, bytes } = one;
        const path = part[index]!;
        files.set(path, seen);
        if (!bytes || this.#known.has(seen.sha256)) continue;
        if (this.#known.size >= this.#contentsMax) {
          // Without a stamp: it is read and told again at every look.
          files.set(path, { sha256: seen.sha256 });
          troubles.set(path, `more than ${this.#contentsMax} contents since the start`);
          continue;
        }
        this.#known.add(seen.sha256);
        fresh.push({ bytes, sha256: seen.sha256 });
      }
    }
    const isHere = new Set([...files.values()].map(({ sha256 }) => sha256));
    const before = [
      ...this.#gone,
      ...[...this.#files].map(([path, one]) => [path, one.sha256] as const),
    ];
    this.#gone = new Map(
      before.filter(([path, sha256]) => !files.has(path) && !isHere.has(sha256)),
    );
    this.#files = files;
    const present = new Map([...files].map(([path, { sha256 }]) => [path, sha256]));
    return { fresh, present, gone: this.#gone, troubles };
  }

  async #paths(troubles: Map<string, string>): Promise<string[]> {
    const paths = new Set<string>();
    for (const place of this.#places) {
      try {
        if (!(await stat(place)).isDirectory()) {
          paths.add(place);
          continue;
        }
        const entries = await readdir(place, { recursive: true, withFileTypes: true });
        for (const entry of entries) {
          const path = join(entry.parentPath, entry.name);
          if (entry.isDirectory() || isPassing(relative(place, path))) continue;
          if (paths.size < FILES_MAX) paths.add(path);
          else troubles.set(place, `more than ${FILES_MAX} files`);
        }
      } catch (error) {
        troubles.set(place, reasonOf(error));
      }
    }
    return [...paths].toSorted();
  }

  async #look(
    path: string,
    nowMs: number,
    troubles: Map<string, string>,
  ): Promise<{ readonly seen: SeenFile; readonly bytes?: Uint8Array } | undefined> {
    try {
      const before = await stat(path, { bigint: true });
      // Reading a pipe or a device may never end.
      if (!before.isFile()) throw new Error('is no file');
      const stamp = stampOf(before);
      const seen = this.#files.get(path);
      if (seen?.stamp === stamp) return { seen };
      if (before.size > this.#bytesMax) throw new Error(`has more than ${this.#bytesMax} bytes`);
      const bytes = new Uint8Array(await readFile(path));
      const sha256 = createHash('sha256').update(bytes).digest('hex');
      const changedMs = Math.max(Number(before.mtimeMs), Number(before.ctimeMs));
      const isSettled = nowMs - changedMs > STAMP_MS;
      return { seen: isSettled ? { stamp, sha256 } : { sha256 }, bytes };
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'ENOENT') troubles.set(path, reasonOf(error));
      else if (await isDanglingLink(path)) troubles.set(path, 'is a link to nothing');
      // Else it is gone since it was listed: the next look says so.
      const seen = this.#files.get(path);
      return seen && { seen: { sha256: seen.sha256 } };
    }
  }
}
