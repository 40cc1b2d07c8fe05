/** What an independent verifier says of an output folder: every log below `ledger/`, every proof in `receipts/`. */
import { createHash } from 'node:crypto';
import { readFileSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import type { Test } from 'tap';
import { judgeFolder, judgeProof, readProofFile } from './tlog.ts';

const sha256 = (...parts: readonly Uint8Array[]): Buffer => {
  const hash = createHash('sha256');
  for (const part of parts) hash.update(part);
  return hash.digest();
};

/** docs/ledger.md: version 1 ‖ SHA-256(SHA-256(Receipt payload) ‖ SHA-256(ciphertext)), from a payload record. */
export const entryOf = (record: Uint8Array): Buffer =>
  Buffer.concat([Buffer.of(1), sha256(record.subarray(0, 32), sha256(record.subarray(32)))]);

/** The `tlog/` folders below a folder. */
const tlogFolders = (below: string): readonly string[] =>
  readdirSync(below, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile() && entry.name === 'checkpoint')
    .map((entry) => entry.parentPath);

/** Asserts that logs and proofs of a run are right; answers how many proofs there were. */
export function assertRight(t: Test, out: string): number {
  const policy = readFileSync(join(out, 'trust/policy.txt'));
  const entries = new Map<string, readonly Buffer[]>();
  for (const folder of tlogFolders(join(out, 'ledger'))) {
    const verdict = judgeFolder(folder, policy);
    if (!verdict.right) t.fail(`${folder}: ${verdict.reason}`);
    else entries.set(verdict.value.origin, verdict.value.entries);
  }
  t.ok(entries.size > 0, 'a second verifier finds the logs right');
  let proofs = 0;
  const wrong: string[] = [];
  for (const name of readdirSync(join(out, 'receipts'))) {
    if (!name.endsWith('.tlog-proof')) continue;
    proofs += 1;
    const bytes = readFileSync(join(out, 'receipts', name));
    const entry = entryOf(readProofFile(bytes).extra ?? Buffer.of());
    const verdict = judgeProof(bytes, entry, policy);
    if (!verdict.right) wrong.push(`${name}: ${verdict.reason}`);
    else if (!entries.get(verdict.value.origin)?.[verdict.value.index]?.equals(entry)) {
      wrong.push(`${name}: the log holds another entry there`);
    }
  }
  t.same(wrong, [], `and ${proofs} proofs`);
  return proofs;
}
