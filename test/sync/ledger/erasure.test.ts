import { createHash } from 'node:crypto';
import { existsSync } from 'node:fs';
import { cp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import t from 'tap';
import { ERASE_ON_REQUEST } from '../../../identity/core/documents/erasure.ts';
import { issueErasureRequest } from '../../../identity/core/issue.ts';
import { nobleSigner } from '../../../identity/core/noble-signatures.ts';
import { nodeVerifier } from '../../../identity/edge/node-signatures.ts';
import { fromHex } from '../../../protocol/bytes.ts';
import { ALG_EDDSA, type Signer } from '../../../protocol/public-key.ts';
import { periodOf } from '../../../sync/ledger/content-keys.ts';
import { eraseKeys, parseHolds, type LegalHold } from '../../../sync/ledger/erase-keys.ts';
import { fsckLog } from '../../../sync/ledger/fsck-log.ts';
import { parseSignedHead } from '../../../sync/ledger/core/signed-head.ts';
import { LogCopy } from '../../../sync/ledger/log-copy.ts';
import { readCheckpoint } from '../../../sync/ledger/log-folder.ts';
import { resourceOf } from '../../../sync/ledger/log-server.ts';
import { folderSource } from '../../../sync/ledger/log-source.ts';
import { originFolder } from '../../../sync/ledger/mirror-log.ts';
import { openedRecords } from '../../../sync/ledger/opened-records.ts';
import { restoreLog } from '../../../sync/ledger/restore-log.ts';
import { makeFullRig, type FullRig } from './full-rig.ts';
import { ORIGIN, realLog, realVerify } from './keys.ts';
import { ACCEPTED_AT_MS, until } from './rig.ts';

const seed = (value: number): Uint8Array => new Uint8Array(32).fill(value);
const [issuer, gateway, mirror, stranger] = [1, 2, 3, 4].map((one) =>
  nobleSigner(ALG_EDDSA, seed(one)),
) as [Signer, Signer, Signer, Signer];
const trust = { issuerKey: issuer.key, verifier: nodeVerifier() };
const PERIOD = periodOf(ACCEPTED_AT_MS);
/** After the month's end. */
const LATER_MS = ACCEPTED_AT_MS + 32 * 86_400_000;

const requestFor = (kid: string, change: object = {}, by: Signer = issuer): Uint8Array =>
  issueErasureRequest(by, {
    issuedS: Math.floor(LATER_MS / 1000),
    origin: ORIGIN,
    period: PERIOD,
    kids: [fromHex(kid)],
    reason: ERASE_ON_REQUEST,
    holders: [
      { name: 'gateway', key: gateway.key },
      { name: 'mirror', key: mirror.key },
    ],
    ...change,
  });

/** Where the writer keeps a party's key of this month. */
const plainKeyPath = (root: string, party: string): string => {
  const name = createHash('sha256').update(party).digest('hex');
  return join(root, 'state/content-keys', PERIOD, name);
};

const kidOf = async (root: string, party: string): Promise<string> =>
  (await readFile(plainKeyPath(root, party))).subarray(0, 16).toString('hex');

const everyFile = async (root: string): Promise<string> => {
  const hash = createHash('sha256');
  const entries = await readdir(root, { recursive: true, withFileTypes: true });
  for (const entry of entries.toSorted((a, b) => (a.name < b.name ? -1 : 1))) {
    if (entry.isFile()) hash.update(await readFile(join(entry.parentPath, entry.name)));
  }
  return hash.digest('hex');
};

const opens = async (rig: FullRig, root: string, size: number): Promise<Map<string, number>> => {
  const counts = new Map<string, number>();
  for await (const { plain } of openedRecords(folderSource(root), size, rig.contentSecret)) {
    const [, party = ''] = Buffer.from(plain).toString('utf8').split(' ');
    counts.set(party, (counts.get(party) ?? 0) + 1);
  }
  return counts;
};

/** A log of 300 payments of three parties, at rest, and the mirror's copy of it. */
const paidLog = async (test: {
  teardown(end: () => Promise<void>): void;
}): Promise<{ rig: FullRig; copy: string }> => {
  const rig = await makeFullRig(test);
  const ledger = await rig.ledger();
  await rig.pay(300);
  await until('300 final', () => ledger.status().finalSize === 300);
  await until('mirrored', () => rig.mirror.status().get(ORIGIN)?.publishedSize === 300);
  await ledger.close();
  return { rig, copy: join(rig.mirrorRoot, 'logs', originFolder(ORIGIN)) };
};

t.test('a request that may not be carried out changes nothing', async (t) => {
  const { rig } = await paidLog(t);
  const kid = await kidOf(rig.root, 'party0');
  const before = await everyFile(rig.root);
  const attempt = async (
    request: Uint8Array,
    change: {
      holder?: Signer;
      holds?: readonly LegalHold[];
      nowMs?: number;
      root?: string;
    } = {},
  ): Promise<string> => {
    const base = { root: rig.root, trust, holder: gateway, holds: [], nowMs: LATER_MS };
    const done = await eraseKeys({ ...base, request, ...change });
    return done.ok ? 'erased' : done.reason;
  };
  t.match(await attempt(requestFor(kid), { nowMs: ACCEPTED_AT_MS }), /^ERASURE_EARLY/);
  t.match(await attempt(requestFor(kid), { holder: stranger }), /^ERASURE_OTHER_HOLDER/);
  t.match(await attempt(requestFor(kid, {}, stranger)), /^ERASURE_INVALID/);
  t.match(await attempt(requestFor(kid, { period: '2020-01' })), /^ERASURE_MISMATCH/);
  t.match(await attempt(requestFor(kid).slice(0, -1)), /^ERASURE_INVALID/);
  for (const hold of [
    { origin: ORIGIN },
    { origin: ORIGIN, period: PERIOD },
    { origin: ORIGIN, kid },
    { origin: ORIGIN, period: PERIOD, kid },
    // The chain of shards that this log is one of.
    { origin: 'kiri.example/gw1' },
    { origin: 'kiri.example/gw1', period: PERIOD },
  ]) {
    t.match(await attempt(requestFor(kid), { holds: [hold] }), /^ERASURE_HELD/);
  }
  t.equal(await everyFile(rig.root), before, 'nothing was touched');
  const empty = join(rig.base, 'elsewhere');
  for (const wrong of [empty, rig.base]) {
    t.match(await attempt(requestFor(kid), { root: wrong }), /^ERASURE_OTHER_LOG/, wrong);
  }
  const other = requestFor(kid, { origin: 'kiri.example/gw1/2026q3' });
  t.match(await attempt(other), /^ERASURE_OTHER_LOG/, 'nobody signs for a log that is not here');
  t.notOk(existsSync(empty));
  const others = [{ origin: 'other.example' }, { origin: ORIGIN, period: '2020-01' }];
  t.equal(await attempt(requestFor(kid), { holds: others }), 'erased', 'other holds do not matter');
});

t.test('a list of holds is read strictly', async (t) => {
  const kid = 'ab'.repeat(16);
  t.same(parseHolds(`# court\n\n${ORIGIN}\n${ORIGIN} 2026-11\n${ORIGIN} * ${kid}\n`), {
    ok: true,
    value: [{ origin: ORIGIN }, { origin: ORIGIN, period: '2026-11' }, { origin: ORIGIN, kid }],
  });
  for (const wrong of ['a b c d', `${ORIGIN} november`, `${ORIGIN} 2026-11 ${kid}0`]) {
    t.match(parseHolds(wrong), { ok: false, reason: /line 1/ });
  }
});

t.test('an erased key is gone at every holder, and the log verifies as before', async (t) => {
  const { rig, copy } = await paidLog(t);
  const kid = await kidOf(rig.root, 'party0');
  const request = requestFor(kid);
  const fsck = (root: string, issuedBy = trust): ReturnType<typeof fsckLog> =>
    fsckLog(root, rig.policy, realVerify, issuedBy);
  const erase = (root: string, holder: Signer): ReturnType<typeof eraseKeys> =>
    eraseKeys({ root, request, trust, holder, holds: [], nowMs: LATER_MS });
  t.same(await opens(rig, rig.root, 300), new Map(['0', '1', '2'].map((n) => [`party${n}`, 100])));

  // A crash left a half-written copy of each kind behind.
  const torn = `.${'0'.repeat(16)}.tmp`;
  await writeFile(join(rig.root, `keys/${kid}${torn}`), 'x');
  await cp(plainKeyPath(rig.root, 'party0'), `${plainKeyPath(rig.root, 'party0')}${torn}`);
  t.match(await erase(rig.root, gateway), {
    ok: true,
    value: [{ kid, wrappedCopies: 2, plainCopies: 2 }],
  });
  const left = await readdir(rig.root, { recursive: true });
  t.same(
    left.filter((name) => name.includes(kid)).toSorted(),
    [`erased/${kid}`, `erased/${kid}.${gateway.key.hex}`].toSorted(),
  );
  t.notOk(left.some((name) => name.includes(torn)));
  t.same(await opens(rig, rig.root, 300), new Map(['1', '2'].map((n) => [`party${n}`, 100])));

  const checked = await fsck(rig.root);
  t.match(checked, { recordedSize: 300, finalSize: 300, problems: [], keys: { erased: 1 } });
  t.match(checked.notes, [{ path: `erased/${kid}`, reason: /^mirror has not confirmed/ }]);
  t.match((await fsckLog(rig.root, rig.policy, realVerify)).problems, [
    { path: `erased/${kid}`, reason: /issuer/ },
    { path: `keys/${kid}`, reason: /missing/ },
  ]);
  const strange = { ...trust, issuerKey: stranger.key };
  t.ok((await fsck(rig.root, strange)).problems.length > 0, 'another’s order is none');

  t.match(await erase(copy, mirror), {
    ok: true,
    value: [{ wrappedCopies: 1, plainCopies: 0 }],
  });
  const answer = `erased/${kid}.${mirror.key.hex}`;
  await cp(join(copy, answer), join(rig.root, answer));
  t.same((await fsck(rig.root)).notes, [], 'every holder has confirmed');

  // Again, as after a crash: nothing more to do, the first confirmation stays.
  const first = await readFile(join(rig.root, `erased/${kid}.${gateway.key.hex}`));
  t.match(await erase(rig.root, gateway), { ok: true, value: [{ wrappedCopies: 0 }] });
  t.same(await readFile(join(rig.root, `erased/${kid}.${gateway.key.hex}`)), first);

  // What must not be: a copy put back, a confirmation that was changed.
  await writeFile(join(rig.root, `keys/${kid}`), 'back');
  t.match((await fsck(rig.root)).problems, [{ path: `keys/${kid}`, reason: /erase it again/ }]);
  await rm(join(rig.root, `keys/${kid}`));
  await writeFile(plainKeyPath(rig.root, 'x'), Buffer.concat([fromHex(kid), seed(1)]));
  t.match((await fsck(rig.root)).problems, [{ path: /content-keys/, reason: /plain copy/ }]);
  await rm(plainKeyPath(rig.root, 'x'));
  await writeFile(join(rig.root, answer), first);
  t.match((await fsck(rig.root)).problems, [{ path: answer }]);
});

t.test('a log with an erased key goes on, is copied by a new mirror, and restored', async (t) => {
  const { rig, copy } = await paidLog(t);
  const kid = await kidOf(rig.root, 'party0');
  const request = requestFor(kid);
  const erased = await eraseKeys({
    root: rig.root,
    request,
    trust,
    holder: gateway,
    holds: [],
    nowMs: LATER_MS,
  });
  t.ok(erased.ok);

  // Late records of the month get a new key; the old mirror, still holding the erased one, follows.
  const ledger = await rig.ledger();
  await rig.pay(30);
  await until('330 final', () => ledger.status().finalSize === 330);
  await until('mirrored', () => rig.mirror.status().get(ORIGIN)?.publishedSize === 330);
  await ledger.close();
  t.equal((await opens(rig, rig.root, 330)).get('party0'), 10);

  const source = folderSource(rig.root);
  const keys = [realLog().key];
  const note = (await readCheckpoint(source)) ?? new Uint8Array(0);
  const head = parseSignedHead(note, keys, realVerify);
  if (!head.ok) throw new Error(head.reason);
  const log = { origin: ORIGIN, keys, verify: realVerify };
  const blind = await LogCopy.open(join(rig.base, 'blind'), log);
  t.match(await blind.extend(source, head.value), { ok: false, reason: /erased/ });
  const misled = await LogCopy.open(join(rig.base, 'misled'), {
    ...log,
    erasure: { ...trust, issuerKey: stranger.key },
  });
  t.match(await misled.extend(source, head.value), { ok: false, reason: /^erased\// });
  const fresh = await LogCopy.open(join(rig.base, 'fresh'), { ...log, erasure: trust });
  t.match(await fresh.extend(source, head.value), { ok: true });
  const held = await readdir(join(rig.base, 'fresh/keys'));
  t.equal(held.length, 3, 'two others, and the one made for late records');
  t.same(await readFile(join(rig.base, 'fresh/erased', kid)), Buffer.from(request));

  // The old mirror erases too, and does not fetch the key again from a place that still has it.
  const still = join(rig.base, 'still');
  await cp(rig.root, still, { recursive: true });
  await cp(join(copy, 'keys', kid), join(still, 'keys', kid));
  const again = await LogCopy.open(join(rig.base, 'again'), { ...log, erasure: trust });
  await cp(join(rig.base, 'fresh/erased'), join(rig.base, 'again/erased'), { recursive: true });
  t.match(await again.extend(folderSource(still), head.value), { ok: true });
  t.notOk((await readdir(join(rig.base, 'again/keys'))).includes(kid));

  await cp(join(rig.root, 'tlog/checkpoint'), join(rig.base, 'fresh/tlog/checkpoint'));
  const restored = join(rig.base, 'restored');
  const options = {
    from: folderSource(join(rig.base, 'fresh')),
    to: restored,
    origin: ORIGIN,
    policy: rig.policy,
    verify: realVerify,
  };
  t.match(await restoreLog(options), { ok: false, reason: /erased/ });
  t.match(await restoreLog({ ...options, erasure: trust }), { ok: true, value: { size: 330 } });
  t.match(await fsckLog(restored, rig.policy, realVerify, trust), {
    problems: [],
    keys: { erased: 1, held: 3, issuerOnly: 3 },
  });
});

t.test('what stands in a key’s place is served, and nothing beside it', async (t) => {
  const kid = 'ab'.repeat(16);
  t.equal(resourceOf(`/erased/${kid}`)?.path, `erased/${kid}`);
  t.equal(resourceOf(`/erased/${kid}.${kid}`)?.path, `erased/${kid}.${kid}`);
  for (const path of ['/erased/', `/erased/${kid}.`, `/erased/${kid}/..`, `/erased/${kid}.x`]) {
    t.equal(resourceOf(path), undefined, path);
  }
});
