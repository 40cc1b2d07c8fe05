import { generateKeyPairSync, type KeyObject } from 'node:crypto';
import { chmod, readFile, readdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import t from 'tap';
import { serveLog } from '../../sync/ledger/log-server.ts';
import { kiri, type Ended } from '../system/command.ts';
import { temporaryFolder } from '../sync/ledger/rig.ts';
import { buildOut, newOutWorld, ORIGIN } from './verify/out.ts';

const receipts = (...args: readonly string[]): Promise<Ended> =>
  kiri(['party', 'receipts', ...args]);

t.test('a party reads its own receipts from the log with its own key', async (t) => {
  const folder = await temporaryFolder(t);
  const out = join(folder, 'out');
  const world = newOutWorld();
  const { paid } = await buildOut(out, [4, 3], world);
  const keyFile = async (name: string, key: KeyObject, mode = 0o600): Promise<string> => {
    const path = join(folder, name);
    await writeFile(path, key.export({ type: 'pkcs8', format: 'pem' }));
    await chmod(path, mode);
    return path;
  };
  const own = await keyFile('party.pem', world.partyContent);
  const policy = join(out, 'trust/policy.txt');
  const log = join(out, 'ledger', ORIGIN);
  const to = join(folder, 'receipts');
  const options = ['--policy', policy, '--log', log];
  const read = await receipts(...options, '--key', own, '--out', to, '--json');
  t.equal(read.code, 0, read.stderr);
  const rows = read.stdout
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line) as { amountMicro: string; kind: string; counter: number });
  t.same(
    rows.map(({ amountMicro, kind, counter }) => [kind, counter, amountMicro]),
    paid.map((one) => ['accepted', one.counter, one.amountMicro.toString()]),
  );
  const names = await readdir(to);
  t.same(names.toSorted(), (await readdir(join(out, 'receipts'))).toSorted());
  for (const name of names) {
    const bytes = await readFile(join(to, name));
    t.same(bytes, await readFile(join(out, 'receipts', name)), `${name} as sent`);
  }

  const server = await serveLog(log, 0);
  t.teardown(() => server.close());
  const served = ['--policy', policy, '--log', `${server.url}/`];
  t.match(await receipts(...served, '--key', own), { code: 0, stdout: /7 of 7 entries/ });
  const stranger = generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey;
  const theirs = await keyFile('other.pem', stranger);
  t.match(await receipts(...options, '--key', theirs), { code: 0, stdout: /^0 of 7/ });

  const open = await keyFile('open.pem', world.partyContent, 0o644);
  t.match(await receipts(...options, '--key', open), { code: 1, stderr: /KEY_FILE_MODE/ });
  const wrong = await keyFile('ed.pem', generateKeyPairSync('ed25519').privateKey);
  t.match(await receipts(...options, '--key', wrong), { code: 1, stderr: /KEY_INVALID/ });
  t.match(await receipts('--log', log), { code: 2, stderr: /--key/ });
  t.match(await receipts('--nonsense'), { code: 2 });
  t.match(await kiri(['party', 'letters']), { code: 2 });

  const entries = join(log, 'tlog/tile/entries/000.p/7');
  const bytes = await readFile(entries);
  bytes[40] = (bytes[40] ?? 0) ^ 1;
  await writeFile(entries, bytes);
  t.match(await receipts(...options, '--key', own), { code: 1, stderr: /LOG_CORRUPT/ });
});
