import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { chmod, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import t, { type Test } from 'tap';
import { Config } from '../../../cli/programs/config.ts';
import { startLog } from '../../../cli/programs/ledger.ts';
import { createKeyFile, loadSigner } from '../../../identity/edge/key-file.ts';
import { fetchBytes } from '../../../platform/http-client.ts';
import { journalReader } from '../../../platform/journal-reader.ts';
import { systemClock } from '../../../platform/system-clock.ts';
import { encodeCanonical } from '../../../protocol/cbor/encode.ts';
import { coseKeyOf } from '../../../protocol/public-key.ts';
import { logSigner } from '../../../sync/ledger/core/note-ports.ts';
import { startWitnessService } from '../../../sync/ledger/witness-service.ts';
import { ORIGIN, policyText, realVerify, realWitness } from '../../sync/ledger/keys.ts';
import { makeRig, source, temporaryFolder, until, WITNESS } from '../../sync/ledger/rig.ts';

const KIRI = fileURLToPath(new URL('../../../cli/kiri.js', import.meta.url));

const startRelay = (t: Test, file: string): ChildProcess => {
  const child = spawn(process.execPath, [KIRI, 'relay', '--config', file]);
  t.teardown(() => void child.kill('SIGKILL'));
  return child;
};

const portsOf = async (child: ChildProcess): Promise<{ port: number; mqttPort: number }> => {
  const [line] = (await once(createInterface({ input: child.stdout! }), 'line')) as [string];
  return JSON.parse(line) as { port: number; mqttPort: number };
};

const fails = async (child: ChildProcess): Promise<string> => {
  let text = '';
  child.stderr?.on('data', (chunk: Buffer) => {
    text += chunk.toString('utf8');
  });
  const [code] = (await once(child, 'close')) as [number];
  return `${code} ${text}`;
};

t.test('kiri relay: a log writer behind NAT becomes final and is read at the centre', async (t) => {
  const rig = await makeRig(t);
  const folder = await temporaryFolder(t);
  createKeyFile(join(folder, 'log.json'));
  const log = logSigner(ORIGIN, loadSigner(join(folder, 'log.json')));
  const witness = await startWitnessService({
    root: join(folder, 'witness'),
    ports: { signer: realWitness(WITNESS), verify: realVerify },
    logs: new Map([[ORIGIN, [log.key]]]),
    port: 0,
    clock: systemClock(),
  });
  t.teardown(() => witness.close());
  await writeFile(join(folder, 'a.token'), `${'a'.repeat(64)}\n`, { mode: 0o600 });
  await writeFile(join(folder, 'policy'), policyText(log, [realWitness(WITNESS)], 'quorum w1'));
  await writeFile(join(folder, 'content'), encodeCanonical(coseKeyOf(rig.issuer.key)));
  const relayFile = join(folder, 'relay.json');
  const relay = {
    sites: [{ name: 'site-a', tokenFile: 'a.token' }],
    targets: [{ name: 'w1', url: witness.url }],
  };
  await writeFile(relayFile, JSON.stringify(relay));
  const child = startRelay(t, relayFile);
  const { port, mqttPort } = await portsOf(child);
  const config = new Config(
    {
      folder: rig.root,
      origin: ORIGIN,
      keyFile: 'log.json',
      contentKey: 'content',
      policy: 'policy',
      witnesses: [{ name: 'w1', url: 'relay:w1' }],
      relay: { host: '127.0.0.1', port: mqttPort, site: 'site-a', tokenFile: 'a.token' },
    },
    join(folder, 'ledger.json'),
  );
  await rig.pay(3);
  const running = await startLog(config, { reader: journalReader(rig.journalFolder), source }, 0);
  t.teardown(() => running.close());
  await until('final through the relay', () => running.service.status().finalSize === 3);
  const get = (base: string, path: string): ReturnType<typeof fetchBytes> =>
    fetchBytes(`${base}/${path}`, { timeoutMs: 5_000, maxBytes: 100_000 });
  const far = await get(`http://127.0.0.1:${port}/site-a`, 'tlog/checkpoint');
  const near = await get(`http://127.0.0.1:${running.port}`, 'tlog/checkpoint');
  t.equal(far.status, 200);
  t.ok(Buffer.from(far.body).equals(near.body), 'the very bytes');
  t.equal((await get(`http://127.0.0.1:${port}/site-a`, 'status')).status, 200);
  t.equal((await get(`http://127.0.0.1:${port}/site-a`, 'state/head')).status, 404);
  child.kill('SIGTERM');
  t.same(await once(child, 'exit'), [0, null], 'ends in order');

  await chmod(join(folder, 'a.token'), 0o644);
  t.match(await fails(startRelay(t, relayFile)), /^1 .*TOKEN_FILE_MODE|chmod 600/);
  await chmod(join(folder, 'a.token'), 0o600);
  await writeFile(join(folder, 'a.token'), 'secret and short');
  const short = await fails(startRelay(t, relayFile));
  t.match(short, /openssl rand -hex 32/);
  t.notMatch(short, /secret/, 'without the text itself');
  await writeFile(
    relayFile,
    JSON.stringify({ ...relay, sites: [{ name: 'A/b', tokenFile: 'a.token' }] }),
  );
  await writeFile(join(folder, 'a.token'), 'b'.repeat(32));
  t.match(await fails(startRelay(t, relayFile)), /small letters, digits/);
});
