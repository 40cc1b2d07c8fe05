import { Worker } from 'node:worker_threads';
import { invariant, KiriError } from '../../protocol/kiri-error.ts';
import type { Registry } from './core/registry.ts';
import type { RegistryChange } from './core/registry-change.ts';
import type { ThreadRules } from './check-worker.ts';
import { ItemUnpacker, type PackedItems } from './packed-items.ts';
import type { CheckedItem, CheckRules, RecordBatch, RegistryChecker } from './record-check.ts';
import { sharePayers, type SharedPayers } from './shared-payers.ts';

/** Batches handed in and not answered, at most: whoever hands in waits for earlier ones first. */
export const MAX_BATCHES = 64;
/** With a second batch at hand a thread goes on while this one is busy in the store. */
const BATCHES_PER_THREAD = 2;
/** A thread costs a tenth of a second: fewer records than this do not start one. */
const MIN_RECORDS = 64;
/** Changes of documents that lie over the registry as it was written; with one more it is written anew. */
const MAX_LAYERS = 16;

interface Task {
  readonly batch: RecordBatch;
  readonly resolve: (items: readonly CheckedItem[]) => void;
  readonly reject: (reason: KiriError) => void;
}

/** One worker with the batches it was sent, oldest first: it answers in that order. */
interface Thread {
  readonly worker: Worker;
  readonly sent: Task[];
  readonly unpacker: ItemUnpacker;
}

/**
 * Checks records on threads of their own, so that every core verifies signatures while this one reads and books
 * (worker_threads). What they need of payers lies in memory that they share; merchants and mandates are copied into each.
 * No chain is verified again. A thread that dies fails the batches that it held, and no other; the next batch starts a
 * new one. Threads keep no process alive.
 */
export class CheckThreads implements RegistryChecker {
  #rules: CheckRules;
  readonly #inLine: RegistryChecker;
  readonly #most: number;
  readonly #threads = new Set<Thread>();
  readonly #waiting: Task[] = [];
  /** Payers, the newest change first; none until a thread is started. */
  #layers: readonly SharedPayers[] = [];
  #open = 0;
  #isClosed = false;

  /**
   * @param inLine checks small batches while no thread runs
   * @param most threads at most, one for each core as a rule
   */
  constructor(rules: CheckRules, inLine: RegistryChecker, most: number) {
    this.#rules = rules;
    this.#inLine = inLine;
    this.#most = most;
  }

  check(batch: RecordBatch): Promise<readonly CheckedItem[]> {
    invariant(!this.#isClosed, 'clearing: a batch for threads that are closed');
    invariant(this.#open < MAX_BATCHES, `clearing: more than ${MAX_BATCHES} batches unanswered`);
    if (this.#threads.size === 0 && batch.records.length < MIN_RECORDS) {
      return this.#inLine.check(batch);
    }
    this.#open += 1;
    const answer = new Promise<readonly CheckedItem[]>((resolve, reject) => {
      this.#waiting.push({ batch, resolve, reject });
    }).finally(() => (this.#open -= 1));
    this.#handOut();
    return answer;
  }

  /** Threads get the changed lines as a layer over the others. A batch is judged by one registry. */
  follow(registry: Registry, change: RegistryChange): void {
    invariant(this.#open === 0, 'clearing: documents change while records are under check');
    this.#rules = { ...this.#rules, registry };
    this.#inLine.follow(registry, change);
    if (this.#layers.length === 0) return;
    const { payers } = change;
    if (this.#layers.length > MAX_LAYERS) this.#layers = [];
    else if (payers.length > 0) {
      this.#layers = [sharePayers(payers, payers.length), ...this.#layers];
    }
    for (const { worker } of this.#threads) worker.postMessage(this.#threadRules());
  }

  #threadRules(): ThreadRules {
    const { registry, ...rules } = this.#rules;
    const { payers, payees, approvers, closings } = registry;
    if (this.#layers.length === 0) this.#layers = [sharePayers(payers, payers.size)];
    return { ...rules, layers: this.#layers, others: { payees, approvers, closings } };
  }

  /** Ends every thread; batches without an answer fail. */
  async close(): Promise<void> {
    this.#isClosed = true;
    const threads = [...this.#threads];
    for (const task of this.#waiting.splice(0)) task.reject(failed('closed'));
    await Promise.all(threads.map(({ worker }) => worker.terminate()));
  }

  #handOut(): void {
    while (this.#waiting.length > 0) {
      const thread = this.#nextThread();
      if (!thread) return;
      const task = this.#waiting.shift()!;
      thread.sent.push(task);
      thread.worker.ref();
      thread.worker.postMessage(task.batch);
    }
  }

  /** An idle thread, a new one, or the one with the least to do; undefined where all have enough. */
  #nextThread(): Thread | undefined {
    const [first] = [...this.#threads].toSorted((a, b) => a.sent.length - b.sent.length);
    if (first?.sent.length === 0) return first;
    if (this.#threads.size < this.#most) return this.#start();
    return first && first.sent.length < BATCHES_PER_THREAD ? first : undefined;
  }

  #start(): Thread {
    const worker = new Worker(new URL('check-worker.js', import.meta.url), {
      workerData: this.#threadRules(),
    });
    const thread: Thread = { worker, sent: [], unpacker: new ItemUnpacker() };
    this.#threads.add(thread);
    worker.on('message', (packed: PackedItems) => {
      thread.sent.shift()?.resolve(thread.unpacker.unpack(packed));
      if (thread.sent.length === 0) worker.unref();
      this.#handOut();
    });
    worker.on('error', (error) => this.#lose(thread, String(error)));
    worker.on('messageerror', (error) => this.#lose(thread, String(error)));
    worker.on('exit', (code) => this.#lose(thread, `ended with code ${code}`));
    return thread;
  }

  #lose(thread: Thread, why: string): void {
    if (!this.#threads.delete(thread)) return;
    void thread.worker.terminate();
    for (const task of thread.sent.splice(0)) task.reject(failed(why));
    if (!this.#isClosed) this.#handOut();
  }
}

const failed = (why: string): KiriError =>
  new KiriError('CHECK_THREAD_FAILED', `a thread that checks records of the log: ${why}`);
