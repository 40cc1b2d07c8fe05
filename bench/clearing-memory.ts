import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Child } from './child.ts';
import type { MemoryQuestion } from './clearing-memory-child.ts';
import { section, type Figure } from './figure.ts';

const figure = section('Clearing: memory of ingest');

/** Garbage is collected early: what is measured is what has to be held, not what may lie around. */
const YOUNG: readonly string[] = ['--max-semi-space-size=2'];
/** Asked for at a time: an answer must not take long. */
const STEP = 10_000;

/** One process books few receipts and then more of the same accounts: its peak memory after either. */
export async function measureMemory(few: number, many: number): Promise<readonly Figure[]> {
  const folder = await mkdtemp(join(tmpdir(), 'kiri-bench-clearing-'));
  const child = new Child('./clearing-memory-child.js', YOUNG);
  const ask = (question: MemoryQuestion): Promise<number> => child.ask<number>(question);
  await ask({ do: 'open', folder });
  const small = (await ask({ do: 'book', receipts: few })) / 1_024;
  for (let booked = few; booked < many; booked += STEP) {
    await ask({ do: 'book', receipts: Math.min(STEP, many - booked) });
  }
  const large = (await ask({ do: 'close' })) / 1_024;
  await child.close();
  await rm(folder, { recursive: true, force: true });
  return [
    figure('receipts, more ÷ few', many / few, '×'),
    figure('peak memory after few', small, 'MiB'),
    figure('peak memory after more', large, 'MiB'),
    figure('peak memory, more ÷ few', large / small, '×'),
  ];
}
