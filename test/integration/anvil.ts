/** A local chain of the real program: anvil, which .ci/run installs from npm and names in KIRI_ANVIL. */
import { type ChildProcess, spawn } from 'node:child_process';
import { createInterface } from 'node:readline';

/** First account of anvil's development mnemonic, which everybody knows. */
export const DEV_KEY = '0xac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80';
export const OTHER_KEY = '0x59c6995e998f97a5a0044966f0945389dc9e86dae88c7a8412f4603b6b78690d';

export interface Chain {
  readonly url: string;
  readonly process: ChildProcess;
  rpc(method: string, ...params: readonly unknown[]): Promise<unknown>;
  stop(): Promise<void>;
}

/** Starts a chain that makes a block per transaction, or by `evm_mine` with `--no-mining`. */
export const startAnvil = async (args: readonly string[] = []): Promise<Chain> => {
  const program = process.env['KIRI_ANVIL'];
  if (program === undefined) throw new Error('KIRI_ANVIL does not name the anvil program');
  const child = spawn(program, ['--port', '0', '--host', '127.0.0.1', ...args], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const ended = new Promise<void>((resolve) => child.once('exit', () => resolve()));
  const url = await new Promise<string>((resolve, reject) => {
    child.once('error', reject);
    child.once('exit', () => reject(new Error('anvil ended')));
    createInterface({ input: child.stdout }).on('line', (line) => {
      const [, address] = /Listening on (127\.0\.0\.1:\d+)/.exec(line) ?? [];
      if (address !== undefined) resolve(`http://${address}`);
    });
  });
  return {
    url,
    process: child,
    rpc: async (method, ...params) => {
      const response = await fetch(url, {
        method: 'POST',
        headers: { 'content-type': 'application/json' },
        body: JSON.stringify({ jsonrpc: '2.0', id: 1, method, params }),
      });
      const answer = (await response.json()) as { result?: unknown; error?: { message: string } };
      if (answer.error) throw new Error(answer.error.message);
      return answer.result;
    },
    stop: async () => {
      child.kill('SIGKILL');
      await ended;
    },
  };
};
