import { fork, type ChildProcess } from 'node:child_process';
import { fileURLToPath } from 'node:url';

/** Longest wait for one answer of a child. */
const ANSWER_TIMEOUT_MS = 120_000;

/** A measured process beside this one: one question at a time, answered by one message. */
export class Child {
  readonly #process: ChildProcess;

  /** @param script compiled file beside this one */
  constructor(script: string, execArgv: readonly string[] = []) {
    this.#process = fork(fileURLToPath(new URL(script, import.meta.url)), [], {
      serialization: 'advanced',
      execArgv: [...execArgv],
    });
  }

  ask<T>(question: object): Promise<T> {
    return new Promise((resolve, reject) => {
      const end = (): void => {
        clearTimeout(timer);
        this.#process.removeListener('message', onMessage);
        this.#process.removeListener('exit', onExit);
      };
      const onMessage = (answer: unknown): void => {
        end();
        resolve(answer as T);
      };
      const onExit = (code: number | null): void => {
        end();
        reject(new Error(`a measured process ended with ${code}`));
      };
      const timer = setTimeout(() => {
        end();
        reject(new Error('a measured process does not answer'));
      }, ANSWER_TIMEOUT_MS);
      this.#process.once('message', onMessage);
      this.#process.once('exit', onExit);
      this.#process.send(question);
    });
  }

  async close(): Promise<void> {
    if (this.#process.exitCode !== null) return;
    const gone = new Promise((resolve) => this.#process.once('exit', resolve));
    this.#process.disconnect();
    await gone;
  }
}

/** The child's side. It ends when its parent lets go of it. */
export function answering(answer: (question: never) => unknown): void {
  process.on('message', (question) => {
    void Promise.resolve(answer(question as never)).then((reply) => process.send?.(reply));
  });
}
