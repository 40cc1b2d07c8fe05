/** A thread of check-threads.ts: checks the batches that it is sent, sends back what they held. */
import { parentPort, workerData } from 'node:worker_threads';
import { nodeVerifier } from '../../identity/edge/node-signatures.ts';
import { ItemPacker } from './packed-items.ts';
import { checkRecords, type CheckBasis, type RecordBatch } from './record-check.ts';
import { PayersInLayers, type SharedPayers } from './shared-payers.ts';

/** What a thread starts with, and is sent anew when documents change. */
export interface ThreadRules extends Omit<CheckBasis, 'registry'> {
  /** The newest first. */
  readonly layers: readonly SharedPayers[];
  readonly others: Omit<CheckBasis['registry'], 'payers'>;
}

const basisOf = ({ layers, others, ...rules }: ThreadRules): CheckBasis => ({
  ...rules,
  registry: { ...others, payers: new PayersInLayers(layers) },
});

let basis = basisOf(workerData as ThreadRules);
const verifier = nodeVerifier();
const packer = new ItemPacker();
parentPort?.on('message', (sent: RecordBatch | ThreadRules) => {
  if (!('records' in sent)) {
    basis = basisOf(sent);
    return;
  }
  const packed = packer.pack(sent.origin, checkRecords(basis, verifier, sent));
  parentPort?.postMessage(packed, [packed.rows]);
});
