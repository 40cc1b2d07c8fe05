/** A thread of check-threads.ts: checks the batches that it is sent, sends back what they held. */
import { parentPort, workerData } from 'node:worker_threads';
import { nodeVerifier } from '../../identity/edge/node-signatures.ts';
import { ItemPacker } from './packed-items.ts';
import { checkRecords, type CheckRules, type RecordBatch } from './record-check.ts';

const rules = workerData as CheckRules;
const verifier = nodeVerifier();
const packer = new ItemPacker();
parentPort?.on('message', (batch: RecordBatch) => {
  const packed = packer.pack(batch.origin, checkRecords(rules, verifier, batch));
  parentPort?.postMessage(packed, [packed.rows]);
});
