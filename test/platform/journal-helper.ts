import * as fs from 'node:fs';
import { join } from 'node:path';
import type { Test } from 'tap';
import { openJournal } from '../../platform/journal.ts';
import type { Journal } from '../../platform/ports.ts';

export const SEGMENT = '0000000000000000.journal';

export function record(i: number, length = 20): Uint8Array {
  const bytes = new Uint8Array(length).fill(i & 255);
  bytes[0] = i >> 8;
  return bytes;
}

export function indexes(journal: Journal, from?: number): number[] {
  return Array.from(journal.records(from), (r) => r.index);
}

export async function write(folder: string, batches: readonly number[]): Promise<void> {
  const { journal } = await openJournal(folder);
  for (const n of batches) {
    for (let i = 0; i < n; i += 1) journal.append(record(journal.nextIndex));
    await journal.commit();
  }
  await journal.close();
}

/** A journal of a crashed process: the bytes up to the end of the last block, with neither mark nor lock. */
export async function crashed(
  t: Test,
  batches: readonly number[],
): Promise<{ folder: string; bytes: Buffer; ends: number[] }> {
  const source = join(t.testdir(), 'source');
  const { journal } = await openJournal(source);
  const ends: number[] = [];
  const path = join(source, SEGMENT);
  for (const n of batches) {
    for (let i = 0; i < n; i += 1) journal.append(record(journal.nextIndex));
    await journal.commit();
    ends.push(fs.statSync(path).size);
  }
  const bytes = fs.readFileSync(path).subarray(0, ends.at(-1));
  await journal.close();
  return { folder: join(source, '..', 'copy'), bytes, ends };
}

export function lay(folder: string, bytes: Uint8Array): void {
  fs.rmSync(folder, { recursive: true, force: true });
  fs.mkdirSync(folder);
  fs.writeFileSync(join(folder, SEGMENT), bytes);
}
