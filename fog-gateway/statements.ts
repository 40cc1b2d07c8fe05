import { readdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import type { Trust } from '../identity/core/chain.ts';
import { openDocument } from '../identity/core/document.ts';
import { STATEMENT } from '../identity/core/documents/statement.ts';
import { readIfPresent, writeFileDurable } from '../platform/durable-file.ts';
import { makeFolder } from '../platform/make-folder.ts';
import { toHex } from '../protocol/bytes.ts';

/** Lines whose newest Statement is kept; beyond it Statements of further lines are refused. */
const MAX_LINES = 65_536;
const NAME = /^([0-9a-f]{32})\.(\d{1,10})\.cbor$/;

export interface StatementAnswer {
  readonly taken: boolean;
  readonly reason: string;
  /** Line id in hex, where it is the newest of its line now. */
  readonly line?: string;
}

/** The newest Statement of every line, one file each; which line has which number is known without reading them. */
export class StatementStore {
  readonly #folder: string;
  readonly #trust: Trust;
  readonly #numbers: Map<string, number>;
  #last: Promise<unknown> = Promise.resolve();

  private constructor(folder: string, trust: Trust, numbers: Map<string, number>) {
    this.#folder = folder;
    this.#trust = trust;
    this.#numbers = numbers;
  }

  /** @throws KiriError DISK_* */
  static async open(folder: string, trust: Trust): Promise<StatementStore> {
    makeFolder(folder);
    const numbers = new Map<string, number>();
    const store = new StatementStore(folder, trust, numbers);
    for (const name of await readdir(folder)) {
      const [, line, digits] = NAME.exec(name) ?? [];
      if (line === undefined) continue;
      const [number, held] = [Number(digits), numbers.get(line)];
      numbers.set(line, Math.max(number, held ?? 0));
      // A stop between writing the newer and removing the older leaves both.
      if (held !== undefined) await rm(store.#path(line, Math.min(number, held)), { force: true });
    }
    return store;
  }

  /** Durable when it answers; one at a time. A number that is held already is taken, an older one is not. */
  take(bytes: Uint8Array): Promise<StatementAnswer> {
    const taken = this.#last.then(() => this.#take(bytes));
    this.#last = taken.catch(() => undefined);
    return taken;
  }

  async #take(bytes: Uint8Array): Promise<StatementAnswer> {
    const { verifier, issuerKey } = this.#trust;
    const opened = openDocument(verifier, issuerKey, STATEMENT, bytes);
    if (!opened.ok) return { taken: false, reason: `${opened.code}: ${opened.reason}` };
    const { number } = opened.value.value;
    const line = toHex(opened.value.value.line);
    const held = this.#numbers.get(line);
    if (held === number) return { taken: true, reason: 'known already' };
    if (held !== undefined && held > number) {
      return { taken: false, reason: `number ${held} is held, this is ${number}` };
    }
    if (held === undefined && this.#numbers.size >= MAX_LINES) {
      return { taken: false, reason: `Statements of ${MAX_LINES} lines are held` };
    }
    await writeFileDurable(this.#path(line, number), bytes);
    this.#numbers.set(line, number);
    if (held !== undefined) await rm(this.#path(line, held), { force: true });
    return { taken: true, reason: `number ${number}`, line };
  }

  /** @throws KiriError DISK_* */
  async newest(line: string): Promise<Uint8Array | undefined> {
    const number = this.#numbers.get(line);
    return number === undefined ? undefined : readIfPresent(this.#path(line, number));
  }

  #path(line: string, number: number): string {
    return join(this.#folder, `${line}.${number}.cbor`);
  }
}
