/**
 * One log at a mirror: follows it, answers whether a checkpoint may be cosigned, keeps the evidence of a fork. A log that
 * was seen to sign two histories is refused from then on (DESIGN section 5).
 */
import { createHash } from 'node:crypto';
import { join } from 'node:path';
import { readIfPresent, writeFileDurable } from '../../platform/durable-file.ts';
import type { HttpAnswer } from '../../platform/http-server.ts';
import { bytesEqual } from '../../protocol/bytes.ts';
import { KiriError } from '../../protocol/kiri-error.ts';
import { CHECKPOINT_PATH } from './core/log-batch.ts';
import { encodeForkEvidence, type ForkEvidence } from './core/fork-evidence.ts';
import { parseNote } from './core/note.ts';
import { type SignedHead, parseSignedHead } from './core/signed-head.ts';
import { type CopiedLog, LogCopy } from './log-copy.ts';
import { readCheckpoint } from './log-folder.ts';
import { type LogSource, folderSource } from './log-source.ts';
import { showFork } from './show-fork.ts';

/** An add-checkpoint waits this long for the copy, less than its asker's 2 s; then it is told to come again. */
const ANSWER_WAIT_MS = 1_500;

/** Folder name of an origin: what an origin may contain, a file name may not. */
export const originFolder = (origin: string): string =>
  createHash('sha256').update(origin).digest('hex');

export interface MirroredLogStatus {
  /** Entries that are durable here and checked. */
  readonly storedSize: number;
  /** Size of the newest published checkpoint kept here. */
  readonly publishedSize: number;
  readonly forked: boolean;
  /** Why the last attempt to follow the log failed. */
  readonly trouble?: string;
}

type Verdict = HttpAnswer | undefined;

const later: Verdict = { status: 503, body: 'COPYING: ask again\n' };
const retired: Verdict = { status: 403, body: 'RETIRED: its contents are no longer here\n' };
const forked: Verdict = { status: 422, body: 'this log has signed two histories\n' };

/** One log: its copy, what is being copied now, and whether it forked. */
export class MirroredLog {
  readonly #log: CopiedLog;
  readonly #source: LogSource;
  readonly #folder: string;
  readonly #evidencePath: string;
  readonly #copy: LogCopy;
  #isForked: boolean;
  #publishedSize = 0;
  /** Whether the kept checkpoint carries anything besides the log's own signature. */
  #isKeptCosigned = false;
  /** The published checkpoint that was looked at last. */
  #seen: string | undefined;
  #trouble: string | undefined;
  #running: Promise<Verdict> | undefined;

  private constructor(
    log: CopiedLog,
    source: LogSource,
    paths: { folder: string; evidence: string },
    copy: LogCopy,
    isForked: boolean,
  ) {
    this.#log = log;
    this.#source = source;
    this.#folder = paths.folder;
    this.#evidencePath = paths.evidence;
    this.#copy = copy;
    this.#isForked = isForked;
  }

  /** @throws KiriError DISK_*, STATE_CORRUPT, LOG_* */
  static async open(root: string, log: CopiedLog, source: LogSource): Promise<MirroredLog> {
    const name = originFolder(log.origin);
    const paths = {
      folder: join(root, 'logs', name),
      evidence: join(root, 'state/evidence', `${name}.json`),
    };
    const copy = await LogCopy.open(paths.folder, log);
    const evidence = await readIfPresent(paths.evidence);
    const mirrored = new MirroredLog(log, source, paths, copy, evidence !== undefined);
    const kept = await readIfPresent(join(paths.folder, CHECKPOINT_PATH));
    const published = kept && parseSignedHead(new Uint8Array(kept), log.keys, log.verify);
    if (kept && published?.ok === true) {
      mirrored.#publishedSize = published.value.size;
      mirrored.#isKeptCosigned = isCosigned(new Uint8Array(kept));
    }
    return mirrored;
  }

  status(): MirroredLogStatus {
    return {
      storedSize: this.#copy.head.size,
      publishedSize: this.#publishedSize,
      forked: this.#isForked,
      ...(this.#trouble === undefined ? {} : { trouble: this.#trouble }),
    };
  }

  /**
   * Whether `head`, signed by the log, may be cosigned: `undefined` once everything up to it is durable here and checked,
   * else the refusal (422 for a fork, 503 for what may be better next time).
   */
  async admit(head: SignedHead): Promise<Verdict> {
    let timer: NodeJS.Timeout | undefined;
    const timeout = new Promise<'late'>((resolve) => {
      timer = setTimeout(() => resolve('late'), ANSWER_WAIT_MS);
    });
    try {
      while (this.#running !== undefined) {
        if ((await Promise.race([this.#running, timeout])) === 'late') return later;
      }
      const verdict = await Promise.race([this.#run(head), timeout]);
      return verdict === 'late' ? later : verdict;
    } finally {
      clearTimeout(timer);
    }
  }

  /** Looks at the log's published checkpoint: copies what is new and keeps the checkpoint with its cosignatures. */
  async follow(): Promise<void> {
    if (this.#running !== undefined || this.#isForked || this.#copy.isRetired) return;
    try {
      const note = await readCheckpoint(this.#source);
      if (note === undefined) return;
      const { keys, verify, origin } = this.#log;
      const head = parseSignedHead(note, keys, verify);
      if (!head.ok || head.value.origin !== origin) {
        this.#trouble = head.ok ? 'serves the checkpoint of another log' : head.reason;
        return;
      }
      if (head.value.note === this.#seen || this.#running !== undefined) return;
      const verdict = await this.#run(head.value);
      if (verdict !== undefined) return;
      this.#seen = head.value.note;
      if (head.value.size < this.#publishedSize) {
        // True, but old: no contradiction, and never a reason to forget what is kept here.
        this.#trouble = `shrank: publishes ${head.value.size} leaves after ${this.#publishedSize}`;
        return;
      }
      if (this.#isKeptCosigned && !isCosigned(note)) {
        // Stripped on its way: a copy without cosignatures is final under no policy, and restores nobody.
        this.#trouble = `publishes ${head.value.size} leaves without a cosignature`;
        return;
      }
      await writeFileDurable(join(this.#folder, CHECKPOINT_PATH), note, 0o644);
      this.#isKeptCosigned = isCosigned(note);
      this.#publishedSize = head.value.size;
    } catch (error) {
      this.#trouble = reasonOf(error);
    }
  }

  /** Waits for the copy under way. */
  async settle(): Promise<void> {
    await this.#running;
  }

  #run(head: SignedHead): Promise<Verdict> {
    const running = this.#check(head)
      .catch((error: unknown): Verdict => {
        this.#trouble = reasonOf(error);
        return { status: 503, body: `${error instanceof KiriError ? error.code : 'FAILED'}\n` };
      })
      .finally(() => {
        this.#running = undefined;
      });
    this.#running = running;
    return running;
  }

  async #check(head: SignedHead): Promise<Verdict> {
    if (this.#isForked) return forked;
    const own = this.#copy.head;
    if (head.size <= own.size) {
      const root = await this.#copy.rootAt(head.size);
      // Never a new cosignature for contents that are no longer held.
      if (bytesEqual(root, head.root)) return this.#copy.isRetired ? retired : undefined;
      // Our copy is itself a tree that the log signed.
      const shown = await this.#forkOf(head, own);
      return shown ? this.#keepFork(shown) : later;
    }
    const failure = await this.#extend(head);
    if (failure === undefined) {
      this.#trouble = undefined;
      return undefined;
    }
    this.#trouble = failure;
    const shown = await this.#forkOf(head, own);
    if (shown !== undefined) return this.#keepFork(shown);
    return { status: 503, body: `CONTENT_MISMATCH: ${failure}\n` };
  }

  /** What is wrong with what the log serves, if anything; a broken disk is thrown. */
  async #extend(head: SignedHead): Promise<string | undefined> {
    try {
      const extended = await this.#copy.extend(this.#source, head);
      return extended.ok ? undefined : extended.reason;
    } catch (error) {
      if (error instanceof KiriError && error.code === 'LOG_CORRUPT') return error.message;
      throw error;
    }
  }

  /** The log's own tiles may prove that its new head does not extend ours; a mere wrong file does not. */
  #forkOf(head: SignedHead, own: SignedHead): Promise<ForkEvidence | undefined> {
    const copied = { head: own, source: folderSource(this.#folder) };
    return showFork(copied, { head, source: this.#source });
  }

  async #keepFork(evidence: ForkEvidence): Promise<Verdict> {
    await writeFileDurable(this.#evidencePath, encodeForkEvidence(evidence));
    this.#isForked = true;
    this.#trouble = 'has signed two histories';
    return forked;
  }
}

/** More than the one line of the log itself; whose they are is for who holds a policy. */
const isCosigned = (note: Uint8Array): boolean => {
  const whole = parseNote(note);
  return whole.ok && whole.value.signatures.length > 1;
};

const reasonOf = (error: unknown): string =>
  error instanceof Error ? error.message : String(error);
