import { cp, mkdir, mkdtemp, readFile, readdir, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t from 'tap';
import { UsageError } from '../../../cli/command.ts';
import { keyFilesOf } from '../../../cli/verify/key-files.ts';
import { runVerify, verifyFolder, verifyPath, writeContents } from '../../../cli/verify/verify.ts';
import { ipmProfile } from '../../../sync/clearing/core/ipm-profile.ts';
import type { IpmProfile } from '../../../sync/clearing/core/ipm-profile.ts';
import { vaultOver } from '../../../sync/clearing/core/vault.ts';
import { testSigner } from '../../protocol/helpers.ts';
import { buildOut, newOutWorld } from './out.ts';

const MEMBER = ipmProfile('kiri-ipm-member') as IpmProfile;
const vaultKey = testSigner(91);
const CARD = '5555555555554444'; // published for tests

const bytesOf = async (path: string): Promise<Uint8Array> => new Uint8Array(await readFile(path));

t.test('kiri verify holds both ends of a file through the vault', async (t) => {
  const root = await mkdtemp(join(tmpdir(), 'kiri-verify-vault-'));
  t.teardown(() => rm(root, { recursive: true, force: true }));
  const kiri = join(root, 'out');
  const world = newOutWorld();
  await mkdir(kiri);
  await buildOut(kiri, [4], world, { profile: MEMBER });
  const seal = (): Promise<void> => writeContents(kiri, world.world.signers.clearing);
  const faults = async (): Promise<string[]> =>
    (await verifyFolder(kiri)).faults.map(({ reason }) => reason);
  const before = await verifyFolder(kiri);
  t.same(before.faults, []);
  t.equal(before.checked['pre-files without a statement of their vault'], 2);

  const names = (await readdir(join(kiri, 'clearing'))).filter((one) => one.endsWith('.pre.ipm'));
  const [first = '', second = ''] = names.map((one) => one.slice(0, -'.pre.ipm'.length));
  const pathOf = (name: string, ending: string): string => join(kiri, 'clearing', name + ending);
  const store = {
    cardNumbers: async (references: readonly string[]) =>
      new Map(references.map((one) => [one, CARD])),
  };
  const fill = async (name: string, key = vaultKey) => {
    const vault = vaultOver(MEMBER, store, key);
    const filled = await vault.fill(await bytesOf(pathOf(name, '.pre.ipm')), 1_790_010_000);
    if (!filled.ok) throw new Error(JSON.stringify(filled.fault));
    return filled.value;
  };
  const filled = await fill(first);
  await writeFile(pathOf(first, '.vault'), filled.signed);
  await seal();
  t.match(await faults(), [/not signed by a vault that is known here/], 'a vault nobody trusts');
  await mkdir(join(kiri, 'trust/vaults'));
  await writeFile(join(kiri, 'trust/vaults/partner.cosekey'), keyFilesOf(vaultKey.key).cosekey);
  await seal();
  const after = await verifyFolder(kiri);
  t.same(after.faults, []);
  t.equal(after.checked['vault statements'], 1);

  const finalFile = join(root, 'final.ipm');
  await writeFile(finalFile, filled.bytes);
  const both = await verifyPath(pathOf(first, '.pre.ipm'), { finalFile });
  t.same(both.faults, []);
  t.match(both.proven, [/differs from its pre-file only in DE2: \d+ of \d+ records/]);
  for (const at of [4, 30, 120, 140, filled.bytes.length - 1]) {
    const damaged = filled.bytes.slice();
    damaged[at] = (damaged[at] ?? 0) ^ 1;
    await writeFile(finalFile, damaged);
    t.notOk((await verifyPath(pathOf(first, '.pre.ipm'), { finalFile })).ok, `byte ${at}`);
  }
  const other = { cardNumbers: async () => new Map([['x', CARD]]) };
  t.notOk((await vaultOver(MEMBER, other, vaultKey).fill(filled.bytes, 1)).ok);
  await writeFile(finalFile, (await fill(second)).bytes);
  const swapped = await verifyPath(pathOf(first, '.pre.ipm'), { finalFile });
  t.ok(swapped.faults.some(({ reason }) => reason.includes('not the final file that the vault')));
  await writeFile(finalFile, filled.bytes);
  const unstated = await verifyPath(pathOf(second, '.pre.ipm'), { finalFile });
  t.ok(unstated.faults.some(({ reason }) => reason.includes('no statement of a vault holds')));

  await writeFile(pathOf(second, '.vault'), filled.signed);
  await seal();
  t.ok(
    (await faults()).some((one) => one.startsWith('SHA-256 of the pre-file')),
    'of another file',
  );
  await cp(pathOf(first, '.vault'), pathOf(second, '.vault'));
  const silent: string[] = [];
  const code = await runVerify(
    [pathOf(first, '.pre.ipm'), '--final', finalFile, '--json'],
    (text) => silent.push(text),
  );
  t.equal(code, 0);
  t.notMatch(silent.join(''), CARD, 'no card number is said');
  for (const words of [
    [kiri, '--final', finalFile],
    [pathOf(first, '.pre.ipm'), kiri, '--final', finalFile],
    [pathOf(first, '.pre.ipm'), '--final', join(root, 'nowhere')],
  ]) {
    const error: unknown = await runVerify(words, () => {}).catch((thrown: unknown) => thrown);
    t.ok(error instanceof UsageError, words.join(' '));
  }
});
