import { Worker } from 'node:worker_threads';
import type { SeedResult } from '../firmware-sim/core/run-seed.ts';
import { runWorld, type SimTask } from './sim-task.ts';

/** A world that takes long holds up the order; no more than this many later results are kept waiting for it. */
const MAX_AHEAD = 256;

/** Results in the order of their seeds, whichever thread they come from. */
class Threads {
  readonly #task: SimTask;
  readonly #done = new Map<number, SeedResult>();
  readonly #idle: Worker[] = [];
  readonly #workers: readonly Worker[];
  #next: number;
  #wanted: number;
  #wake: (() => void) | undefined;
  #failure: unknown;

  constructor(task: SimTask, jobs: number) {
    this.#task = task;
    this.#next = task.first;
    this.#wanted = task.first;
    this.#workers = Array.from({ length: jobs }, () => {
      const worker = new Worker(new URL('sim-worker.js', import.meta.url), { workerData: task });
      worker.on('message', (result: SeedResult) => {
        this.#done.set(result.seed, result);
        this.#idle.push(worker);
        this.#wake?.();
      });
      worker.on('error', (error) => {
        this.#failure = error;
        this.#wake?.();
      });
      return worker;
    });
    this.#idle.push(...this.#workers);
  }

  #handOut(): void {
    const end = this.#task.first + this.#task.seeds;
    while (this.#next < end && this.#next - this.#wanted < MAX_AHEAD) {
      const worker = this.#idle.pop();
      if (worker === undefined) return;
      worker.postMessage(this.#next);
      this.#next += 1;
    }
  }

  async take(seed: number): Promise<SeedResult> {
    this.#wanted = seed;
    for (;;) {
      this.#handOut();
      const result = this.#done.get(seed);
      if (result !== undefined) {
        this.#done.delete(seed);
        return result;
      }
      if (this.#failure !== undefined) throw this.#failure;
      await new Promise<void>((resolve) => (this.#wake = resolve));
    }
  }

  async close(): Promise<void> {
    await Promise.all(this.#workers.map((worker) => worker.terminate()));
  }
}

/** Runs all worlds of a task on `jobs` threads. @throws whatever a world throws */
export async function* runSeeds(
  task: SimTask,
  jobs: number,
): AsyncGenerator<SeedResult, void, undefined> {
  const end = task.first + task.seeds;
  if (jobs === 1 || task.seeds === 1) {
    for (let seed = task.first; seed < end; seed += 1) yield runWorld(seed, task);
    return;
  }
  const threads = new Threads(task, Math.min(jobs, task.seeds));
  try {
    for (let seed = task.first; seed < end; seed += 1) yield await threads.take(seed);
  } finally {
    await threads.close();
  }
}
