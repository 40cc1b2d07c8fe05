import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Child } from './child.ts';
import { section, type Figure } from './figure.ts';
import { median } from './measure.ts';
import type { FileToWrite, WrittenFileCost } from './settlement-file-child.ts';

/** A file that is small beside the one that is measured: what the process holds anyway. */
const FEW_LINES = 10_000;
const MIB = 1_048_576;

/** One file in a process of its own, whose memory nothing else has touched. */
async function writeIn(folder: string, lines: number): Promise<WrittenFileCost> {
  const child = new Child('./settlement-file-child.js');
  try {
    const order: FileToWrite = { path: join(folder, `lines-${lines}`), lines };
    return await child.ask<WrittenFileCost>(order);
  } finally {
    await child.close();
  }
}

const peakMib = (all: readonly WrittenFileCost[]): number =>
  median(all.map(({ peakRssBytes }) => peakRssBytes / MIB));

/** Encoding, blocking, writing and syncing a settlement file against writing and syncing the same bytes. */
export async function measureSettlementFile(
  rounds: number,
  lines: number,
): Promise<readonly Figure[]> {
  const figure = section(`Settlement file of ${lines} records (CPU)`);
  const folder = await mkdtemp(join(tmpdir(), 'kiri-bench-file-'));
  const few: WrittenFileCost[] = [];
  const many: WrittenFileCost[] = [];
  try {
    for (let round = 0; round < rounds; round += 1) {
      few.push(await writeIn(folder, FEW_LINES));
      many.push(await writeIn(folder, lines));
    }
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
  const middle = (of: (one: WrittenFileCost) => number): number => median(many.map(of));
  return [
    figure('written, per record', middle(({ file }) => file.cpuMicros) / lines, 'µs'),
    figure('raw write + fsync, per record', middle(({ raw }) => raw.cpuMicros) / lines, 'µs'),
    figure(
      'written ÷ raw write + fsync of the same bytes',
      middle(({ file, raw }) => file.cpuMicros / raw.cpuMicros),
      '',
      10,
    ),
    figure(
      'the same in wall time',
      middle(({ file, raw }) => file.wallMs / raw.wallMs),
      '',
    ),
    figure(
      'with SHA-256 ÷ raw write + fsync',
      middle(({ hashed, raw }) => hashed.cpuMicros / raw.cpuMicros),
      '',
    ),
    figure('file', middle(({ bytes }) => bytes) / 1e6, 'MB'),
    figure('peak RSS', peakMib(many), 'MiB'),
    figure(`peak RSS − that at ${FEW_LINES} records`, peakMib(many) - peakMib(few), 'MiB', 30),
  ];
}
