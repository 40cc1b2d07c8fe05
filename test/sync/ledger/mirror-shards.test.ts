import { readdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import t from 'tap';
import { ERASE_ON_REQUEST } from '../../../identity/core/documents/erasure.ts';
import { issueErasureRequest } from '../../../identity/core/issue.ts';
import { nobleSigner } from '../../../identity/core/noble-signatures.ts';
import { nodeVerifier } from '../../../identity/edge/node-signatures.ts';
import { writeFileDurable } from '../../../platform/durable-file.ts';
import { systemClock } from '../../../platform/system-clock.ts';
import { fromHex, utf8ToBytes } from '../../../protocol/bytes.ts';
import { ALG_EDDSA } from '../../../protocol/public-key.ts';
import { encodeCheckpoint } from '../../../sync/ledger/core/checkpoint.ts';
import { encodeNoteLeaf } from '../../../sync/ledger/core/leaf.ts';
import { growCopy } from '../../../sync/ledger/core/mirror.ts';
import { EMPTY_ROOT } from '../../../sync/ledger/core/merkle.ts';
import { signNote } from '../../../sync/ledger/core/note.ts';
import { cosign } from '../../../sync/ledger/core/cosignature.ts';
import { verifierKey } from '../../../sync/ledger/core/note-key.ts';
import { emptyTree } from '../../../sync/ledger/core/tree.ts';
import { encodeAddCheckpoint } from '../../../sync/ledger/core/witness.ts';
import { folderSource } from '../../../sync/ledger/log-source.ts';
import { originFolder } from '../../../sync/ledger/mirror-log.ts';
import { type MirrorService, startMirrorService } from '../../../sync/ledger/mirror-service.ts';
import { ORIGIN, realLog, realVerify, realWitness } from './keys.ts';
import { MadeLog } from './made-log.ts';
import { MIRROR, askPatiently, temporaryFolder } from './rig.ts';

/** `ORIGIN` is the shard 2026q4 of it. */
const PREFIX = 'kiri.example/gw1';
const IN_Q4 = Date.UTC(2026, 10, 1);
const issuer = nobleSigner(ALG_EDDSA, new Uint8Array(32).fill(1));
const holder = nobleSigner(ALG_EDDSA, new Uint8Array(32).fill(2));

const mirrorOf = (base: string): Promise<MirrorService> => {
  const { type, publicKey } = realLog().key;
  const keys = [verifierKey(PREFIX, type, publicKey)];
  return startMirrorService({
    root: join(base, 'mirror'),
    ports: { signer: realWitness(MIRROR), verify: realVerify },
    logs: new Map([[PREFIX, { keys, source: folderSource(join(base, 'log')) }]]),
    erasure: { issuerKey: issuer.key, verifier: nodeVerifier() },
    port: 0,
    clock: { now: () => ({ ...systemClock().now(), unixMs: IN_Q4 }) },
  });
};

const ask = async (mirror: MirrorService, body: Uint8Array): Promise<string> => {
  const answer = await askPatiently(`${mirror.url}/add-checkpoint`, {
    body,
    timeoutMs: 5_000,
    maxBytes: 65_536,
  });
  return `${answer.status} ${Buffer.from(answer.body).toString('utf8').split('\n')[0]}`;
};

t.test('a log cannot make a mirror keep folders for shards of any year', async (t) => {
  const base = await temporaryFolder(t);
  const mirror = await mirrorOf(base);
  t.teardown(() => mirror.close());
  for (const shard of ['1999q1', '2025q3', '2027q2', '9999q4']) {
    const origin = `${PREFIX}/${shard}`;
    const { publicKey, type } = realLog().key;
    const signer = { key: verifierKey(origin, type, publicKey), sign: realLog().sign };
    const note = signNote(encodeCheckpoint({ origin, size: 0, root: EMPTY_ROOT }), signer);
    t.equal(
      await ask(mirror, encodeAddCheckpoint(0, [], note)),
      '404 a shard of another time',
      shard,
    );
  }
  t.same([...mirror.status().keys()], [PREFIX]);
  t.same(await readdir(join(base, 'mirror/logs')), [originFolder(PREFIX)]);
});

t.test('a shard with an erased key is copied by a mirror that knows the issuer', async (t) => {
  const base = await temporaryFolder(t);
  const log = new MadeLog(join(base, 'log/2026q4'));
  await log.append(3);
  const [kid = ''] = await readdir(join(log.root, 'keys'));
  await rm(join(log.root, 'keys', kid));
  const request = issueErasureRequest(issuer, {
    issuedS: IN_Q4 / 1000,
    origin: ORIGIN,
    period: '2026-10',
    kids: [fromHex(kid)],
    reason: ERASE_ON_REQUEST,
    holders: [{ name: 'gateway', key: holder.key }],
  });
  await writeFileDurable(join(log.root, 'erased', kid), request);
  const mirror = await mirrorOf(base);
  t.teardown(() => mirror.close());
  t.match(await ask(mirror, await log.request(0)), /^200 /);
});

t.test('a shard made again may carry other cosignatures of the same last checkpoint', async (t) => {
  const text = encodeCheckpoint({ origin: `${PREFIX}/2026q3`, size: 0, root: EMPTY_ROOT });
  const signed = signNote(text, realLog(`${PREFIX}/2026q3`));
  const [first, again] = [1, 2].map((timeS) =>
    utf8ToBytes(signed + cosign(text, realWitness(MIRROR), timeS)),
  ) as [Uint8Array, Uint8Array];
  const leaf = encodeNoteLeaf('predecessor', text);
  const copy = { tree: emptyTree(), bundle: { leaves: [], payloads: [] } };
  t.ok(growCopy(copy, { leaves: [leaf], payloads: [first] }).ok);
  const next = encodeNoteLeaf('rollUp', text);
  const grown = growCopy(copy, { leaves: [leaf, next], payloads: [again, first] });
  t.ok(grown.ok, grown.ok ? '' : grown.reason);
  t.same(copy.bundle.payloads, [first, first], 'what was copied first is kept');
  const wrong = { leaves: [leaf, next, next], payloads: [utf8ToBytes('no note'), first, first] };
  t.match(growCopy(copy, wrong), { ok: false, reason: /served before/ });
});
