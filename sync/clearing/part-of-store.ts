/** Which part of a parted clearing a store is: told once, kept in the store, and never another (docs/scale.md). */
import { KiriError } from '../../protocol/kiri-error.ts';
import type { Part } from './core/part.ts';
import { numberOf } from './sql.ts';
import type { SqlDatabase, SqlSession } from './sql.ts';

/** Undefined for the store of a clearing that is not parted. */
export const readPart = async (session: SqlSession): Promise<Part | undefined> => {
  const [row] = await session.all('SELECT part_index, part_count FROM part');
  return row && { index: numberOf(row, 'part_index'), of: numberOf(row, 'part_count') };
};

const spoken = (part: Part | undefined): string =>
  part ? `part ${part.index} of ${part.of}` : 'a whole clearing';

/** A log was read into it, or a file was cut: its bookings are of one way of parting. */
const isUsed = async (session: SqlSession): Promise<boolean> => {
  const [row] = await session.all(
    'SELECT (SELECT count(*) FROM cursors) + (SELECT count(*) FROM keys) + (SELECT count(*) FROM files) AS used',
  );
  return numberOf(row ?? {}, 'used') > 0;
};

/**
 * Holds the store against what it is opened as. Parties would be booked twice, or nowhere, if the number of parts
 * changed under a store. @throws KiriError PART_MISMATCH
 */
export const claimPart = async (database: SqlDatabase, part: Part | undefined): Promise<void> =>
  database.transaction(async (session) => {
    const known = await readPart(session);
    if (known?.index === part?.index && known?.of === part?.of) return;
    if (known || !part || (await isUsed(session))) {
      throw new KiriError(
        'PART_MISMATCH',
        `the store is of ${spoken(known)} and was opened as ${spoken(part)}: every part has a store of its own, for good`,
      );
    }
    await session.run(
      'INSERT INTO part (part_index, part_count) VALUES (?, ?)',
      BigInt(part.index),
      BigInt(part.of),
    );
  });
