/** One process that is killed with SIGKILL and started again. */
import { spawn, type ChildProcess } from 'node:child_process';
import type { SoakTask } from './soak-keys.ts';
import '../plain-children.ts';

const START_TIMEOUT_MS = 60_000;

export class Mortal {
  ready: Promise<void> = Promise.resolve();
  kills = 0;
  /** Set where it ended without having been killed, or did not come up. */
  fault: string | undefined;
  readonly #launcher: string;
  readonly #task: SoakTask;
  readonly #onUp: (urls: Readonly<Record<string, string>>) => void;
  #child: ChildProcess | undefined;

  constructor(
    launcher: string,
    task: SoakTask,
    onUp: (urls: Readonly<Record<string, string>>) => void,
  ) {
    this.#launcher = launcher;
    this.#task = task;
    this.#onUp = onUp;
  }

  start(): void {
    const { role } = this.#task;
    const child = spawn(process.execPath, [this.#launcher, JSON.stringify(this.#task)], {
      stdio: 'pipe',
      // Nothing of a test runner's is loaded into it.
      env: {},
    });
    this.#child = child;
    let stderr = '';
    child.stderr.on('data', (piece: Buffer) => (stderr += piece.toString()));
    child.stdin.on('error', () => {});
    this.ready = new Promise((resolve) => {
      const late = setTimeout(() => {
        this.fault ??= `${role} is not up after ${START_TIMEOUT_MS} ms`;
        resolve();
      }, START_TIMEOUT_MS);
      child.once('close', (code, signal) => {
        if (signal !== 'SIGKILL') this.fault ??= `${role} ended with ${code}: ${stderr}`;
        clearTimeout(late);
        resolve();
      });
      child.stdout.once('data', (said: Buffer) => {
        if (child === this.#child) {
          this.#onUp(JSON.parse(said.toString()) as Record<string, string>);
        }
        clearTimeout(late);
        resolve();
      });
    });
  }

  /** Lets it keep what was compiled at its start, for the next of its role. */
  keepCode(): void {
    this.#child?.stdin?.write('keep\n');
  }

  /** Resolves once it is gone. @returns whether it was alive */
  async kill(): Promise<boolean> {
    const child = this.#child;
    if (child === undefined || child.exitCode !== null || child.signalCode !== null) return false;
    this.#child = undefined;
    const gone = new Promise((resolve) => child.once('exit', resolve));
    child.kill('SIGKILL');
    await gone;
    return true;
  }
}
