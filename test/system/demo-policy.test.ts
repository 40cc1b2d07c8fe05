import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { createHash } from 'node:crypto';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t from 'tap';
import { verifyFinalCheckpoint } from '../../sync/ledger/core/final-checkpoint.ts';
import { parsePolicy } from '../../sync/ledger/core/policy.ts';
import { kiri } from './command.ts';
import '../plain-children.ts';
import { realVerify } from '../sync/ledger/keys.ts';

t.setTimeout(180_000);
const folder = mkdtempSync(join(tmpdir(), 'kiri-demo-policy-'));
t.teardown(() => rmSync(folder, { recursive: true, force: true }));

interface Summary {
  readonly policy: { readonly name: string; readonly purpose: string; readonly hash: string };
  readonly finalityMs: Readonly<Record<string, { readonly count: number; readonly p50: number }>>;
  readonly restored: { readonly entries: number };
  readonly ledger: readonly { readonly origin: string; readonly size: number }[];
  readonly totals: Readonly<Record<string, string>>;
  readonly counts: Readonly<Record<string, number>>;
  readonly reconciles: boolean;
}

t.test('the story under 3 of 4 witnesses and a mirror, one dead, the log lost', async (t) => {
  const out = join(folder, 'out');
  const ended = await kiri(['demo', '--policy', 'full', '--json', '--out', out]);
  t.equal(ended.code, 0, ended.stderr);
  const summary = JSON.parse(ended.stdout) as Summary;
  t.equal(summary.reconciles, true);
  const { deviceReceipts, gatewayAccepted, ledger } = summary.counts;
  t.same([deviceReceipts, gatewayAccepted, ledger], [305, 305, 305], 'all that was paid, once');
  t.equal(summary.totals['ledger'], summary.totals['deviceReceipts']);
  t.ok(summary.finalityMs['online']!.count > 0, 'L2 was met with every witness there');
  t.ok(summary.finalityMs['witnessGone']!.count > 0, 'and with one of them dead');
  const [log] = summary.ledger;
  t.ok(summary.restored.entries > 0, 'the log came back from the mirror');
  t.ok(log!.size > summary.restored.entries, 'and went on');

  const text = new Uint8Array(readFileSync(join(out, 'trust', 'policy.txt')));
  t.equal(summary.policy.hash, createHash('sha256').update(text).digest('hex'));
  t.match(summary.policy, { name: 'full', purpose: /3 of 4 witnesses and a mirror/ });
  const policy = parsePolicy(text);
  if (!policy.ok) throw new Error(policy.reason);
  const checkpoint = readFileSync(join(out, 'ledger', log!.origin, 'tlog', 'checkpoint'));
  const final = verifyFinalCheckpoint(new Uint8Array(checkpoint), policy.value, realVerify);
  if (!final.ok) throw new Error(final.reason);
  const cosigners = [...final.value.cosignedAtS.keys()].toSorted();
  t.same(cosigners, ['m1', 'w1', 'w3', 'w4'], 'the mirror and the three that live have signed');
  for (const place of ['witness-1', 'witness-2', 'witness-3', 'witness-4', 'mirror']) {
    const vkey = readFileSync(join(out, 'trust', `${place}.vkey`), 'utf8').trim();
    t.ok(Buffer.from(text).includes(vkey), `${place}.vkey is a key of the policy`);
  }

  const checked = await kiri(['verify', out]);
  t.equal(checked.code, 0, `kiri verify accepts it: ${checked.stdout}${checked.stderr}`);
});

t.test('a policy that nobody knows is a matter of usage', async (t) => {
  const ended = await kiri(['demo', '--policy', 'fullest', '--out', join(folder, 'never')]);
  t.equal(ended.code, 2);
  t.match(ended.stderr, /--policy fullest .*demo or full/);
  t.equal(ended.stdout, '', 'nothing was begun');
});
