import { hash } from 'node:crypto';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { nodeVerifier } from '../identity/edge/node-signatures.ts';
import { decodeSign1, verifySign1 } from '../protocol/cose.ts';
import { EVIDENCE } from '../protocol/messages/evidence.ts';
import { ClearingService } from '../sync/clearing/clearing-service.ts';
import type { VerifiedItem } from '../sync/clearing/core/ingest.ts';
import { readEvidence } from '../sync/clearing/core/read-evidence.ts';
import { buildRegistry } from '../sync/clearing/core/registry.ts';
import { openSqlite } from '../sync/clearing/sql.ts';
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

/** Reads and verifies evidence, books it in SQLite, and verifies one signature each, in turn. */
export async function measureIngest(
  world: BenchWorld,
  rounds: number,
  count: number,
): Promise<readonly Figure[]> {
  const folder = await mkdtemp(join(tmpdir(), 'kiri-bench-clearing-'));
  const nowS = Math.floor(Date.now() / 1_000) + 60;
  const service = await ClearingService.open(
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
