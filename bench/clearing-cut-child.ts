import { generateKeyPairSync } from 'node:crypto';
import { mkdir, open, readdir, readFile, rename } from 'node:fs/promises';
import { join } from 'node:path';
import { nodeSigner, nodeVerifier } from '../identity/edge/node-signatures.ts';
import type { PublicKey } from '../protocol/public-key.ts';
import { openSqlite } from '../sync/clearing/sql.ts';
import { buildRegistry } from '../sync/clearing/core/registry.ts';
import { EVIDENCE_FOLDER, CLEARING_FOLDER } from '../sync/clearing/cut-file.ts';
import { answering } from './child.ts';
import { NOON_S, openClearing, VerifiedReceipts } from './clearing-samples.ts';
import { cpuMicros } from './measure.ts';
import { makeWorld } from './world.ts';

export type CutQuestion =
  | { readonly do: 'cut'; readonly folder: string; readonly lines: number }
  | { readonly do: 'open'; readonly lines: number };

/** CPU in microseconds, of the work and of its floor; memory in bytes. */
export interface CutAnswer {
  readonly cpuMicros: number;
  readonly floorMicros: number;
  readonly bytes: number;
}

const BATCH = 1_024;
const RECEIPTS_PER_LINE = 4;
/** Files of the floor under way at a time, as many as the clearing has. */
const IN_FLIGHT = 64;
/** Into the next day of Tokyo: every account is due. */
const NEXT_DAY_S: number = NOON_S + 86_400;

async function writeRaw(path: string, bytes: Uint8Array): Promise<void> {
  const file = await open(`${path}.tmp`, 'wx');
  await file.writeFile(bytes);
  await file.sync();
  await file.close();
  await rename(`${path}.tmp`, path);
}

/** CPU of writing, syncing and renaming files of the same names and bytes. */
async function rawMicros(folder: string): Promise<number> {
  const files: { readonly path: string; readonly bytes: Uint8Array }[] = [];
  await mkdir(join(folder, 'raw'));
  for (const part of [EVIDENCE_FOLDER, CLEARING_FOLDER]) {
    for (const name of await readdir(join(folder, part))) {
      const bytes = new Uint8Array(await readFile(join(folder, part, name)));
      files.push({ path: join(folder, 'raw', name), bytes });
    }
  }
  const before = cpuMicros();
  for (let from = 0; from < files.length; from += IN_FLIGHT) {
    const page = files.slice(from, from + IN_FLIGHT);
    await Promise.all(page.map(({ path, bytes }) => writeRaw(path, bytes)));
  }
  return cpuMicros() - before;
}

/** Assigns and writes a file with so many lines and their evidence; the floor is its files alone. */
async function cut(folder: string, lines: number): Promise<CutAnswer> {
  const signer = nodeSigner(generateKeyPairSync('ed25519').privateKey);
  const service = await openClearing(openSqlite(join(folder, 'c.sqlite')), signer, folder);
  const source = new VerifiedReceipts({ lines, accounts: lines });
  for (let left = lines * RECEIPTS_PER_LINE; left > 0; left -= BATCH) {
    await service.ingestBatch(source.take(Math.min(BATCH, left)), NOON_S);
  }
  const before = cpuMicros();
  const { files } = await service.cut(NEXT_DAY_S, []);
  const taken = cpuMicros() - before;
  const bytes = process.resourceUsage().maxRSS * 1_024;
  const presentments = files.reduce((sum, file) => sum + file.presentments, 0);
  if (presentments !== lines) throw new Error(`${presentments} of ${lines} lines were presented`);
  await service.close();
  return { cpuMicros: taken, floorMicros: await rawMicros(folder), bytes };
}

/** Verifies the documents of so many lines; the floor is the signatures that this takes. */
function openDocuments(lines: number): CutAnswer {
  const { issuer, documents } = makeWorld(lines);
  const asked: (readonly [PublicKey, Uint8Array, Uint8Array])[] = [];
  const counted = nodeVerifier();
  buildRegistry(
    {
      issuerKey: issuer.key,
      verifier: {
        verify: (...question) => asked.push(question) > 0 && counted.verify(...question),
      },
    },
    documents,
  );
  const verifier = nodeVerifier();
  globalThis.gc?.();
  const heapBefore = process.memoryUsage().heapUsed;
  const before = cpuMicros();
  const registry = buildRegistry({ issuerKey: issuer.key, verifier }, documents);
  const taken = cpuMicros() - before;
  globalThis.gc?.();
  const bytes = process.memoryUsage().heapUsed - heapBefore;
  if (registry.payers.size !== lines) throw new Error('not every line is in the registry');
  const floor = nodeVerifier();
  const floorBefore = cpuMicros();
  for (const question of asked) floor.verify(...question);
  return { cpuMicros: taken, floorMicros: cpuMicros() - floorBefore, bytes };
}

async function answer(question: CutQuestion): Promise<CutAnswer> {
  return question.do === 'cut'
    ? cut(question.folder, question.lines)
    : openDocuments(question.lines);
}

answering(answer);
