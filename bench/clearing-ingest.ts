import { hash } from 'node:crypto';
import { mkdtemp, rm } from 'node:fs/promises';
import { availableParallelism, tmpdir } from 'node:os';
import { join } from 'node:path';
import { nodeVerifier } from '../identity/edge/node-signatures.ts';
import { decodeSign1, verifySign1 } from '../protocol/cose.ts';
import { EVIDENCE } from '../protocol/messages/evidence.ts';
import { CheckThreads } from '../sync/clearing/check-threads.ts';
import { ClearingService } from '../sync/clearing/clearing-service.ts';
import type { VerifiedItem } from '../sync/clearing/core/ingest.ts';
import { readEvidence } from '../sync/clearing/core/read-evidence.ts';
import { buildRegistry } from '../sync/clearing/core/registry.ts';
import { checkInLine, checkRecords, type RecordBatch } from '../sync/clearing/record-check.ts';
import { openSqlite } from '../sync/clearing/sql.ts';
import { sealPayload } from '../sync/ledger/payload-record.ts';
import { section, type Figure } from './figure.ts';
import { cpuMicros, median } from './measure.ts';
import { payloadOf, sampleSale, type SampleSale } from './samples.ts';
import type { BenchWorld } from './world.ts';

const figure = section('Clearing ingest (CPU per receipt)');
const ORIGIN = 'bench.example/1';

function sales(world: BenchWorld, count: number, firstCounter: number): readonly SampleSale[] {
  const { length } = world.payers;
  return Array.from({ length: count }, (_, i) =>
    sampleSale(world, i, firstCounter + Math.floor(i / length), {
      receipt: { sequence: firstCounter * length + i },
    }),
  );
}

const allCores = section('Clearing ingest on all cores (wall time)');
/** A bundle of a log: what a thread is handed at a time. */
const BATCH_RECORDS = 256;
/** Bundles booked in one transaction, as a log is followed. */
const TOGETHER = 4;
const CONTENT_KEY = { kid: new Uint8Array(16), key: new Uint8Array(32).fill(2) };

/** Sealed as a log holds them. */
function sealedBatches(world: BenchWorld, batches: number, nowS: number): RecordBatch[] {
  const all = sales(world, batches * BATCH_RECORDS, 1);
  return Array.from({ length: batches }, (_, batch) => ({
    origin: ORIGIN,
    cosignedAtS: nowS,
    records: all
      .slice(batch * BATCH_RECORDS, (batch + 1) * BATCH_RECORDS)
      .map(({ payment, offer, receipt }, at) => {
        const answeredAtMs = nowS * 1_000;
        const plain = EVIDENCE.encode({ payment, offer, outcome: receipt, answeredAtMs });
        const outcomeHash = hash('sha256', payloadOf(receipt), 'buffer');
        const record = sealPayload(plain, new Uint8Array(outcomeHash), CONTENT_KEY);
        return { leafIndex: batch * BATCH_RECORDS + at, record, key: CONTENT_KEY.key };
      }),
  }));
}

/** Checks all batches on threads and books them, in their order. Returns the number of receipts booked. */
async function checkAndBook(
  threads: CheckThreads,
  service: ClearingService,
  batches: readonly RecordBatch[],
  nowS: number,
): Promise<number> {
  const answers = batches.map((batch) => threads.check(batch));
  let first = 0;
  for (let at = 0; at < answers.length; at += TOGETHER) {
    const items = (await Promise.all(answers.slice(at, at + TOGETHER))).flat();
    first += (await service.ingestBatch(items, nowS)).first;
  }
  return first;
}

/** What a round took: wall time, and CPU time of all threads, both in microseconds. */
interface Spent {
  readonly wall: number;
  readonly cpu: number;
}

async function spent(work: () => unknown): Promise<Spent> {
  const [wall, cpu] = [performance.now(), cpuMicros()];
  await work();
  return { wall: (performance.now() - wall) * 1e3, cpu: cpuMicros() - cpu };
}

/**
 * Checks and books sealed records with a thread for each core, against one thread that only checks them: decryption,
 * decoding, three signatures, documents in force. Beside it the same threads without booking: what two cores of this
 * machine can do at all. All in the same minute, over the same records.
 */
export async function measureAllCores(
  world: BenchWorld,
  rounds: number,
  batchCount: number,
): Promise<readonly Figure[]> {
  const nowS = Math.floor(Date.now() / 1_000) + 60;
  const verifier = nodeVerifier();
  const registry = buildRegistry({ issuerKey: world.issuer.key, verifier }, world.documents);
  const rules = { registry, clearing: world.issuer.key.id };
  const batches = sealedBatches(world, batchCount, nowS);
  const receipts = batchCount * BATCH_RECORDS;
  const threads = new CheckThreads(rules, checkInLine(rules, verifier), availableParallelism());
  const taken = { floor: [] as number[], checks: [] as number[], ingest: [] as number[] };
  const cpu = { checks: [] as number[], ingest: [] as number[] };
  for (let round = -1; round < rounds; round += 1) {
    const folder = await mkdtemp(join(tmpdir(), 'kiri-bench-clearing-'));
    const service = await openService(world, folder, nowS);
    const floor = await spent(() => {
      for (const batch of batches) checkRecords(rules, verifier, batch);
    });
    const checks = await spent(() => Promise.all(batches.map((batch) => threads.check(batch))));
    let first = 0;
    const ingest = await spent(async () => {
      first = await checkAndBook(threads, service, batches, nowS);
    });
    await service.close();
    await rm(folder, { recursive: true, force: true });
    if (first !== receipts) throw new Error(`${first} of ${receipts} receipts were booked`);
    if (round < 0) continue;
    taken.floor.push(floor.wall);
    taken.checks.push(floor.wall / checks.wall);
    taken.ingest.push(floor.wall / ingest.wall);
    cpu.checks.push(checks.cpu / floor.cpu);
    cpu.ingest.push(ingest.cpu / floor.cpu);
  }
  await threads.close();
  const [perReceipt, ratio] = [median(taken.floor) / receipts, median(taken.ingest)];
  return [
    allCores('floor: one thread checks, nothing is booked', 1e6 / perReceipt, '/s'),
    allCores('checked on all cores and booked in SQLite', (1e6 / perReceipt) * ratio, '/s'),
    allCores('ingest ÷ floor', ratio, '×'),
    allCores('floor ÷ ingest', 1 / ratio, '', 1 / 1.7),
    allCores('checked on all cores, nothing is booked ÷ floor', median(taken.checks), '×'),
    allCores('ingest ÷ floor in CPU, all threads', median(cpu.ingest), '×'),
    allCores('checked on all cores ÷ floor in CPU', median(cpu.checks), '×'),
  ];
}

function openService(world: BenchWorld, folder: string, nowS: number): Promise<ClearingService> {
  return ClearingService.open(
    {
      database: openSqlite(join(folder, 'clearing.sqlite')),
      signer: world.issuer,
      outFolder: folder,
      directory: { programme: () => undefined, details: () => undefined },
      policyHash: new Uint8Array(32),
      mode: 'T',
    },
    nowS,
  );
}

/** Reads and verifies evidence, books it in SQLite, and verifies one signature each, in turn. */
export async function measureIngest(
  world: BenchWorld,
  rounds: number,
  count: number,
): Promise<readonly Figure[]> {
  const folder = await mkdtemp(join(tmpdir(), 'kiri-bench-clearing-'));
  const nowS = Math.floor(Date.now() / 1_000) + 60;
  const service = await openService(world, folder, nowS);
  const verifier = nodeVerifier();
  const registry = buildRegistry({ issuerKey: world.issuer.key, verifier }, world.documents);
  const taken = { read: [] as number[], book: [] as number[], verify: [] as number[] };
  const perRound = Math.ceil(count / world.payers.length);
  for (let round = -1; round < rounds; round += 1) {
    const batch = sales(world, count, (round + 1) * perRound + 1);
    const plain = batch.map(({ payment, offer, receipt }) => ({
      bytes: EVIDENCE.encode({ payment, offer, outcome: receipt, answeredAtMs: nowS * 1_000 }),
      outcomeHash: hash('sha256', payloadOf(receipt), 'buffer'),
    }));
    const signed = batch.map(({ payment }) => decodeSign1(payment));
    const start = cpuMicros();
    const items = plain.map(({ bytes, outcomeHash }, i): VerifiedItem => {
      const context = {
        origin: ORIGIN,
        leafIndex: round * count + i,
        cosignedAtS: nowS,
        outcomeHash,
        clearing: world.issuer.key.id,
      };
      const entry = readEvidence(registry, verifier, bytes, context);
      if (!entry.ok) throw new Error(`${entry.code}: ${entry.reason}`);
      return entry.value.item;
    });
    const read = cpuMicros();
    const counts = await service.ingestBatch(items, nowS);
    const booked = cpuMicros();
    if (counts.first !== count) throw new Error('not every receipt was booked');
    for (const [i, sign1] of signed.entries()) {
      const { signer } = world.payers[i % world.payers.length]!;
      if (!sign1.ok || !verifySign1(verifier, signer.key, sign1.value)) throw new Error('bad');
    }
    if (round < 0) continue;
    taken.read.push((read - start) / count);
    taken.book.push((booked - read) / count);
    taken.verify.push((cpuMicros() - booked) / count);
  }
  await service.close();
  await rm(folder, { recursive: true, force: true });
  const [read, book, verify] = [median(taken.read), median(taken.book), median(taken.verify)];
  return [
    figure('read: decode, 3 signatures, chains', read, 'µs'),
    figure('book in SQLite', book, 'µs'),
    figure('receipts per core-second', 1e6 / (read + book), '/s'),
    figure('÷ the rate of one signature check', verify / (read + book), ''),
  ];
}
