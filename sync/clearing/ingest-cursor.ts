import { numberOf, textOrNull } from './sql.ts';
import type { SqlSession } from './sql.ts';

/** Where in a log the next ingest goes on. */
export type IngestCursor = {
  readonly origin: string;
  readonly nextIndex: number;
  /** Root of the log's tree at that leaf, in hex. */
  readonly rootHex?: string;
  /** The final head under which it was booked, under the log's signature alone. */
  readonly note?: string;
};

/** At 0 for a log that was never read. */
export const readCursor = async (session: SqlSession, origin: string): Promise<IngestCursor> => {
  const [row] = await session.all(
    'SELECT next_index, root, note FROM cursors WHERE origin = ?',
    origin,
  );
  if (!row) return { origin, nextIndex: 0 };
  const rootHex = textOrNull(row, 'root');
  const note = textOrNull(row, 'note');
  return {
    origin,
    nextIndex: numberOf(row, 'next_index'),
    ...(rootHex === undefined ? {} : { rootHex }),
    ...(note === undefined ? {} : { note }),
  };
};

/** In the transaction of what was booked up to it. */
export const moveCursor = async (
  session: SqlSession,
  { origin, nextIndex, rootHex, note }: IngestCursor,
): Promise<void> => {
  await session.run(
    `INSERT INTO cursors (origin, next_index, root, note) VALUES (?, ?, ?, ?)
     ON CONFLICT (origin) DO UPDATE SET next_index = excluded.next_index,
       root = excluded.root, note = excluded.note`,
    origin,
    BigInt(nextIndex),
    rootHex ?? null,
    note ?? null,
  );
};
