/** `state/head`: the last head that may be signed, with the journal position behind it. JSON sealed by a SHA-256. */
import { createHash } from 'node:crypto';
import { join } from 'node:path';
import { readIfPresent, writeFileDurable } from '../../platform/durable-file.ts';
import type { JournalPosition } from '../../platform/ports.ts';
import { KiriError } from '../../protocol/kiri-error.ts';
import type { LogHead } from './core/log-writer-types.ts';
import { EMPTY_ROOT } from './core/merkle.ts';

/** Below the log's folder. */
export const HEAD_PATH = 'state/head';

const seal = (body: string): string => createHash('sha256').update(body).digest('hex');

/** Stores the head; durable when it returns. */
export const writeHead = async (root: string, head: LogHead): Promise<void> => {
  const body = JSON.stringify({
    size: head.size,
    root: Buffer.from(head.root).toString('hex'),
    cursor: head.cursor ?? null,
    throughSequence: head.throughSequence,
  });
  await writeFileDurable(join(root, HEAD_PATH), `${body}\n${seal(body)}\n`);
};

interface HeadJson {
  readonly size: number;
  readonly root: string;
  readonly cursor: JournalPosition | null;
  readonly throughSequence?: number;
}

/**
 * The stored head, or the empty one where no log was started here.
 * @throws KiriError STATE_CORRUPT where the file is not what was written
 */
export const readHead = async (root: string): Promise<LogHead> => {
  const path = join(root, HEAD_PATH);
  const bytes = await readIfPresent(path);
  if (bytes === undefined) return { size: 0, root: EMPTY_ROOT };
  const [body, sealed, ...rest] = bytes.toString('utf8').split('\n');
  if (body === undefined || seal(body) !== sealed || rest.join('') !== '') {
    throw new KiriError('STATE_CORRUPT', `${path} is damaged; the log cannot go on from it`);
  }
  const { size, root: rootHex, cursor, throughSequence } = JSON.parse(body) as HeadJson;
  return {
    size,
    root: new Uint8Array(Buffer.from(rootHex, 'hex')),
    ...(cursor === null ? {} : { cursor }),
    ...(throughSequence === undefined ? {} : { throughSequence }),
  };
};
