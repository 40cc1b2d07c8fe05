import { sha256 } from '@noble/hashes/sha2.js';
import { utf8ToBytes } from '../../protocol/bytes.ts';

/**
 * The one source of chance in a simulated world: xoshiro128** 1.1 (Blackman and Vigna, "Scrambled linear pseudorandom
 * number generators"). Repeatable and fast; never for keys outside a simulation.
 */
export class Seed {
  #a: number;
  #b: number;
  #c: number;
  #d: number;

  /** @param state four unsigned 32-bit words, not all 0 */
  constructor(state: readonly [number, number, number, number]) {
    [this.#a, this.#b, this.#c, this.#d] = state;
  }

  /** 0 … 2³²−1. */
  u32(): number {
    const scrambled = Math.imul(this.#b, 5);
    const result = Math.imul((scrambled << 7) | (scrambled >>> 25), 9) >>> 0;
    const shifted = this.#b << 9;
    this.#c ^= this.#a;
    this.#d ^= this.#b;
    this.#b ^= this.#c;
    this.#a ^= this.#d;
    this.#c ^= shifted;
    this.#d = (this.#d << 11) | (this.#d >>> 21);
    return result;
  }

  /** 0 ≤ x < 1, on a grid of 2⁻³². */
  unit(): number {
    return this.u32() / 0x1_0000_0000;
  }

  /** A whole number 0 … n−1. */
  below(n: number): number {
    return Math.floor(this.unit() * n);
  }

  /** min ≤ x < max. */
  between(min: number, max: number): number {
    return min + this.unit() * (max - min);
  }

  /** True with probability p. */
  chance(p: number): boolean {
    return this.unit() < p;
  }

  pick<T>(items: readonly T[]): T {
    return items[this.below(items.length)]!;
  }

  bytes(n: number): Uint8Array {
    const out = new Uint8Array(n);
    for (let i = 0; i < n; i += 1) out[i] = this.u32() >>> 24;
    return out;
  }

  /** A stream of its own: more or fewer draws from one do not shift another. */
  fork(): Seed {
    return new Seed([this.u32() | 1, this.u32(), this.u32(), this.u32()]);
  }
}

/** A stream of a seed number; neighbouring numbers and other streams of the same number share nothing. */
export function seedOf(number: number, stream = 'seed'): Seed {
  const hash = sha256(utf8ToBytes(`kiri/sim/${stream}/${number}`));
  const view = new DataView(hash.buffer, hash.byteOffset);
  return new Seed([
    view.getUint32(0) | 1,
    view.getUint32(4),
    view.getUint32(8),
    view.getUint32(12),
  ]);
}
