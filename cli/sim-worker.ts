/** A thread of `kiri sim`: runs the seed that it is sent, sends back what happened in it. */
import { parentPort, workerData } from 'node:worker_threads';
import { runWorld, type SimTask } from './sim-task.ts';

const task = workerData as SimTask;
parentPort?.on('message', (seed: number) => parentPort?.postMessage(runWorld(seed, task)));
