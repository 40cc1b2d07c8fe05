/**
 * Anchors heads in a HeadAnchor contract. The signed transaction is kept before it leaves and only the same bytes are
 * ever sent again, so that no crash pays twice. A submission takes the account's next mined nonce: at most one of those
 * that compete for it can be mined. The account must serve nothing else.
 */
import type { Hex } from 'viem';
import { bytesEqual, fromHex, toHex } from '../../../protocol/bytes.ts';
import { KiriError } from '../../../protocol/kiri-error.ts';
import {
  encodeEvmEvidence,
  type EvmEvidence,
  headSlots,
  MAX_HEADERS,
  originKey,
  parseHeader,
  readHex,
  verifyEvmEvidence,
} from '../core/anchor-evm.ts';
import type { Anchor, AnchorStatus } from '../core/anchor-port.ts';
import { parseCheckpoint, type TreeHead } from '../core/checkpoint.ts';
import { parseNote } from '../core/note.ts';
import { HEAD_ANCHOR_ABI, HEAD_ANCHOR_BYTECODE, HEAD_ANCHOR_CODE_HASH } from './evm/head-anchor.ts';
import { type EvmClient, type EvmClientOptions, openEvmClient } from './evm-client.ts';
import { headerBytes } from './evm-header.ts';

export interface EvmAnchorOptions extends EvmClientOptions {
  readonly chainId: number;
  /** Address of the contract. */
  readonly contract: string;
  /** Blocks from the one that holds the head on, itself included, before it counts: 1 where blocks are final at once. */
  readonly confirmations: number;
  /** Nothing is sent at a higher price; absent for none. */
  readonly maxFeePerGasWei?: bigint;
}

/** What is kept of a submission. `raw` is absent where the contract held the head already. */
interface EvmRef {
  readonly nonce: number;
  readonly hash?: Hex;
  readonly raw?: Hex;
}

/** Spare gas over the estimate, percent: the estimate is exact for this contract, the state may move. */
const GAS_PERCENT = 120n;
/** What nodes say to bytes that they have seen already, or that were mined meanwhile. */
const KNOWN = /already known|already imported|known transaction|nonce too low|alreadyknown/i;

const hexOf = (bytes: Uint8Array): Hex => `0x${toHex(bytes)}`;

const messageOf = (error: unknown): string => {
  if (!(error instanceof Error)) return String(error);
  const { shortMessage, details } = error as { shortMessage?: string; details?: string };
  return details ?? shortMessage ?? error.message;
};

const headOf = (note: Uint8Array): TreeHead => {
  const signed = parseNote(note);
  const head = signed.ok ? parseCheckpoint(signed.value.text) : signed;
  if (!head.ok) throw new KiriError('ANCHOR_INVALID', `not a checkpoint: ${head.reason}`);
  return head.value;
};

const nodesOf = (nodes: readonly Hex[] | undefined): readonly Uint8Array[] =>
  (nodes ?? []).map((node) => fromHex(node.slice(2)));

class EvmAnchor implements Anchor {
  readonly #options: EvmAnchorOptions;
  readonly #client: EvmClient;
  readonly #contract: Hex;

  constructor(options: EvmAnchorOptions, client: EvmClient, contract: Uint8Array) {
    this.#options = options;
    this.#client = client;
    this.#contract = hexOf(contract);
  }

  async submit(note: Uint8Array, keep: (ref: string) => Promise<void>): Promise<string> {
    const { rpc, account, viem } = this.#client;
    const head = headOf(note);
    await this.#checkChain();
    const nonce = await rpc.getTransactionCount({ address: account.address, blockTag: 'latest' });
    if (await this.#holds(head)) {
      const ref = JSON.stringify({ nonce } satisfies EvmRef);
      await keep(ref);
      return ref;
    }
    const data = viem.encodeFunctionData({
      abi: HEAD_ANCHOR_ABI,
      functionName: 'anchor',
      args: [hexOf(originKey(head.origin)), BigInt(head.size), hexOf(head.root)],
    });
    const call = { to: this.#contract, data };
    const gas = (await rpc.estimateGas({ account: account.address, ...call })) * GAS_PERCENT;
    const raw = await account.signTransaction({
      ...call,
      ...(await this.#fees()),
      chainId: this.#options.chainId,
      nonce,
      gas: gas / 100n,
    });
    const hash = viem.keccak256(raw);
    const ref = JSON.stringify({ nonce, hash, raw } satisfies EvmRef);
    await keep(ref);
    await this.#send(raw);
    return ref;
  }

  async status(ref: string, note: Uint8Array): Promise<AnchorStatus> {
    const { rpc, account } = this.#client;
    const { nonce, hash, raw } = JSON.parse(ref) as EvmRef;
    await this.#checkChain();
    let fromBlock = 0n;
    if (hash !== undefined && raw !== undefined) {
      // The count first: a transaction that is mined in between is then found, never taken for lost.
      const mined = await rpc.getTransactionCount({ address: account.address, blockTag: 'latest' });
      const receipt = await this.#receipt(hash);
      if (receipt === undefined) {
        if (mined > nonce) {
          return (await this.#holds(headOf(note)))
            ? { kind: 'pending', detail: 'the node has no receipt yet' }
            : { kind: 'failed', reason: `another transaction took nonce ${nonce}` };
        }
        await this.#send(raw);
        return { kind: 'pending', detail: `transaction ${hash} waits for a block` };
      }
      if (receipt.isReverted) return { kind: 'failed', reason: `transaction ${hash} was reverted` };
      fromBlock = receipt.block;
    }
    return this.#prove(note, fromBlock);
  }

  async #checkChain(): Promise<void> {
    const chainId = await this.#client.rpc.getChainId();
    if (chainId === this.#options.chainId) return;
    const { rpcUrl, chainId: wanted } = this.#options;
    throw new KiriError(
      'CHAIN_MISMATCH',
      `${new URL(rpcUrl).host} is chain ${chainId}, not ${wanted}`,
    );
  }

  /** Whether the contract holds exactly this head. @throws KiriError ANCHOR_REFUSED for a larger or another one */
  async #holds(head: TreeHead): Promise<boolean> {
    const { rpc, account } = this.#client;
    const [size, root] = await rpc.readContract({
      address: this.#contract,
      abi: HEAD_ANCHOR_ABI,
      functionName: 'heads',
      args: [account.address, hexOf(originKey(head.origin))],
    });
    if (size < BigInt(head.size)) return false;
    if (size === BigInt(head.size) && root === hexOf(head.root)) return true;
    throw new KiriError(
      'ANCHOR_REFUSED',
      `the contract holds ${root} at ${size} entries of this log`,
    );
  }

  async #fees(): Promise<
    { gasPrice: bigint; type: 'legacy' } | { maxFeePerGas: bigint; maxPriorityFeePerGas: bigint }
  > {
    const { rpc } = this.#client;
    const { maxFeePerGasWei } = this.#options;
    const limit = (price: bigint): bigint => {
      if (maxFeePerGasWei === undefined || price <= maxFeePerGasWei) return price;
      throw new KiriError(
        'ANCHOR_REFUSED',
        `gas costs ${price} wei, above the limit of ${maxFeePerGasWei}`,
      );
    };
    const { baseFeePerGas } = await rpc.getBlock({ blockTag: 'latest' });
    if (baseFeePerGas === null) return { type: 'legacy', gasPrice: limit(await rpc.getGasPrice()) };
    const maxPriorityFeePerGas = await rpc.estimateMaxPriorityFeePerGas();
    const maxFeePerGas = limit(2n * baseFeePerGas + maxPriorityFeePerGas);
    return { maxFeePerGas, maxPriorityFeePerGas };
  }

  /** Sends kept bytes; a node that has them already is no failure. */
  async #send(raw: Hex): Promise<void> {
    try {
      await this.#client.rpc.sendRawTransaction({ serializedTransaction: raw });
    } catch (error) {
      if (!KNOWN.test(messageOf(error))) throw error;
    }
  }

  async #receipt(hash: Hex): Promise<{ block: bigint; isReverted: boolean } | undefined> {
    try {
      const receipt = await this.#client.rpc.getTransactionReceipt({ hash });
      return { block: receipt.blockNumber, isReverted: receipt.status === 'reverted' };
    } catch (error) {
      // A node that does not know it, or not yet, says null; viem throws that.
      if (error instanceof Error && error.name === 'TransactionReceiptNotFoundError')
        return undefined;
      throw error;
    }
  }

  /** Gathers evidence under the newest block that has enough blocks on top of it. */
  async #prove(note: Uint8Array, fromBlock: bigint): Promise<AnchorStatus> {
    const { rpc } = this.#client;
    const { confirmations } = this.#options;
    const newest = await rpc.getBlockNumber({ cacheTime: 0 });
    const proven = newest - BigInt(confirmations) + 1n;
    if (proven < fromBlock || proven < 0n) {
      const missing = (proven < 0n ? 0n : fromBlock) - proven;
      return { kind: 'pending', detail: `${missing} more of ${confirmations} blocks to come` };
    }
    const headers = await this.#headers(proven, newest);
    const evidence = await this.#storageProof(note, proven, headers);
    const bytes = encodeEvmEvidence(evidence);
    const last = parseHeader(headers.at(-1) ?? new Uint8Array(0));
    const verified = verifyEvmEvidence({
      ...evidence,
      codeHash: fromHex(HEAD_ANCHOR_CODE_HASH.slice(2)),
      blocks: last.ok ? [last.value.hash] : [],
    })(bytes, note);
    if (verified.ok) return { kind: 'final', evidence: bytes };
    // A reorganisation between two questions, or a node that lies: either way nothing is proven.
    return { kind: 'pending', detail: `the node proves nothing yet: ${verified.reason}` };
  }

  async #headers(from: bigint, to: bigint): Promise<readonly Uint8Array[]> {
    const found: Uint8Array[] = [];
    for (let number = from; number <= to; number += 1n) {
      const block: unknown = await this.#client.rpc.request({
        method: 'eth_getBlockByNumber',
        params: [`0x${number.toString(16)}`, false],
      });
      const bytes = headerBytes(Object(block) as Record<string, unknown>);
      if (bytes === undefined) {
        throw new KiriError('CHAIN_UNSUPPORTED', `block ${number} has a header of unknown form`);
      }
      found.push(bytes);
    }
    return found;
  }

  async #storageProof(
    note: Uint8Array,
    block: bigint,
    headers: readonly Uint8Array[],
  ): Promise<EvmEvidence> {
    const { rpc, account } = this.#client;
    const [contract, sender] = [
      fromHex(this.#contract.slice(2)),
      fromHex(account.address.slice(2)),
    ];
    const slots = headSlots(sender, headOf(note).origin);
    const proof = await rpc.getProof({
      address: this.#contract,
      storageKeys: [hexOf(slots.size), hexOf(slots.root)],
      blockNumber: block,
    });
    const slotProof = (slot: Uint8Array): readonly Uint8Array[] =>
      nodesOf(
        proof.storageProof.find(({ key }) => {
          const bytes = fromHex(key.slice(2).padStart(64, '0'));
          return bytesEqual(bytes, slot);
        })?.proof,
      );
    return {
      chainId: this.#options.chainId,
      contract,
      sender,
      headers,
      accountProof: nodesOf(proof.accountProof),
      sizeProof: slotProof(slots.size),
      rootProof: slotProof(slots.root),
    };
  }
}

const checkedAddress = (text: string): Uint8Array => {
  const bytes = readHex(text.toLowerCase(), 20);
  if (bytes === undefined) throw new KiriError('ANCHOR_INVALID', `${text} is not an address`);
  return bytes;
};

/**
 * Opens the anchor; nothing is asked of the chain yet.
 * @throws KiriError VIEM_MISSING, KEY_EXPOSED, KEY_INVALID, DISK_*, ANCHOR_INVALID
 */
export const openEvmAnchor = async (options: EvmAnchorOptions): Promise<Anchor> => {
  const { confirmations } = options;
  if (!Number.isInteger(confirmations) || confirmations < 1 || confirmations > MAX_HEADERS) {
    throw new KiriError('ANCHOR_INVALID', `confirmations are 1 to ${MAX_HEADERS}`);
  }
  return new EvmAnchor(options, await openEvmClient(options), checkedAddress(options.contract));
};

/** Where a new contract stands, who will send to it, and a block that holds it. */
export interface DeployedAnchor {
  readonly contract: string;
  readonly sender: string;
  readonly chainId: number;
}

const DEPLOY_POLL_MS = 500;
const DEPLOY_POLLS = 240;

/**
 * Creates the contract with the account of the key file.
 * @throws KiriError DEPLOY_FAILED and what {@link openEvmAnchor} throws
 */
export const deployHeadAnchor = async (options: EvmClientOptions): Promise<DeployedAnchor> => {
  const { viem, rpc, account } = await openEvmClient(options);
  const chainId = await rpc.getChainId();
  const wallet = viem.createWalletClient({ account, transport: viem.custom(rpc) });
  const hash = await wallet.deployContract({
    abi: HEAD_ANCHOR_ABI,
    bytecode: HEAD_ANCHOR_BYTECODE,
    chain: null,
  });
  const receipt = await rpc.waitForTransactionReceipt({
    hash,
    pollingInterval: DEPLOY_POLL_MS,
    timeout: DEPLOY_POLL_MS * DEPLOY_POLLS,
  });
  const { contractAddress } = receipt;
  if (receipt.status !== 'success' || contractAddress === null || contractAddress === undefined) {
    throw new KiriError('DEPLOY_FAILED', `transaction ${hash} did not create the contract`);
  }
  return {
    contract: contractAddress.toLowerCase(),
    sender: account.address.toLowerCase(),
    chainId,
  };
};
