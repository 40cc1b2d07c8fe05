import { createHash, generateKeyPairSync, randomBytes } from 'node:crypto';
import { mkdir, mkdtemp, open, readFile, readdir, rm, stat } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { nodeSigner, nodeVerifier } from '../identity/edge/node-signatures.ts';
import { writeFileDurable } from '../platform/durable-file.ts';
import { utf8ToBytes } from '../protocol/bytes.ts';
import { wrappedKeyPath } from '../sync/ledger/content-keys.ts';
import { encodeCheckpoint } from '../sync/ledger/core/checkpoint.ts';
import { type LogEntry, type OpenBundle, appendBatch } from '../sync/ledger/core/log-batch.ts';
import { leafHash, nodeHash } from '../sync/ledger/core/merkle.ts';
import { signNote } from '../sync/ledger/core/note.ts';
import { logSigner, noteVerify } from '../sync/ledger/core/note-ports.ts';
import { TILE_WIDTH } from '../sync/ledger/core/tile.ts';
import { appendLeaves, emptyTree, treeRoot } from '../sync/ledger/core/tree.ts';
import { contentKeyId, wrapContentKey } from '../sync/ledger/key-wrap.ts';
import { parseSignedHead } from '../sync/ledger/core/signed-head.ts';
import { LogCopy, nativeHash } from '../sync/ledger/log-copy.ts';
import { folderSource } from '../sync/ledger/log-source.ts';
import { leafOfRecord, sealPayload } from '../sync/ledger/payload-record.ts';
import { prepareLogFolder, writeLogFiles } from '../sync/ledger/tile-store.ts';
import { section, type Figure } from './figure.ts';
import { cpuPerCall, median } from './measure.ts';

const figure = section('Log store');

const ORIGIN = 'bench.example/gw/2026q4';
/** Payment, Receipt and Offer as one record. */
const PLAIN_BYTES = 560;
const DAY_S = 86_400;
/** A batch every 250 ms while there is work. */
const BATCHES_PER_S = 4;

interface Store {
  readonly root: string;
  readonly size: number;
  filesWritten: number;
  bytesWritten: number;
  /** Signed by the log, over everything that is in the folder. */
  readonly note: string;
}

const signer = logSigner(ORIGIN, nodeSigner(generateKeyPairSync('ed25519').privateKey));
const contentKey = new Uint8Array(randomBytes(32));
const wrapped = wrapContentKey(
  contentKey,
  nodeSigner(generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey).key,
);
const kid = contentKeyId(wrapped);

function entryAt(index: number): LogEntry {
  const plain = new Uint8Array(PLAIN_BYTES).fill(index & 255);
  const hash = nativeHash(utf8ToBytes(`receipt ${index}`));
  const payload = sealPayload(plain, hash, { kid, key: contentKey });
  const leaf = leafOfRecord(payload, nativeHash);
  return { leaf: leaf ?? plain, payload, acceptedAtMs: 0 };
}

/** Writes a log through the real tile store, `perBatch` entries at a time. */
async function writeStore(root: string, size: number, perBatch: number): Promise<Store> {
  await prepareLogFolder(root);
  await writeFileDurable(join(root, wrappedKeyPath(Buffer.from(kid).toString('hex'))), wrapped);
  const tree = emptyTree();
  const bundle: OpenBundle = { leaves: [], payloads: [] };
  let [filesWritten, bytesWritten] = [0, 0];
  for (let at = 0; at < size; at += perBatch) {
    const count = Math.min(perBatch, size - at);
    const entries = Array.from({ length: count }, (_, i) => entryAt(at + i));
    const batch = appendBatch(tree, bundle, entries, nativeHash);
    await writeLogFiles(root, batch);
    const written = [...batch.files, ...batch.appends];
    filesWritten += written.length;
    bytesWritten += written.reduce((sum, { bytes }) => sum + bytes.length, 0);
  }
  const head = { origin: ORIGIN, size, root: treeRoot(tree, nativeHash) };
  return { root, size, filesWritten, bytesWritten, note: signNote(encodeCheckpoint(head), signer) };
}

interface Held {
  readonly paths: readonly string[];
  readonly bytes: number;
}

async function heldBelow(root: string): Promise<Held> {
  const all = await readdir(root, { recursive: true, withFileTypes: true });
  const paths = all.filter((one) => one.isFile()).map((one) => join(one.parentPath, one.name));
  const sizes = await Promise.all(paths.map(async (path) => (await stat(path)).size));
  return { paths, bytes: sizes.reduce((sum, size) => sum + size, 0) };
}

/** Read, hash once, write, sync: what no copy that is durable and checked can do without. */
async function copyRaw(from: string, to: string, paths: readonly string[]): Promise<void> {
  for (const path of paths) {
    const bytes = await readFile(path);
    createHash('sha256').update(bytes).digest();
    const target = join(to, path.slice(from.length));
    await mkdir(dirname(target), { recursive: true });
    const file = await open(target, 'w');
    await file.writeFile(bytes);
    await file.datasync();
    await file.close();
  }
}

async function seconds(run: () => Promise<unknown>): Promise<number> {
  const startedNs = process.hrtime.bigint();
  await run();
  return Number(process.hrtime.bigint() - startedNs) / 1e9;
}

/** A mirror's copy given back to a lost gateway, against the same bytes copied and hashed. */
async function restoreFigures(base: string, store: Store, rounds: number): Promise<Figure[]> {
  const verify = noteVerify(nodeVerifier());
  const log = { origin: ORIGIN, keys: [signer.key], verify };
  const head = parseSignedHead(utf8ToBytes(store.note), log.keys, verify);
  if (!head.ok) throw new Error(head.reason);
  const { paths, bytes } = await heldBelow(store.root);
  const taken: { restore: number[]; raw: number[] } = { restore: [], raw: [] };
  for (let round = 0; round < rounds; round += 1) {
    const [to, plain] = [join(base, `restored-${round}`), join(base, `raw-${round}`)];
    taken.restore.push(
      await seconds(async () => {
        const copy = await LogCopy.open(to, log);
        const done = await copy.extend(folderSource(store.root), head.value);
        if (!done.ok) throw new Error(done.reason);
      }),
    );
    taken.raw.push(await seconds(() => copyRaw(store.root, plain, paths)));
    await rm(to, { recursive: true });
    await rm(plain, { recursive: true });
  }
  const [restoreS, rawS] = [median(taken.restore), median(taken.raw)];
  return [
    figure('restore from a copy, entries', store.size / restoreS, '/s'),
    figure('restore from a copy', bytes / restoreS / 1e6, 'MB/s'),
    figure('restore / same bytes copied, hashed, synced', restoreS / rawS, '×'),
  ];
}

/** Partial tiles of the levels above, which go when theirs is full: at most 255 and a folder per level. */
const isPassing = (path: string): boolean => /\.p(?:\/|$)/.test(path);

/** Files that one more full bundle of 256 entries leaves for good; what is there once does not count. */
async function keptPerBundle(base: string): Promise<number> {
  const more = 16;
  const held: Held[] = [];
  for (const bundles of [1, 1 + more]) {
    const root = join(base, `kept-${bundles}`);
    await writeStore(root, bundles * TILE_WIDTH, TILE_WIDTH);
    held.push(await heldBelow(root));
    await rm(root, { recursive: true });
  }
  const [few, many] = held.map(({ paths }) => paths.filter((path) => !isPassing(path)).length);
  return ((many ?? 0) - (few ?? 0)) / more;
}

/** What a day at a rate writes and leaves, scaled from whole bundles really written at that rate's batch size. */
async function dayFigures(base: string, perS: number, bundles: number): Promise<Figure[]> {
  const perBatch = Math.max(1, Math.round(perS / BATCHES_PER_S));
  const size = bundles * TILE_WIDTH;
  const root = join(base, `day-${perS}`);
  const store = await writeStore(root, size, perBatch);
  const kept = await keptPerBundle(base);
  await rm(root, { recursive: true });
  const scale = (perS * DAY_S) / size;
  const bundlesADay = (perS * DAY_S) / TILE_WIDTH;
  const name = (text: string): string => `${perS} receipts/s: ${text} a day`;
  return [
    figure(name('files (inodes) kept'), Math.round(kept * bundlesADay), 'files'),
    figure(name('files written'), Math.round(store.filesWritten * scale), 'files'),
    figure(name('written'), (store.bytesWritten * scale) / 1e9, 'GB'),
  ];
}

function repeat(run: () => unknown): (count: number) => void {
  return (count) => {
    for (let i = 0; i < count; i += 1) run();
  };
}

/** Tree and files of a batch in memory against two node hashes a leaf, which is what RFC 6962 asks for. */
function appendFigures(rounds: number): Figure[] {
  const entries = Array.from({ length: 1024 }, (_, at) => entryAt(at));
  const leaves = entries.map(({ leaf }) => leaf);
  let hashes = 0;
  const counted = (bytes: Uint8Array): Uint8Array => {
    hashes += 1;
    return nativeHash(bytes);
  };
  appendLeaves(
    emptyTree(),
    leaves.map((leaf) => leafHash(leaf, counted)),
    counted,
  );
  const [one, two] = [nativeHash(leaves[0]!), nativeHash(leaves[1]!)];
  const cost = cpuPerCall(
    {
      append: repeat(() =>
        appendBatch(emptyTree(), { leaves: [], payloads: [] }, entries, nativeHash),
      ),
      hash: repeat(() => {
        for (let i = 0; i < 2 * entries.length; i += 1) nodeHash(one, two, nativeHash);
      }),
    },
    { rounds, calls: 20 },
  );
  return [
    figure('append: hashes per receipt', hashes / entries.length, 'hashes'),
    figure('append / bare hashing', cost['append']! / cost['hash']!, '×'),
  ];
}

/** Bytes, files and speed of the log's folder. */
export async function measureStore(plan: {
  readonly rounds: number;
  readonly storeEntries: number;
  readonly dayBundles: number;
}): Promise<readonly Figure[]> {
  const base = await mkdtemp(join(tmpdir(), 'kiri-bench-store-'));
  try {
    const store = await writeStore(join(base, 'log'), plan.storeEntries, 4_096);
    const forEver = (await heldBelow(join(store.root, 'tlog'))).bytes / store.size;
    const payloads = (await heldBelow(join(store.root, 'payload'))).bytes / store.size;
    const restore = await restoreFigures(base, store, plan.rounds);
    const days = [
      ...(await dayFigures(base, 2, plan.dayBundles)),
      ...(await dayFigures(base, 20, plan.dayBundles)),
    ];
    return [
      figure('kept for ever, per receipt', forEver, 'bytes', 115),
      figure('payload until it is retired, per receipt', payloads, 'bytes'),
      ...appendFigures(plan.rounds),
      ...restore,
      ...days,
    ];
  } finally {
    await rm(base, { recursive: true, force: true });
  }
}
