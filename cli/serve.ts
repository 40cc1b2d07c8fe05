import { fstatSync } from 'node:fs';
import { createInterface } from 'node:readline';
import { KiriError } from '../protocol/kiri-error.ts';

export type Request = Readonly<Record<string, unknown>>;

/**
 * The frame of every long-running `kiri` program: it prints `{"ready":true,…}`, answers one JSON
 * line per JSON request line, and ends in order on SIGTERM, SIGINT or the end of its input, also
 * while it is not ready yet: nobody is left waiting for a gateway after whoever started it is gone.
 * What was asked before the input ended is answered first, so that `echo REQUEST | kiri …` works;
 * under a service manager, which gives it /dev/null, a signal alone ends it.
 * Nothing but JSON lines goes to standard output.
 */
export async function serve(
  ready: Request | Promise<Request>,
  answer: (request: Request) => Promise<Request>,
  stop: () => Promise<void>,
): Promise<number> {
  const lines = createInterface({ input: process.stdin });
  const isAlone = hasNoInput();
  const running = new Set<Promise<void>>();
  const ended = new Promise<void>((resolve) => {
    lines.once('close', () => {
      if (!isAlone) void Promise.all(running).then(() => resolve());
    });
    process.once('SIGTERM', resolve);
    process.once('SIGINT', resolve);
  });
  process.stdout.on('error', () => {
    // Nobody reads any more: the end of the input says the same, and the program ends in order.
  });
  lines.on('line', (line) => {
    const task = respond(line, answer).finally(() => running.delete(task));
    running.add(task);
  });
  const told = Promise.resolve(ready).then((facts) => print({ ready: true, ...facts }));
  await Promise.race([ended, told.then(() => ended)]);
  await stop();
  lines.close();
  process.stdin.destroy();
  return 0;
}

/** Whether standard input is /dev/null, as service managers have it: then its end says nothing. */
function hasNoInput(): boolean {
  return !process.stdin.isTTY && fstatSync(process.stdin.fd).isCharacterDevice();
}

/** BigInt leaves as a decimal string: JSON numbers are not exact above 2⁵³. */
function print(message: Request): void {
  const text = JSON.stringify(message, (_key, value: unknown) =>
    typeof value === 'bigint' ? value.toString() : value,
  );
  process.stdout.write(`${text}\n`);
}

function parse(line: string): Request | null {
  try {
    return JSON.parse(line) as Request | null;
  } catch (cause) {
    throw new KiriError('REQUEST_INVALID', 'a request is one JSON object on one line', { cause });
  }
}

/** Every line is answered: with a result, or with what was wrong in words (`error`) and as a `code`. */
async function respond(
  line: string,
  answer: (request: Request) => Promise<Request>,
): Promise<void> {
  let id: unknown;
  try {
    const request = parse(line);
    if (typeof request !== 'object' || request === null) {
      throw new KiriError('REQUEST_INVALID', 'a request is one JSON object on one line');
    }
    id = request['id'];
    print({ id, ...(await answer(request)) });
  } catch (error) {
    const code = error instanceof KiriError ? error.code : 'REQUEST_FAILED';
    print({ id, error: error instanceof Error ? error.message : String(error), code });
  }
}
