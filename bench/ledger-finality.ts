import { generateKeyPairSync } from 'node:crypto';
import { hash } from 'node:crypto';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { nodeSigner, nodeVerifier } from '../identity/edge/node-signatures.ts';
import { journalReader } from '../platform/journal-reader.ts';
import { openJournal } from '../platform/journal.ts';
import type { Journal } from '../platform/ports.ts';
import { systemClock } from '../platform/system-clock.ts';
import { openContentKeys } from '../sync/ledger/content-keys.ts';
import { encodeVerifierKey } from '../sync/ledger/core/note-key.ts';
import { logSigner, noteVerify } from '../sync/ledger/core/note-ports.ts';
import { parsePolicy, type Policy } from '../sync/ledger/core/policy.ts';
import { readFinality } from '../sync/ledger/finality-file.ts';
import { startLedgerService } from '../sync/ledger/ledger-service.ts';
import type { LedgerService } from '../sync/ledger/ledger-types.ts';
import { nativeHash } from '../sync/ledger/log-copy.ts';
import { serveLog } from '../sync/ledger/log-server.ts';
import { Child } from './child.ts';
import { section, type Figure } from './figure.ts';
import { quantile } from './measure.ts';
import type { WitnessesStarted } from './finality-child.ts';

const figure = section('Ledger: finality and uplink (wall time)');
const ORIGIN = 'bench.example/log';
/** Round trips to the witnesses; three of the four and the mirror make a receipt final. */
const DELAYS_MS: readonly number[] = [40, 80, 150, 300];
/** The writer's batch interval. */
const BATCH_MS = 250;
const RATE_PER_S = 1_000;
const SLICE_MS = 20;
/** Evidence of one payment: Payment, Receipt and Offer. */
const RECORD_BYTES = 640;
/** 96 h at a busy gate. */
const BACKLOG_HOURS = 96;
const BACKLOG_RATE_PER_S = 20;
const GIVE_UP_MS = 60_000;

/** How long the load lasts, and how many entries wait in the journal for the drain. */
interface FinalityPlan {
  readonly loadMs: number;
  readonly backlog: number;
  readonly checkpoints: number;
}

interface Bench {
  readonly folder: string;
  readonly journal: Journal;
  readonly policy: Policy;
  readonly started: WitnessesStarted;
  readonly witnesses: Child;
  /** Starts the writer on a fresh log; with `hub`, through the hub. */
  ledger(via: 'direct' | 'hub'): Promise<LedgerService>;
  close(): Promise<void>;
}

const until = async (holds: () => boolean): Promise<void> => {
  const start = performance.now();
  while (!holds()) {
    if (performance.now() - start > GIVE_UP_MS) throw new Error('the log does not become final');
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
};

function policyOf(logVkey: string, witnesses: WitnessesStarted['witnesses']): Policy {
  const names = witnesses.map(({ name }) => name).filter((name) => name !== 'm1');
  const policy = parsePolicy(
    Buffer.from(
      [
        `log ${logVkey}`,
        ...witnesses.map(({ name, vkey }) => `witness ${name} ${vkey}`),
        `group W 3 ${names.join(' ')}`,
        'group Q all W m1',
        'quorum Q',
        '',
      ].join('\n'),
    ),
  );
  if (!policy.ok) throw new Error(policy.reason);
  return policy.value;
}

async function openBench(): Promise<Bench> {
  const folder = await mkdtemp(join(tmpdir(), 'kiri-bench-finality-'));
  const root = join(folder, 'log');
  const signer = logSigner(ORIGIN, nodeSigner(generateKeyPairSync('ed25519').privateKey));
  const party = nodeSigner(generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey).key;
  const { journal } = await openJournal(join(folder, 'journal'));
  const server = await serveLog(root, 0);
  const witnesses = new Child('./finality-child.js');
  const logVkey = encodeVerifierKey(signer.key);
  const started = await witnesses.ask<WitnessesStarted>({
    do: 'start',
    folder,
    origin: ORIGIN,
    logVkey,
    logUrl: server.url,
    delaysMs: DELAYS_MS,
  });
  const policy = policyOf(logVkey, started.witnesses);
  const urls = new Map(started.witnesses.map(({ name, url }) => [name, url]));
  return {
    folder,
    journal,
    policy,
    started,
    witnesses,
    ledger: (via) =>
      startLedgerService({
        root,
        ports: {
          origin: ORIGIN,
          signer,
          verify: noteVerify(nodeVerifier()),
          policy,
          hash: nativeHash,
        },
        reader: journalReader(join(folder, 'journal')),
        source: (record) => [
          {
            receiptPayloadHash: hash('sha256', record, 'buffer'),
            payloadPlain: record,
            partyRef: record.subarray(8, 9),
            acceptedAtMs: Number(Buffer.from(record).readBigUInt64BE(0)),
          },
        ],
        keys: openContentKeys(root, party),
        witnessUrls: urls,
        ...(via === 'hub' ? { hubUrl: started.hubUrl } : {}),
        clock: systemClock(),
      }),
    close: async () => {
      await witnesses.close();
      await server.close();
      await journal.close();
      await rm(folder, { recursive: true, force: true });
    },
  };
}

let serial = 0;

function pay(journal: Journal, count: number): Promise<number> {
  const record = Buffer.alloc(RECORD_BYTES, 7);
  for (let at = 0; at < count; at += 1) {
    serial += 1;
    record.writeBigUInt64BE(BigInt(Date.now()), 0);
    record.writeUInt32BE(serial, 16);
    record[8] = serial % 16;
    journal.append(record);
  }
  return journal.commit();
}

/** A steady load; waits until all of it is final. @returns milliseconds from acceptance to L2, sorted */
async function load(bench: Bench, ledger: LedgerService, loadMs: number): Promise<number[]> {
  const from = ledger.status().recordedSize;
  const start = performance.now();
  let paid = 0;
  for (let elapsed = 0; elapsed < loadMs; elapsed = performance.now() - start) {
    const due = Math.floor((elapsed * RATE_PER_S) / 1_000) - paid;
    paid += due;
    if (due > 0) await pay(bench.journal, due);
    await new Promise((resolve) => setTimeout(resolve, SLICE_MS));
  }
  await until(() => ledger.status().finalSize === from + paid);
  return finalTimes(bench, from, paid);
}

/** The writer measures beside its work: its file may be a moment behind what it says. */
async function finalTimes(bench: Bench, from: number, count: number): Promise<number[]> {
  const start = performance.now();
  for (;;) {
    const times = (await readFinality(join(bench.folder, 'log')))
      .filter(({ index }) => index >= from)
      .flatMap(({ acceptedAtMs, finalAtMs }) =>
        finalAtMs === undefined ? [] : [finalAtMs - acceptedAtMs],
      );
    if (times.length >= count) return times.toSorted((a, b) => a - b);
    if (performance.now() - start > GIVE_UP_MS) throw new Error('not all of it was measured');
    await new Promise((resolve) => setTimeout(resolve, SLICE_MS));
  }
}

function finalityFigures(name: string, ms: readonly number[], neededMs: number): Figure[] {
  const [p50, p99] = [quantile(ms, 0.5), quantile(ms, 0.99)];
  // Worst case of the protocol alone: a batch just missed, a round just begun (reference: T + 2 × delay).
  const floorMs = BATCH_MS + 2 * neededMs;
  return [
    figure(`L2, ${name}: p50`, p50, 'ms'),
    figure(`L2, ${name}: p99`, p99, 'ms', 2_000),
    figure(`L2, ${name}: p99 in batch intervals`, p99 / BATCH_MS, 'T'),
    figure(`L2, ${name}: p99 ÷ (T + 2 × slowest needed)`, p99 / floorMs, ''),
  ];
}

/** Bytes that one checkpoint costs between the writer and its witnesses. */
async function uplinkBytes(
  bench: Bench,
  via: 'direct' | 'hub',
  checkpoints: number,
): Promise<number> {
  const ledger = await bench.ledger(via);
  await until(() => ledger.status().phase.kind === 'running');
  const before = ledger.status().uplink;
  for (let at = 0; at < checkpoints; at += 1) {
    const { finalSize } = ledger.status();
    await pay(bench.journal, 5);
    await until(() => ledger.status().finalSize === finalSize + 5);
  }
  const { uplink } = ledger.status();
  await ledger.close();
  return (uplink.bytesUp - before.bytesUp) / (uplink.checkpoints - before.checkpoints);
}

/** The journal alone has the backlog, as after an outage with a restart: recorded, cosigned, mirrored from there. */
async function drain(bench: Bench, entries: number): Promise<number> {
  for (let at = 0; at < entries; at += 512) await pay(bench.journal, Math.min(512, entries - at));
  const ledger = await bench.ledger('direct');
  const from = ledger.status().finalSize;
  const start = performance.now();
  await until(() => ledger.status().finalSize === from + entries);
  const perS = (entries * 1_000) / (performance.now() - start);
  await ledger.close();
  return perS;
}

export async function measureFinality(plan: FinalityPlan): Promise<readonly Figure[]> {
  const bench = await openBench();
  try {
    const figures: Figure[] = [];
    const direct = await uplinkBytes(bench, 'direct', plan.checkpoints);
    const viaHub = await uplinkBytes(bench, 'hub', plan.checkpoints);
    figures.push(
      figure('uplink per checkpoint, 4 witnesses and a mirror directly', direct, 'B'),
      figure('uplink per checkpoint through a hub', viaHub, 'B'),
      figure('hub ÷ direct', viaHub / direct, ''),
    );
    const perS = await drain(bench, plan.backlog);
    const hours = (BACKLOG_HOURS * BACKLOG_RATE_PER_S) / perS;
    figures.push(
      figure(`drain of ${plan.backlog} entries, journal to L2`, perS, '/s'),
      figure(
        `${BACKLOG_HOURS} h at ${BACKLOG_RATE_PER_S}/s at that rate (extrapolated)`,
        hours,
        'h',
      ),
    );
    const ledger = await bench.ledger('direct');
    await until(() => ledger.status().phase.kind === 'running');
    const all = await load(bench, ledger, plan.loadMs);
    figures.push(...finalityFigures('all up', all, 150));
    await bench.witnesses.ask({ do: 'kill', name: 'w1' });
    const dead = await load(bench, ledger, plan.loadMs);
    figures.push(...finalityFigures('fastest dead', dead, 300));
    await ledger.close();
    return figures;
  } finally {
    await bench.close();
  }
}
