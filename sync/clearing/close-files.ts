/**
 * Settlement files past their end, deleted with everything that stands in them: lines, evidence, disputes, the
 * stored document. A file goes with those that share a line with it, in one transaction, or stays whole. What is left of
 * a receipt is what its line's account needs: Payment hash, counter, sums. It can never be booked again.
 */
import { toHex } from '../../protocol/bytes.ts';
import { ClosedSums } from './closed-sums.ts';
import type { PresentmentState } from './core/presentment-states.ts';
import type { Hold } from './retention.ts';
import { bucketsOfLine } from './reconcile.ts';
import { beginRewriting } from './seal-segments.ts';
import { receiptTables } from './segments.ts';
import { bytesOf, numberOf, textOf } from './sql.ts';
import type { SqlSession } from './sql.ts';

/** State of a receipt or credit whose file was deleted. */
export const CLOSED = 'closed';

/** Files that hang together by shared lines: each was resubmitted, or presents a line of another again. */
const GROUP_FILES_MAX = 1_000;
const PAGE = 4_096;

const OF_FILE = '(SELECT aggregate_id FROM aggregates WHERE file_name = ?)';

/** Nothing more can come of a line that stands so: disputes of it have ended or their time has passed. */
const FINAL: readonly PresentmentState[] = [
  'presentedOpen',
  'released',
  'chargedBack',
  'secondPresented',
  'secondFinal',
];

/** Why files stay: somebody holds them, something of them is open, or they hang together with a younger one. */
export type KeptReason = 'held' | 'open' | 'younger';

/** A file with its resubmissions, and with every file that presents one of its lines too. */
const groupOf = async (session: SqlSession, fileName: string): Promise<readonly string[]> => {
  const group = new Set([fileName]);
  for (const name of group) {
    const rows = await session.all(
      `SELECT o.file_name FROM file_lines l JOIN file_lines o ON o.aggregate_id = l.aggregate_id
         WHERE l.file_name = ?
       UNION SELECT a.file_name FROM file_lines l JOIN aggregates a ON a.aggregate_id = l.aggregate_id
         WHERE l.file_name = ?
       UNION SELECT l.file_name FROM aggregates a JOIN file_lines l ON l.aggregate_id = a.aggregate_id
         WHERE a.file_name = ?
       UNION SELECT f.file_name FROM files f JOIN files g ON g.first_name = f.first_name
         WHERE g.file_name = ?`,
      name,
      name,
      name,
      name,
    );
    for (const row of rows) group.add(textOf(row, 'file_name'));
    if (group.size > GROUP_FILES_MAX) break;
  }
  return [...group].toSorted();
};

const isHeld = async (
  session: SqlSession,
  fileName: string,
  { kind, reference }: Hold,
): Promise<boolean> => {
  if (kind === 'file') return reference === fileName;
  const sql =
    kind === 'party' || kind === 'issuer'
      ? `SELECT a.aggregate_id FROM aggregates a JOIN keys k ON k.key_id = a.key_id
         WHERE a.file_name = ? AND k.${kind} = ? LIMIT 1`
      : `SELECT a.aggregate_id FROM aggregates a JOIN all_receipts r ON r.aggregate_id = a.aggregate_id
         WHERE a.file_name = ? AND r.line = ? LIMIT 1`;
  const value = kind !== 'line' ? reference : new Uint8Array(Buffer.from(reference, 'hex'));
  return (await session.all(sql, fileName, value)).length > 0;
};

/** True while receipts of the file are on their way into a segment: a sealing that broke off goes on first. */
const isBeingSealed = async (session: SqlSession, fileName: string): Promise<boolean> => {
  for (const { table, segment } of await receiptTables(session)) {
    if (segment?.state !== 'filling') continue;
    const sql = `SELECT id FROM ${table} WHERE aggregate_id IN ${OF_FILE} LIMIT 1`;
    if ((await session.all(sql, fileName)).length > 0) return true;
  }
  return false;
};

const keptReason = async (
  session: SqlSession,
  group: readonly string[],
  holds: readonly Hold[],
  horizonS: number,
): Promise<KeptReason | undefined> => {
  if (group.length > GROUP_FILES_MAX) return 'open';
  const states = FINAL.map((state) => `'${state}'`).join(', ');
  for (const name of group) {
    const [file] = await session.all('SELECT state, cut_s FROM files WHERE file_name = ?', name);
    if (!file || numberOf(file, 'cut_s') >= horizonS) return 'younger';
    if (['assigned', 'rejected'].includes(textOf(file, 'state'))) return 'open';
    const open = await session.all(
      `SELECT p.arn FROM presentments p JOIN aggregates a ON a.aggregate_id = p.aggregate_id
       WHERE a.file_name = ? AND p.state NOT IN (${states}) LIMIT 1`,
      name,
    );
    if (open.length > 0) return 'open';
    if (await isBeingSealed(session, name)) return 'open';
    for (const hold of holds) if (await isHeld(session, name, hold)) return 'held';
  }
  return undefined;
};

/** What the lines of a file amount to in the buckets of their keys. */
const closeSums = async (session: SqlSession, fileName: string): Promise<void> => {
  const sums = new ClosedSums(session);
  let after = '';
  for (;;) {
    const rows = await session.all(
      `SELECT p.aggregate_id, a.key_id, p.amount_micro, p.state, p.disputed_micro, p.charged_back_micro
       FROM presentments p JOIN aggregates a ON a.aggregate_id = p.aggregate_id
       WHERE a.file_name = ? AND p.aggregate_id > ? ORDER BY p.aggregate_id LIMIT ${PAGE}`,
      fileName,
      after,
    );
    for (const row of rows) {
      for (const [bucket, amount] of bucketsOfLine(row)) {
        sums.add(textOf(row, 'key_id'), bucket, amount);
      }
    }
    await sums.flush();
    const last = rows.at(-1);
    if (rows.length < PAGE || !last) return;
    after = textOf(last, 'aggregate_id');
  }
};

/** In the order that references among the tables ask for. */
const DELETIONS: readonly string[] = [
  `DELETE FROM disputes WHERE aggregate_id IN ${OF_FILE}`,
  `DELETE FROM retrievals WHERE aggregate_id IN ${OF_FILE}`,
  `DELETE FROM presentments WHERE aggregate_id IN ${OF_FILE}`,
  `DELETE FROM lane_entries WHERE EXISTS (SELECT 1 FROM aggregates a WHERE a.file_name = ?
     AND a.key_id = lane_entries.key_id AND a.lane = lane_entries.lane AND a.number = lane_entries.number)`,
  'DELETE FROM file_lines WHERE file_name = ?',
  'DELETE FROM positions WHERE file_name = ?',
  'DELETE FROM vault_statements WHERE file_name = ?',
];

/** Deletes one file in the store; its places on the disk are kept until they are gone (delete-expired.ts). */
const closeFile = async (session: SqlSession, fileName: string, nowS: number): Promise<number> => {
  const [file] = await session.all('SELECT sha256 FROM files WHERE file_name = ?', fileName);
  await closeSums(session, fileName);
  let receipts = 0;
  for (const { table, segment } of [...(await receiptTables(session)), { table: 'credits' }]) {
    const where = `aggregate_id IN ${OF_FILE}`;
    if (segment) {
      const any = await session.all(`SELECT id FROM ${table} WHERE ${where} LIMIT 1`, fileName);
      if (any.length > 0) await beginRewriting(session, segment.name);
    }
    receipts += await session.run(
      `UPDATE ${table} SET state = '${CLOSED}', aggregate_id = NULL WHERE ${where}`,
      fileName,
    );
  }
  await session.run(
    `INSERT INTO closed_aggregates (aggregate_id, key_id, lane, number, arn, is_on_disk)
     SELECT a.aggregate_id, a.key_id, a.lane, a.number, p.arn, 1 FROM aggregates a
     LEFT JOIN presentments p ON p.aggregate_id = a.aggregate_id WHERE a.file_name = ?`,
    fileName,
  );
  for (const sql of DELETIONS) await session.run(sql, fileName);
  await session.run('DELETE FROM aggregates WHERE file_name = ?', fileName);
  await session.run('DELETE FROM files WHERE file_name = ?', fileName);
  await session.run(
    `INSERT INTO closed_files (file_name, kind, sha256, closed_s, is_on_disk) VALUES (?, 'settlement', ?, ?, 1)`,
    fileName,
    toHex(bytesOf(file ?? {}, 'sha256')),
    BigInt(nowS),
  );
  return receipts;
};

/** What became of one file and those that hang together with it. */
export type ClosedGroup = {
  readonly files: readonly string[];
  readonly kept?: KeptReason;
  /** Receipts and credits. */
  readonly receipts: number;
};

/** Deletes a file, with those that it cannot be parted from, in the caller's transaction; or says why it stays. */
export const closeGroup = async (
  session: SqlSession,
  fileName: string,
  holds: readonly Hold[],
  at: { readonly nowS: number; readonly horizonS: number },
): Promise<ClosedGroup> => {
  const files = await groupOf(session, fileName);
  const kept = await keptReason(session, files, holds, at.horizonS);
  if (kept) return { files, kept, receipts: 0 };
  let receipts = 0;
  for (const name of files) receipts += await closeFile(session, name, at.nowS);
  return { files, receipts };
};
