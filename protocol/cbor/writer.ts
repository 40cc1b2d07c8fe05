import { KiriError } from '../kiri-error.ts';
import { MAX_DEPTH } from './check.ts';
import { compareKeys } from './order.ts';
import { ARRAY, ByteSink, FALSE, MAP, NULL, TAG, TRUE } from './sink.ts';
import type { CborKey } from './value.ts';

/** One open container: items left (a map counts keys and values) and the last key written. */
interface Frame {
  left: number;
  map: boolean;
  lastKey: CborKey | undefined;
}

/**
 * Writes one canonical item piece by piece, for message encoders that build no Map:
 * `writer.start().map(2).key(0).uint(1).key(1).bytes(line).finish()`. Containers end by their
 * count. Keys must ascend (`compareKeys`); a wrong order, count or value throws KiriError
 * `CBOR_ENCODE`. One writer may be kept and used again, each time from `start`.
 */
export class CborWriter {
  private readonly sink = new ByteSink();
  private readonly frames: Frame[] = [];
  private depth = 0;

  constructor() {
    for (let i = 0; i <= MAX_DEPTH; i += 1) {
      this.frames.push({ left: 0, map: false, lastKey: undefined });
    }
  }

  start(): this {
    this.sink.reset();
    this.depth = 0;
    this.frames[0]!.left = 1;
    return this;
  }

  map(pairs: number): this {
    return this.open(MAP, pairs, pairs * 2, true);
  }

  array(length: number): this {
    return this.open(ARRAY, length, length, false);
  }

  /** The next item is the tagged one. */
  tag(tag: number): this {
    return this.open(TAG, tag, 1, false);
  }

  key(key: CborKey): this {
    const frame = this.frames[this.depth]!;
    if (!frame.map || frame.left % 2 !== 0 || frame.left === 0) fail('a key out of place');
    if (frame.lastKey !== undefined && compareKeys(frame.lastKey, key) >= 0) {
      fail(`key ${key} after ${frame.lastKey}`);
    }
    frame.lastKey = key;
    frame.left -= 1;
    if (typeof key === 'number') this.sink.integer(key);
    else this.sink.text(key);
    return this;
  }

  /** An integer −2⁶⁴ … 2⁶⁴ − 1; numbers must be safe. */
  int(value: number | bigint): this {
    this.take();
    this.sink.integer(value);
    return this.close();
  }

  bytes(value: Uint8Array): this {
    this.take();
    this.sink.byteString(value);
    return this.close();
  }

  text(value: string): this {
    this.take();
    this.sink.text(value);
    return this.close();
  }

  bool(value: boolean): this {
    this.take();
    this.sink.byte(value ? TRUE : FALSE);
    return this.close();
  }

  null(): this {
    this.take();
    this.sink.byte(NULL);
    return this.close();
  }

  /** One item that is already canonical; the caller vouches for it. */
  raw(item: Uint8Array): this {
    this.take();
    this.sink.raw(item);
    return this.close();
  }

  /** The finished item, in fresh bytes. */
  finish(): Uint8Array {
    if (this.depth !== 0 || this.frames[0]!.left !== 0) fail('an unfinished item');
    return this.sink.copy();
  }

  private open(major: number, argument: number, left: number, map: boolean): this {
    this.take();
    if (this.depth === MAX_DEPTH) fail(`deeper than ${MAX_DEPTH}`);
    this.sink.count(major, argument);
    this.depth += 1;
    const frame = this.frames[this.depth]!;
    frame.left = left;
    frame.map = map;
    frame.lastKey = undefined;
    return this.close();
  }

  /** A value's place in the innermost container; in a map, only behind a key. */
  private take(): void {
    const frame = this.frames[this.depth]!;
    if (frame.left === 0 || (frame.map && frame.left % 2 === 0)) fail('a value out of place');
    frame.left -= 1;
  }

  private close(): this {
    while (this.depth > 0 && this.frames[this.depth]!.left === 0) this.depth -= 1;
    return this;
  }
}

function fail(what: string): never {
  throw new KiriError('CBOR_ENCODE', what);
}
