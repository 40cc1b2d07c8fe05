/**
 * What the checks need of every payer, in memory that all threads share: one copy whatever their number, and a thread makes
 * objects of those lines only that it meets.
 */
import { amountMicro } from '../../protocol/amount.ts';
import { fromHex, toHex } from '../../protocol/bytes.ts';
import { invariant } from '../../protocol/kiri-error.ts';
import type { CoseAlg } from '../../protocol/public-key.ts';
import type { PayerFacts } from './core/check-registry.ts';
import type { RegisteredPayer } from './core/registry.ts';

/** Payers of many lines, by line: an open hash table over blocks of their chains as JSON. */
export type SharedPayers = {
  /** A slot is the line's 16 bytes, then block, offset and length (0: empty), 4 bytes each, and 4 of nothing. */
  readonly table: SharedArrayBuffer;
  readonly blocks: readonly SharedArrayBuffer[];
};

const LINE_BYTES = 16;
const SLOT_BYTES = 32;
const SLOT_WORDS = 8;
const BLOCK_AT = 4;
const OFFSET_AT = 5;
const LENGTH_AT = 6;
const BLOCK_BYTES = 16 * 1024 * 1024;

/** Lines that one thread holds as objects, about 2 kB each. */
const HELD_MAX = 32_768;

/** One chain as JSON holds it: plain values in a row, bytes in hex. What V8 serialises takes twice as long to read. */
type Row = readonly [
  typ: string,
  notBeforeS: number,
  expiresS: number,
  lineHex: string,
  alg: CoseAlg,
  pointHex: string,
  keyHex: string,
  partyHex: string,
  currency: number,
  fundingAccount: string,
  issuerHex: string,
  clearingHex: string,
  directLimit: string,
  handInDelayS: number,
  lossRule: number,
  revokedS: number | null,
];

const rowOf = (chain: RegisteredPayer): Row => {
  const { period, lineHex, deviceKey, partyHex, binding, party, allowance, revokedS } = chain;
  return [
    period.typ,
    period.notBeforeS,
    period.expiresS,
    lineHex,
    deviceKey.alg,
    toHex(deviceKey.point),
    deviceKey.hex,
    partyHex,
    binding.currency,
    party.fundingAccount,
    toHex(allowance.issuer),
    toHex(allowance.clearing),
    allowance.directLimitMicro.toString(),
    allowance.handInDelayS,
    allowance.lossRule,
    revokedS ?? null,
  ];
};

const factsOf = ([
  typ,
  notBeforeS,
  expiresS,
  lineHex,
  alg,
  pointHex,
  keyHex,
  ...rest
]: Row): PayerFacts => {
  const [partyHex, currency, fundingAccount, issuerHex, clearingHex, ...limits] = rest;
  const [directLimit, handInDelayS, lossRule, revokedS] = limits;
  return {
    period: { typ, notBeforeS, expiresS },
    line: fromHex(lineHex),
    lineHex,
    deviceKey: { alg, point: fromHex(pointHex), id: fromHex(keyHex), hex: keyHex },
    partyId: fromHex(partyHex),
    partyHex,
    binding: { currency },
    party: { fundingAccount },
    allowance: {
      issuer: fromHex(issuerHex),
      clearing: fromHex(clearingHex),
      directLimitMicro: amountMicro(BigInt(directLimit)),
      handInDelayS,
      lossRule,
    },
    ...(revokedS === null ? {} : { revokedS }),
  };
};

/** Line ids are hashes: their first bytes spread well enough. */
const firstSlot = (line: Uint8Array, slots: number): number =>
  new DataView(line.buffer, line.byteOffset, LINE_BYTES).getUint32(0, true) & (slots - 1);

const isAt = (bytes: Uint8Array, slot: number, line: Uint8Array): boolean => {
  for (let at = 0; at < LINE_BYTES; at += 1) {
    if (bytes[slot * SLOT_BYTES + at] !== line[at]) return false;
  }
  return true;
};

/**
 * Writes payers into shared memory.
 * @param payers each line once
 */
export const sharePayers = (
  payers: Iterable<readonly [lineHex: string, chains: readonly RegisteredPayer[]]>,
  count: number,
  blockBytes: number = BLOCK_BYTES,
): SharedPayers => {
  let slots = 2;
  // Half empty at least: a search ends after one or two slots.
  while (slots < count * 2) slots *= 2;
  const table = new SharedArrayBuffer(slots * SLOT_BYTES);
  const [bytes, words] = [new Uint8Array(table), new Uint32Array(table)];
  const blocks: SharedArrayBuffer[] = [];
  let room: Uint8Array = new Uint8Array(0);
  let used = 0;
  for (const [lineHex, chains] of payers) {
    const line = fromHex(lineHex);
    invariant(line.length === LINE_BYTES, 'clearing: a line id is 16 bytes');
    const facts = Buffer.from(JSON.stringify(chains.map(rowOf)));
    if (used + facts.length > room.length) {
      const block = new SharedArrayBuffer(Math.max(blockBytes, facts.length));
      blocks.push(block);
      room = new Uint8Array(block);
      used = 0;
    }
    room.set(facts, used);
    let slot = firstSlot(line, slots);
    while (words[slot * SLOT_WORDS + LENGTH_AT] !== 0) slot = (slot + 1) & (slots - 1);
    bytes.set(line, slot * SLOT_BYTES);
    words[slot * SLOT_WORDS + BLOCK_AT] = blocks.length - 1;
    words[slot * SLOT_WORDS + OFFSET_AT] = used;
    words[slot * SLOT_WORDS + LENGTH_AT] = facts.length;
    used += facts.length;
  }
  return { table, blocks };
};

/** Payers with their table as a thread reads it. */
type Layer = {
  readonly bytes: Uint8Array;
  readonly words: Uint32Array;
  readonly blocks: readonly SharedArrayBuffer[];
};

/** The rows of a line; undefined where it is not among these. */
const find = ({ bytes, words, blocks }: Layer, line: Uint8Array): Row[] | undefined => {
  const slots = words.length / SLOT_WORDS;
  for (let slot = firstSlot(line, slots); ; slot = (slot + 1) & (slots - 1)) {
    const at = slot * SLOT_WORDS;
    const length = words[at + LENGTH_AT]!;
    if (length === 0) return undefined;
    if (!isAt(bytes, slot, line)) continue;
    const block = blocks[words[at + BLOCK_AT]!]!;
    return JSON.parse(Buffer.from(block, words[at + OFFSET_AT], length).toString());
  }
};

/** One thread's view; the first layer that has a line says all of it. */
export class PayersInLayers {
  readonly #layers: readonly Layer[];
  readonly #half: number;
  /** Two generations: what was asked for among the last is still there, and a hit moves little. */
  #young = new Map<string, readonly PayerFacts[]>();
  #old = new Map<string, readonly PayerFacts[]>();

  constructor(layers: readonly SharedPayers[], heldMax: number = HELD_MAX) {
    this.#layers = layers.map(({ table, blocks }) => ({
      bytes: new Uint8Array(table),
      words: new Uint32Array(table),
      blocks,
    }));
    this.#half = heldMax / 2;
  }

  get(lineHex: string): readonly PayerFacts[] | undefined {
    const young = this.#young.get(lineHex);
    if (young) return young;
    const chains = this.#old.get(lineHex) ?? this.#read(lineHex);
    if (!chains) return undefined;
    if (this.#young.size >= this.#half) {
      this.#old = this.#young;
      this.#young = new Map();
    }
    this.#young.set(lineHex, chains);
    return chains;
  }

  #read(lineHex: string): readonly PayerFacts[] | undefined {
    const line = fromHex(lineHex);
    if (line.length !== LINE_BYTES) return undefined;
    for (const layer of this.#layers) {
      const rows = find(layer, line);
      if (rows) return rows.map(factsOf);
    }
    return undefined;
  }
}
