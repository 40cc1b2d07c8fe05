/**
 * The documents that a running clearing goes by. It looks for files in what its configuration names, at most once in an interval and
 * for a small share of the time; what is new comes into force as a whole when the clearing takes it, between two batches.
 * No file takes anything back: a document ends by its own time, a status list or a closing.
 */
import type { Trust } from '../../identity/core/chain.ts';
import { verifyStatusList } from '../../identity/core/centre.ts';
import type { StatusList } from '../../identity/core/status-list.ts';
import { inflateStatusList } from '../../identity/edge/status-zlib.ts';
import { KiriError } from '../../protocol/kiri-error.ts';
import type { Checked } from '../../protocol/refusal.ts';
import { MAX_MESSAGE_BYTES } from '../../protocol/schema.ts';
import type { Registry } from './core/registry.ts';
import { RegistryBook } from './core/registry-book.ts';
import type { RegistryChange } from './core/registry-change.ts';
import { DocumentFiles, type FilesFound } from './document-files.ts';
import type { ClearingAlert } from './read-back-alerts.ts';

/** Files or folders; of a folder every file in it and below it counts. */
export interface DocumentPlaces {
  readonly documents: readonly string[];
  readonly statusLists: readonly string[];
}

/** A registry that is whole and verified, and what of it is other than before. */
export interface DocumentsInForce {
  readonly registry: Registry;
  readonly change: RegistryChange;
}

interface WatchOptions {
  readonly intervalMs?: number;
  /** Milliseconds since 1970. */
  readonly now?: () => number;
}

type OpenMatter = Pick<ClearingAlert, 'kind' | 'detail' | 'sinceS'>;

const INTERVAL_MS = 10_000;
/** Of the time, looking takes no more than one part in so many. */
const SHARE = 50;
/** Faults named in an error at the start. */
const NAMED_MAX = 5;

const isEmpty = ({ payers, ...others }: RegistryChange): boolean =>
  payers.length === 0 && Object.keys(others).length === 0;

const listIn = (trust: Trust, cose: Uint8Array): Checked<StatusList> => {
  const opened = verifyStatusList(trust, cose);
  return opened.ok ? inflateStatusList(opened.value.value) : opened;
};

/** The documents of one clearing. At the start everything must hold; later what does not is an alert. */
export class DocumentWatch {
  readonly #trust: Trust;
  readonly #book: RegistryBook;
  readonly #documents: DocumentFiles;
  readonly #statusLists: DocumentFiles;
  readonly #intervalMs: number;
  readonly #now: () => number;
  /** SHA-256 by the very bytes that the book was given. */
  readonly #hashes = new WeakMap<Uint8Array, string>();
  /** Why contents can never be used, by SHA-256. */
  readonly #unusable = new Map<string, string>();
  /** By path. */
  #matters = new Map<string, OpenMatter>();
  #registry: Registry;
  #waiting: DocumentsInForce | undefined;
  #nextLookMs = 0;

  private constructor(places: DocumentPlaces, trust: Trust, options: WatchOptions) {
    this.#trust = trust;
    this.#book = new RegistryBook(trust);
    this.#registry = this.#book.take([]).registry;
    this.#documents = new DocumentFiles(places.documents, MAX_MESSAGE_BYTES);
    this.#statusLists = new DocumentFiles(places.statusLists, MAX_MESSAGE_BYTES);
    this.#intervalMs = options.intervalMs ?? INTERVAL_MS;
    this.#now = options.now ?? Date.now;
  }

  /** @throws KiriError DOCUMENT_INVALID: names the files that cannot be used */
  static async open(
    places: DocumentPlaces,
    trust: Trust,
    options: WatchOptions = {},
  ): Promise<DocumentWatch> {
    const watch = new DocumentWatch(places, trust, options);
    await watch.look();
    const faults = [...watch.#matters].map(([path, { detail }]) => `${path}: ${detail}`);
    if (faults.length > 0) {
      throw new KiriError('DOCUMENT_INVALID', faults.slice(0, NAMED_MAX).join('; '));
    }
    watch.take();
    return watch;
  }

  /** What is in force. */
  get registry(): Registry {
    return this.#registry;
  }

  /** Looks for what is new, if it is time. @returns whether something waits to come into force */
  async look(): Promise<boolean> {
    const beganMs = this.#now();
    if (this.#waiting || beganMs < this.#nextLookMs) return this.#waiting !== undefined;
    // Nobody else looks meanwhile.
    this.#nextLookMs = Number.POSITIVE_INFINITY;
    try {
      await this.#lookAt(beganMs);
    } finally {
      const endMs = this.#now();
      this.#nextLookMs = endMs + Math.max(this.#intervalMs, (endMs - beganMs) * SHARE);
    }
    return this.#waiting !== undefined;
  }

  /** Puts what waits in force; undefined where nothing does. */
  take(): DocumentsInForce | undefined {
    const taken = this.#waiting;
    this.#waiting = undefined;
    if (taken) this.#registry = taken.registry;
    return taken;
  }

  /** Documents that cannot be used, and those whose files are gone, while that lasts. */
  alerts(nowS: number): ClearingAlert[] {
    return [...this.#matters].map(([reference, one]) => ({
      reference,
      ...one,
      ageS: Math.max(0, nowS - one.sinceS),
    }));
  }

  async #lookAt(nowMs: number): Promise<void> {
    const lists: StatusList[] = [];
    const listFiles = await this.#statusLists.look(nowMs);
    for (const { bytes, sha256 } of listFiles.fresh) {
      const list = listIn(this.#trust, bytes);
      if (list.ok) lists.push(list.value);
      else this.#unusable.set(sha256, `status list: ${list.reason}`);
    }
    const files = await this.#documents.look(nowMs);
    for (const { bytes, sha256 } of files.fresh) this.#hashes.set(bytes, sha256);
    const documents = files.fresh.map(({ bytes }) => bytes);
    const { registry, change, strange, faults } = this.#book.take(documents, lists);
    if (!isEmpty(change)) this.#waiting = { registry, change };
    for (const { cose, reason } of strange) this.#unusable.set(this.#hashes.get(cose)!, reason);
    const reasons = new Map(this.#unusable);
    for (const { cose, reason } of faults) reasons.set(this.#hashes.get(cose)!, reason);
    const nowS = Math.floor(nowMs / 1000);
    const before = this.#matters;
    this.#matters = new Map();
    for (const found of [listFiles, files]) this.#tell(found, reasons, before, nowS);
  }

  #tell(
    { present, gone, troubles }: FilesFound,
    reasons: ReadonlyMap<string, string>,
    before: ReadonlyMap<string, OpenMatter>,
    nowS: number,
  ): void {
    const add = (path: string, kind: OpenMatter['kind'], detail: string): void => {
      const known = before.get(path);
      const isKnown = known?.kind === kind && known.detail === detail;
      this.#matters.set(path, isKnown ? known : { kind, detail, sinceS: nowS });
    };
    for (const [path, reason] of troubles) add(path, 'DOCUMENT_REFUSED', reason);
    for (const [path, sha256] of gone) {
      if (!reasons.has(sha256))
        add(path, 'DOCUMENT_GONE', 'its content stays in force until a restart');
    }
    for (const [path, sha256] of present) {
      const reason = reasons.get(sha256);
      if (reason !== undefined) add(path, 'DOCUMENT_REFUSED', reason);
    }
  }
}
