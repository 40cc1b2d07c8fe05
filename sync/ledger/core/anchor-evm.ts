/**
 * Evidence that a HeadAnchor contract (anchor/evm/HeadAnchor.sol) holds a checkpoint's size and root for a sender. It is
 * the chain of hashes from a block down to two storage slots:
 *
 *   block hash, named in the trust files ← headers ← state root ← account (code hash: the contract itself) ← storage
 *
 * Nothing of the chain's consensus is checked here: that the block is the chain's is what the trust files say.
 */
import { keccak_256 } from '@noble/hashes/sha3.js';
import { sha256 } from '@noble/hashes/sha2.js';
import { bytesEqual, concatBytes, fromHex, toHex, utf8ToBytes } from '../../../protocol/bytes.ts';
import { type AnchoredNote, MAX_EVIDENCE_BYTES, type VerifyAnchor } from './anchor-port.ts';
import { type RlpItem, decodeRlp } from './anchor-rlp.ts';
import { verifyTrieProof } from './anchor-trie.ts';
import { parseCheckpoint } from './checkpoint.ts';
import { parseNote } from './note.ts';
import { type Outcome, bad, decodeUtf8, ok } from './text.ts';

const FORMAT = 'kiri-anchor-evm/1';
/** Headers from the proven block up to one that the trust files name; as many as confirmations are waited for. */
export const MAX_HEADERS = 128;
const WORD_BYTES = 32;
const ADDRESS_BYTES = 20;
/** Places in a header's list (yellow paper, section 4.4). */
const HEADER = { parentHash: 0, stateRoot: 3, number: 8, timestamp: 11, leastItems: 15 } as const;
/** Places in an account's list. */
const ACCOUNT = { storageRoot: 2, codeHash: 3, items: 4 } as const;

/** The bytes that prove it, as the chain hashes them. */
export interface EvmEvidence {
  readonly chainId: number;
  /** 20 bytes each. */
  readonly contract: Uint8Array;
  readonly sender: Uint8Array;
  /** RLP of consecutive block headers; the proofs are under the first one's state root. */
  readonly headers: readonly Uint8Array[];
  /** Trie nodes, root first. */
  readonly accountProof: readonly Uint8Array[];
  readonly sizeProof: readonly Uint8Array[];
  readonly rootProof: readonly Uint8Array[];
}

/** What the verifier takes from the trust files. */
export interface EvmTrust {
  readonly chainId: number;
  readonly contract: Uint8Array;
  readonly sender: Uint8Array;
  /** Keccak-256 of the contract's runtime code, 32 bytes. */
  readonly codeHash: Uint8Array;
  /** Hashes of blocks that the verifier knows to be the chain's. */
  readonly blocks: readonly Uint8Array[];
}

const hexOf = (bytes: Uint8Array): string => `0x${toHex(bytes)}`;

/** `0x` and lower-case hex of whole bytes; `undefined` for anything else. */
export const readHex = (text: unknown, length?: number): Uint8Array | undefined => {
  if (typeof text !== 'string' || !/^0x(?:[0-9a-f]{2})*$/.test(text)) return undefined;
  const bytes = fromHex(text.slice(2));
  return length === undefined || bytes.length === length ? bytes : undefined;
};

/** One JSON object on one line; there is one text for one evidence. */
export const encodeEvmEvidence = (evidence: EvmEvidence): Uint8Array =>
  utf8ToBytes(
    `${JSON.stringify({
      format: FORMAT,
      chainId: evidence.chainId,
      contract: hexOf(evidence.contract),
      sender: hexOf(evidence.sender),
      headers: evidence.headers.map(hexOf),
      accountProof: evidence.accountProof.map(hexOf),
      sizeProof: evidence.sizeProof.map(hexOf),
      rootProof: evidence.rootProof.map(hexOf),
    })}\n`,
  );

const readList = (value: unknown): readonly Uint8Array[] | undefined => {
  if (!Array.isArray(value)) return undefined;
  const found: Uint8Array[] = [];
  for (const entry of value) {
    const bytes = readHex(entry);
    if (bytes === undefined) return undefined;
    found.push(bytes);
  }
  return found;
};

const readJson = (text: string): Readonly<Record<string, unknown>> | undefined => {
  try {
    const value: unknown = JSON.parse(text);
    return typeof value === 'object' && value !== null
      ? (value as Record<string, unknown>)
      : undefined;
  } catch {
    return undefined;
  }
};

export const parseEvmEvidence = (bytes: Uint8Array): Outcome<EvmEvidence> => {
  if (bytes.length > MAX_EVIDENCE_BYTES) return bad(`evidence over ${MAX_EVIDENCE_BYTES} bytes`);
  const text = decodeUtf8(bytes);
  const json = text === undefined ? undefined : readJson(text);
  const chainId = json?.['chainId'];
  const contract = readHex(json?.['contract'], ADDRESS_BYTES);
  const sender = readHex(json?.['sender'], ADDRESS_BYTES);
  const headers = readList(json?.['headers']);
  const accountProof = readList(json?.['accountProof']);
  const sizeProof = readList(json?.['sizeProof']);
  const rootProof = readList(json?.['rootProof']);
  if (typeof chainId !== 'number' || !contract || !sender || !headers || !accountProof) {
    return bad('malformed evidence');
  }
  if (!sizeProof || !rootProof) return bad('malformed evidence');
  const evidence = { chainId, contract, sender, headers, accountProof, sizeProof, rootProof };
  return bytesEqual(encodeEvmEvidence(evidence), bytes)
    ? ok(evidence)
    : bad('evidence is not in its one form');
};

interface Header {
  readonly hash: Uint8Array;
  readonly parentHash: Uint8Array;
  readonly stateRoot: Uint8Array;
  readonly number: number;
  readonly timestampS: number;
}

const readNumber = (item: RlpItem | undefined): number | undefined => {
  if (!(item instanceof Uint8Array) || item[0] === 0) return undefined;
  const value = item.reduce((sum, byte) => sum * 256 + byte, 0);
  return Number.isSafeInteger(value) ? value : undefined;
};

/** Reads what is needed of a header; its hash is over all of its bytes. */
export const parseHeader = (bytes: Uint8Array): Outcome<Header> => {
  const decoded = decodeRlp(bytes);
  if (!decoded.ok) return decoded;
  const items = decoded.value;
  if (items instanceof Uint8Array || items.length < HEADER.leastItems)
    return bad('not a block header');
  const [parentHash, stateRoot] = [items[HEADER.parentHash], items[HEADER.stateRoot]];
  const [number, timestampS] = [
    readNumber(items[HEADER.number]),
    readNumber(items[HEADER.timestamp]),
  ];
  if (!(parentHash instanceof Uint8Array) || !(stateRoot instanceof Uint8Array)) {
    return bad('not a block header');
  }
  if (parentHash.length !== WORD_BYTES || stateRoot.length !== WORD_BYTES)
    return bad('not a block header');
  if (number === undefined || timestampS === undefined) return bad('not a block header');
  return ok({ hash: keccak_256(bytes), parentHash, stateRoot, number, timestampS });
};

/** The name under which the contract keeps a log: SHA-256 of its origin. */
export const originKey = (origin: string): Uint8Array => sha256(utf8ToBytes(origin));

const leftPad = (bytes: Uint8Array): Uint8Array =>
  concatBytes(new Uint8Array(WORD_BYTES - bytes.length), bytes);

/**
 * Storage slots of `heads[sender][origin]`: size, and root in the next one. The mapping stands in slot 0 (Solidity,
 * "Layout of State Variables in Storage").
 */
export const headSlots = (
  sender: Uint8Array,
  origin: string,
): { readonly size: Uint8Array; readonly root: Uint8Array } => {
  const bySender = keccak_256(concatBytes(leftPad(sender), new Uint8Array(WORD_BYTES)));
  const size = keccak_256(concatBytes(originKey(origin), bySender));
  const root = size.slice();
  for (let at = WORD_BYTES - 1; at >= 0; at -= 1) {
    root[at] = ((root[at] ?? 0) + 1) & 0xff;
    if (root[at] !== 0) break;
  }
  return { size, root };
};

/** The newest header that the trust files name, after checking that each one is the parent of the next. */
const trustedFrom = (
  headers: readonly Uint8Array[],
  blocks: readonly Uint8Array[],
): Outcome<{ readonly proven: Header; readonly named: Header }> => {
  if (headers.length === 0 || headers.length > MAX_HEADERS)
    return bad(`needs 1 to ${MAX_HEADERS} headers`);
  const chain: Header[] = [];
  for (const bytes of headers) {
    const header = parseHeader(bytes);
    if (!header.ok) return header;
    const parent = chain.at(-1);
    if (parent !== undefined && !bytesEqual(header.value.parentHash, parent.hash)) {
      return bad('the headers do not follow one another');
    }
    chain.push(header.value);
  }
  const [proven] = chain;
  const named = chain.find(({ hash }) => blocks.some((block) => bytesEqual(block, hash)));
  const newest = chain.at(-1);
  if (proven === undefined || newest === undefined) return bad('no header');
  return named === undefined
    ? bad(
        `the trust files name no block of ${proven.number} to ${newest.number}; ask a node of that chain whether ` +
          `block ${newest.number} is ${hexOf(newest.hash)}, and name it`,
      )
    : ok({ proven, named });
};

/** The account's storage root, where its code is the contract's. */
const storageRootOf = (account: Uint8Array, codeHash: Uint8Array): Outcome<Uint8Array> => {
  const decoded = decodeRlp(account);
  if (!decoded.ok) return decoded;
  const items = decoded.value;
  if (items instanceof Uint8Array || items.length !== ACCOUNT.items) return bad('not an account');
  const [storageRoot, code] = [items[ACCOUNT.storageRoot], items[ACCOUNT.codeHash]];
  if (!(storageRoot instanceof Uint8Array) || !(code instanceof Uint8Array))
    return bad('not an account');
  return bytesEqual(code, codeHash)
    ? ok(storageRoot)
    : bad('the account is not the HeadAnchor contract');
};

/** A storage word; the trie keeps it as a number without leading zeroes. */
const readWord = (
  storageRoot: Uint8Array,
  slot: Uint8Array,
  proof: readonly Uint8Array[],
): Outcome<Uint8Array> => {
  const found = verifyTrieProof(storageRoot, slot, proof);
  if (!found.ok) return found;
  const word = decodeRlp(found.value);
  return word.ok && word.value instanceof Uint8Array && word.value.length <= WORD_BYTES
    ? ok(leftPad(word.value))
    : bad('not a storage word');
};

const sizeWord = (size: number): Uint8Array =>
  leftPad(fromHex(size.toString(16).padStart(16, '0')));

/** Checks evidence against blocks that the trust files name. */
export const verifyEvmEvidence =
  (trust: EvmTrust): VerifyAnchor =>
  (bytes, note): Outcome<AnchoredNote> => {
    const parsed = parseEvmEvidence(bytes);
    if (!parsed.ok) return parsed;
    const evidence = parsed.value;
    const signed = parseNote(note);
    const head = signed.ok ? parseCheckpoint(signed.value.text) : signed;
    if (!head.ok) return head;
    if (evidence.chainId !== trust.chainId) return bad('the evidence is of another chain');
    if (!bytesEqual(evidence.contract, trust.contract))
      return bad('the evidence is of another contract');
    if (!bytesEqual(evidence.sender, trust.sender)) return bad('the evidence is of another sender');
    const block = trustedFrom(evidence.headers, trust.blocks);
    if (!block.ok) return block;
    const { proven, named } = block.value;
    const account = verifyTrieProof(proven.stateRoot, evidence.contract, evidence.accountProof);
    const storageRoot = account.ok ? storageRootOf(account.value, trust.codeHash) : account;
    if (!storageRoot.ok) return storageRoot;
    const slots = headSlots(evidence.sender, head.value.origin);
    const size = readWord(storageRoot.value, slots.size, evidence.sizeProof);
    if (!size.ok) return bad(`size in the contract: ${size.reason}`);
    if (!bytesEqual(size.value, sizeWord(head.value.size))) {
      return bad('the contract holds another size of this log');
    }
    const root = readWord(storageRoot.value, slots.root, evidence.rootProof);
    if (!root.ok) return bad(`root in the contract: ${root.reason}`);
    if (!bytesEqual(root.value, head.value.root))
      return bad('the contract holds another root of this log');
    const by = `chain ${evidence.chainId}, block ${proven.number}, under block ${named.number} of the trust files`;
    return ok({ anchoredAtS: proven.timestampS, by });
  };
