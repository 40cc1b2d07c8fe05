import { chmod, cp, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import t from 'tap';
import { ERASE_ON_REQUEST } from '../../identity/core/documents/erasure.ts';
import { issueErasureRequest } from '../../identity/core/issue.ts';
import { createKeyFile } from '../../identity/edge/key-file.ts';
import { encodeCanonical } from '../../protocol/cbor/encode.ts';
import { fromHex, toHex } from '../../protocol/bytes.ts';
import { coseKeyOf, type PublicKey } from '../../protocol/public-key.ts';
import { lockFolder } from '../../platform/folder-lock.ts';
import { temporaryFolder } from '../sync/ledger/rig.ts';
import { kiri } from '../system/command.ts';
import '../plain-children.ts';
import { buildOut, newOutWorld, ORIGIN } from './verify/out.ts';

t.test('the issuer orders an erasure, each holder carries it out, anybody checks it', async (t) => {
  const folder = await temporaryFolder(t);
  const at = (name: string): string => join(folder, name);
  const out = newOutWorld();
  createKeyFile(at('issuer.json'));
  await buildOut(at('out'), [4, 3], out);
  const log = at(`out/ledger/${ORIGIN}`);
  const policy = at('out/trust/policy.txt');
  const put = async (name: string, key: PublicKey): Promise<string> => {
    await writeFile(at(name), encodeCanonical(coseKeyOf(key)));
    return at(name);
  };
  const holders = ['gateway', 'mirror'].map((name) => createKeyFile(at(`${name}.json`)).signer);
  const named = await Promise.all(
    holders.map(async ({ key }, i) => `h${i}=${await put(`h${i}.cosekey`, key)}`),
  );
  const pem = at('content.pem');
  await writeFile(pem, out.issuerContent.export({ type: 'pkcs8', format: 'pem' }));
  await chmod(pem, 0o600);

  const line = toHex(out.world.line);
  const keys = ['ledger', 'keys', log, '--key', pem, '--policy', policy, '--json'];
  const told = await kiri([...keys, '--line', line]);
  t.equal(told.code, 0, told.stderr);
  const row = JSON.parse(told.stdout) as { kid: string; period: string; entries: number };
  t.match(row, { entries: 7, lines: [line] });
  t.match(await kiri([...keys, '--line', 'ab'.repeat(16)]), { code: 0, stdout: '' });

  const order = (...more: readonly string[]): Promise<{ code: number | null }> =>
    kiri([
      ...`issuer erasure-request --key ${at('issuer.json')} --origin ${ORIGIN}`.split(' '),
      ...`--kid ${row.kid} --reason request --out ${at('request.cbor')}`.split(' '),
      ...named.flatMap((one) => ['--holder', one]),
      ...more,
    ]);
  t.match(await order('--period', 'autumn'), { code: 1, stderr: /YYYY-MM/ });
  t.match(await order('--period', '2020-01', '--kid', 'x'), { code: 2 });
  t.match(await order('--period', '2020-01', '--reason', 'whim'), { code: 2 });
  t.match(await order('--period', '2020-01'), { code: 0 });

  // The issuer of this world's documents has no key file: its order is made here.
  const byIssuer = issueErasureRequest(out.world.signers.issuer, {
    issuedS: 1_795_000_000,
    origin: ORIGIN,
    period: '2020-01',
    kids: [fromHex(row.kid)],
    reason: ERASE_ON_REQUEST,
    holders: holders.map(({ key }, i) => ({ name: `h${i}`, key })),
  });
  const issuer = await put('issuer.cosekey', out.world.signers.issuer.key);
  const erase = (root: string, key: string, ...more: readonly string[]): ReturnType<typeof kiri> =>
    kiri([
      ...`ledger erase --folder ${root} --request ${at('request.cbor')}`.split(' '),
      ...`--issuer-key ${issuer} --holder-key ${at(key)}`.split(' '),
      ...more,
    ]);
  t.match(await erase(log, 'gateway.json'), { code: 3, stdout: /ERASURE_INVALID/ });
  await writeFile(at('request.cbor'), byIssuer);
  await writeFile(at('holds'), `${ORIGIN}\n`);
  t.match(await erase(log, 'gateway.json', '--holds', at('holds')), {
    code: 3,
    stdout: /ERASURE_HELD/,
  });
  t.match(await erase(log, 'issuer.json'), { code: 3, stdout: /ERASURE_OTHER_HOLDER/ });
  const unlock = lockFolder(join(log, 'state'));
  t.match(await erase(log, 'gateway.json'), { code: 1, stderr: /FOLDER_LOCKED/ });
  unlock();
  t.match(await erase(at('out'), 'gateway.json'), { code: 3, stdout: /ERASURE_OTHER_LOG/ });
  await cp(log, at('copy'), { recursive: true });
  // The folder of a chain of shards does: the request says which one.
  const done = await erase(dirname(log), 'gateway.json', '--json');
  t.match(JSON.parse(done.stdout), { ok: true, erased: [{ kid: row.kid, wrappedCopies: 1 }] });
  t.match(await erase(at('copy'), 'mirror.json'), { code: 0, stdout: /erased/ });

  const retire = (...more: readonly string[]): ReturnType<typeof kiri> =>
    kiri(['ledger', 'retire', log, '--policy', policy, ...more]);
  t.match(await retire(), { code: 3, stdout: /RETENTION_NONE/ });
  await writeFile(at('for-ever'), 'kiri-retention/1\npayload-days 36500\ntree-years 100\n');
  const early = await retire('--retention', at('for-ever'), '--dry-run', '--json');
  t.match(early, { code: 3 });
  t.match(JSON.parse(early.stdout), { ok: false, reason: /^RETENTION_EARLY/ });
  t.match(await retire('--holds', at('holds')), { code: 3, stdout: /RETENTION_HELD/ });
  t.match(await retire('and', 'more'), { code: 2 });
  const unlockAgain = lockFolder(join(log, 'state'));
  t.match(await retire(), { code: 1, stderr: /FOLDER_LOCKED/ });
  unlockAgain();

  const verify = (): ReturnType<typeof kiri> => kiri(['verify', log, '--trust', at('out/trust')]);
  const half = await verify();
  t.match(half.stdout, /h1 has not confirmed/);
  const answer = `erased/${row.kid}.${holders[1]!.key.hex}`;
  await cp(join(at('copy'), answer), join(log, answer));
  const whole = await verify();
  t.match(whole, { code: 0, stdout: /erased keys +1/ }, whole.stdout);
});
