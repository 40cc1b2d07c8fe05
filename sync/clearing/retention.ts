/**
 * Retention: accounting lines stay for years (delete-expired.ts); of a presented receipt the time of day and the payee go at the dispute
 * horizon, unless a legal hold keeps them. Sums, states and hashes do not change, so books and evidence hold as before.
 */
import { createHash } from 'node:crypto';
import { toHex } from '../../protocol/bytes.ts';
import { KiriError } from '../../protocol/kiri-error.ts';
import type { Signer } from '../../protocol/public-key.ts';
import type { BusinessZone } from './core/civil-time.ts';
import { DISPUTE_HORIZON_DAYS_MIN, dayOf, horizonS, signRetention } from './core/retention.ts';
import { beginRewriting, rewriteSegment } from './seal-segments.ts';
import { readSegments, tableOf } from './segments.ts';
import { amountOf, bytesOf, numberOf, textOf } from './sql.ts';
import type { SqlDatabase, SqlRow, SqlSession } from './sql.ts';

/** What a legal hold keeps: a device's line (hex), a liable party, everything in one settlement file, or of one issuer. */
type HoldKind = 'line' | 'party' | 'file' | 'issuer';

export type Hold = { readonly kind: HoldKind; readonly reference: string };

const HOLD_KINDS: readonly HoldKind[] = ['line', 'party', 'file', 'issuer'];

export type RetentionOptions = {
  readonly signer: Signer;
  readonly zone: BusinessZone;
  /** Days after which nothing is disputed any more; at least {@link DISPUTE_HORIZON_DAYS_MIN}. */
  readonly horizonDays: number;
};

export type RetentionRun = {
  readonly horizonS: number;
  readonly erased: number;
  /** Past the horizon and kept: by a hold, or because their line is in dispute. */
  readonly kept: number;
};

/** Receipts of one transaction. */
const BATCH_RECEIPTS = 1000;
const HOLDS_MAX = 10_000;
/** Stands where a payee stood. */
const NOBODY: Uint8Array = new Uint8Array(16);

/** Sets a hold; the same one again changes nothing. @throws KiriError HOLD_INVALID, HOLDS_FULL */
export const setHold = async (
  session: SqlSession,
  hold: { readonly kind: string; readonly reference: string; readonly reason: string },
  nowS: number,
): Promise<boolean> => {
  const kind = HOLD_KINDS.find((one) => one === hold.kind);
  if (!kind || hold.reference === '' || hold.reason === '') {
    throw new KiriError(
      'HOLD_INVALID',
      'a hold has kind (line, party, file, issuer), reference and reason',
    );
  }
  const [row] = await session.all(
    'SELECT count(*) AS count FROM legal_holds WHERE lifted_s IS NULL',
  );
  if (numberOf(row ?? {}, 'count') >= HOLDS_MAX) {
    throw new KiriError('HOLDS_FULL', `${HOLDS_MAX} holds stand already`);
  }
  const changed = await session.run(
    `INSERT INTO legal_holds (kind, reference, reason, set_s, lifted_s) VALUES (?, ?, ?, ?, NULL)
     ON CONFLICT (kind, reference) DO UPDATE SET reason = excluded.reason, set_s = excluded.set_s,
       lifted_s = NULL WHERE legal_holds.lifted_s IS NOT NULL`,
    kind,
    hold.reference,
    hold.reason,
    BigInt(nowS),
  );
  return changed > 0;
};

/** A person's decision that a hold is over; false where none stands. */
export const liftHold = async (
  session: SqlSession,
  hold: { readonly kind: string; readonly reference: string },
  nowS: number,
): Promise<boolean> => {
  const changed = await session.run(
    'UPDATE legal_holds SET lifted_s = ? WHERE kind = ? AND reference = ? AND lifted_s IS NULL',
    BigInt(nowS),
    hold.kind,
    hold.reference,
  );
  return changed > 0;
};

/** What is held now. */
export const readHolds = async (session: SqlSession): Promise<readonly Hold[]> => {
  const rows = await session.all(
    'SELECT kind, reference FROM legal_holds WHERE lifted_s IS NULL ORDER BY kind, reference',
  );
  return rows.map((row) => ({
    kind: textOf(row, 'kind') as HoldKind,
    reference: textOf(row, 'reference'),
  }));
};

const isHeld = (row: SqlRow, holds: ReadonlySet<string>): boolean =>
  holds.has(`line ${toHex(bytesOf(row, 'line'))}`) ||
  holds.has(`party ${textOf(row, 'party')}`) ||
  holds.has(`issuer ${textOf(row, 'issuer')}`) ||
  holds.has(`file ${textOf(row, 'file_name')}`);

type Place = { readonly timeS: bigint; readonly id: bigint };

/** What one run erases by, and in which table: the hot one, a sealed segment's, or that of refunds. */
type Erasing = {
  readonly nowS: number;
  readonly horizonS: number;
  readonly segment?: string;
  readonly isOfCredits?: boolean;
};

/** Rows of a table, under one set of names. */
const selectFrom = (table: string, isOfCredits: boolean): string =>
  isOfCredits
    ? `SELECT r.id, r.business_time_s, r.credit_hash AS receipt_hash, r.amount_micro AS charge_micro,
         o.line, k.party, k.issuer, a.file_name, d.aggregate_id AS dispute
       FROM credits r JOIN all_receipts o ON o.payment_hash = r.payment_hash`
    : `SELECT r.id, r.business_time_s, r.receipt_hash, r.charge_micro, r.line, k.party, k.issuer,
         a.file_name, d.aggregate_id AS dispute FROM ${table} r`;

/** In direct mode the payee's own device approved; its id stands in the row anyway. A refund names no payee. */
const updateOf = (table: string, isOfCredits: boolean): string =>
  `UPDATE ${table} SET business_time_s = ?, erased_s = ?
     ${isOfCredits ? '' : ', payee = CASE WHEN payee = approver THEN payee ELSE ? END'} WHERE id = ?`;

/** One batch in its own transaction, from a place on; undefined when nothing is left. */
const eraseBatch = async (
  session: SqlSession,
  from: Place,
  { signer, zone }: RetentionOptions,
  at: Erasing,
): Promise<
  { readonly last: Place; readonly erased: number; readonly kept: number } | undefined
> => {
  const held = await readHolds(session);
  const holds = new Set(held.map(({ kind, reference }) => `${kind} ${reference}`));
  const isOfCredits = at.isOfCredits === true;
  const hot = isOfCredits ? 'credits' : 'receipts';
  const table = at.segment === undefined ? hot : tableOf(at.segment);
  const rows = await session.all(
    `${selectFrom(table, isOfCredits)} JOIN keys k ON k.key_id = r.key_id JOIN aggregates a ON a.aggregate_id = r.aggregate_id
     LEFT JOIN disputes d ON d.aggregate_id = r.aggregate_id AND d.closed_s IS NULL
     WHERE r.state = 'aggregated' AND r.erased_s IS NULL AND r.business_time_s < ?
       AND (r.business_time_s > ? OR (r.business_time_s = ? AND r.id > ?))
     ORDER BY r.business_time_s, r.id LIMIT ${BATCH_RECEIPTS}`,
    BigInt(at.horizonS),
    from.timeS,
    from.timeS,
    from.id,
  );
  const end = rows.at(-1);
  if (!end) return undefined;
  const free = rows.filter((row) => row['dispute'] === null && !isHeld(row, holds));
  if (free.length > 0 && at.segment !== undefined) await beginRewriting(session, at.segment);
  const hash = createHash('sha256');
  let chargeMicro = 0n;
  for (const row of free) {
    hash.update(bytesOf(row, 'receipt_hash'));
    chargeMicro += amountOf(row, 'charge_micro');
    await session.run(
      updateOf(table, isOfCredits),
      BigInt(dayOf(numberOf(row, 'business_time_s'), zone)),
      BigInt(at.nowS),
      ...(isOfCredits ? [] : [NOBODY]),
      row['id'] as bigint,
    );
  }
  if (free.length > 0) {
    const statement = {
      atS: at.nowS,
      horizonS: at.horizonS,
      receipts: free.length,
      chargeMicro: chargeMicro.toString(),
      receiptsSha256: new Uint8Array(hash.digest()),
    };
    await session.run(
      'INSERT INTO retention_journal (at_s, receipts, statement) VALUES (?, ?, ?)',
      BigInt(at.nowS),
      BigInt(free.length),
      signRetention(signer, statement),
    );
  }
  const last = { timeS: end['business_time_s'] as bigint, id: end['id'] as bigint };
  return { last, erased: free.length, kept: rows.length - free.length };
};

/**
 * Erases what has passed the horizon, batch by batch. After a crash the next run goes on; what is erased already is not
 * looked at again. @throws KiriError RETENTION_TOO_SHORT, SEGMENT_BROKEN
 */
export const eraseExpired = async (
  database: SqlDatabase,
  options: RetentionOptions,
  nowS: number,
): Promise<RetentionRun> => {
  if (options.horizonDays < DISPUTE_HORIZON_DAYS_MIN) {
    const why = `${options.horizonDays} days, at least ${DISPUTE_HORIZON_DAYS_MIN}`;
    throw new KiriError('RETENTION_TOO_SHORT', `lines can be disputed for longer: ${why}`);
  }
  const at = { nowS, horizonS: horizonS(nowS, options.horizonDays, options.zone) };
  const run = { horizonS: at.horizonS, erased: 0, kept: 0 };
  const eraseIn = async (erasing: Erasing): Promise<void> => {
    let from: Place = { timeS: -1n, id: 0n };
    for (;;) {
      const place = from;
      const done = await database.transaction((session) =>
        eraseBatch(session, place, options, erasing),
      );
      if (!done) return;
      run.erased += done.erased;
      run.kept += done.kept;
      from = done.last;
    }
  };
  await eraseIn(at);
  await eraseIn({ ...at, isOfCredits: true });
  for (const { name, state, firstPaidS } of await database.transaction(readSegments)) {
    // One that is being filled has its turn once it is sealed; one that a crash left half erased is ended.
    if (state === 'filling') continue;
    if (firstPaidS < at.horizonS) await eraseIn({ ...at, segment: name });
    await rewriteSegment(database, name, nowS);
  }
  return run;
};
