/** A block header from JSON-RPC back to the bytes that the chain hashes: nodes do not hand those out everywhere. */
import { keccak_256 } from '@noble/hashes/sha3.js';
import { bytesEqual, fromHex } from '../../../protocol/bytes.ts';
import { type RlpItem, decodeRlp, encodeRlp } from '../core/anchor-rlp.ts';

/** In the order of the header's list; what newer forks added stands at the end and may be absent. */
const FIELDS: readonly (readonly [name: string, kind: 'data' | 'number'])[] = [
  ['parentHash', 'data'],
  ['sha3Uncles', 'data'],
  ['miner', 'data'],
  ['stateRoot', 'data'],
  ['transactionsRoot', 'data'],
  ['receiptsRoot', 'data'],
  ['logsBloom', 'data'],
  ['difficulty', 'number'],
  ['number', 'number'],
  ['gasLimit', 'number'],
  ['gasUsed', 'number'],
  ['timestamp', 'number'],
  ['extraData', 'data'],
  ['mixHash', 'data'],
  ['nonce', 'data'],
  ['baseFeePerGas', 'number'],
  ['withdrawalsRoot', 'data'],
  ['blobGasUsed', 'number'],
  ['excessBlobGas', 'number'],
  ['parentBeaconBlockRoot', 'data'],
  ['requestsHash', 'data'],
];
const FIRST_OPTIONAL = 15;
const EXTRA_DATA = 12;
/** `extraData` of QBFT: vanity, validators, vote, round, seals. */
const QBFT_ITEMS = 5;

const bytesOf = (text: string, kind: 'data' | 'number'): Uint8Array | undefined => {
  if (!/^0x[0-9a-fA-F]*$/.test(text)) return undefined;
  const digits = text.slice(2);
  if (kind === 'data') return digits.length % 2 === 0 ? fromHex(digits) : undefined;
  const significant = digits.replace(/^0+/, '');
  return fromHex(significant.length % 2 === 0 ? significant : `0${significant}`);
};

/** QBFT hashes its blocks without seals and round number, which differ from node to node. */
const withoutSeals = (items: readonly Uint8Array[]): Uint8Array | undefined => {
  const extra = decodeRlp(items[EXTRA_DATA] ?? new Uint8Array(0));
  if (!extra.ok || extra.value instanceof Uint8Array || extra.value.length !== QBFT_ITEMS) {
    return undefined;
  }
  const bare: RlpItem = [...extra.value.slice(0, 3), new Uint8Array(0), []];
  return encodeRlp(items.map((item, at) => (at === EXTRA_DATA ? encodeRlp(bare) : item)));
};

/** The header's bytes, whose Keccak-256 is the stated `hash`; `undefined` where no known form gives that hash. */
export const headerBytes = (block: Readonly<Record<string, unknown>>): Uint8Array | undefined => {
  const items: Uint8Array[] = [];
  for (const [at, [name, kind]] of FIELDS.entries()) {
    const text = block[name];
    if ((text === undefined || text === null) && at >= FIRST_OPTIONAL) break;
    const bytes = typeof text === 'string' ? bytesOf(text, kind) : undefined;
    if (bytes === undefined) return undefined;
    items.push(bytes);
  }
  const hash = typeof block['hash'] === 'string' ? bytesOf(block['hash'], 'data') : undefined;
  if (hash === undefined) return undefined;
  const forms = [encodeRlp(items), withoutSeals(items)];
  return forms.find((bytes) => bytes !== undefined && bytesEqual(keccak_256(bytes), hash));
};
