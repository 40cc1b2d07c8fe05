import { mkdir, readFile, readdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import t from 'tap';
import { systemClock } from '../../../../platform/system-clock.ts';
import { utf8ToBytes } from '../../../../protocol/bytes.ts';
import { startAnchorService } from '../../../../sync/ledger/anchor/anchor-service.ts';
import { parseAnchorTrust } from '../../../../sync/ledger/anchor/anchor-trust.ts';
import { fileAnchor } from '../../../../sync/ledger/anchor/file-anchor.ts';
import { parseCheckpoint } from '../../../../sync/ledger/core/checkpoint.ts';
import { cosign } from '../../../../sync/ledger/core/cosignature.ts';
import { parseLeaf } from '../../../../sync/ledger/core/leaf.ts';
import { encodeVerifierKey } from '../../../../sync/ledger/core/note-key.ts';
import { parseNote } from '../../../../sync/ledger/core/note.ts';
import { readCheckpoint, readEntries, readPayloads } from '../../../../sync/ledger/log-folder.ts';
import { folderSource } from '../../../../sync/ledger/log-source.ts';
import { startRollUp } from '../../../../sync/ledger/roll-up-service.ts';
import { verifyLog } from '../../../../sync/ledger/verify-log.ts';
import { startWitnessService } from '../../../../sync/ledger/witness-service.ts';
import { ORIGIN, policyOf, realLog, realVerify, realWitness } from '../keys.ts';
import { WITNESS, makeRig, temporaryFolder, until } from '../rig.ts';

const ROLL_UP = 'rollup.example/2026';
const CONSORTIUM = 'consortium.example/anchor';

t.test(
  'final checkpoints get into the roll-up log, and that log is anchored by hand',
  async (t) => {
    const rig = await makeRig(t);
    const witness = await rig.witness();
    t.teardown(() => witness.close());
    const ledger = await rig.ledger(witness.url);
    t.teardown(() => ledger.close());
    await rig.pay(3);
    await until('the gateway’s log is final', () => ledger.status().finalSize === 3);

    const base = await temporaryFolder(t);
    const root = join(base, 'rollup');
    const policy = policyOf(realLog(ROLL_UP), [realWitness(WITNESS)], 'quorum w1');
    const rollWitness = await startWitnessService({
      root: join(base, 'witness'),
      ports: { signer: realWitness(WITNESS), verify: realVerify },
      logs: new Map([[ROLL_UP, [realLog(ROLL_UP).key]]]),
      port: 0,
      clock: systemClock(),
    });
    t.teardown(() => rollWitness.close());
    const start = () =>
      startRollUp({
        root,
        ports: { origin: ROLL_UP, signer: realLog(ROLL_UP), verify: realVerify, policy },
        logs: [{ origin: ORIGIN, policy: rig.policy, source: folderSource(rig.root) }],
        witnessUrls: new Map([['w1', rollWitness.url]]),
        collectMs: 20,
        clock: systemClock(),
      });
    let rollUp = await start();
    await until('one checkpoint is rolled up', () => rollUp.status().ledger.finalSize === 1);
    t.match(rollUp.status().logs, [{ origin: ORIGIN, size: 3 }]);
    await rollUp.close();
    rollUp = await start();
    t.teardown(() => rollUp.close());
    await rig.pay(2);
    await until('the next one too', () => rollUp.status().ledger.finalSize === 2);
    t.match(rollUp.status().logs, [{ size: 5 }], 'a restart takes none twice');

    const source = folderSource(root);
    const leaves = await readEntries(source, 0, 2);
    t.same(
      leaves.map((leaf) => parseLeaf(leaf)?.kind),
      ['rollUp', 'rollUp'],
    );
    const sizes = (await readPayloads(source, 0, 2)).map((note) => {
      const parsed = parseNote(note);
      const head = parsed.ok ? parseCheckpoint(parsed.value.text) : parsed;
      return head.ok ? head.value.size : head.reason;
    });
    t.same(sizes, [3, 5]);
    t.same((await verifyLog(source, [], policy, realVerify)).problems, []);

    const trust = { kind: 'file', keys: [encodeVerifierKey(realWitness(CONSORTIUM).key)] };
    const verify = parseAnchorTrust(utf8ToBytes(JSON.stringify(trust)), realVerify);
    if (!verify.ok) return t.fail(verify.reason);
    const [outbox, inbox] = [join(base, 'outbox'), join(base, 'inbox')];
    await mkdir(inbox);
    const newest = async () => {
      const note = Buffer.from((await readCheckpoint(source)) ?? []).toString('utf8');
      return { size: 2, note };
    };
    const startAnchor = () =>
      startAnchorService({
        root,
        name: 'by-hand',
        anchor: fileAnchor({ outbox, inbox, verify: verify.value }),
        times: { periodMs: 3_600_000, pollMs: 10 },
        clock: systemClock(),
        newest,
      });
    let anchor = await startAnchor();
    await until('the note is in the outbox', () =>
      readdir(outbox).then(
        (n) => n.length === 1,
        () => false,
      ),
    );
    await anchor.close();
    anchor = await startAnchor();
    t.teardown(() => anchor.close());
    const [name = ''] = await readdir(outbox);
    const note = await readFile(join(outbox, name), 'utf8');
    const text = note.slice(0, note.lastIndexOf('\n\n') + 1);
    await writeFile(
      join(inbox, name),
      note + cosign(text, realWitness('stranger.example/s'), 1_800_000_000),
    );
    await until('a stranger’s countersignature is refused', () =>
      (anchor.status().detail ?? '').includes('no signature of a known key'),
    );
    await writeFile(join(inbox, name), note + cosign(text, realWitness(CONSORTIUM), 1_800_000_000));
    await until('the countersigned note is taken', () => anchor.status().anchoredSize === 2);
    const evidence = await readFile(join(root, 'anchors/2/by-hand'));
    const anchored = await readFile(join(root, 'anchors/2/checkpoint'));
    t.match(verify.value(evidence, anchored), { ok: true, value: { anchoredAtS: 1_800_000_000 } });
    t.equal((await readdir(outbox)).length, 1, 'one submission, whatever the restarts');
  },
);

t.test('trust files that name nothing are refused', async (t) => {
  const cases: readonly (readonly [unknown, RegExp])[] = [
    [{ kind: 'evm', chainId: 1 }, /needs chainId/],
    [{ kind: 'rfc3161', roots: ['x'] }, /needs roots/],
    [{ kind: 'file', keys: [encodeVerifierKey(realLog().key)] }, /type 0x04/],
    [{ kind: 'moon' }, /kind is/],
  ];
  for (const [value, reason] of cases) {
    const parsed = parseAnchorTrust(utf8ToBytes(JSON.stringify(value)), realVerify);
    t.match(parsed, { ok: false, reason });
  }
  t.match(parseAnchorTrust(utf8ToBytes('{'), realVerify), { ok: false, reason: /not JSON/ });
});
