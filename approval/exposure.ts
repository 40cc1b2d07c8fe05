import { invariant } from '../protocol/kiri-error.ts';
import { MAX_UNACKNOWLEDGED } from './limits.ts';

/** A sum that may never go below zero: of a line, a party or the whole approver. */
export interface Sum {
  micro: bigint;
}

/** What one acceptance weighs on: its line and, where the binding was shown here, its party. */
export interface Carrier {
  readonly unacknowledged: Sum;
  readonly party: { readonly unacknowledged: Sum } | undefined;
}

const CHUNK = 4_096;

interface Chunk {
  readonly carriers: (Carrier | undefined)[];
  readonly amounts: BigUint64Array;
}

/**
 * Accepted and not yet acknowledged, per line, party and in all (DESIGN §4). Rows are in sequence
 * order, a Void's row is empty; an acknowledgement through n takes rows off the front. Nothing
 * else lowers the sums, so losing and regaining the line resets nothing.
 */
export class Exposure {
  readonly total: Sum = { micro: 0n };
  private readonly chunks: Chunk[] = [];
  private first = 1;
  private count = 0;

  get unacknowledgedCount(): number {
    return this.count;
  }

  get isFull(): boolean {
    return this.count >= MAX_UNACKNOWLEDGED;
  }

  /** Takes the next sequence; no carrier for a Void. */
  push(sequence: number, carrier: Carrier | undefined, amountMicro: bigint): void {
    invariant(sequence === this.first + this.count, 'sequences run on without a gap');
    const at = this.offset(sequence);
    const chunk = Math.floor(at / CHUNK);
    if (chunk === this.chunks.length) {
      this.chunks.push({
        carriers: Array.from<undefined>({ length: CHUNK }),
        amounts: new BigUint64Array(CHUNK),
      });
    }
    const row = this.chunks[chunk]!;
    row.carriers[at % CHUNK] = carrier;
    row.amounts[at % CHUNK] = amountMicro;
    this.count += 1;
    if (carrier) this.move(carrier, amountMicro);
  }

  /** An acceptance that was journalled and then voided before its Receipt was released. */
  reverse(sequence: number): void {
    if (sequence < this.first) return; // acknowledged meanwhile: the sums no longer hold it
    this.lift(sequence);
  }

  /** Everything through `sequence` is known at the centre. */
  acknowledge(sequence: number): void {
    while (this.count > 0 && this.first <= sequence) {
      this.lift(this.first);
      this.first += 1;
      this.count -= 1;
      if (this.offset(this.first) === 0) this.chunks.shift();
    }
  }

  private lift(sequence: number): void {
    const at = this.offset(sequence);
    const row = this.chunks[Math.floor(at / CHUNK)]!;
    const carrier = row.carriers[at % CHUNK];
    if (!carrier) return;
    this.move(carrier, -row.amounts[at % CHUNK]!);
    row.carriers[at % CHUNK] = undefined;
  }

  private offset(sequence: number): number {
    return sequence - this.first + (this.first % CHUNK);
  }

  private move(carrier: Carrier, byMicro: bigint): void {
    for (const sum of [carrier.unacknowledged, carrier.party?.unacknowledged, this.total]) {
      if (!sum) continue;
      sum.micro += byMicro;
      invariant(sum.micro >= 0n, 'an unacknowledged sum went below zero');
    }
  }
}
