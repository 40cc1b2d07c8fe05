import { cp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import t from 'tap';
import { journalReader } from '../../../platform/journal-reader.ts';
import type { Clock } from '../../../platform/ports.ts';
import { systemClock } from '../../../platform/system-clock.ts';
import { bytesEqual, toHex } from '../../../protocol/bytes.ts';
import type { LogLevels } from '../../../protocol/levels.ts';
import { openContentKeys } from '../../../sync/ledger/content-keys.ts';
import { verifyFinalCheckpoint } from '../../../sync/ledger/core/final-checkpoint.ts';
import { encodeLeaf, parseLeaf } from '../../../sync/ledger/core/leaf.ts';
import { type ChainedShard, verifyShardChain } from '../../../sync/ledger/core/shard.ts';
import { fsckLog } from '../../../sync/ledger/fsck-log.ts';
import { readEntries, readPayloads } from '../../../sync/ledger/log-folder.ts';
import { serveLog } from '../../../sync/ledger/log-server.ts';
import { folderSource, httpSource } from '../../../sync/ledger/log-source.ts';
import { originFolder } from '../../../sync/ledger/mirror-log.ts';
import { startMirrorService } from '../../../sync/ledger/mirror-service.ts';
import { restoreLog } from '../../../sync/ledger/restore-log.ts';
import type { EntrySource } from '../../../sync/ledger/ledger-types.ts';
import { beginShard, startShardedLedger } from '../../../sync/ledger/shard-service.ts';
import { startWitnessService } from '../../../sync/ledger/witness-service.ts';
import { policyOf, realVerify, realWitness } from './keys.ts';
import { MIRROR, WITNESS, makeRig, source, temporaryFolder, until } from './rig.ts';
import { nodeJournalFs } from '../../../platform/journal-fs.ts';
import { logSigner } from '../../../sync/ledger/core/note-ports.ts';
import { nobleSigner } from '../../../identity/core/noble-signatures.ts';
import { ALG_EDDSA } from '../../../protocol/public-key.ts';

const PREFIX = 'kiri.example/gw1';
const [Q3, Q4, Q1] = ['2026q3', '2026q4', '2027q1'];
const IN_Q3 = Date.UTC(2026, 8, 30, 23, 59);
const IN_Q4 = Date.UTC(2026, 9, 1);
const IN_Q1 = Date.UTC(2027, 0, 1);

/** One key pair under the name of the prefix or of a shard. */
const signerFor = (origin: string) =>
  logSigner(origin, nobleSigner(ALG_EDDSA, new Uint8Array(32).fill(9)));
const policy = policyOf(
  signerFor(PREFIX),
  [realWitness(WITNESS), realWitness(MIRROR)],
  'group q all w1 w2\nquorum q',
);
/** Entries with the sequence that an approver would have given: the payment's number. */
const sequenced: EntrySource = async (record, index) =>
  (await source(record, index)).map((entry) => {
    const number = Number(Buffer.from(record).toString('utf8').split(' ')[2]);
    return { ...entry, sequence: number + 1 };
  });
const isFinal = (note: Uint8Array) => verifyFinalCheckpoint(note, policy, realVerify);

/** A wall clock that the test sets; time itself goes on. */
const movedClock = (): Clock & { unixMs: number } => {
  const real = systemClock();
  const clock = { unixMs: IN_Q3, now: () => ({ ...real.now(), unixMs: clock.unixMs }) };
  return clock;
};

const chained = async (root: string): Promise<ChainedShard> => {
  const files = folderSource(root);
  const note = await files.read('tlog/checkpoint');
  const head = isFinal(note ?? new Uint8Array());
  if (!head.ok) throw new Error(head.reason);
  const { size } = head.value;
  if (size === 0) return { head: head.value };
  const [leaf] = await readEntries(files, 0, size);
  const [record] = await readPayloads(files, 0, size);
  return { head: head.value, first: { leaf: leaf!, record: record! } };
};

/** Every receipt of the shards in order, by its hash. */
const receiptsOf = async (roots: readonly string[]): Promise<string[]> => {
  const found: string[] = [];
  for (const root of roots) {
    const files = folderSource(root);
    const { size } = (await chained(root)).head;
    const leaves = size === 0 ? [] : await readEntries(files, 0, size);
    const records = size === 0 ? [] : await readPayloads(files, 0, size);
    for (const [at, leaf] of leaves.entries()) {
      if (parseLeaf(leaf)?.kind === 'receipt') found.push(toHex(records[at]!.subarray(0, 32)));
    }
  }
  return found;
};

t.test(
  'quarters follow each other: mirrored, restorable, no receipt lost or doubled',
  async (t) => {
    const rig = await makeRig(t);
    const base = await temporaryFolder(t);
    const root = join(base, 'shards');
    const clock = movedClock();
    const logs = new Map([[PREFIX, [signerFor(PREFIX).key]]]);
    const witness = await startWitnessService({
      root: join(base, 'witness'),
      ports: { signer: realWitness(WITNESS), verify: realVerify },
      logs,
      port: 0,
      clock,
    });
    const server = await serveLog(root, 0);
    const openMirror = (port = 0) =>
      startMirrorService({
        root: join(base, 'mirror'),
        ports: { signer: realWitness(MIRROR), verify: realVerify },
        logs: new Map([[PREFIX, { keys: logs.get(PREFIX)!, source: httpSource(server.url) }]]),
        port,
        clock,
      });
    let mirror = await openMirror();
    const mirrorUrl = mirror.url;
    // Each start is told of another retention.
    let stated = 0;
    const open = (from = root) =>
      startShardedLedger({
        root: from,
        prefix: PREFIX,
        ports: { verify: realVerify, policy },
        signerFor,
        keysFor: (folder) => openContentKeys(folder, rig.issuer.key),
        retention: { payloadDays: 2_557, treeYears: 9 + (stated += 1) },
        reader: journalReader(rig.journalFolder),
        source: sequenced,
        witnessUrls: new Map([
          ['w1', witness.url],
          ['w2', mirrorUrl],
        ]),
        clock,
        checkIntervalMs: 20,
      });
    let ledger = await open();
    await t.rejects(open(), { code: 'FOLDER_LOCKED' });
    await rig.pay(5);
    await until('5 final', () => ledger.status().finalSize === 5);
    const levels = join(root, 'state', 'levels');
    const shown = async () => JSON.parse(await readFile(levels, 'utf8')) as LogLevels;
    await until('the gateway sees it', () =>
      // It is first written beside everything else.
      shown().then(
        ({ final }) => final.throughSequence === 5,
        () => false,
      ),
    );
    t.equal(ledger.origin(), `${PREFIX}/${Q3}`);

    // Offline over the quarter's end: the old shard goes on.
    ledger.setLink(false);
    await rig.pay(2);
    await until('7 recorded', () => ledger.status().recordedSize === 7);
    clock.unixMs = IN_Q4;
    await new Promise((resolve) => setTimeout(resolve, 100));
    t.equal(ledger.origin(), `${PREFIX}/${Q3}`, 'not closed before all of it is final');
    ledger.setLink(true);
    await until('the next shard', () => ledger.origin() === `${PREFIX}/${Q4}`);
    await until('one file tells it', async () => (await shown()).origin === ledger.origin());
    const turned = await shown();
    t.equal(turned.final.throughSequence, 7, 'nothing that was final is less so');
    await rig.pay(3);
    await until('4 final', () => ledger.status().finalSize === 4);
    await ledger.close();

    // The mirror starts anew and knows the shards that it cosigned.
    const { port } = mirror;
    await mirror.close();
    mirror = await openMirror(port);
    t.same(
      [...mirror.status()]
        .filter(([origin]) => origin !== PREFIX)
        .map(([origin, log]) => [origin, log.cosignedSize]),
      [
        [`${PREFIX}/${Q3}`, 7],
        [`${PREFIX}/${Q4}`, 4],
      ],
    );

    // A start in the quarter after goes on in the old shard and turns then.
    await rig.pay(1);
    clock.unixMs = IN_Q1;
    ledger = await open();
    await until('the shard after', () => ledger.origin() === `${PREFIX}/${Q1}`);
    await rig.pay(4);
    const total = 5 + 2 + 3 + 1 + 4;
    const names = [Q3, Q4, Q1] as const;
    const folders = names.map((name) => join(root, name));
    await until(
      'all final',
      async () => (await receiptsOf(folders).catch(() => [])).length === total,
    );
    await ledger.close();

    const retentions = folders.map((folder) => readFile(join(folder, 'retention'), 'utf8'));
    t.match(
      await Promise.all(retentions),
      [/tree-years 10$/m, /tree-years 10$/m, /tree-years 1[1-9]$/m],
      'a shard keeps what it stated at its start',
    );
    const receipts = await receiptsOf(folders);
    t.equal(new Set(receipts).size, total, 'each receipt once');
    for (const folder of folders) {
      t.same((await fsckLog(folder, policy, realVerify)).problems, [], 'kiri ledger fsck');
    }
    const shards = await Promise.all(folders.map(chained));
    t.match(verifyShardChain(shards, isFinal), { ok: true, value: { prefix: PREFIX } });

    // Subtests run once this function is at its end, the mirror closed.
    await until('the mirror has the published checkpoints', () =>
      shards.every(({ head }) => mirror.status().get(head.origin)?.publishedSize === head.size),
    );

    t.test('a chain that is not one is refused', async (t) => {
      const [a, b, c] = shards as [ChainedShard, ChainedShard, ChainedShard];
      const receipt = encodeLeaf(new Uint8Array(32), new Uint8Array(1));
      const wrong: [string, ChainedShard[], RegExp][] = [
        ['nothing', [], /no shard/],
        ['the wrong order', [b, a], /does not come after/],
        ['one shard twice', [a, a], /does not come after/],
        ['a shard left out', [a, c], /another checkpoint/],
        [
          'no predecessor',
          [a, { ...b, first: { ...b.first!, leaf: receipt } }],
          /names no predecessor/,
        ],
        ['an empty one', [a, { head: b.head }], /names no predecessor/],
        [
          'another record',
          [a, { ...b, first: { ...b.first!, record: c.first!.record } }],
          /another record/,
        ],
        [
          'a shorter one before',
          [{ head: { ...a.head, size: a.head.size - 1 } }, b],
          /another checkpoint/,
        ],
        ['no shard', [{ head: { ...a.head, origin: PREFIX } }], /is no shard/],
        ['another prefix', [{ head: { ...a.head, origin: `other.example/${Q3}` } }, b], /after/],
      ];
      for (const [what, list, reason] of wrong) {
        const verdict = verifyShardChain(list, isFinal);
        t.notOk(verdict.ok, what);
        if (!verdict.ok) t.match(verdict.reason, reason, what);
      }
      const unsigned = {
        ...b.first!,
        record: Buffer.from(
          Buffer.from(b.first!.record)
            .toString()
            .replace(/\n\u2014 mirror.*\n$/, '\n'),
        ),
      };
      t.match(verifyShardChain([a, { ...b, first: unsigned }], isFinal), {
        ok: false,
        reason: /too few/,
      });
    });

    t.test('a lost shard comes back from the mirror and goes on where it stood', async (t) => {
      const origin = `${PREFIX}/${Q1}`;
      const to = join(base, 'restored');
      const restored = await restoreLog({
        from: folderSource(join(base, 'mirror/logs', originFolder(origin))),
        to,
        origin,
        policy,
        verify: realVerify,
        journal: { reader: journalReader(rig.journalFolder, nodeJournalFs, 1), source: sequenced },
      });
      t.match(restored, { ok: true, value: { size: shards[2]!.head.size } });
      const again = join(base, 'again');
      const early = await restoreLog({
        from: folderSource(join(base, 'mirror/logs', originFolder(`${PREFIX}/${Q4}`))),
        to: again,
        origin: `${PREFIX}/${Q4}`,
        policy,
        verify: realVerify,
        journal: { reader: journalReader(rig.journalFolder, nodeJournalFs, 1), source: sequenced },
      });
      t.ok(early.ok, 'a shard in the middle too');
    });

    t.test('a crash at any step of the turn goes on without a loss', async (t) => {
      const predecessor = { root: folders[1]!, origin: `${PREFIX}/${Q4}` };
      const whole = join(base, 'whole');
      const ports = { verify: realVerify, policy };
      await beginShard(whole, predecessor, ports);
      const files = (await readdir(whole, { recursive: true, withFileTypes: true })).filter((one) =>
        one.isFile(),
      );
      t.ok(files.length >= 4);
      const expected = folderSource(whole);
      for (const file of files) {
        // What is durable before this file; the head comes last, so without it the shard does not count.
        const cut = join(base, `cut-${file.name}`);
        await cp(whole, cut, { recursive: true });
        await rm(join(cut, 'state/head'));
        await rm(join(file.parentPath.replace(whole, cut), file.name), { force: true });
        await beginShard(cut, predecessor, ports);
        for (const path of [
          'tlog/tile/0/000.p/1',
          'tlog/tile/entries/000.p/1',
          'payload/000',
          'state/head',
        ]) {
          const [one, other] = [await folderSource(cut).read(path), await expected.read(path)];
          t.ok(one && other && bytesEqual(one, other), `${file.name}: ${path}`);
        }
      }
      const open4 = join(base, 'open');
      await cp(folders[0]!, open4, { recursive: true });
      await rm(join(open4, 'tlog/checkpoint'));
      await t.rejects(
        beginShard(join(base, 'x'), { root: open4, origin: `${PREFIX}/${Q3}` }, ports),
        {
          code: 'LOG_NOT_FINAL',
        },
      );
      await t.rejects(
        beginShard(join(base, 'x'), { root: folders[0]!, origin: `${PREFIX}/${Q4}` }, ports),
        {
          code: 'LOG_NOT_FINAL',
        },
      );
      // Killed before the new head: the old shard is the newest one and turns again.
      const moved = join(base, 'moved');
      await cp(root, moved, { recursive: true });
      await rm(join(moved, 'lock'), { force: true });
      await rm(join(moved, Q1, 'state/head'));
      await writeFile(join(moved, Q1, 'payload/000'), 'torn');
      const resumed = await open(moved);
      t.equal(resumed.origin(), `${PREFIX}/${Q4}`);
      await resumed.close();
    });
    await mirror.close();
    await witness.close();
    await server.close();
  },
);
