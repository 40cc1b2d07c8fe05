import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Child } from './child.ts';
import type { CutAnswer, CutQuestion } from './clearing-cut-child.ts';
import { section, type Figure } from './figure.ts';

const figure = section('Clearing: opening and cutting (CPU)');

const MIB = 1_048_576;

/** Lines of one run: how many are opened, and of two cuts how many each has. */
interface CutPlan {
  readonly opened: number;
  readonly few: number;
  readonly many: number;
}

/** Every question in a process of its own: what lies around from one does not weigh on the next. */
async function ask(question: CutQuestion): Promise<CutAnswer> {
  const child = new Child('./clearing-cut-child.js', ['--expose-gc']);
  try {
    return await child.ask<CutAnswer>(question);
  } finally {
    await child.close();
  }
}

async function cut(lines: number): Promise<CutAnswer> {
  const folder = await mkdtemp(join(tmpdir(), 'kiri-bench-cut-'));
  try {
    return await ask({ do: 'cut', folder, lines });
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

/** What a line costs when documents are opened and when a day is cut, and whether it costs more among many. */
export async function measureCut({ opened, few, many }: CutPlan): Promise<readonly Figure[]> {
  const registry = await ask({ do: 'open', lines: opened });
  const [small, large] = [await cut(few), await cut(many)];
  return [
    figure('opened: lines', opened, ''),
    figure('opened, per line', registry.cpuMicros / opened, 'µs'),
    figure('opened ÷ its signature checks', registry.cpuMicros / registry.floorMicros, '×'),
    figure('heap after − before opening, per line', registry.bytes / opened, 'B'),
    figure(`cut of ${few} lines, per line`, small.cpuMicros / few, 'µs'),
    figure(`cut of ${many} lines, per line`, large.cpuMicros / many, 'µs'),
    figure('per line, more ÷ few', large.cpuMicros / many / (small.cpuMicros / few), '×'),
    figure('cut ÷ raw write + fsync of its files, few', small.cpuMicros / small.floorMicros, '×'),
    figure('cut ÷ raw write + fsync of its files, more', large.cpuMicros / large.floorMicros, '×'),
    figure('peak memory, few', small.bytes / MIB, 'MiB'),
    figure('peak memory, more', large.bytes / MIB, 'MiB'),
    figure('peak memory, more − few, each line', (large.bytes - small.bytes) / (many - few), 'B'),
  ];
}
