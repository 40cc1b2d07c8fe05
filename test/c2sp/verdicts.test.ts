import { cpSync, readFileSync, readdirSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { nodeVerifier } from '../../identity/edge/node-signatures.ts';
import { utf8ToBytes } from '../../protocol/bytes.ts';
import { verifyFinalCheckpoint } from '../../sync/ledger/core/final-checkpoint.ts';
import type { Verify } from '../../sync/ledger/core/note-key.ts';
import { noteVerify } from '../../sync/ledger/core/note-ports.ts';
import { parsePolicy } from '../../sync/ledger/core/policy.ts';
import { verifyProof } from '../../sync/ledger/core/proof.ts';
import { folderSource } from '../../sync/ledger/log-source.ts';
import { originFolder } from '../../sync/ledger/mirror-log.ts';
import { proveReceipts } from '../../sync/ledger/prove-receipts.ts';
import { verifyLog } from '../../sync/ledger/verify-log.ts';
import { makeFullRig, type FullRig } from '../sync/ledger/full-rig.ts';
import { ORIGIN } from '../sync/ledger/keys.ts';
import { temporaryFolder, until } from '../sync/ledger/rig.ts';
import { finalCheckpoint, readPolicy } from './policy.ts';
import { entryOf } from './run.ts';
import { judge, judgeFolder, judgeProof, readProofFile } from './tlog.ts';

t.setTimeout(120_000);
const verifyAnew = noteVerify(nodeVerifier());
const verified = new Map<string, boolean>();
/** Most changes leave most signatures as they are: each is verified once. */
const verify: Verify = (point, message, signature) => {
  const claim = [point, message, signature].map((bytes) => Buffer.from(bytes).toString('hex'));
  const verdict = verified.get(claim.join(' ')) ?? verifyAnew(point, message, signature);
  verified.set(claim.join(' '), verdict);
  return verdict;
};

/** One way of spoiling bytes at a place. */
const CHANGES: Readonly<Record<string, (bytes: Buffer, at: number) => Buffer>> = {
  'lowest bit': (bytes, at) => flip(bytes, at, 0x01),
  'highest bit': (bytes, at) => flip(bytes, at, 0x80),
  'a byte more': (bytes, at) =>
    Buffer.concat([bytes.subarray(0, at), Buffer.of(bytes[at]!), bytes.subarray(at)]),
  'a line break': (bytes, at) =>
    Buffer.concat([bytes.subarray(0, at), Buffer.of(0x0a), bytes.subarray(at)]),
  'cut off': (bytes, at) => bytes.subarray(0, at),
};
const [LOWEST_BIT, ...OTHERS] = Object.entries(CHANGES) as [Change, ...Change[]];
type Change = [name: string, apply: (bytes: Buffer, at: number) => Buffer];

function flip(bytes: Buffer, at: number, mask: number): Buffer {
  const bent = Buffer.from(bytes);
  bent[at]! ^= mask;
  return bent;
}

interface Tally {
  compared: number;
  accepted: number;
}

/** Spoils every place in every way and asks both; `mayHold` says where a change is allowed to go unnoticed. */
function compare(
  t: Test,
  bytes: Buffer,
  both: (bent: Buffer) => readonly [ours: boolean, theirs: boolean],
  mayHold: (at: number, bent: Buffer) => boolean = () => false,
): Tally {
  t.same(both(bytes), [true, true], 'untouched, both accept');
  const tally = { compared: 0, accepted: 0 };
  for (let at = 0; at < bytes.length; at += 1) {
    // The lowest bit of every byte, and in turn one of the others.
    for (const [change, apply] of [OTHERS[at % OTHERS.length]!, LOWEST_BIT]) {
      const bent = apply(bytes, at);
      const [ours, theirs] = both(bent);
      tally.compared += 1;
      if (ours !== theirs) t.fail(`${change} at ${at}: ours ${ours}, theirs ${theirs}`);
      else if (ours && !mayHold(at, bent)) t.fail(`${change} at ${at} was not noticed`);
      if (ours) tally.accepted += 1;
    }
  }
  return tally;
}

async function filledRig(t: Pick<Test, 'teardown'>): Promise<FullRig> {
  const rig = await makeFullRig(t);
  const ledger = await rig.ledger();
  for (const [count, total] of [
    [200, 200],
    [70, 270],
    [5, 275],
  ] as const) {
    await rig.pay(count);
    await until(`${total} final`, () => ledger.status().finalSize === total);
  }
  await until('the mirror has it', () => rig.mirror.status().get(ORIGIN)?.publishedSize === 275);
  await ledger.close();
  return rig;
}

const filesBelow = (root: string): readonly string[] =>
  readdirSync(root, { recursive: true })
    .map(String)
    .filter((name) => statSync(join(root, name)).isFile())
    .toSorted();

const rig = await filledRig(t);

t.test('a log of the writer, its copy at the mirror, and both after damage', async (t) => {
  const policyText = utf8ToBytes(rig.policyText);
  const copies = [rig.root, join(rig.mirrorRoot, 'logs', originFolder(ORIGIN))];
  for (const folder of copies) {
    const verdict = judgeFolder(join(folder, 'tlog'), policyText);
    t.match(verdict, { right: true, value: { origin: ORIGIN, size: 275 } });
  }
  const folder = join(await temporaryFolder(t), 'log');
  cpSync(rig.root, folder, { recursive: true });
  const tlog = join(folder, 'tlog');
  const paths = filesBelow(tlog);
  const served = filesBelow(folder).filter((path) => /^(?:tlog|payload|keys)\//.test(path));
  const source = folderSource(folder);
  const both = async (): Promise<readonly boolean[]> => {
    const report = await verifyLog(source, served, rig.policy, verify);
    return [report.problems.length === 0, judgeFolder(tlog, policyText).right];
  };
  t.same(await both(), [true, true]);
  let compared = 0;
  for (const [number, path] of paths.entries()) {
    const whole = readFileSync(join(tlog, path));
    for (const [way, apply] of Object.values(CHANGES).entries()) {
      for (let round = 0; round < 3; round += 1) {
        const at =
          [0, whole.length - 1][round] ?? (number * 7919 + round * 104_729 + way) % whole.length;
        writeFileSync(join(tlog, path), apply(whole, at));
        const judged = await both();
        compared += 1;
        if (judged.includes(true)) t.fail(`${path}, ${way} at ${at}: ${judged.join(', ')}`);
      }
    }
    writeFileSync(join(tlog, path), whole);
  }
  t.ok(compared >= 5 * 3 * 8, `${compared} damaged logs were refused by both`);
  t.same(await both(), [true, true], 'mended, both accept again');
});

t.test('checkpoints, policies and proofs: one verdict on every change of every byte', async (t) => {
  const policyText = Buffer.from(rig.policyText);
  const checkpoint = readFileSync(join(rig.root, 'tlog/checkpoint'));
  const oursOf = (note: Uint8Array, text: Uint8Array): boolean => {
    const policy = parsePolicy(text);
    return policy.ok && verifyFinalCheckpoint(note, policy.value, verify).ok;
  };
  const theirsOf = (note: Uint8Array, text: Uint8Array): boolean =>
    judge(() => finalCheckpoint(note, readPolicy(text))).right;

  // A witness line may be spoilt in its name or key id, where three others and the mirror remain.
  const lines = compare(
    t,
    checkpoint,
    (bent) => [oursOf(bent, policyText), theirsOf(bent, policyText)],
    (at) =>
      at >
      checkpoint.indexOf('\n\n') + 2 + checkpoint.toString('utf8').split('\n\n')[1]!.indexOf('\n'),
  );
  t.comment(`checkpoint: ${lines.compared} compared, ${lines.accepted} left a quorum`);
  // What a policy calls its witnesses is its own affair: a change that leaves a quorum leaves a policy.
  const policies = compare(
    t,
    policyText,
    (bent) => [oursOf(checkpoint, bent), theirsOf(checkpoint, bent)],
    () => true,
  );
  t.comment(`policy: ${policies.compared} compared, ${policies.accepted} still met`);

  const { policy } = rig;
  const source = folderSource(rig.root);
  const payload = (await source.read('payload/000')) ?? new Uint8Array(0);
  const name = Buffer.from(payload.subarray(2, 34)).toString('hex');
  const proofs = await proveReceipts(source, new Set([name]), { policy, verify });
  const proof = Buffer.from(proofs.get(name) ?? []);
  const entry = entryOf(readProofFile(proof).extra ?? Buffer.of());
  const extraEnd = proof.indexOf('\nindex ');
  const tail =
    proof.indexOf('\n\n') + 2 + proof.subarray(proof.indexOf('\n\n') + 2).indexOf('\n\n') + 2;
  const logLineEnd = proof.indexOf('\n', tail);
  const { compared, accepted } = compare(
    t,
    proof,
    (bent) => [
      verifyProof(bent, entry, policy, verify).ok,
      judgeProof(bent, entry, policyText).right,
    ],
    // The extra line is "not authenticated"; what Kiri puts there is held against the entry by `kiri verify`.
    (at) => at <= extraEnd || at > logLineEnd,
  );
  t.comment(`proof: ${compared} compared, ${accepted} held`);
  t.notOk(judgeProof(proof, Buffer.from('another entry'), policyText).right);
});
