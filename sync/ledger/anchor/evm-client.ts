/**
 * viem over a transport of ours: every answer is bounded in size and time. viem is not part of the ordinary install
 * (docs/decisions.md); whoever anchors on an EVM chain adds it.
 */
import type { PrivateKeyAccount, PublicClient } from 'viem';
import { fetchBytes } from '../../../platform/http-client.ts';
import { utf8ToBytes } from '../../../protocol/bytes.ts';
import { KiriError } from '../../../protocol/kiri-error.ts';
import { readAccountKey } from './key-text.ts';

/** A block without its transactions, a proof, a receipt: far below it. */
const MAX_ANSWER_BYTES = 4 * 1024 * 1024;
const MAX_SHOWN_CHARACTERS = 200;

type Viem = typeof import('viem') & Pick<typeof import('viem/accounts'), 'privateKeyToAccount'>;

const loadViem = async (): Promise<Viem> => {
  try {
    const [viem, accounts] = await Promise.all([import('viem'), import('viem/accounts')]);
    return { ...viem, privateKeyToAccount: accounts.privateKeyToAccount };
  } catch (error) {
    const message = 'the EVM anchor needs the package viem: npm install viem';
    throw new KiriError('VIEM_MISSING', message, { cause: error });
  }
};

export interface EvmClient {
  readonly viem: Viem;
  readonly rpc: PublicClient;
  readonly account: PrivateKeyAccount;
}

export interface EvmClientOptions {
  /** JSON-RPC over HTTP or HTTPS. */
  readonly rpcUrl: string;
  /** See key-text.ts. */
  readonly keyFile: string;
  readonly timeoutMs: number;
}

interface RpcRequest {
  readonly method: string;
  readonly params?: unknown;
}

/** What a node refused, in its own words; viem tells its kinds by `code`. */
class RpcError extends Error {
  readonly code: number;

  constructor(message: string, code: number) {
    super(message.slice(0, MAX_SHOWN_CHARACTERS));
    this.code = code;
  }
}

/** The address may carry an access key: what is said of a failure names the host alone. */
const ask = async (rpcUrl: string, timeoutMs: number, body: Uint8Array) => {
  try {
    const options = {
      body,
      contentType: 'application/json',
      timeoutMs,
      maxBytes: MAX_ANSWER_BYTES,
    };
    return await fetchBytes(rpcUrl, options);
  } catch (error) {
    const code = error instanceof KiriError ? error.code : 'HTTP_UNREACHABLE';
    throw new KiriError(code, `the node at ${new URL(rpcUrl).host} does not answer`);
  }
};

const requester = ({ rpcUrl, timeoutMs }: EvmClientOptions) => {
  let lastId = 0;
  return async ({ method, params }: RpcRequest): Promise<unknown> => {
    lastId += 1;
    const id = lastId;
    const call = JSON.stringify({ jsonrpc: '2.0', id, method, params: params ?? [] });
    const { status, body } = await ask(rpcUrl, timeoutMs, utf8ToBytes(call));
    let answer: { id?: unknown; result?: unknown; error?: { message?: unknown; code?: unknown } };
    try {
      answer = Object(JSON.parse(Buffer.from(body).toString('utf8'))) as typeof answer;
    } catch {
      throw new KiriError('RPC_FAILED', `${method}: the node answers ${status}, and not JSON`);
    }
    if (answer.error) {
      throw new RpcError(String(answer.error.message), Number(answer.error.code ?? 0));
    }
    if (status !== 200 || answer.id !== id || answer.result === undefined) {
      throw new KiriError('RPC_FAILED', `${method}: the node answers ${status} without a result`);
    }
    return answer.result;
  };
};

/** @throws KiriError VIEM_MISSING, KEY_EXPOSED, KEY_INVALID, DISK_* */
export const openEvmClient = async (options: EvmClientOptions): Promise<EvmClient> => {
  const viem = await loadViem();
  const account = viem.privateKeyToAccount(await readAccountKey(options.keyFile));
  const transport = viem.custom({ request: requester(options) }, { retryCount: 0 });
  return { viem, rpc: viem.createPublicClient({ transport }), account };
};
