import type { KeyObject } from 'node:crypto';
import { answering } from './child.ts';
import { Floor, importKey, nonces } from './floor.ts';
import { cpuMicros } from './measure.ts';

/** Approvals of one fdatasync; what the gateway gathers with 64 Payments in flight. */
const GROUP = 32;

export interface FloorStart {
  readonly kind: 'start';
  readonly file: string;
  readonly pem: string;
  /** Signed Payments and the keys that signed them, taken in turn. */
  readonly payments: readonly Uint8Array[];
  readonly points: readonly Uint8Array[];
}

let floor: Floor | undefined;
let payments: readonly Uint8Array[] = [];
let keys: readonly KeyObject[] = [];

/** CPU microseconds of one approval. */
async function round(count: number): Promise<number> {
  if (!floor) throw new Error('not started');
  const fresh = nonces(GROUP);
  const before = cpuMicros();
  for (let at = 0; at < count; at += GROUP) {
    for (let i = 0; i < GROUP; i += 1) {
      const n = (at + i) % payments.length;
      floor.approve(payments[n]!, keys[n]!, fresh[i]!);
    }
    await floor.commit();
  }
  return (cpuMicros() - before) / (Math.ceil(count / GROUP) * GROUP);
}

answering((question: FloorStart | { readonly kind: 'round'; readonly count: number }) => {
  if (question.kind === 'round') return round(question.count);
  floor = new Floor(question.file, question.pem);
  payments = question.payments;
  keys = question.points.map(importKey);
  return 'ready';
});
process.once('disconnect', () => {
  floor?.close();
  process.exit();
});
