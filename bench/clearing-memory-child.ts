import { generateKeyPairSync } from 'node:crypto';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { nodeSigner } from '../identity/edge/node-signatures.ts';
import { openSqlite } from '../sync/clearing/sql.ts';
import { answering } from './child.ts';
import { NOON_S, openClearing, VerifiedReceipts } from './clearing-samples.ts';

export interface MemoryQuestion {
  readonly receipts: number;
}

const BATCH = 1_024;

/** Books so many receipts, a batch at a time. Returns the most memory that the process ever had, in KiB. */
async function book({ receipts }: MemoryQuestion): Promise<number> {
  const folder = await mkdtemp(join(tmpdir(), 'kiri-bench-clearing-'));
  const signer = nodeSigner(generateKeyPairSync('ed25519').privateKey);
  const service = await openClearing(openSqlite(join(folder, 'clearing.sqlite')), signer, folder);
  const source = new VerifiedReceipts({ lines: 1_000, accounts: 500 });
  for (let booked = 0; booked < receipts; booked += BATCH) {
    await service.ingestBatch(source.take(Math.min(BATCH, receipts - booked)), NOON_S);
  }
  await service.close();
  await rm(folder, { recursive: true, force: true });
  return process.resourceUsage().maxRSS;
}

answering(book);
