/** A thread of check-threads.ts: checks the batches that it is sent, sends back what they held. */
import { parentPort, workerData } from 'node:worker_threads';
import { nodeVerifier } from '../../identity/edge/node-signatures.ts';
import { checkRecords, type CheckRules, type RecordBatch } from './record-check.ts';

const rules = workerData as CheckRules;
const verifier = nodeVerifier();
parentPort?.on('message', (batch: RecordBatch) =>
  parentPort?.postMessage(checkRecords(rules, verifier, batch)),
);
