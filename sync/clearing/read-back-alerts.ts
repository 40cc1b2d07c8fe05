/** What a person should look at between clearing and issuer, each with its age. Nothing here acts by itself. */
import { FILE_STATES, FILE_TABLE } from './core/file-states.ts';
import { refundWords } from './disputes.ts';
import { numberOf, textOf, textOrNull } from './sql.ts';
import type { SqlRow, SqlSession } from './sql.ts';

type AlertKind =
  | 'FILE_SILENT'
  | 'FILE_REJECTED'
  | 'NUMBER_GAP'
  | 'POSITION_DIFFERS'
  | 'QUARANTINED'
  | 'MESSAGE_REFUSED'
  | 'LINE_PARKED'
  | 'DISPUTE_OPEN'
  | 'DISPUTE_OVERDUE'
  | 'RETRIEVAL_UNANSWERED'
  | 'FILE_MISSING'
  | 'DOCUMENT_REFUSED'
  | 'DOCUMENT_GONE';

/** Something open; `reference` names it, times are UTC seconds. */
export type ClearingAlert = {
  readonly kind: AlertKind;
  readonly reference: string;
  readonly detail: string;
  readonly sinceS: number;
  readonly ageS: number;
};

/** Listed per kind, the oldest first; {@link Alerts.counts} counts all. */
const LISTED_MAX = 100;

export type Alerts = {
  readonly counts: Readonly<Partial<Record<AlertKind, number>>>;
  readonly listed: readonly ClearingAlert[];
};

/** Files without an acknowledgement in the given time become `silent`; nothing is ever sent again for it. */
export const markSilent = async (
  session: SqlSession,
  nowS: number,
  ackWithinS: number,
): Promise<void> => {
  for (const state of FILE_STATES) {
    const answer = FILE_TABLE[state].silence;
    if (answer.kind !== 'move') continue;
    await session.run(
      'UPDATE files SET state = ? WHERE state = ? AND written_s <= ?',
      answer.to,
      state,
      BigInt(nowS - ackWithinS),
    );
  }
};

/** One kind: the statement gives `reference`, `detail` and `since_s`, the oldest first. */
const QUERIES: readonly (readonly [AlertKind, string])[] = [
  [
    'FILE_SILENT',
    `SELECT file_name AS reference, file_id AS detail, written_s AS since_s FROM files
     WHERE state IN ('silent', 'partlySilent') ORDER BY written_s, file_name`,
  ],
  [
    'FILE_REJECTED',
    `SELECT file_name AS reference, file_id AS detail, written_s AS since_s FROM files
     WHERE state = 'rejected' ORDER BY written_s, file_name`,
  ],
  [
    'NUMBER_GAP',
    `SELECT (last + 1) || '-' || (number - 1) AS reference, issuer AS detail, taken_s AS since_s FROM (
       SELECT i.issuer, i.number, i.taken_s, CASE WHEN i.previous < coalesce(c.through_number, 0)
         THEN c.through_number ELSE i.previous END AS last FROM (
           SELECT issuer, number, taken_s,
             coalesce(lag(number) OVER (PARTITION BY issuer ORDER BY number), 0) AS previous
           FROM inbound) AS i LEFT JOIN closed_issuers c ON c.issuer = i.issuer) AS ordered
     WHERE number > last + 1 ORDER BY taken_s, issuer, number`,
  ],
  [
    'POSITION_DIFFERS',
    `SELECT file_name AS reference, position || ': ' || difference AS detail, noted_s AS since_s
     FROM positions WHERE difference IS NOT NULL ORDER BY noted_s, issuer, number, record`,
  ],
  [
    'QUARANTINED',
    `SELECT sha256 AS reference, name || ' ' || code || ': ' || detail AS detail, since_s FROM quarantine
     WHERE closed_s IS NULL ORDER BY since_s, sha256`,
  ],
  [
    'MESSAGE_REFUSED',
    `SELECT issuer || '/' || number || '/' || record AS reference,
       code || ' ' || kind || ' ' || reference || ': ' || detail AS detail, noted_s AS since_s
     FROM inbound_messages WHERE outcome = 'refused' AND closed_s IS NULL
     ORDER BY noted_s, issuer, number, record`,
  ],
  [
    'LINE_PARKED',
    `SELECT p.arn AS reference, p.file_name AS detail, coalesce(p.presented_s, 0) AS since_s
     FROM presentments p WHERE p.state = 'parked' ORDER BY p.presented_s, p.arn`,
  ],
  [
    'DISPUTE_OPEN',
    `SELECT p.arn AS reference,
       d.reason || ' ' || p.disputed_micro || ' micro-units, answer by ' || d.answer_by_s AS detail,
       d.opened_s AS since_s, p.aggregate_id
     FROM presentments p JOIN disputes d ON d.aggregate_id = p.aggregate_id
     WHERE p.state = 'disputed' AND d.answer_by_s >= ? ORDER BY d.answer_by_s, p.arn`,
  ],
  [
    'DISPUTE_OVERDUE',
    `SELECT p.arn AS reference,
       d.reason || ' ' || p.disputed_micro || ' micro-units, to be accepted' AS detail,
       d.answer_by_s AS since_s, p.aggregate_id
     FROM presentments p JOIN disputes d ON d.aggregate_id = p.aggregate_id
     WHERE p.state = 'disputed' AND d.answer_by_s < ? ORDER BY d.answer_by_s, p.arn`,
  ],
  [
    'RETRIEVAL_UNANSWERED',
    `SELECT arn AS reference, reason AS detail, asked_s AS since_s FROM retrievals
     WHERE answered_s IS NULL ORDER BY asked_s, issuer, number, record`,
  ],
];

const alertOf = async (
  session: SqlSession,
  kind: AlertKind,
  row: SqlRow,
  nowS: number,
): Promise<ClearingAlert> => {
  const sinceS = numberOf(row, 'since_s');
  const isDispute = kind === 'DISPUTE_OPEN' || kind === 'DISPUTE_OVERDUE';
  const refunds = isDispute ? await refundWords(session, textOf(row, 'aggregate_id')) : '';
  return {
    kind,
    reference: textOf(row, 'reference'),
    detail: `${textOrNull(row, 'detail') ?? ''}${refunds}`,
    sinceS,
    ageS: Math.max(0, nowS - sinceS),
  };
};

/** Everything that is open at `nowS`. */
export const readAlerts = async (session: SqlSession, nowS: number): Promise<Alerts> => {
  const counts: Partial<Record<AlertKind, number>> = {};
  const listed: ClearingAlert[] = [];
  for (const [kind, sql] of QUERIES) {
    const parameters = sql.includes('?') ? [BigInt(nowS)] : [];
    const [counted] = await session.all(
      `SELECT count(*) AS open FROM (${sql}) AS found`,
      ...parameters,
    );
    const open = counted ? numberOf(counted, 'open') : 0;
    if (open === 0) continue;
    counts[kind] = open;
    const rows = await session.all(`${sql} LIMIT ${LISTED_MAX}`, ...parameters);
    for (const row of rows) listed.push(await alertOf(session, kind, row, nowS));
  }
  return { counts, listed };
};

/** With alerts that no store knows of, counted and listed like the others. */
export const withAlerts = ({ counts, listed }: Alerts, more: readonly ClearingAlert[]): Alerts => {
  const all: Partial<Record<AlertKind, number>> = { ...counts };
  const kept: ClearingAlert[] = [];
  for (const one of more.toSorted((a, b) => a.sinceS - b.sinceS)) {
    const count = (all[one.kind] ?? 0) + 1;
    all[one.kind] = count;
    if (count <= LISTED_MAX) kept.push(one);
  }
  return { counts: all, listed: [...listed, ...kept] };
};
