import { Child } from './child.ts';
import type { MemoryQuestion } from './clearing-memory-child.ts';
import { section, type Figure } from './figure.ts';

const figure = section('Clearing: memory of ingest');

async function peakMiB(receipts: number): Promise<number> {
  const child = new Child('./clearing-memory-child.js');
  const question: MemoryQuestion = { receipts };
  const maxRssKiB = await child.ask<number>(question);
  await child.close();
  return maxRssKiB / 1_024;
}

/** Booking few and many receipts of the same accounts, each in a process of its own. */
export async function measureMemory(few: number, many: number): Promise<readonly Figure[]> {
  const [small, large] = [await peakMiB(few), await peakMiB(many)];
  return [
    figure('receipts of the larger run ÷ of the smaller', many / few, '×'),
    figure('peak memory, smaller', small, 'MiB'),
    figure('peak memory, larger', large, 'MiB'),
    figure('peak memory, larger ÷ smaller', large / small, '×'),
  ];
}
