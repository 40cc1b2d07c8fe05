import { generateKeyPairSync } from 'node:crypto';
import { mkdtemp, rm } from 'node:fs/promises';
import { Agent, request } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { nodeSigner } from '../identity/edge/node-signatures.ts';
import { utf8ToBytes } from '../protocol/bytes.ts';
import { encodeCheckpoint } from '../sync/ledger/core/checkpoint.ts';
import { leafHash } from '../sync/ledger/core/merkle.ts';
import { signNote } from '../sync/ledger/core/note.ts';
import { encodeVerifierKey } from '../sync/ledger/core/note-key.ts';
import { logSigner } from '../sync/ledger/core/note-ports.ts';
import { encodeBase64 } from '../sync/ledger/core/text.ts';
import { parseTile } from '../sync/ledger/core/tile.ts';
import { appendLeaves, emptyTree, treeRoot } from '../sync/ledger/core/tree.ts';
import { consistencyRanges, hashRanges } from '../sync/ledger/core/tree-proof.ts';
import { encodeAddCheckpoint } from '../sync/ledger/core/witness.ts';
import { Child } from './child.ts';
import { section, type Figure } from './figure.ts';
import { quantile } from './measure.ts';
import type { WitnessFloor, WitnessMark, WitnessStart } from './witness-child.ts';

const figure = section('Witness: 500 logs, 4 checkpoints/s each');

const LOGS = 500;
const INTERVAL_MS = 250;
/** Entries before the first checkpoint, and between two. */
const FIRST_SIZE = 100_000;
const GROWTH = 5;
/** A stored head: checkpoint, two signature lines. */
const RECORD_BYTES = 420;

interface Step {
  readonly oldSize: number;
  readonly size: number;
  readonly root: Uint8Array;
  readonly path: readonly string[];
}

/** One history that every log shares under its own name: what the witness does is the same, the making is quicker. */
function growTree(count: number): readonly Step[] {
  const tree = emptyTree();
  const tiles = new Map<string, readonly Uint8Array[]>();
  const grow = (leaves: number): void => {
    const { size } = tree;
    const hashes = Array.from({ length: leaves }, (_, at) => leafHash(utf8ToBytes(`${size + at}`)));
    for (const { level, index, width, bytes } of appendLeaves(tree, hashes)) {
      const tile = parseTile(bytes, width);
      if (tile.ok) tiles.set(`${level}/${index}`, tile.value);
    }
  };
  grow(FIRST_SIZE);
  const steps: Step[] = [{ oldSize: 0, size: tree.size, root: treeRoot(tree), path: [] }];
  for (let at = 0; at < count; at += 1) {
    const oldSize = tree.size;
    grow(GROWTH);
    const ranges = consistencyRanges(oldSize, tree.size);
    const path = hashRanges(ranges, (level, index) => tiles.get(`${level}/${index}`) ?? []);
    steps.push({ oldSize, size: tree.size, root: treeRoot(tree), path: path.map(encodeBase64) });
  }
  return steps;
}

interface LoggedOrigin {
  readonly vkey: string;
  readonly bodies: readonly Uint8Array[];
}

function makeOrigin(at: number, steps: readonly Step[]): LoggedOrigin {
  const origin = `bench.example/gw${at}/2026q4`;
  const signer = logSigner(origin, nodeSigner(generateKeyPairSync('ed25519').privateKey));
  const bodies = steps.map(({ oldSize, size, root, path }) =>
    encodeAddCheckpoint(oldSize, path, signNote(encodeCheckpoint({ origin, size, root }), signer)),
  );
  return { vkey: encodeVerifierKey(signer.key), bodies };
}

function post(agent: Agent, port: number, body: Uint8Array): Promise<number> {
  return new Promise((resolve, reject) => {
    const options = { agent, port, host: '127.0.0.1', method: 'POST', path: '/add-checkpoint' };
    const headers = { 'content-length': body.length };
    const req = request({ ...options, headers }, (res) => {
      res.resume();
      res.on('end', () => resolve(res.statusCode ?? 0));
    });
    req.on('error', reject);
    req.end(body);
  });
}

/** Sends each log's checkpoints at their times, one at a time; answers milliseconds from the time due to the answer. */
async function drive(
  origins: readonly LoggedOrigin[],
  port: number,
  agent: Agent,
): Promise<{ readonly waits: number[]; readonly elapsedMs: number }> {
  const waits: number[] = [];
  const startMs = performance.now() + 100;
  await Promise.all(
    origins.map(async ({ bodies }, at) => {
      for (const [n, body] of bodies.slice(1).entries()) {
        const dueMs = startMs + (n + at / origins.length) * INTERVAL_MS;
        const pauseMs = dueMs - performance.now();
        if (pauseMs > 0) await new Promise((resolve) => setTimeout(resolve, pauseMs));
        const status = await post(agent, port, body);
        if (status !== 200) throw new Error(`the witness answers ${status}`);
        waits.push(performance.now() - dueMs);
      }
    }),
  );
  return { waits, elapsedMs: performance.now() - startMs };
}

/** One witness process under a month's steady load, squeezed into seconds; the floor runs in the same process after it. */
export async function measureWitness(seconds: number): Promise<readonly Figure[]> {
  const folder = await mkdtemp(join(tmpdir(), 'kiri-bench-witness-'));
  const steps = growTree(seconds * (1_000 / INTERVAL_MS));
  const origins = Array.from({ length: LOGS }, (_, at) => makeOrigin(at, steps));
  const child = new Child('witness-child.js');
  const agent = new Agent({ keepAlive: true, maxSockets: LOGS });
  try {
    const order: WitnessStart = { kind: 'start', folder, vkeys: origins.map(({ vkey }) => vkey) };
    const port = await child.ask<number>(order);
    await Promise.all(
      origins.map(({ bodies }) => post(agent, port, bodies[0] ?? new Uint8Array())),
    );
    const before = await child.ask<WitnessMark>({ kind: 'mark' });
    const { waits, elapsedMs } = await drive(origins, port, agent);
    const after = await child.ask<WitnessMark>({ kind: 'mark' });
    const count = waits.length;
    const commits = after.commits - before.commits;
    const cpu = (after.cpuMicros - before.cpuMicros) / count;
    const group = Math.max(1, Math.round(count / commits));
    const floor = await child.ask<number>({
      kind: 'floor',
      file: join(folder, 'floor'),
      count: Math.min(count, 4_000),
      group,
      recordBytes: RECORD_BYTES,
    } satisfies WitnessFloor);
    const offered = LOGS * (1_000 / INTERVAL_MS);
    const achieved = (count / elapsedMs) * 1_000;
    return [
      figure('checkpoints achieved', achieved, '/s'),
      figure('offered ÷ achieved', offered / achieved, '', 1.05),
      figure('from due to cosigned, p50', quantile(waits, 0.5), 'ms'),
      figure('from due to cosigned, p99', quantile(waits, 0.99), 'ms', 500),
      figure('syncs per checkpoint', commits / count, ''),
      figure('CPU per checkpoint', cpu, 'µs'),
      figure('CPU ÷ (verify + sign + shared sync)', cpu / floor, ''),
    ];
  } finally {
    agent.destroy();
    await child.close();
    await rm(folder, { recursive: true, force: true });
  }
}
