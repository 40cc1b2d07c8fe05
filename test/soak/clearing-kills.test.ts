import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createHash } from 'node:crypto';
import { mkdtempSync, readFileSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { fileURLToPath } from 'node:url';
import { decode } from 'cbor-x';
import t from 'tap';
import { ClearingService } from '../../sync/clearing/clearing-service.ts';
import { openSqlite } from '../../sync/clearing/sql.ts';
import { directory } from '../sync/clearing/history-world.ts';
import { readPlainIpm } from '../sync/clearing/plain-ipm.ts';
import { NOON_S, policyHash, signer } from '../sync/clearing/sample.ts';
import { itemsOf } from './clearing-kills-items.ts';
import '../plain-children.ts';

/** `npm run soak` asks for five hundred. */
const KILLS = Number(process.env['KIRI_CLEARING_KILLS'] ?? 12);
/** Stores that are worked on at once; every boundary is visited by one of them. */
const STORES = 2;
const CHILD = fileURLToPath(new URL('./clearing-kills-child.js', import.meta.url));
/** Boundaries between steps that a child passes, about; few kills are spread over them. */
const BOUNDARIES = 400;
const NEVER = 1_000_000;
/** A planted fault is found within so many rounds of kills. */
const LIE_ROUNDS = 12;
const LIE_KILLS = 10;
/** An evidence document: key 13 holds 80 bytes a receipt, its hash first (docs/clearing.md). */
const RECEIPT_ROWS = 13;
const ROW_BYTES = 80;
const HASH_BYTES = 32;

t.setTimeout(900_000);

const sha256 = (bytes: Uint8Array): string => createHash('sha256').update(bytes).digest('hex');

/** One store and its output folder, watched from outside. */
class Watched {
  /** What is broken in its processes on purpose. */
  readonly #lie: string;
  readonly folder: string = mkdtempSync(join(tmpdir(), 'kiri-clearing-kills-'));
  /** Final names and the hashes of what stood under them when they were first seen. */
  readonly known = new Map<string, string>();
  readonly faults: string[] = [];
  kills = 0;
  batch = 0;

  constructor(lie = 'none') {
    this.#lie = lie;
  }

  #names(below: string): string[] {
    try {
      return readdirSync(join(this.folder, below));
    } catch {
      return [];
    }
  }

  #look(): void {
    const now = new Map<string, string>();
    for (const below of ['clearing', 'evidence']) {
      for (const name of this.#names(below).filter((one) => !one.endsWith('.tmp'))) {
        now.set(`${below}/${name}`, sha256(readFileSync(join(this.folder, below, name))));
      }
    }
    for (const [name, hash] of this.known) {
      if (now.get(name) !== hash) this.faults.push(`${name} changed`);
    }
    for (const [name, hash] of now) {
      this.known.set(name, hash);
      if (!name.endsWith('.manifest')) continue;
      const base = name.slice(0, -'.manifest'.length);
      for (const end of ['.ipm', '.lines.jsonl', '.manifest.json']) {
        if (!now.has(base + end)) this.faults.push(`${name} stands before ${end}`);
      }
    }
  }

  /** The next batch by a new process that dies at a boundary. @returns whether it came so far */
  async run(killAt: number): Promise<boolean> {
    this.batch += 1;
    const args = [CHILD, this.folder, String(this.batch), String(killAt), this.#lie];
    const child = spawn(process.execPath, args, { env: {}, stdio: ['ignore', 'pipe', 'pipe'] });
    const said = Promise.all([text(child.stdout), text(child.stderr)]);
    const [, signal] = (await once(child, 'close')) as [number | null, string | null];
    const [out, errors] = await said;
    if (signal !== 'SIGKILL' && !out.includes('done')) this.faults.push(`it ended: ${errors}`);
    if (signal === 'SIGKILL') this.kills += 1;
    this.#look();
    return signal === 'SIGKILL';
  }

  files(ending: string): string[] {
    return [...this.known.keys()].filter((name) => name.endsWith(ending));
  }

  read(name: string): Buffer {
    return readFileSync(join(this.folder, name));
  }

  /** Temporary files that a process left and its successor should have removed. */
  leftovers(): string[] {
    return ['clearing', 'evidence'].flatMap((below) =>
      this.#names(below).filter((one) => one.endsWith('.tmp')),
    );
  }
}

/** SHA-256 of every receipt in an evidence document, read without the project's codec. */
const receiptsIn = (evidence: Buffer): string[] => {
  const rows = (decode(evidence) as Record<number, Uint8Array>)[RECEIPT_ROWS] ?? new Uint8Array();
  return Array.from({ length: rows.length / ROW_BYTES }, (_, at) =>
    Buffer.from(rows.subarray(at * ROW_BYTES, at * ROW_BYTES + HASH_BYTES)).toString('hex'),
  );
};

const twice = (values: readonly string[]): string[] =>
  values.filter((value, at) => values.indexOf(value) !== at);

/** What the files alone say of sequences, ARNs, and where each receipt stands: everything that is wrong with it. */
function judge(store: Watched): string[] {
  const wrong = [...store.faults];
  const sequences = new Map<string, number[]>();
  const arns: string[] = [];
  const named: string[] = [];
  for (const name of store.files('.ipm')) {
    const [, member = '', sequence] = /\.(\d{11})\.D\d{6}\.S(\d{5})\./.exec(name) ?? [];
    sequences.set(member, [...(sequences.get(member) ?? []), Number(sequence)]);
    const lines = readPlainIpm(store.read(name)).slice(1, -1);
    arns.push(...lines.map((line) => line.fields.get(31) ?? ''));
    const rows = store.read(name.replace(/ipm$/, 'lines.jsonl')).toString().trim().split('\n');
    for (const row of rows) {
      const { aggregateId } = JSON.parse(row) as { aggregateId?: string };
      if (aggregateId !== undefined) named.push(aggregateId);
    }
  }
  for (const [member, numbers] of sequences) {
    const ascending = numbers.toSorted((a, b) => a - b);
    const isOne = ascending.every((number, at) => number === at + 1);
    if (!isOne) wrong.push(`sequences of ${member}: ${ascending.join(' ')}`);
  }
  wrong.push(...twice(arns).map((arn) => `ARN ${arn} twice`));
  wrong.push(...twice(named).map((id) => `line ${id} in two files`));
  const evidence = store.files('.cbor').map((name) => store.read(name));
  const proven = new Set(evidence.map(sha256WithPrefix));
  wrong.push(...named.filter((id) => !proven.has(id)).map((id) => `no evidence of ${id}`));
  if (proven.size > named.length) wrong.push('evidence of lines that are in no file');
  const found = evidence.flatMap(receiptsIn);
  wrong.push(...twice(found).map((hash) => `receipt ${hash} twice`));
  const present = new Set(found);
  for (const { receiptHash } of Array.from({ length: store.batch }, (_, at) =>
    itemsOf(at + 1),
  ).flat()) {
    const hash = Buffer.from(receiptHash).toString('hex');
    if (!present.delete(hash)) wrong.push(`receipt ${hash} in no file`);
  }
  if (present.size > 0) wrong.push(`${present.size} receipts that nobody made`);
  wrong.push(...store.leftovers().map((name) => `${name} is left`));
  return wrong;
}

/** The aggregate id is SHA-256 over the byte 61 and the document (docs/clearing.md). */
function sha256WithPrefix(document: Buffer): string {
  return sha256(Buffer.concat([Buffer.of(61), document]));
}

/** Every file again from the store, byte for byte. */
async function rebuilt(store: Watched): Promise<string[]> {
  const clearing = await ClearingService.open(
    {
      database: openSqlite(join(store.folder, 'clearing.sqlite')),
      signer,
      outFolder: store.folder,
      directory,
      policyHash,
      mode: 'T',
    },
    NOON_S,
  );
  const wrong: string[] = [];
  for (const name of store.files('.ipm')) {
    const base = name.slice('clearing/'.length, -'.ipm'.length);
    for (const { path, bytes } of await clearing.rebuild(base)) {
      if (store.known.get(path) !== sha256(Buffer.from(bytes))) wrong.push(path);
    }
  }
  await clearing.close();
  return wrong;
}

/** Kills at one boundary after the other until `kills` are made or something is wrong. */
async function killAlong(
  stores: readonly Watched[],
  kills: number,
  isEnough: (store: Watched) => boolean,
): Promise<void> {
  const stride = Math.max(1, Math.floor(BOUNDARIES / kills));
  let boundary = 0;
  let taken = 0;
  const work = async (store: Watched): Promise<void> => {
    while (taken < kills && !isEnough(store)) {
      taken += 1;
      boundary += stride;
      // Past the last boundary the child comes to its end, and the round begins anew.
      if (await store.run(boundary)) continue;
      taken -= 1;
      boundary = 0;
    }
    // The last one dies nowhere: what the others left is finished.
    await store.run(NEVER);
  };
  await Promise.all(stores.map(work));
}

t.test(`${KILLS} SIGKILLs between the steps of a cut`, async (t) => {
  const stores = Array.from({ length: STORES }, () => new Watched());
  t.teardown(() => {
    for (const { folder } of stores) rmSync(folder, { recursive: true, force: true });
  });
  await killAlong(stores, KILLS, ({ faults }) => faults.length > 0);
  const kills = stores.reduce((sum, store) => sum + store.kills, 0);
  t.equal(kills, KILLS);
  for (const store of stores) {
    t.same(
      judge(store),
      [],
      'no sequence reused, no receipt in two files, none in no file, nothing half written',
    );
    t.same(await rebuilt(store), [], 'the store makes the same bytes again');
  }
  const count = (ending: string): number =>
    stores.reduce((sum, store) => sum + store.files(ending).length, 0);
  t.comment(`${kills} kills, ${count('.ipm')} files, ${count('.cbor')} lines with evidence`);
});

const LIES = {
  'no-transaction': /in no file|twice|two files|sequences|it ended/,
  'no-rename': /changed|stands before|in no file/,
} as const;

for (const [lie, found] of Object.entries(LIES)) {
  t.test(`a clearing with ${lie} is found out`, async (t) => {
    const store = new Watched(lie);
    t.teardown(() => rmSync(store.folder, { recursive: true, force: true }));
    let wrong: string[] = [];
    for (let round = 0; round < LIE_ROUNDS && wrong.length === 0; round += 1) {
      await killAlong([store], LIE_KILLS, ({ faults }) => faults.length > 0);
      wrong = judge(store);
    }
    t.match(wrong.join('\n'), found);
    t.comment(`after ${store.kills} kills: ${wrong[0] ?? 'nothing'}`);
  });
}
