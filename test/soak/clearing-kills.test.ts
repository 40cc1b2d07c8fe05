import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { mkdtempSync, readFileSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import t from 'tap';
import { openSqliteReadOnly } from '../../sync/clearing/sql.ts';
import { readPlainIpm } from '../sync/clearing/plain-ipm.ts';

/** `.ci/run` asks for five hundred. */
const KILLS = Number(process.env['KIRI_CLEARING_KILLS'] ?? 12);
const CHILD = fileURLToPath(new URL('./clearing-kills-child.js', import.meta.url));
/** More boundaries than a child passes that finishes one cut and makes another. */
const BOUNDARIES_MAX = 2_000;
const RECEIPTS_A_BATCH = 3;

t.setTimeout(900_000);

/** Final names and the hashes of what stands under them. */
const seenIn = (folder: string): Map<string, string> => {
  const seen = new Map<string, string>();
  for (const below of ['clearing', 'evidence']) {
    let names: string[] = [];
    try {
      names = readdirSync(join(folder, below));
    } catch {
      // Nothing was written yet.
    }
    for (const name of names.filter((one) => !one.endsWith('.tmp'))) {
      const bytes = readFileSync(join(folder, below, name));
      seen.set(`${below}/${name}`, createHash('sha256').update(bytes).digest('hex'));
    }
  }
  return seen;
};

t.test(`${KILLS} SIGKILLs between the steps of a cut`, async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'kiri-clearing-kills-'));
  t.teardown(() => rmSync(folder, { recursive: true, force: true }));
  const known = new Map<string, string>();
  const faults: string[] = [];
  let kills = 0;
  let batch = 1;
  // Every boundary in turn where there are kills enough, else spread over them.
  const stride = Math.max(1, Math.floor(400 / KILLS));
  let boundary = 1;
  const run = (killAt: number): boolean => {
    const { signal, stdout, stderr } = spawnSync(
      process.execPath,
      [CHILD, folder, String(batch), String(killAt)],
      { encoding: 'utf8', env: {} },
    );
    if (signal !== 'SIGKILL' && !stdout.includes('done')) faults.push(stderr);
    const now = seenIn(folder);
    for (const [name, hash] of known) if (now.get(name) !== hash) faults.push(`${name} changed`);
    for (const [name, hash] of now) {
      known.set(name, hash);
      if (!name.endsWith('.manifest')) continue;
      const base = name.slice(0, -'.manifest'.length);
      for (const end of ['.ipm', '.lines.jsonl', '.manifest.json']) {
        if (!now.has(base + end)) faults.push(`${name} before ${end}`);
      }
    }
    return signal === 'SIGKILL';
  };
  while (kills < KILLS && faults.length === 0) {
    if (run(boundary)) {
      kills += 1;
      boundary += stride;
      batch += 1;
    } else boundary = 1;
  }
  run(BOUNDARIES_MAX * 10);
  t.same(
    faults,
    [],
    'a file under its final name is whole and never changes; the manifest is last',
  );
  t.equal(kills, KILLS);

  const sequences = new Map<string, number[]>();
  const arns: string[] = [];
  const files = [...known.keys()].filter((name) => name.endsWith('.ipm'));
  for (const name of files) {
    const [, member = '', sequence] = /\.(\d{11})\.D\d{6}\.S(\d{5})\./.exec(name) ?? [];
    sequences.set(member, [...(sequences.get(member) ?? []), Number(sequence)]);
    const lines = readPlainIpm(readFileSync(join(folder, name))).slice(1, -1);
    arns.push(...lines.map((line) => line.fields.get(31) ?? ''));
  }
  for (const [member, numbers] of sequences) {
    const wanted = numbers.map((_, at) => at + 1);
    t.same(
      numbers.toSorted((a, b) => a - b),
      wanted,
      `${member}: no sequence reused, none left out`,
    );
  }
  t.equal(new Set(arns).size, arns.length, 'no ARN twice');
  const database = openSqliteReadOnly(join(folder, 'clearing.sqlite'));
  const rows = await database.transaction((session) =>
    session.all(
      `SELECT r.id, r.state, a.file_name FROM receipts r
       LEFT JOIN aggregates a ON a.aggregate_id = r.aggregate_id ORDER BY r.id`,
    ),
  );
  await database.close();
  const homeless = rows.filter(
    (row) => row['state'] !== 'pending' && !known.has(`clearing/${String(row['file_name'])}.ipm`),
  );
  t.same(homeless, [], 'every receipt in a file that is there, or pending');
  t.ok(
    rows.length >= RECEIPTS_A_BATCH && rows.length % RECEIPTS_A_BATCH === 0,
    'batches are whole',
  );
  t.comment(`${kills} kills, ${files.length} files, ${rows.length} receipts`);
});
