/** Closes of allowances as they came by the logs: kept here, and written for the issuer's desk, which releases holds by them. */
import { access } from 'node:fs/promises';
import { join } from 'node:path';
import { writeFileDurable } from '../../platform/durable-file.ts';
import { toHex } from '../../protocol/bytes.ts';
import type { VerifiedClose } from './core/read-close.ts';
import type { IngestScope } from './ingest-scope.ts';
import { bytesOf } from './sql.ts';
import type { SqlDatabase } from './sql.ts';

const PAGE = 1_024;
/** For the issuer to read. */
const MODE = 0o644;

/** Keeps one; a second, other Close of an allowance is kept beside it, as what the device signed. */
export const keepClose = async (
  { session, nowS }: Pick<IngestScope, 'session' | 'nowS'>,
  { closeHash, line, document, origin, leafIndex }: VerifiedClose,
): Promise<void> => {
  await session.run(
    `INSERT INTO closes (close_hash, line, document, origin, leaf_index, ingested_s)
     VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING`,
    closeHash,
    line,
    document,
    origin,
    BigInt(leafIndex),
    BigInt(nowS),
  );
};

const isThere = (path: string): Promise<boolean> =>
  access(path).then(
    () => true,
    () => false,
  );

/**
 * Writes every Close as `<line>.<first 16 digits of its hash>.cbor`; what is there already stays.
 * @returns how many there are
 */
export const writeCloses = async (database: SqlDatabase, folder: string): Promise<number> => {
  let [count, last] = [0, new Uint8Array(0)];
  for (;;) {
    const after = last;
    const rows = await database.transaction((session) =>
      session.all(
        `SELECT close_hash, line, document FROM closes WHERE close_hash > ?
         ORDER BY close_hash LIMIT ${PAGE}`,
        after,
      ),
    );
    for (const row of rows) {
      last = new Uint8Array(bytesOf(row, 'close_hash'));
      const name = `${toHex(bytesOf(row, 'line'))}.${toHex(last).slice(0, 16)}.cbor`;
      const path = join(folder, name);
      if (!(await isThere(path))) await writeFileDurable(path, bytesOf(row, 'document'), MODE);
    }
    count += rows.length;
    if (rows.length < PAGE) return count;
  }
};
