/** CBOR as RFC 8949 4.2.1 has it (canonical), written for an issuer's side: unsigned and negative integers, bytes, texts, arrays, maps, tags, true and false. */

export type Cbor =
  bigint | boolean | string | Uint8Array | readonly Cbor[] | Tagged | ReadonlyMap<bigint, Cbor>;

export class Tagged {
  readonly tag: bigint;
  readonly value: Cbor;

  constructor(tag: bigint, value: Cbor) {
    this.tag = tag;
    this.value = value;
  }
}

const MAX_DEPTH = 16;

class Reader {
  private at = 0;
  private readonly bytes: Buffer;

  constructor(bytes: Uint8Array) {
    this.bytes = Buffer.from(bytes);
  }

  get ended(): boolean {
    return this.at === this.bytes.length;
  }

  private take(length: number): Buffer {
    if (length > this.bytes.length - this.at) throw new Error(`CBOR ends at ${this.at}`);
    this.at += length;
    return this.bytes.subarray(this.at - length, this.at);
  }

  /** The argument of a head, and only in its shortest form. */
  private argument(info: number): bigint {
    if (info < 24) return BigInt(info);
    if (info > 27) throw new Error(`CBOR: no definite length at ${this.at}`);
    const size = 1 << (info - 24);
    const value = BigInt(`0x${this.take(size).toString('hex')}`);
    const least = size === 1 ? 24n : 1n << BigInt(size * 4);
    if (value < least) throw new Error(`CBOR: longer than need be at ${this.at}`);
    return value;
  }

  private map(count: number, depth: number): ReadonlyMap<bigint, Cbor> {
    const map = new Map<bigint, Cbor>();
    let before: Uint8Array = new Uint8Array();
    for (let index = 0; index < count; index += 1) {
      const start = this.at;
      const key = this.item(depth);
      const encoded = this.bytes.subarray(start, this.at);
      if (typeof key !== 'bigint') throw new Error('CBOR: a key is no integer');
      if (index > 0 && Buffer.compare(before, encoded) >= 0)
        throw new Error('CBOR: keys do not ascend');
      before = encoded;
      map.set(key, this.item(depth));
    }
    return map;
  }

  item(depth = 0): Cbor {
    if (depth > MAX_DEPTH) throw new Error('CBOR: too deep');
    const head = this.take(1)[0] as number;
    const [major, info] = [head >> 5, head & 31];
    if (head === 0xf4 || head === 0xf5) return head === 0xf5;
    if (major === 7) throw new Error(`CBOR: 0x${head.toString(16)} is not used`);
    const argument = this.argument(info);
    switch (major) {
      case 0:
        return argument;
      case 1:
        return -1n - argument;
      case 2:
        return new Uint8Array(this.take(Number(argument)));
      case 3:
        return new TextDecoder('utf-8', { fatal: true }).decode(this.take(Number(argument)));
      case 4:
        return this.array(Number(argument), depth + 1);
      case 5:
        return this.map(Number(argument), depth + 1);
      default:
        return new Tagged(argument, this.item(depth + 1));
    }
  }

  private array(count: number, depth: number): readonly Cbor[] {
    const items: Cbor[] = [];
    for (let index = 0; index < count; index += 1) items.push(this.item(depth));
    return items;
  }
}

export const decodeCbor = (bytes: Uint8Array): Cbor => {
  const reader = new Reader(bytes);
  const value = reader.item();
  if (!reader.ended) throw new Error('CBOR: bytes behind the document');
  return value;
};

const head = (major: number, argument: bigint): Buffer => {
  const first = major << 5;
  if (argument < 24n) return Buffer.from([first | Number(argument)]);
  const info = [24, 25, 26, 27].find((size) => argument < 1n << BigInt(8 << (size - 24)));
  if (info === undefined) throw new Error('CBOR: above 64 bits');
  const digits = argument.toString(16).padStart(2 << (info - 24), '0');
  return Buffer.concat([Buffer.from([first | info]), Buffer.from(digits, 'hex')]);
};

export const encodeCbor = (value: Cbor): Buffer => {
  if (typeof value === 'bigint') return value < 0n ? head(1, -1n - value) : head(0, value);
  if (typeof value === 'boolean') return Buffer.from([value ? 0xf5 : 0xf4]);
  if (typeof value === 'string') {
    const text = Buffer.from(value, 'utf8');
    return Buffer.concat([head(3, BigInt(text.length)), text]);
  }
  if (value instanceof Uint8Array) return Buffer.concat([head(2, BigInt(value.length)), value]);
  if (value instanceof Tagged) return Buffer.concat([head(6, value.tag), encodeCbor(value.value)]);
  if (value instanceof Map) {
    const pairs = [...(value as ReadonlyMap<bigint, Cbor>)]
      .map(([key, item]) => [encodeCbor(key), encodeCbor(item)] as const)
      .toSorted((one, two) => Buffer.compare(one[0], two[0]));
    return Buffer.concat([head(5, BigInt(pairs.length)), ...pairs.flat()]);
  }
  const items = value as readonly Cbor[];
  return Buffer.concat([head(4, BigInt(items.length)), ...items.map(encodeCbor)]);
};

/** The entry of a map under `key`, which must be there and of the given shape. */
export const bigintAt = (map: Cbor, key: number): bigint => {
  const value = entry(map, key);
  if (typeof value !== 'bigint') throw new Error(`key ${key} is no integer`);
  return value;
};

export const textAt = (map: Cbor, key: number): string => {
  const value = entry(map, key);
  if (typeof value !== 'string') throw new Error(`key ${key} is no text`);
  return value;
};

export const bytesAt = (map: Cbor, key: number): Uint8Array => {
  const value = entry(map, key);
  if (!(value instanceof Uint8Array)) throw new Error(`key ${key} is no byte string`);
  return value;
};

export const arrayAt = (map: Cbor, key: number): readonly Cbor[] => {
  const value = entry(map, key);
  if (!Array.isArray(value)) throw new Error(`key ${key} is no array`);
  return value as readonly Cbor[];
};

export const entry = (map: Cbor, key: number): Cbor | undefined => {
  if (!(map instanceof Map)) throw new Error('not a map');
  return (map as ReadonlyMap<bigint, Cbor>).get(BigInt(key));
};
