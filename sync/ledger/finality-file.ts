/**
 * `state/finality`: when leaves were accepted, recorded (L1) and final (L2), one JSON line per event. A measurement, not
 * a truth: it is appended without fsync and a torn last line is skipped.
 */
import { appendFile, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { readIfPresent } from '../../platform/durable-file.ts';
import type { LogEffect } from './core/log-writer-types.ts';

/** Below the log's folder. */
export const FINALITY_PATH = 'state/finality';
/** Nothing more is measured beyond this size. */
const MAX_FINALITY_BYTES = 64 * 1024 * 1024;

type FinalityEvent = Extract<LogEffect, { kind: 'recorded' | 'final' }>;

export interface FinalityRecorder {
  add(event: FinalityEvent): void;
  /** Resolves when everything added so far was handed to the system. */
  flush(): Promise<void>;
}

/** Appends events in order; failures are ignored, because no payment depends on them. */
export const finalityRecorder = async (root: string): Promise<FinalityRecorder> => {
  const path = join(root, FINALITY_PATH);
  let bytes = await stat(path).then(
    (found) => found.size,
    () => 0,
  );
  let writing: Promise<void> = Promise.resolve();
  return {
    add: (event) => {
      const line = `${JSON.stringify(event)}\n`;
      if (bytes + line.length > MAX_FINALITY_BYTES) return;
      bytes += line.length;
      writing = writing.then(() => appendFile(path, line).catch(() => {}));
    },
    flush: () => writing,
  };
};

/** When one leaf passed each level, Unix milliseconds. */
export interface LeafTimes {
  readonly index: number;
  readonly acceptedAtMs: number;
  readonly recordedAtMs: number;
  /** Absent while the policy is not met for it. */
  readonly finalAtMs?: number;
}

const parseLine = (line: string): FinalityEvent | undefined => {
  try {
    return JSON.parse(line) as FinalityEvent;
  } catch {
    return undefined;
  }
};

/** The times of every measured leaf, in log order. */
export const readFinality = async (root: string): Promise<readonly LeafTimes[]> => {
  const text = (await readIfPresent(join(root, FINALITY_PATH)))?.toString('utf8') ?? '';
  const times: LeafTimes[] = [];
  let waiting: LeafTimes[] = [];
  for (const event of text.split('\n').map(parseLine)) {
    if (event?.kind === 'recorded') {
      const { size, atMs, acceptedAtMs } = event;
      waiting.push(
        ...acceptedAtMs.map((acceptedMs, at) => ({
          index: size - acceptedAtMs.length + at,
          acceptedAtMs: acceptedMs,
          recordedAtMs: atMs,
        })),
      );
    } else if (event?.kind === 'final') {
      const { size, atMs } = event;
      times.push(
        ...waiting
          .filter((leaf) => leaf.index < size)
          .map((leaf) => ({ ...leaf, finalAtMs: atMs })),
      );
      waiting = waiting.filter((leaf) => leaf.index >= size);
    }
  }
  return [...times, ...waiting];
};
