/** A thread that plays every n-th history and says what each one showed. */
import { parentPort, workerData } from 'node:worker_threads';
import { verdictOn } from '../sync/clearing/run-history.ts';

const { from, to, step } = workerData as { from: number; to: number; step: number };

for (let seed = from; seed <= to; seed += step) {
  const verdict = await verdictOn(seed);
  parentPort?.postMessage(verdict);
  if (verdict !== undefined) break;
}
