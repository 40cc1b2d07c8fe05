import { chmodSync, existsSync, mkdirSync, readFileSync, readdirSync, rmSync } from 'node:fs';
import { appendFileSync, cpSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { UsageError } from '../../../cli/command.ts';
import { runClearingTool } from '../../../cli/programs/clearing-tools.ts';
import { verifyFolder } from '../../../cli/verify/verify.ts';
import { issueClearing } from '../../../identity/core/issue.ts';
import { createKeyFile } from '../../../identity/edge/key-file.ts';
import { openSqlite } from '../../../sync/clearing/sql.ts';
import { LIST, NOW_S } from '../../identity/fixture.ts';
import { buildOut, newOutWorld, type OutWorld } from '../verify/out.ts';

/** It is 23:13 in Japan when the fixture's receipts are given; the first file is cut an hour later, on the next day. */
const DAY = '2026-09-21';
const NEXT = '2026-09-22';
const THIRD = '2026-09-23';

/** A world whose clearing signs by a key file, as the command wants it. */
const worldWith = (keyFile: string): OutWorld => {
  const out = newOutWorld();
  const { signer } = createKeyFile(keyFile);
  const clearing = issueClearing(out.world.signers.issuer, {
    key: signer.key,
    issuedS: NOW_S - 60,
    notBeforeS: NOW_S - 60,
    expiresS: NOW_S + 86_400,
    status: { uri: LIST, index: 77 },
    reference: 'clearing-0002',
  });
  const signers = { ...out.world.signers, clearing: signer };
  return { ...out, world: { ...out.world, clearing, signers } };
};

const filesIn = (folder: string): string[] =>
  readdirSync(folder, { recursive: true, withFileTypes: true })
    .filter((one) => one.isFile())
    .map((one) => join(one.parentPath, one.name).slice(folder.length + 1))
    .toSorted();

/** The code of what a call throws. */
const codeOf = async (work: Promise<unknown>): Promise<unknown> =>
  work.then(
    () => 'nothing thrown',
    (error: unknown) => (error as { code?: unknown }).code ?? error,
  );

const built = t.testdir();
const keyFile = join(built, 'clearing.json');
const source = join(built, 'out');
const store = join(built, 'clearing.sqlite');
let archives = 0;

const argsOf = (part: Record<string, string> = {}): { argv: string[]; out: string } => {
  archives += 1;
  const out = join(built, `archive-${archives}`);
  const options = { store, folder: source, key: keyFile, from: DAY, to: NEXT, out, ...part };
  const argv = Object.entries(options).flatMap(([name, value]) => [`--${name}`, value]);
  return { argv: ['archive', ...argv], out: options.out };
};

t.before(async () => {
  mkdirSync(source);
  await buildOut(source, [3, 2], worldWith(keyFile), { database: openSqlite(store) });
});

t.test('an archive verifies by itself, and no other file of the folder is in it', async (t) => {
  // What stands beside the files in a running clearing, and must never leave it.
  mkdirSync(join(source, 'ledger/gw1.example/2026q4/state'), { recursive: true });
  writeFileSync(join(source, 'ledger/gw1.example/2026q4/state/journal'), 'of the log');
  writeFileSync(join(source, 'trust/notes.txt'), 'of the operator');
  const { argv, out } = argsOf();
  t.equal(await runClearingTool(argv), 0);
  const report = await verifyFolder(out);
  t.same(report.faults, []);
  t.match(report.checked, {
    archives: 1,
    receipts: 5,
    'settlement files': 2,
    manifests: 2,
    evidence: 2,
    'log entries': 5,
    'proofs of misbehaviour': 1,
  });
  const own = new Set(['archive.json', 'program.sha256', 'docs/clearing.md', 'protocol/kiri.cddl']);
  const expected = filesIn(source).filter(
    (path) => !/\/state\/|notes\.txt$|^summary\.json$/.test(path),
  );
  t.same(
    filesIn(out).filter((path) => !own.has(path)),
    expected,
  );
  t.same(
    filesIn(out).filter((path) => own.has(path)),
    [...own].toSorted(),
  );
  t.notOk(existsSync(`${out}/trust/notes.txt`));
  t.equal(statSync(join(out, 'archive.json')).mode & 0o777, 0o644);
  t.same(
    readdirSync(built).filter((name) => name.includes('.partial-')),
    [],
    'nothing half made is left',
  );
  const statement = JSON.parse(readFileSync(join(out, 'archive.json'), 'utf8')) as {
    verifier: { name: string; dependencies: Record<string, string> };
  };
  t.equal(statement.verifier.name, 'kiri');
  t.match(statement.verifier.dependencies['@noble/curves'], /^\d+\.\d+\.\d+$/);
  t.match(readFileSync(join(out, 'program.sha256'), 'utf8'), /^[\da-f]{64} {2}bin\/kiri\.js$/m);
});

t.test('one changed byte in any kind of file of the archive is found', async (t) => {
  const { argv, out } = argsOf();
  await runClearingTool(argv);
  // One file of each kind: what it is called apart from names and numbers.
  const kinds = new Map(
    filesIn(out).map((path) => [path.replaceAll(/[\dA-F]{2,}|[\da-f]{6,}/g, ''), path]),
  );
  t.ok(kinds.size > 25, `${kinds.size} kinds`);
  for (const path of kinds.values()) {
    const whole = readFileSync(join(out, path));
    const changed = Buffer.from(whole);
    changed[Math.floor(whole.length / 2)]! ^= 1;
    writeFileSync(join(out, path), changed);
    const { faults } = await verifyFolder(out);
    t.ok(
      faults.some((fault) => fault.path === path),
      path,
    );
    writeFileSync(join(out, path), whole);
  }
  t.ok((await verifyFolder(out)).ok);
  rmSync(join(out, 'protocol/kiri.cddl'));
  t.notOk((await verifyFolder(out)).ok, 'a file taken away');
});

t.test('a statement that names other files or another period does not hold', async (t) => {
  const { argv, out } = argsOf();
  await runClearingTool(argv);
  const path = join(out, 'archive.json');
  const whole = readFileSync(path, 'utf8');
  const statement = JSON.parse(whole) as { files: unknown[]; toS: number };
  const [first] = statement.files;
  for (const changed of [
    { ...statement, files: [first] },
    { ...statement, files: [...statement.files, { fileName: 'KIRI.x', sha256: '', cutS: NOW_S }] },
    { ...statement, toS: NOW_S },
    { ...statement, kind: 'other' },
    { ...statement, verifier: {} },
  ]) {
    writeFileSync(path, JSON.stringify(changed));
    const { faults } = await verifyFolder(out);
    const own = faults.filter((one) => /archive\.json$|program\.sha256$/.test(one.path));
    t.ok(
      own.some(({ reason }) => !reason.startsWith('SHA-256 differs')),
      JSON.stringify(own),
    );
  }
});

t.test(
  'a store of two days gives an archive of each, the second going on from the first',
  async (t) => {
    const days = join(built, 'days');
    mkdirSync(days);
    const dayStore = join(built, 'days.sqlite');
    const key = join(built, 'days.json');
    await buildOut(days, [6], worldWith(key), { database: openSqlite(dayStore) }, 3);
    const rows = openSqlite(dayStore);
    const [, , third] = await rows.transaction((session) =>
      session.all('SELECT file_name FROM files ORDER BY cut_s'),
    );
    await rows.transaction((session) =>
      session.all(
        'UPDATE files SET cut_s = cut_s + 86400 WHERE file_name = ?',
        String(third?.['file_name']),
      ),
    );
    await rows.close();
    const later = argsOf({ store: dayStore, folder: days, key, from: THIRD, to: THIRD });
    t.equal(await runClearingTool(later.argv), 0);
    const report = await verifyFolder(later.out);
    t.same(report.faults, []);
    t.match(report.checked, { evidence: 1, receipts: 2, 'settlement files': 1 });
    t.equal(report.checked['evidence that goes on from an earlier archive'], 1);
  },
);

t.test('what is missing, changed, secret or unsound is refused, and leaves nothing', async (t) => {
  const refusedWith = async (
    code: string,
    damage: (folder: string) => void,
    part: Record<string, string> = {},
  ): Promise<void> => {
    const folder = join(built, 'damaged');
    rmSync(folder, { recursive: true, force: true });
    cpSync(source, folder, { recursive: true });
    damage(folder);
    const { argv, out } = argsOf({ folder, ...part });
    t.equal(await codeOf(runClearingTool(argv)), code, code);
    t.notOk(existsSync(out), `${code} leaves no archive`);
  };
  const ipm = (folder: string): string =>
    join(
      folder,
      'clearing',
      readdirSync(join(folder, 'clearing')).find((one) => one.endsWith('.ipm'))!,
    );
  const evidence = (folder: string): string =>
    join(
      folder,
      'evidence',
      readdirSync(join(folder, 'evidence')).find((one) => !one.startsWith('proof'))!,
    );
  await refusedWith('ARCHIVE_FILE_MISSING', (folder) => rmSync(ipm(folder)));
  await refusedWith('ARCHIVE_FILE_CHANGED', (folder) => appendFileSync(ipm(folder), 'x'));
  await refusedWith('ARCHIVE_FILE_MISSING', (folder) => rmSync(evidence(folder)));
  await refusedWith('ARCHIVE_FILE_CHANGED', (folder) => appendFileSync(evidence(folder), 'x'));
  await refusedWith('ARCHIVE_UNSOUND', (folder) =>
    rmSync(join(folder, 'trust/documents/mandate.cbor')),
  );
  await refusedWith('ARCHIVE_UNSOUND', (folder) =>
    rmSync(join(folder, 'receipts'), { recursive: true }),
  );
  await refusedWith('ARCHIVE_UNSOUND', () => {}, { ledger: join(built, 'no-such-folder') });
  await refusedWith('ARCHIVE_SECRET', (folder) =>
    writeFileSync(join(folder, 'trust/keys/mine.pem'), '-----BEGIN PRIVATE KEY-----\n'),
  );
  await refusedWith('ARCHIVE_SECRET', (folder) => {
    cpSync(keyFile, join(folder, 'trust/documents/mine.cbor'));
    chmodSync(join(folder, 'trust/documents/mine.cbor'), 0o600);
  });
  await refusedWith('ARCHIVE_EMPTY', () => {}, { from: '2026-10-01', to: '2026-10-02' });
  t.same(
    readdirSync(built).filter((name) => name.includes('.partial-')),
    [],
  );
  const used = join(built, 'used');
  mkdirSync(used);
  writeFileSync(join(used, 'letter.txt'), 'of somebody');
  t.equal(await codeOf(runClearingTool(argsOf({ out: used }).argv)), 'OUT_NOT_OURS');
  t.same(readdirSync(used), ['letter.txt']);
  const asked = await runClearingTool(argsOf({ from: NEXT, to: DAY }).argv).catch(
    (error: unknown) => error,
  );
  t.ok(asked instanceof UsageError, 'days the wrong way round');
});
