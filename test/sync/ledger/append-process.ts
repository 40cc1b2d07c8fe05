/** A log without witnesses that grows as fast as it can, for tests that kill it. Argument: the folder. */
import { sha256 } from '@noble/hashes/sha2.js';
import { utf8ToBytes } from '../../../protocol/bytes.ts';
import { appendBatch } from '../../../sync/ledger/core/log-batch.ts';
import { treeRoot } from '../../../sync/ledger/core/tree.ts';
import { findLog } from '../../../sync/ledger/found-log.ts';
import { writeHead } from '../../../sync/ledger/head-file.ts';
import { leafOfRecord, sealPayload } from '../../../sync/ledger/payload-record.ts';
import { prepareLogFolder, writeLogFiles } from '../../../sync/ledger/tile-store.ts';
import { ORIGIN, policyOf, realLog, realVerify } from './keys.ts';

const root = process.argv[2] ?? '';
const signer = realLog();
const policy = policyOf(signer, [], 'quorum none');
await prepareLogFolder(root);
const { tree, bundle } = await findLog(root, {
  origin: ORIGIN,
  signer,
  verify: realVerify,
  policy,
});
const key = { kid: new Uint8Array(16), key: new Uint8Array(32) };
for (;;) {
  const entries = Array.from({ length: 7 }, (_, at) => {
    const plain = utf8ToBytes(`record ${tree.size + at} of ${process.pid}`);
    const payload = sealPayload(plain, sha256(plain), key);
    return { leaf: leafOfRecord(payload) ?? plain, payload, acceptedAtMs: 0 };
  });
  await writeLogFiles(root, appendBatch(tree, bundle, entries));
  await writeHead(root, { size: tree.size, root: treeRoot(tree) });
  process.stdout.write(`${tree.size}\n`);
}
