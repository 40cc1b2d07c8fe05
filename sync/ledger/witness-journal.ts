/**
 * What a witness has cosigned, for all of its logs in one group-committed journal: `journal-<generation>/` below the
 * witness's folder, and `current`, which names the generation that counts. A record is a checkpoint with the log's
 * signature and our cosignature, and the last one of an origin is its head; or it is an enrolment, as it was asked for.
 * After {@link COMPACT_BYTES} enrolments and heads alone go into a new generation. Whatever does not read back stops the start: a witness must never begin anew at size 0.
 */
import { readdirSync } from 'node:fs';
import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import type { Trust } from '../../identity/core/chain.ts';
import { readIfPresent, writeFileDurable } from '../../platform/durable-file.ts';
import type { JournalFs } from '../../platform/journal-fs.ts';
import { openJournal } from '../../platform/journal.ts';
import type { Journal } from '../../platform/ports.ts';
import { bytesEqual, utf8ToBytes } from '../../protocol/bytes.ts';
import { KiriError } from '../../protocol/kiri-error.ts';
import { type EnrolledLog, isEnrolment, restoreEnrolment } from './core/enrol.ts';
import { type VerifierKey, encodeVerifierKey } from './core/note-key.ts';
import { parseDecimal } from './core/text.ts';
import {
  MAX_WITNESSED_LOGS,
  type WitnessPorts,
  type WitnessedHead,
  restoreHead,
} from './core/witness.ts';

/** Heads appended to a generation before the next one begins. */
const COMPACT_BYTES = 32 * 1024 * 1024;
/** One group commit at most. */
const MAX_COMMIT_BYTES = 1024 * 1024;
const CURRENT = 'current';
const JOURNAL_NAME = /^journal-([1-9][0-9]*)$/;
/** One file per log, as witnesses kept their heads before this journal. */
const OLD_HEAD_NAME = /^[0-9a-f]{64}$/;

export interface WitnessJournalOptions {
  readonly folder: string;
  readonly ports: WitnessPorts;
  /**
   * A file outside the folder that is made with the first state of this key. Where it exists and the folder is empty, the
   * state was lost.
   */
  readonly keyMark?: string;
  /** Whose mandates enrol logs. Enrolments that do not hold under it are left behind: their logs are unknown again. */
  readonly trust?: Trust;
  /** Default {@link COMPACT_BYTES}. */
  readonly compactBytes?: number;
  /** The journal's file operations; a test makes one of them fail. */
  readonly files?: JournalFs;
}

/** What is durable: what the next generation begins with. */
interface Kept {
  readonly heads: Map<string, WitnessedHead>;
  /** By origin. */
  readonly enrolled: Map<string, EnrolledLog>;
}

interface Waiting {
  readonly record: Uint8Array;
  /** Notes what is durable now. */
  readonly keep: () => void;
  readonly resolve: () => void;
  readonly reject: (error: unknown) => void;
}

const generationFolder = (folder: string, generation: number): string =>
  join(folder, `journal-${generation}`);

const retire = (path: string, why: string): KiriError =>
  new KiriError('STATE_CORRUPT', `${path}: ${why}; retire this witness key`);

/** First record of a generation: an emptied or foreign journal is told from a new one by it. */
const headerOf = (key: VerifierKey, generation: number): Uint8Array =>
  utf8ToBytes(`kiri witness journal 1\n${encodeVerifierKey(key)}\n${generation}\n`);

/** The generation that counts; 0 where this witness never ran. */
const readCurrent = async ({ folder, keyMark }: WitnessJournalOptions): Promise<number> => {
  const names = readdirSync(folder);
  const old = names.find((name) => OLD_HEAD_NAME.test(name));
  if (old !== undefined) throw retire(join(folder, old), 'a head file of an older layout');
  const path = join(folder, CURRENT);
  const bytes = await readIfPresent(path);
  if (bytes !== undefined) {
    const generation = parseDecimal(bytes.toString('utf8').replace(/\n$/, ''));
    if (generation === undefined || generation === 0) throw retire(path, 'names no generation');
    if (!names.includes(`journal-${generation}`)) throw retire(path, 'its journal is gone');
    return generation;
  }
  // The first generation is named once it is durable: without a name it may hold its header and nothing else.
  const later = names.find((name) => JOURNAL_NAME.test(name) && name !== 'journal-1');
  if (later !== undefined) throw retire(path, `is gone while ${later} is there`);
  if (keyMark !== undefined && (await readIfPresent(keyMark)) !== undefined) {
    throw retire(folder, `is empty, but ${keyMark} says that this key has cosigned`);
  }
  return 0;
};

export class WitnessJournal {
  readonly #options: WitnessJournalOptions;
  readonly #kept: Kept;
  #journal: Journal;
  #generation: number;
  #appendedBytes = 0;
  #waiting: Waiting[] = [];
  #commits = 0;
  #pumping: Promise<void> | undefined;

  private constructor(
    options: WitnessJournalOptions,
    journal: Journal,
    generation: number,
    kept: Kept,
  ) {
    this.#options = options;
    this.#journal = journal;
    this.#generation = generation;
    this.#kept = kept;
  }

  /**
   * Opens the journal in a folder that the caller has locked.
   * @throws KiriError STATE_CORRUPT, DISK_*
   */
  static async open(options: WitnessJournalOptions): Promise<WitnessJournal> {
    const { folder, ports, keyMark, files, trust } = options;
    const found = await readCurrent(options);
    const generation = Math.max(1, found);
    const path = generationFolder(folder, generation);
    const { journal } = await openJournal(path, files && { files }).catch((error: unknown) => {
      if (error instanceof KiriError && error.code === 'JOURNAL_CORRUPT') {
        throw retire(path, error.message);
      }
      throw error;
    });
    try {
      const kept: Kept = { heads: new Map(), enrolled: new Map() };
      if (found === 0) {
        if (journal.nextIndex > 1) throw retire(join(folder, CURRENT), 'is gone');
        await beginGeneration(journal, headerOf(ports.signer.key, generation), kept);
        await writeFileDurable(join(folder, CURRENT), `${generation}\n`);
      } else {
        readKept(journal, path, headerOf(ports.signer.key, generation), { ...ports, trust }, kept);
      }
      if (keyMark !== undefined && (await readIfPresent(keyMark)) === undefined) {
        await writeFileDurable(keyMark, `${encodeVerifierKey(ports.signer.key)}\n`);
      }
      const opened = new WitnessJournal(options, journal, generation, kept);
      await opened.#removeOthers();
      return opened;
    } catch (error) {
      await journal.close();
      throw error;
    }
  }

  /** Durable heads, one per origin. */
  heads(): readonly WitnessedHead[] {
    return [...this.#kept.heads.values()];
  }

  /** Durable enrolments, the last one of each origin. */
  enrolled(): readonly EnrolledLog[] {
    return [...this.#kept.enrolled.values()];
  }

  /** Group commits so far in this run, one fdatasync each. */
  get commits(): number {
    return this.#commits;
  }

  /** Resolves once the head is durable; heads become durable in the order of the calls. @throws KiriError DISK_* */
  store(head: WitnessedHead): Promise<void> {
    return this.#write(utf8ToBytes(head.note), () => this.#kept.heads.set(head.origin, head));
  }

  /** Resolves once the enrolment is durable. @throws KiriError DISK_* */
  storeEnrolment(log: EnrolledLog): Promise<void> {
    return this.#write(log.request, () => this.#kept.enrolled.set(log.origin, log));
  }

  #write(record: Uint8Array, keep: () => void): Promise<void> {
    return new Promise((resolve, reject) => {
      this.#waiting.push({ record, keep, resolve, reject });
      this.#pumping ??= this.#pump().finally(() => {
        this.#pumping = undefined;
      });
    });
  }

  async close(): Promise<void> {
    await this.#pumping;
    await this.#journal.close();
  }

  async #pump(): Promise<void> {
    while (this.#waiting.length > 0) {
      let bytes = 0;
      const fits = this.#waiting.findIndex(({ record }, at) => {
        bytes += record.length;
        return at > 0 && bytes > MAX_COMMIT_BYTES;
      });
      const batch = this.#waiting.splice(0, fits < 0 ? this.#waiting.length : fits);
      try {
        await this.#commit(batch);
        for (const { resolve } of batch) resolve();
      } catch (error) {
        // What is behind it was checked on top of it: none of it may leave.
        const lost = [...batch, ...this.#waiting];
        this.#waiting = [];
        for (const { reject } of lost) reject(error);
      }
    }
  }

  async #commit(batch: readonly Waiting[]): Promise<void> {
    const limit = this.#options.compactBytes ?? COMPACT_BYTES;
    if (this.#appendedBytes > limit) await this.#compact();
    for (const { record } of batch) {
      this.#journal.append(record);
      this.#appendedBytes += record.length;
    }
    await this.#journal.commit();
    this.#commits += 1;
    for (const { keep } of batch) keep();
  }

  /** The next generation counts once `current` names it; until then the one before is whole and current. */
  async #compact(): Promise<void> {
    const { folder, ports, files } = this.#options;
    const generation = this.#generation + 1;
    const path = generationFolder(folder, generation);
    const { journal } = await openJournal(path, files && { files });
    try {
      await beginGeneration(journal, headerOf(ports.signer.key, generation), this.#kept);
      await writeFileDurable(join(folder, CURRENT), `${generation}\n`);
    } catch (error) {
      await journal.close();
      throw error;
    }
    const old = this.#journal;
    this.#journal = journal;
    this.#generation = generation;
    this.#appendedBytes = 0;
    await old.close();
    await this.#removeOthers();
  }

  async #removeOthers(): Promise<void> {
    const { folder } = this.#options;
    for (const name of readdirSync(folder)) {
      if (JOURNAL_NAME.test(name) && name !== `journal-${this.#generation}`) {
        await rm(join(folder, name), { recursive: true, force: true });
      }
    }
  }
}

const beginGeneration = async (
  journal: Journal,
  header: Uint8Array,
  { heads, enrolled }: Kept,
): Promise<void> => {
  if (journal.nextIndex === 0) journal.append(header);
  let bytes = 0;
  const records = [
    ...Array.from(enrolled.values(), ({ request }) => request),
    ...Array.from(heads.values(), ({ note }) => utf8ToBytes(note)),
  ];
  for (const record of records) {
    if (bytes + record.length > MAX_COMMIT_BYTES) {
      await journal.commit();
      bytes = 0;
    }
    journal.append(record);
    bytes += record.length;
  }
  await journal.commit();
};

/** Reads every head back by our own cosignature on it, every enrolment by its documents. */
const readKept = (
  journal: Journal,
  path: string,
  header: Uint8Array,
  { trust, ...ports }: WitnessPorts & { readonly trust: Trust | undefined },
  { heads, enrolled }: Kept,
): void => {
  let isFirst = true;
  const last = new Map<string, Uint8Array>();
  for (const { record, index } of journal.records()) {
    if (isFirst) {
      if (!bytesEqual(record, header)) throw retire(path, 'belongs to another key or generation');
      isFirst = false;
      continue;
    }
    if (isEnrolment(record)) {
      const log = trust && restoreEnrolment(record, trust);
      if (log?.ok === true) enrolled.set(log.value.origin, log.value);
      continue;
    }
    // The origin is the first line; a record without one fails below by its signature.
    const end = record.indexOf(0x0a);
    const origin = Buffer.from(record.subarray(0, Math.max(0, end))).toString('utf8');
    last.set(origin, record);
    if (last.size > MAX_WITNESSED_LOGS) throw retire(path, `record ${index}: too many logs`);
  }
  if (isFirst) throw retire(path, 'is empty');
  for (const [origin, record] of last) {
    const head = restoreHead(record, ports.signer.key, ports.verify);
    if (!head.ok) throw retire(path, `the head of ${origin}: ${head.reason}`);
    heads.set(head.value.origin, head.value);
  }
};
