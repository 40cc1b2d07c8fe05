/** What came in and is not read: kept with the reason until a person has looked at it. */
import type { QuarantineCode } from './read-back.ts';
import { numberOf } from './sql.ts';
import type { SqlSession } from './sql.ts';

/** Documents kept apart at most; beyond it they stay in the inbox. */
const QUARANTINE_MAX = 1_000;

/** A document that is not read, and why; SHA-256 in hex. */
export type KeptApart = {
  readonly sha256: string;
  readonly name: string;
  readonly code: QuarantineCode;
  readonly detail: string;
};

/** Notes a document that is kept apart; false where as many as may be are kept already. The same one again is noted once. */
export const keepApart = async (
  session: SqlSession,
  one: KeptApart,
  nowS: number,
): Promise<boolean> => {
  const [known] = await session.all(
    'SELECT name FROM quarantine WHERE sha256 = ? AND closed_s IS NULL',
    one.sha256,
  );
  if (known) return true;
  const [row] = await session.all('SELECT count(*) AS kept FROM quarantine WHERE closed_s IS NULL');
  if (row && numberOf(row, 'kept') >= QUARANTINE_MAX) return false;
  await session.run(
    `INSERT INTO quarantine (sha256, name, code, detail, since_s) VALUES (?, ?, ?, ?, ?)
     ON CONFLICT (sha256) DO UPDATE SET since_s = excluded.since_s, closed_s = NULL`,
    one.sha256,
    one.name,
    one.code,
    one.detail,
    BigInt(nowS),
  );
  return true;
};

const MESSAGE = /^([\da-f]+)\/(\d{1,15})\/(\d{1,15})$/;

/**
 * A person has looked: an alert of the quarantine (SHA-256) or of a refused message (issuer/number/record) is closed.
 * @returns false where no such alert is open
 */
export const closeAlert = async (
  session: SqlSession,
  reference: string,
  nowS: number,
): Promise<boolean> => {
  const [, issuer, number, record] = MESSAGE.exec(reference) ?? [];
  const closed =
    issuer === undefined || number === undefined || record === undefined
      ? await session.run(
          'UPDATE quarantine SET closed_s = ? WHERE sha256 = ? AND closed_s IS NULL',
          BigInt(nowS),
          reference,
        )
      : await session.run(
          `UPDATE inbound_messages SET closed_s = ?
           WHERE issuer = ? AND number = ? AND record = ? AND outcome = 'refused' AND closed_s IS NULL`,
          BigInt(nowS),
          issuer,
          BigInt(number),
          BigInt(record),
        );
  return closed > 0;
};
