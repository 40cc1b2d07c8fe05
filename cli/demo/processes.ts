import { execFile, spawn, type ChildProcess } from 'node:child_process';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { KiriError } from '../../protocol/kiri-error.ts';

const LAUNCHER = fileURLToPath(new URL('../../../bin/kiri.js', import.meta.url));
/** How long a program may take to say that it is ready; far above what it needs. */
const READY_TIMEOUT_MS = 300_000;
const STOP_TIMEOUT_MS = 5_000;
/** Last lines of stderr kept for the error message. */
const KEPT_STDERR_CHARS = 4_000;

export type Json = Readonly<Record<string, unknown>>;

function parseLine(line: string): Json | undefined {
  try {
    const value: unknown = JSON.parse(line);
    return typeof value === 'object' && value !== null ? (value as Json) : undefined;
  } catch {
    return undefined;
  }
}

/**
 * Runs a `kiri` command that ends by itself and prints JSON.
 * @throws KiriError COMMAND_FAILED with what it said
 */
export async function runCommand(args: readonly string[]): Promise<Json> {
  try {
    const { stdout } = await promisify(execFile)(process.execPath, [LAUNCHER, ...args]);
    return JSON.parse(stdout) as Json;
  } catch (error) {
    const { message, stdout = '' } = error as Error & { stdout?: string };
    throw new KiriError('COMMAND_FAILED', `${message} ${stdout}`.trim(), { cause: error });
  }
}

/**
 * A `kiri` program run as a process of its own. It speaks JSON lines: the first says
 * `{"ready":true,…}`, then one answer line per request line, matched by `id`.
 */
export class Program {
  readonly name: string;
  readonly #child: ChildProcess;
  readonly #waiting = new Map<
    number,
    { resolve: (value: Json) => void; reject: (why: Error) => void }
  >();
  readonly exited: Promise<number | null>;
  #stderr = '';
  #nextId = 1;
  #ready: Json = {};

  private constructor(name: string, child: ChildProcess) {
    this.name = name;
    this.#child = child;
    child.stdin!.on('error', () => {
      // The program is gone; `exited` says so.
    });
    child.stderr!.setEncoding('utf8').on('data', (text: string) => {
      this.#stderr = (this.#stderr + text).slice(-KEPT_STDERR_CHARS);
    });
    this.exited = new Promise((resolve) => {
      const end = (code: number | null): void => {
        for (const { reject } of this.#waiting.values()) reject(this.#gone());
        this.#waiting.clear();
        resolve(code);
      };
      child.once('close', end);
      child.once('error', (error) => {
        // It was never started, or a signal could not reach it.
        this.#stderr += error.message;
        if (child.pid === undefined) end(null);
      });
    });
  }

  get pid(): number {
    return this.#child.pid ?? -1;
  }

  /** What the program said when it was ready (ports, ids). */
  get ready(): Json {
    return this.#ready;
  }

  #gone(): KiriError {
    const why = this.#stderr.trim();
    return new KiriError('PROGRAM_GONE', `${this.name} ended${why === '' ? '' : `: ${why}`}`);
  }

  /**
   * Resolves when the program is ready. It stands in `running` from its first moment, so that whoever gives up can stop
   * also what is still starting.
   * @throws KiriError PROGRAM_GONE, PROGRAM_SLOW
   */
  static async start(
    name: string,
    args: readonly string[],
    running: Set<Program>,
  ): Promise<Program> {
    const child = spawn(process.execPath, [LAUNCHER, ...args], { stdio: ['pipe', 'pipe', 'pipe'] });
    const program = new Program(name, child);
    running.add(program);
    await program.#untilReady();
    return program;
  }

  #untilReady(): Promise<void> {
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => {
        this.kill();
        reject(
          new KiriError('PROGRAM_SLOW', `${this.name} was not ready in ${READY_TIMEOUT_MS} ms`),
        );
      }, READY_TIMEOUT_MS);
      void this.exited.then(() => {
        clearTimeout(timer);
        reject(this.#gone());
      });
      createInterface({ input: this.#child.stdout! }).on('line', (line) => {
        const message = parseLine(line);
        if (message === undefined) {
          // Not its protocol: what it says is kept for the error message.
          this.#stderr += `${line}\n`;
        } else if (message['ready'] === true) {
          clearTimeout(timer);
          this.#ready = message;
          resolve();
        } else {
          this.#answer(message);
        }
      });
    });
  }

  #answer(message: Json): void {
    const id = Number(message['id']);
    const waiting = this.#waiting.get(id);
    this.#waiting.delete(id);
    if (message['error'] === undefined) waiting?.resolve(message);
    else
      waiting?.reject(
        new KiriError('PROGRAM_REFUSED', `${this.name}: ${JSON.stringify(message['error'])}`),
      );
  }

  request(body: Json): Promise<Json> {
    const id = this.#nextId;
    this.#nextId += 1;
    return new Promise((resolve, reject) => {
      this.#waiting.set(id, { resolve, reject });
      this.#child.stdin!.write(`${JSON.stringify({ id, ...body })}\n`);
    });
  }

  /** SIGKILL: what a pulled plug is to a process. */
  kill(): void {
    this.#child.kill('SIGKILL');
  }

  /** Asks it to end in order; kills it where it does not. */
  async stop(): Promise<void> {
    const { exitCode, signalCode, pid } = this.#child;
    if (exitCode !== null || signalCode !== null || pid === undefined) return;
    const timer = setTimeout(() => this.kill(), STOP_TIMEOUT_MS);
    this.#child.stdin!.end();
    this.#child.kill('SIGTERM');
    await this.exited;
    clearTimeout(timer);
  }
}
