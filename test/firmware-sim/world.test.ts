import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import t from 'tap';
import type { SeedResult } from '../../firmware-sim/core/run-seed.ts';
import { runSeed } from '../../firmware-sim/core/run-seed.ts';
import { stubSigner, stubVerifier } from '../../firmware-sim/core/stub-signatures.ts';
import type { Hooks } from '../../firmware-sim/core/world.ts';
import { nobleSigner, nobleVerifier } from '../../identity/core/noble-signatures.ts';
import { nodeVerifier } from '../../identity/edge/node-signatures.ts';
import { ALG_EDDSA } from '../../protocol/public-key.ts';
import '../plain-children.ts';

const STAND_INS = { signer: stubSigner, verifier: stubVerifier() };
const kiri = ['bin/kiri.js', 'sim'];
const run = promisify(execFile);

async function sim(...args: string[]): Promise<{ code: number; stdout: string; stderr: string }> {
  try {
    const { stdout, stderr } = await run(process.execPath, [...kiri, ...args]);
    return { code: 0, stdout, stderr };
  } catch (error) {
    return error as { code: number; stdout: string; stderr: string };
  }
}

t.test('a batch of seeds: every invariant holds, and the faults did happen', async (t) => {
  const total = new Map<string, number>();
  for (let seed = 1; seed <= 15; seed += 1) {
    const result = runSeed(seed, { signatures: STAND_INS });
    t.equal(result.violation, undefined, `seed ${seed}`);
    for (const [what, n] of result.counts) total.set(what, (total.get(what) ?? 0) + n);
  }
  for (const what of [
    'acceptances',
    'gate opened',
    'proofs',
    'crash between two effects',
    'crash at a random moment',
    'clock jump',
    'net lost',
    'net duplicated',
    'net replayed',
    'net cut',
    'disk tornBlocks',
    'disk survivedBlocks',
    'disk forgottenBytes',
    'disk failures',
    'attack replay',
    'attack forged sender',
    'attack unsigned junk',
    'lie one counter twice',
    'lie broken total',
    'card copied',
    'ledger final',
    'ledger answer 409',
    'crash with its gateway',
  ]) {
    t.ok((total.get(what) ?? 0) > 0, `happened: ${what}`);
  }
});

t.test('the same seed is the same story in two processes, another seed another', async (t) => {
  const [once, twice, other] = await Promise.all([
    sim('--seed', '7', '--json'),
    sim('--seed', '7', '--json'),
    sim('--seed', '8', '--json'),
  ]);
  const digest = (result: { stdout: string }): string =>
    (JSON.parse(result.stdout) as { digest: string }).digest;
  t.match(digest(once), /^[0-9a-f]{64}$/);
  t.equal(digest(once), digest(twice));
  t.not(digest(once), digest(other));
});

t.test('with true Ed25519, by noble or by node:crypto, the story is the same one', async (t) => {
  const signer = (secret: Uint8Array) => nobleSigner(ALG_EDDSA, secret);
  const noble = runSeed(2, { signatures: { signer, verifier: nobleVerifier() } });
  const node = runSeed(2, { signatures: { signer, verifier: nodeVerifier() } });
  const stub = runSeed(2, { signatures: STAND_INS });
  t.equal(noble.violation, undefined);
  t.equal(noble.digest, node.digest);
  t.equal(noble.digest, stub.digest, 'no rule depends on what a signature looks like');
});

/** Runs seeds from 1 on until one of them breaks; the worlds are the ones that pass without the bug. */
function caughtWithin(seeds: number, hooks: Hooks): SeedResult | undefined {
  for (let seed = 1; seed <= seeds; seed += 1) {
    const result = runSeed(seed, { signatures: STAND_INS, hooks });
    if (result.violation !== undefined) return result;
  }
  return undefined;
}

t.test('a planted bug is caught', async (t) => {
  const plants: readonly (readonly [string, number, Hooks, RegExp])[] = [
    [
      'acknowledge before the sync',
      3,
      { gateway: { ackBeforeSync: true } },
      /accepted is durable before it leaves/,
    ],
    [
      'a gateway that forgets its journal at a restart',
      10,
      { gateway: { recovered: () => [] } },
      /sequences run on/,
    ],
    [
      'a gateway restored from an older copy of its journal',
      10,
      { gateway: { recovered: (records) => records.slice(0, Math.floor(records.length * 0.7)) } },
      /sequences run on/,
    ],
    [
      'a device that uses its counters again after an unclean start',
      10,
      { payer: { recovered: () => [] } },
      /one counter, one Payment/,
    ],
    [
      'a device that sends before its journal is durable',
      10,
      { payer: { sendBeforeSync: true } },
      /a Payment is durable before it leaves/,
    ],
    [
      'an approver without its duplicate check',
      10,
      {
        gateway: {
          beforeStep: (state) => {
            state.seen.clear();
            for (const line of state.lines.values()) line.window.length = 0;
          },
        },
      },
      /Receipt and Void exclude each other/,
    ],
    [
      'an approver that blocks without a proof',
      10,
      {
        gateway: {
          beforeStep: (state) => {
            for (const line of state.lines.values()) line.blocked = true;
          },
        },
      },
      /a clone is proven/,
    ],
  ];
  for (const [name, within, hooks, invariant] of plants) {
    const caught = caughtWithin(within, hooks);
    t.match(caught?.violation, invariant, `${name}: within ${within} seeds`);
    t.ok((caught?.lastEvents.length ?? 0) > 0, 'the end of the story is told');
  }
});

t.test('kiri sim says what happened and ends as scripts expect', async (t) => {
  const text = await sim('--seeds', '2', '--first', '50');
  t.equal(text.code, 0);
  t.match(text.stdout, '2 seeds (1 with true Ed25519)');
  t.match(text.stdout, 'every invariant held in every world');
  const [alone, shared] = await Promise.all(
    ['1', '2'].map((jobs) => sim('--seeds', '3', '--jobs', jobs, '--json')),
  );
  const told = ({ stdout }: { stdout: string }): object => ({ ...JSON.parse(stdout), realMs: 0 });
  t.same(told(shared!), told(alone!), 'the summary does not depend on the number of threads');
  const forked = await sim('--seed', '3', '--ledger', 'fork');
  t.equal(forked.code, 0);
  t.match(forked.stdout, /ledger event fork +1/);
  for (const wrong of [
    ['--ledger', 'flood'],
    ['--seeds', 'x'],
    ['--seeds', '0'],
    ['--seed', '-1'],
    ['--jobs', '0'],
    ['--nonsense'],
  ]) {
    const { code, stderr } = await sim(...wrong);
    t.equal(code, 2, wrong.join(' '));
    t.match(stderr, 'Usage: kiri sim');
  }
});
