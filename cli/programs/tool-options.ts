import { existsSync } from 'node:fs';
import { parseArgs } from 'node:util';
import { writeFileDurable } from '../../platform/durable-file.ts';
import { KiriError } from '../../protocol/kiri-error.ts';
import { UsageError } from '../command.ts';

/** Documents and public keys are for everybody to read. */
const MODE = 0o644;

/** The options of a command that ends by itself: each a text, `--json` beside them. */
export interface ToolOptions {
  readonly json: boolean;
  /** @throws UsageError where it was not given */
  need(name: string): string;
  text(name: string): string | undefined;
  /** A whole number from 0 on. @throws UsageError */
  count(name: string): number | undefined;
}

/** @throws UsageError for an option that is not among `names` */
export function toolOptions(argv: readonly string[], names: readonly string[]): ToolOptions {
  const text = { type: 'string' } as const;
  let values: Readonly<Record<string, string | boolean | undefined>>;
  try {
    ({ values } = parseArgs({
      args: [...argv],
      options: {
        ...Object.fromEntries(names.map((name) => [name, text])),
        json: { type: 'boolean', default: false },
      },
    }));
  } catch (error) {
    throw new UsageError(error instanceof Error ? error.message : String(error));
  }
  const get = (name: string): string | undefined => {
    const value = values[name];
    return typeof value === 'string' ? value : undefined;
  };
  return {
    json: values['json'] === true,
    text: get,
    need: (name) => {
      const value = get(name);
      if (value === undefined || value === '') throw new UsageError(`--${name} is needed`);
      return value;
    },
    count: (name) => {
      const value = get(name);
      if (value === undefined) return undefined;
      if (!/^\d{1,10}$/.test(value)) throw new UsageError(`--${name} ${value} is no whole number`);
      return Number(value);
    },
  };
}

/** Writes a new file, durably. @throws KiriError FILE_EXISTS: what was issued is never written over */
export async function writeNewFile(path: string, bytes: Uint8Array): Promise<void> {
  if (existsSync(path)) throw new KiriError('FILE_EXISTS', `${path} exists and is not overwritten`);
  await writeFileDurable(path, bytes, MODE);
}

/** One line for a person, or the facts as JSON. */
export function say(json: boolean, facts: Readonly<Record<string, unknown>>, line: string): void {
  process.stdout.write(`${json ? JSON.stringify({ ok: true, ...facts }) : line}\n`);
}
