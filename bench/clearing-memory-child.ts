import { generateKeyPairSync } from 'node:crypto';
import { join } from 'node:path';
import { nodeSigner } from '../identity/edge/node-signatures.ts';
import type { ClearingService } from '../sync/clearing/clearing-service.ts';
import { openSqlite } from '../sync/clearing/sql.ts';
import { answering } from './child.ts';
import { NOON_S, openClearing, VerifiedReceipts } from './clearing-samples.ts';

export type MemoryQuestion =
  | { readonly do: 'open'; readonly folder: string }
  | { readonly do: 'book'; readonly receipts: number }
  | { readonly do: 'close' };

const BATCH = 1_024;
const source = new VerifiedReceipts({ lines: 1_000, accounts: 500 });
let service: ClearingService | undefined;

async function open(folder: string): Promise<ClearingService> {
  const signer = nodeSigner(generateKeyPairSync('ed25519').privateKey);
  return openClearing(openSqlite(join(folder, 'clearing.sqlite')), signer, folder);
}

/** Books so many more receipts, a batch at a time. Returns the most memory that the process ever had, in KiB. */
async function answer(question: MemoryQuestion): Promise<number> {
  if (question.do === 'open') service = await open(question.folder);
  if (question.do === 'close') await service?.close();
  if (question.do === 'book') {
    for (let left = question.receipts; left > 0; left -= BATCH) {
      await service?.ingestBatch(source.take(Math.min(BATCH, left)), NOON_S);
    }
  }
  return process.resourceUsage().maxRSS;
}

answering(answer);
