import { execFile } from 'node:child_process';
import { cp, mkdir, mkdtemp, readFile, readdir, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { promisify } from 'node:util';
import t from 'tap';
import type { Test } from 'tap';
import { runScanPan } from '../../../cli/programs/scan-pan.ts';
import { keyFilesOf } from '../../../cli/verify/key-files.ts';
import { createKeyFile, loadSigner } from '../../../identity/edge/key-file.ts';
import { ALG_EDDSA } from '../../../protocol/public-key.ts';
import type { Signer } from '../../../protocol/public-key.ts';
import { nodeVerifier } from '../../../identity/edge/node-signatures.ts';
import { ClearingService } from '../../../sync/clearing/clearing-service.ts';
import { ipmProfile } from '../../../sync/clearing/core/ipm-profile.ts';
import type { IpmProfile } from '../../../sync/clearing/core/ipm-profile.ts';
import {
  openVaultStatement,
  signVaultStatement,
} from '../../../sync/clearing/core/vault-statement.ts';
import type { VaultStatement } from '../../../sync/clearing/core/vault-statement.ts';
import { finalHashOf } from '../../../sync/clearing/vault-statements.ts';
import type { SqlDatabase } from '../../../sync/clearing/sql.ts';
import { NOON_S, anchors, directoryOf, history, policyHash, programme, signer } from './sample.ts';
import { makeTestStore, openTestStore } from './store.ts';

const MEMBER = ipmProfile('kiri-ipm-member') as IpmProfile;
const run = promisify(execFile);

type Ended = { readonly code: number; readonly stdout: string; readonly stderr: string };

/** The command as its own process, as it runs on the partner's side. */
const kiri = async (...words: readonly string[]): Promise<Ended> =>
  run(process.execPath, [resolve('bin/kiri.js'), ...words], { timeout: 30_000 }).then(
    ({ stdout, stderr }) => ({ code: 0, stdout, stderr }),
    (error: unknown) => error as Ended,
  );

type World = {
  readonly root: string;
  readonly database: SqlDatabase;
  readonly service: ClearingService;
  readonly vault: Signer;
  /** Base name of the member file. */
  readonly name: string;
  /** Its path without ending. */
  readonly base: string;
};

/** A clearing whose second merchant is cleared by the card system, cut once; and a vault's key. */
const newWorld = async (
  t: Test,
  part: { readonly database?: SqlDatabase; readonly mode?: 'P' | 'T' } = {},
): Promise<World> => {
  const root = await mkdtemp(join(tmpdir(), 'kiri-vault-'));
  t.teardown(() => rm(root, { recursive: true, force: true }));
  createKeyFile(join(root, 'vault.key'), ALG_EDDSA);
  const vault = loadSigner(join(root, 'vault.key'));
  await writeFile(join(root, 'clearing.cosekey'), keyFilesOf(signer.key).cosekey);
  const database = part.database ?? (await openTestStore());
  const service = await ClearingService.open(
    {
      database,
      signer,
      outFolder: join(root, 'kiri'),
      directory: directoryOf(),
      policyHash,
      mode: part.mode ?? 'T',
      profiles: [{ programme: programme.name, acquirer: 'acquirer-1', profile: MEMBER }],
      vaults: { verifier: nodeVerifier(), vaults: [vault.key] },
    },
    NOON_S,
  );
  const items = history().map((item, at) =>
    at % 2 === 0 || item.kind !== 'receipt'
      ? item
      : { ...item, key: { ...item.key, acquirer: 'acquirer-2' } },
  );
  await service.ingestBatch(items, NOON_S);
  const { files } = await service.cut(NOON_S, anchors, true);
  const mode = part.mode ?? 'T';
  t.same(files.map(({ fileName }) => fileName.replace(/D\d{6}/, 'D')).toSorted(), [
    `KIRI.kiri-ipm-member.00000032815.D.S00001.${mode}.pre.ipm`,
    `KIRI.kiri-ipm-onus.00000032815.D.S00002.${mode}.ipm`,
  ]);
  const name = files.find(({ fileName }) => fileName.endsWith('.pre.ipm'))?.fileName ?? '';
  const stem = name.slice(0, -'.pre.ipm'.length);
  return { root, database, service, vault, name: stem, base: join(root, 'kiri/clearing', stem) };
};

const fill = (world: World, ...more: readonly string[]): Promise<Ended> =>
  kiri(
    'vault-test',
    'fill',
    `${world.base}.pre.ipm`,
    '--key',
    join(world.root, 'vault.key'),
    '--clearing-key',
    join(world.root, 'clearing.cosekey'),
    '--out',
    join(world.root, 'partner'),
    ...more,
  );

const scan = async (...paths: readonly string[]): Promise<number> => {
  const write = process.stdout.write.bind(process.stdout);
  process.stdout.write = () => true;
  try {
    return await runScanPan(paths);
  } finally {
    process.stdout.write = write;
  }
};

const statedHash = (database: SqlDatabase, name: string) =>
  database.transaction((session) => finalHashOf(session, name));

t.test('a member file through the test vault: no card number on Kiri’s side', async (t) => {
  const store = await makeTestStore(t);
  const database = await store.open();
  const world = await newWorld(t, { database });
  const { root, service, name, base } = world;
  t.equal(await statedHash(database, name), undefined, 'nobody has said yet what went out');
  const filled = await fill(world, '--json');
  t.equal(filled.code, 0, filled.stderr);
  t.match(filled.stderr, /TEST VAULT: published test card numbers only/);
  t.match(JSON.parse(filled.stdout), { direction: 'outward' });
  const finalFile = join(root, 'partner', `${name}.ipm`);
  t.equal((await stat(finalFile)).mode & 0o777, 0o600);
  const statement = new Uint8Array(await readFile(join(root, 'partner', `${name}.vault`)));
  t.match(await service.takeVaultStatement(statement, NOON_S + 60), {
    kind: 'taken',
    fileName: name,
  });
  t.match(await service.takeVaultStatement(statement, NOON_S + 61), { kind: 'duplicate' });
  const stated = openVaultStatement(statement, {
    verifier: nodeVerifier(),
    vaults: [world.vault.key],
  });
  t.same(await statedHash(database, name), stated.ok && stated.value.finalSha256);
  t.same(await readFile(`${base}.vault`), Buffer.from(statement), 'kept beside the pre-file');
  const rebuilt = await service.rebuild(name);
  t.same(
    rebuilt.map(({ path }) => path).filter((path) => path.startsWith('clearing/')),
    ['.pre.ipm', '.lines.jsonl', '.manifest.json', '.manifest', '.vault'].map(
      (ending) => `clearing/${name}${ending}`,
    ),
  );
  for (const { path, bytes } of rebuilt) {
    t.same(await readFile(join(root, 'kiri', path)), Buffer.from(bytes), `${path} rebuilds`);
  }
  await service.close();
  t.equal(
    await scan(join(root, 'kiri'), '--store', store.location),
    0,
    'nothing in folders or store',
  );
  t.equal(await scan(join(root, 'partner')), 1, 'the scan sees those of the final file');
  await writeFile(join(root, 'said.txt'), filled.stdout + filled.stderr);
  t.equal(await scan(join(root, 'said.txt')), 0, 'nor in what the vault says');
});

t.test('only a true statement about this very file is taken', async (t) => {
  const world = await newWorld(t);
  const { service, vault, root, name, database } = world;
  t.equal((await fill(world)).code, 0);
  const bytes = new Uint8Array(await readFile(join(root, 'partner', `${name}.vault`)));
  const opened = openVaultStatement(bytes, { verifier: nodeVerifier(), vaults: [vault.key] });
  if (!opened.ok) throw new Error(opened.reason);
  const take = async (part: Partial<VaultStatement>, by: Signer = vault): Promise<string> => {
    const cose = signVaultStatement(by, { ...opened.value, ...part });
    const outcome = await service.takeVaultStatement(cose, NOON_S + 60);
    return outcome.kind === 'refused' ? outcome.code : outcome.kind;
  };
  const [total] = opened.value.totals;
  t.equal(await take({}, signer), 'STATEMENT_INVALID', 'not signed by a vault');
  t.equal(await take({ direction: 'inward' }), 'STATEMENT_INVALID');
  t.equal(await take({ fileId: '0022611210000003281599999' }), 'UNKNOWN_FILE');
  const onUs = `${opened.value.fileId.slice(0, -1)}2`;
  t.equal(await take({ fileId: onUs }), 'UNKNOWN_FILE', 'an on-us file has no final form');
  t.equal(await take({ preSha256: new Uint8Array(32) }), 'OTHER_FILE');
  t.equal(await take({ records: opened.value.records + 1 }), 'OTHER_FILE');
  t.equal(await take({ cardNumbers: 0 }), 'OTHER_FILE');
  t.equal(await take({ totals: [] }), 'OTHER_FILE');
  t.equal(await take({ totals: [{ ...total!, amountMinor: '1' }] }), 'OTHER_FILE');
  t.equal((await service.takeVaultStatement(new Uint8Array(9), NOON_S)).kind, 'refused');
  t.equal(await take({}), 'taken');
  t.equal(await take({ createdS: 1 }), 'duplicate', 'filled once more, the same final file');
  t.equal(await take({ finalSha256: new Uint8Array(32) }), 'STATED_OTHERWISE');
  t.same(await statedHash(database, name), opened.value.finalSha256);
  await service.close();
});

t.test('the test vault refuses production, a foreign manifest and wrong words', async (t) => {
  const production = await newWorld(t, { mode: 'P' });
  const refused = await fill(production);
  t.equal(refused.code, 3);
  t.match(refused.stderr, /REFUSED: the file is of production/);
  await production.service.close();
  const world = await newWorld(t);
  const { root, base, name } = world;
  const manifest = await readFile(`${base}.manifest`);
  const damaged = Buffer.from(manifest);
  damaged[damaged.length - 1]! ^= 1;
  await writeFile(`${base}.manifest`, damaged);
  t.match(await fill(world), { code: 3, stderr: /not signed by the clearing/ });
  await writeFile(`${base}.manifest`, manifest);
  await mkdir(join(root, 'other'));
  await cp(`${base}.manifest`, join(root, 'other', `${name}.manifest`));
  const file = Buffer.from(await readFile(`${base}.pre.ipm`));
  file[40]! ^= 1;
  await writeFile(join(root, 'other', `${name}.pre.ipm`), file);
  const elsewhere = { ...world, base: join(root, 'other', name) };
  t.match(await fill(elsewhere), { code: 3, stderr: /is the manifest of another file/ });
  t.same(await readdir(root).then((names) => names.includes('partner')), false, 'nothing written');
  t.match(await kiri('vault-test'), { code: 2 });
  t.match(await kiri('vault-test', 'fill', 'x.ipm', '--key', join(root, 'vault.key')), { code: 2 });
  await world.service.close();
});
