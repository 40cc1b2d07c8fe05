import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { mkdir, readFile, readdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import t from 'tap';
import { createKeyFile } from '../../identity/edge/key-file.ts';
import { systemClock } from '../../platform/system-clock.ts';
import { ALG_EDDSA } from '../../protocol/public-key.ts';
import { followAnchored } from '../../sync/ledger/anchored-follower.ts';
import { parseAnchorTrust } from '../../sync/ledger/anchor/anchor-trust.ts';
import { cosign } from '../../sync/ledger/core/cosignature.ts';
import { encodeVerifierKey } from '../../sync/ledger/core/note-key.ts';
import { logSigner } from '../../sync/ledger/core/note-ports.ts';
import { readAnchored } from '../../sync/ledger/levels-file.ts';
import { serveLog } from '../../sync/ledger/log-server.ts';
import { startWitnessService } from '../../sync/ledger/witness-service.ts';
import { ORIGIN, policyText, realLog, realVerify, realWitness } from '../sync/ledger/keys.ts';
import { WITNESS, makeRig, temporaryFolder, until } from '../sync/ledger/rig.ts';
import { LAUNCHER, kiri } from './command.ts';
import '../plain-children.ts';

t.setTimeout(120_000);
const ROLL_UP = 'rollup.example/2026';
const CONSORTIUM = 'consortium.example/anchor';

t.test(
  'kiri sync rollup, killed between its steps, anchors once and tells the gateway',
  async (t) => {
    const rig = await makeRig(t);
    const witness = await rig.witness();
    t.teardown(() => witness.close());
    const ledger = await rig.ledger(witness.url);
    t.teardown(() => ledger.close());
    await rig.pay(3);
    await until('the gateway’s log is final', () => ledger.status().finalSize === 3);
    const served = await serveLog(rig.root, 0);
    t.teardown(() => served.close());

    const base = await temporaryFolder(t);
    const at = (name: string): string => join(base, name);
    const signer = logSigner(ROLL_UP, createKeyFile(at('key'), ALG_EDDSA).signer);
    const rollWitness = await startWitnessService({
      root: at('witness'),
      ports: { signer: realWitness(WITNESS), verify: realVerify },
      logs: new Map([[ROLL_UP, [signer.key]]]),
      port: 0,
      clock: systemClock(),
    });
    t.teardown(() => rollWitness.close());
    await writeFile(at('policy'), policyText(signer, [realWitness(WITNESS)], 'quorum w1'));
    await writeFile(
      at('gateway-policy'),
      policyText(realLog(), [realWitness(WITNESS)], 'quorum w1'),
    );
    await mkdir(at('inbox'));
    const keys = [encodeVerifierKey(realWitness(CONSORTIUM).key)];
    const config = {
      folder: 'rollup',
      origin: ROLL_UP,
      keyFile: 'key',
      policy: 'policy',
      port: 0,
      witnesses: [{ name: 'w1', url: rollWitness.url }],
      logs: [{ origin: ORIGIN, url: served.url, policy: 'gateway-policy' }],
      collectS: 1,
      anchors: [
        { name: 'by-hand', kind: 'file', outbox: 'outbox', inbox: 'inbox', keys, pollS: 1 },
      ],
    };
    await writeFile(at('config.json'), JSON.stringify(config));

    let child: ChildProcess | undefined;
    const kill = async (): Promise<void> => {
      if (child === undefined || child.exitCode !== null || child.signalCode !== null) return;
      const ended = once(child, 'exit');
      child.kill('SIGKILL');
      await ended;
    };
    t.teardown(kill);
    /** @returns its address once it is ready */
    const start = async (): Promise<string> => {
      const args = [LAUNCHER, 'sync', 'rollup', '--config', at('config.json')];
      child = spawn(process.execPath, args, { stdio: ['pipe', 'pipe', 'inherit'] });
      if (child.stdout === null) throw new Error('no output');
      const [line] = (await once(createInterface({ input: child.stdout }), 'line')) as [string];
      return `http://127.0.0.1:${(JSON.parse(line) as { port: number }).port}`;
    };
    const exists = (path: string): Promise<boolean> =>
      readFile(path).then(
        () => true,
        () => false,
      );
    const namesIn = (name: string): Promise<readonly string[]> =>
      readdir(at(name)).then(
        (names) => names.filter((one) => !one.endsWith('.tmp')),
        () => [],
      );

    // After the journal's first write, after the checkpoint, after the submission was stored, after it left.
    const moments: readonly (() => Promise<boolean>)[] = [
      async () => (await namesIn('rollup/state/intake')).length > 0,
      () => exists(at('rollup/tlog/checkpoint')),
      () => exists(at('rollup/state/anchors/by-hand')),
      async () => (await namesIn('outbox')).length > 0,
    ];
    for (const moment of moments) {
      const ready = start().catch(() => undefined);
      await until('the moment to kill', moment);
      await kill();
      void ready;
    }
    await start();
    const [name = ''] = await namesIn('outbox');
    const note = await readFile(at(`outbox/${name}`), 'utf8');
    const text = note.slice(0, note.lastIndexOf('\n\n') + 1);
    await kill();
    await writeFile(
      at(`inbox/${name}`),
      note + cosign(text, realWitness(CONSORTIUM), 1_800_000_000),
    );
    void start().catch(() => undefined);
    await until('the evidence is filed', () => exists(at('rollup/anchors/1/by-hand')));
    await kill();
    const url = await start();

    const follower = followAnchored(url, (origin) => (origin === ORIGIN ? rig.root : undefined));
    t.teardown(() => follower.close());
    await until('the gateway’s log knows of it', async () => {
      const known = await readAnchored(rig.root);
      return known?.size === 3;
    });
    await follower.close();
    t.match(await readAnchored(rig.root), {
      size: 3,
      ref: `by-hand: ${ROLL_UP} through 1 entries`,
    });
    await until('its writer too', () => ledger.status().levels.anchored?.size === 3);
    await until('and its file', async () =>
      /L3 +3 anchored .*by-hand/.test((await kiri(['status', '--folder', rig.root])).stdout),
    );

    t.same(await namesIn('outbox'), [name], 'one submission, whatever the kills');
    t.same(await readdir(at('rollup/anchors')), ['1'], 'the log was rolled up once');
    const trust = parseAnchorTrust(Buffer.from(JSON.stringify({ kind: 'file', keys })), realVerify);
    const read = async (file: string): Promise<Uint8Array> =>
      new Uint8Array(await readFile(at(`rollup/anchors/1/${file}`)));
    if (!trust.ok) throw new Error(trust.reason);
    t.match(trust.value(await read('by-hand'), await read('checkpoint')), { ok: true });
    const fsck = await kiri(['ledger', 'fsck', at('rollup'), '--policy', at('policy')]);
    t.equal(fsck.code, 0, fsck.stdout + fsck.stderr);
  },
);
