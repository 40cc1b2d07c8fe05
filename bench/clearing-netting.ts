import { Child } from './child.ts';
import type { NettingAnswer, NettingQuestion } from './clearing-netting-child.ts';
import { section, type Figure } from './figure.ts';

const figure = section('Clearing: netting (CPU)');
const KEYS = 1_000;
const RECEIPTS_PER_CUT = 40;
/** What the memory of the large run is held against: more than two cuts. */
const SMALL = 100_000;
/** For a hundred times the receipts: compiled code and a heap that settles, and nothing that goes with their number. */
const FLAT = 1.5;

/** Garbage is collected early: what is measured is what has to be held, not what may lie around. */
const YOUNG: readonly string[] = ['--max-semi-space-size=2'];

async function net(receipts: number): Promise<NettingAnswer> {
  const child = new Child('./clearing-netting-child.js', YOUNG);
  const question: NettingQuestion = { receipts, keys: KEYS, receiptsPerCut: RECEIPTS_PER_CUT };
  const answer = await child.ask<NettingAnswer>(question);
  await child.close();
  return answer;
}

/** The rules alone, without a store: every receipt a move under the invariant, cut into presentments with carried rests. */
export async function measureNetting(receipts: number): Promise<readonly Figure[]> {
  const large = await net(receipts);
  const small = receipts > SMALL ? await net(SMALL) : large;
  return [
    figure('receipts netted', receipts, ''),
    figure('presentments made of them', large.presentments, ''),
    figure('per receipt', large.cpuMicros / receipts, 'µs'),
    figure('peak memory of that run', large.maxRssKiB / 1_024, 'MiB'),
    figure('peak memory ÷ with 100,000 receipts', large.maxRssKiB / small.maxRssKiB, '', FLAT),
  ];
}
