/**
 * What issuers sent, after the years for which books are kept: fees, the numbers of documents with what their
 * messages did, and the answers to them. A document stays as long as anything it speaks of stays: a file, a line, a fee.
 * Marks come first, so that nothing that is gone can come back as new: a number at or below the mark, or a fee that fell
 * due before it, is refused (BOOKS_CLOSED), whoever signs it anew.
 */
import { civilTime, isoDate, yymmdd } from './core/civil-time.ts';
import type { BusinessZone } from './core/civil-time.ts';
import { feeSumsOf } from './closed-mark.ts';
import { ClosedSums } from './closed-sums.ts';
import { answerPath } from './inbound-answers.ts';
import { readHolds } from './retention.ts';
import type { Hold } from './retention.ts';
import { amountOf, numberOf, textOf } from './sql.ts';
import type { SqlDatabase, SqlSession } from './sql.ts';

/** Fees or documents of one transaction. */
const PAGE = 256;

type At = { readonly horizonS: number; readonly zone: BusinessZone };

/** What has gone, by number. */
export type ClosedInbound = { readonly fees: number; readonly documents: number };

const isHeldIssuer = (holds: readonly Hold[], issuer: string): boolean =>
  holds.some(({ kind, reference }) => kind === 'issuer' && reference === issuer);

/** Every document up to here is old, and none that may still come is: the numbers behind a gap are not closed. */
const THROUGH = `SELECT coalesce(max(number), 0) AS through FROM inbound WHERE issuer = ? AND taken_s < ?
  AND number < coalesce((SELECT min(number) FROM inbound WHERE issuer = ? AND taken_s >= ?), number + 1)`;

const mark = async (session: SqlSession, issuer: string, { horizonS, zone }: At): Promise<void> => {
  const at = BigInt(horizonS);
  const [row = {}] = await session.all(THROUGH, issuer, at, issuer, at);
  await session.run(
    `INSERT INTO closed_issuers (issuer, through_number, fees_before) VALUES (?, ?, ?)
     ON CONFLICT (issuer) DO UPDATE SET
       through_number = CASE WHEN excluded.through_number > closed_issuers.through_number
         THEN excluded.through_number ELSE closed_issuers.through_number END,
       fees_before = CASE WHEN excluded.fees_before > closed_issuers.fees_before
         THEN excluded.fees_before ELSE closed_issuers.fees_before END`,
    issuer,
    BigInt(numberOf(row, 'through')),
    isoDate(civilTime(horizonS, zone)),
  );
};

/** Deletes some fees whose line is gone or who never had one; their sums stay. @returns how many */
const closeFees = async (session: SqlSession, issuer: string, at: At): Promise<number> => {
  const horizonS = BigInt(at.horizonS);
  const rows = await session.all(
    `SELECT * FROM fees WHERE issuer = ? AND booked_s < ? AND (returned_s IS NULL OR returned_s < ?)
       AND fee_date < ? AND NOT EXISTS (SELECT 1 FROM presentments p WHERE p.arn = fees.arn)
     ORDER BY reference LIMIT ${PAGE}`,
    issuer,
    horizonS,
    horizonS,
    yymmdd(civilTime(at.horizonS, at.zone)),
  );
  const sums = new ClosedSums(session);
  for (const row of rows) {
    const reference = textOf(row, 'reference');
    if (textOf(row, 'state') === 'booked') {
      const kind = textOf(row, 'direction') === 'charged' ? 'charged' : 'received';
      sums.add(feeSumsOf(row), kind, amountOf(row, 'amount_micro'));
    }
    for (const table of ['fee_journal', 'fees']) {
      await session.run(
        `DELETE FROM ${table} WHERE issuer = ? AND reference = ?`,
        issuer,
        reference,
      );
    }
  }
  await sums.flush();
  return rows.length;
};

/** A message names a file by its id (25 digits, with or without a record), a line by its ARN, a fee by its reference. */
const SPEAKS_OF_WHAT_STAYS = `EXISTS (SELECT 1 FROM inbound_messages m
  WHERE m.issuer = inbound.issuer AND m.number = inbound.number AND (
    EXISTS (SELECT 1 FROM files f WHERE f.file_id = substr(m.reference, 1, 25))
    OR EXISTS (SELECT 1 FROM presentments p WHERE p.arn = m.reference)
    OR (m.kind = 'fee' AND EXISTS (SELECT 1 FROM fees e
      WHERE e.issuer = m.issuer AND e.reference = m.reference))))`;

/** Deletes some documents in the store; their places on the disk are kept until they are gone (inbox-folder.ts). */
const closeDocuments = async (
  session: SqlSession,
  issuer: string,
  { horizonS }: At,
): Promise<number> => {
  const rows = await session.all(
    `SELECT number, sha256 FROM inbound WHERE issuer = ? AND taken_s < ?
       AND number <= (SELECT through_number FROM closed_issuers c WHERE c.issuer = inbound.issuer)
       AND NOT ${SPEAKS_OF_WHAT_STAYS} ORDER BY number LIMIT ${PAGE}`,
    issuer,
    BigInt(horizonS),
  );
  for (const row of rows) {
    const number = BigInt(numberOf(row, 'number'));
    await session.run(
      'INSERT INTO closed_documents (sha256) VALUES (?) ON CONFLICT DO NOTHING',
      textOf(row, 'sha256'),
    );
    for (const table of ['inbound_messages', 'inbound']) {
      await session.run(`DELETE FROM ${table} WHERE issuer = ? AND number = ?`, issuer, number);
    }
  }
  return rows.length;
};

/** Closes what issuers sent before the horizon, some of it a transaction. */
export const closeInbound = async (database: SqlDatabase, at: At): Promise<ClosedInbound> => {
  const issuers = await database.transaction((session) =>
    session.all('SELECT issuer FROM inbound UNION SELECT issuer FROM fees ORDER BY issuer'),
  );
  const closed = { fees: 0, documents: 0 };
  for (const row of issuers) {
    const issuer = textOf(row, 'issuer');
    const step = async (work: typeof closeFees): Promise<number> => {
      let sum = 0;
      for (;;) {
        const done = await database.transaction(async (session) => {
          if (isHeldIssuer(await readHolds(session), issuer)) return 0;
          await mark(session, issuer, at);
          return work(session, issuer, at);
        });
        sum += done;
        if (done < PAGE) return sum;
      }
    };
    closed.fees += await step(closeFees);
    closed.documents += await step(closeDocuments);
  }
  return closed;
};

/** The oldest answers of an issuer, in order: one stays that was written late, that somebody holds, whose document stays. */
const OLDEST_ANSWERS = `SELECT number, CASE WHEN written_s IS NULL OR written_s >= ?
    OR EXISTS (SELECT 1 FROM legal_holds h WHERE h.kind = 'issuer' AND h.reference = a.issuer AND h.lifted_s IS NULL)
    OR EXISTS (SELECT 1 FROM inbound i WHERE i.sha256 = a.sha256 AND i.issuer = a.issuer)
    THEN 1 ELSE 0 END AS is_kept
  FROM inbound_answers a WHERE issuer = ? ORDER BY number LIMIT ${PAGE}`;

/** Some of an issuer's oldest answers, up to the first one that stays. */
const oldestAnswers = async (
  session: SqlSession,
  issuer: string,
  horizonS: number,
): Promise<readonly number[]> => {
  const rows = await session.all(OLDEST_ANSWERS, BigInt(horizonS), issuer);
  const keptAt = rows.findIndex((row) => numberOf(row, 'is_kept') === 1);
  return rows.slice(0, keptAt < 0 ? PAGE : keptAt).map((row) => numberOf(row, 'number'));
};

/** Removes answers from the disk, then from the store, the oldest first: what is left has no gap. */
export const closeAnswers = async (
  database: SqlDatabase,
  horizonS: number,
  removeFile: (path: string) => Promise<void>,
): Promise<void> => {
  const issuers = await database.transaction((session) =>
    session.all('SELECT DISTINCT issuer FROM inbound_answers ORDER BY issuer'),
  );
  for (const row of issuers) {
    const issuer = textOf(row, 'issuer');
    for (;;) {
      const numbers = await database.transaction((session) =>
        oldestAnswers(session, issuer, horizonS),
      );
      for (const number of numbers) await removeFile(answerPath(issuer, number));
      await database.transaction(async (session) => {
        for (const number of numbers) {
          await session.run(
            'DELETE FROM inbound_answers WHERE issuer = ? AND number = ?',
            issuer,
            BigInt(number),
          );
        }
      });
      if (numbers.length < PAGE) break;
    }
  }
};

/** Signed statements (SHA-256 in hex) of deleted documents that may still lie in the inbox's folder `taken`. */
export const readClosedDocuments = async (
  session: SqlSession,
  limit: number,
): Promise<readonly string[]> => {
  const rows = await session.all(
    'SELECT sha256 FROM closed_documents ORDER BY sha256 LIMIT ?',
    BigInt(limit),
  );
  return rows.map((row) => textOf(row, 'sha256'));
};

/** They are gone from the disk. */
export const forgetClosedDocuments = async (
  session: SqlSession,
  statements: readonly string[],
): Promise<void> => {
  for (const sha256 of statements) {
    await session.run('DELETE FROM closed_documents WHERE sha256 = ?', sha256);
  }
};
