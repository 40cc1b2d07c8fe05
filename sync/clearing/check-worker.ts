/** A thread of check-threads.ts: checks the batches that it is sent, sends back what they held. */
import { parentPort, workerData } from 'node:worker_threads';
import { nodeVerifier } from '../../identity/edge/node-signatures.ts';
import { changedRegistry, type RegistryChange } from './core/registry-change.ts';
import { ItemPacker } from './packed-items.ts';
import { checkRecords, type CheckRules, type RecordBatch } from './record-check.ts';

let rules = workerData as CheckRules;
const verifier = nodeVerifier();
const packer = new ItemPacker();
parentPort?.on('message', (sent: RecordBatch | RegistryChange) => {
  if (!('records' in sent)) {
    rules = { ...rules, registry: changedRegistry(rules.registry, sent) };
    return;
  }
  const packed = packer.pack(sent.origin, checkRecords(rules, verifier, sent));
  parentPort?.postMessage(packed, [packed.rows]);
});
