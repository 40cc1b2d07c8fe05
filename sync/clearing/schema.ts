import { KiriError } from '../../protocol/kiri-error.ts';
import { CLOSED_BOOKS, CLOSED_INBOUND, INBOUND_BY_HASH, ISSUER_FEES } from './schema-additions.ts';
import { numberOf } from './sql.ts';
import type { SqlDatabase } from './sql.ts';

// Amounts are TEXT (exact decimals): u64 does not fit a signed 64-bit column and sums go beyond it.
const VERSION_1: readonly string[] = [
  `CREATE TABLE keys (
     key_id TEXT PRIMARY KEY, issuer TEXT NOT NULL, acquirer TEXT NOT NULL, merchant TEXT NOT NULL,
     programme TEXT NOT NULL, account TEXT NOT NULL, party TEXT NOT NULL, mcc TEXT NOT NULL,
     currency BIGINT NOT NULL, sign TEXT NOT NULL, source_micro TEXT NOT NULL)`,
  `CREATE TABLE balances (
     key_id TEXT NOT NULL REFERENCES keys, bucket TEXT NOT NULL, amount_micro TEXT NOT NULL,
     PRIMARY KEY (key_id, bucket))`,
  `CREATE TABLE lanes (
     key_id TEXT NOT NULL REFERENCES keys, lane TEXT NOT NULL, residual_micro TEXT NOT NULL,
     pending_micro TEXT NOT NULL, first_paid_s BIGINT NOT NULL, first_ingest_s BIGINT NOT NULL,
     aggregates BIGINT NOT NULL, last_aggregate TEXT, PRIMARY KEY (key_id, lane))`,
  `CREATE TABLE receipts (
     id INTEGER PRIMARY KEY, payment_hash BLOB NOT NULL UNIQUE, receipt_hash BLOB NOT NULL,
     key_id TEXT NOT NULL REFERENCES keys, lane TEXT, state TEXT NOT NULL, in_conflict BIGINT NOT NULL,
     line BLOB NOT NULL, counter BIGINT NOT NULL, amount_micro TEXT NOT NULL, charge_micro TEXT NOT NULL,
     total_micro TEXT NOT NULL, released_micro TEXT NOT NULL, approver BLOB NOT NULL,
     sequence BIGINT NOT NULL, payee BLOB NOT NULL, business_time_s BIGINT NOT NULL,
     time_flagged BIGINT NOT NULL, origin TEXT NOT NULL, leaf_index BIGINT NOT NULL,
     ingested_s BIGINT NOT NULL, aggregate_id TEXT)`,
  'CREATE INDEX receipts_by_line ON receipts (line, counter)',
  "CREATE INDEX receipts_pending ON receipts (key_id, lane, id) WHERE state = 'pending'",
  'CREATE INDEX receipts_by_aggregate ON receipts (aggregate_id, id)',
  `CREATE TABLE second_receipts (
     payment_hash BLOB NOT NULL, receipt_hash BLOB NOT NULL, origin TEXT NOT NULL,
     leaf_index BIGINT NOT NULL, PRIMARY KEY (payment_hash, receipt_hash))`,
  `CREATE TABLE conflicts (
     payment_hash BLOB PRIMARY KEY, other_hash BLOB NOT NULL, rule TEXT NOT NULL, bearer TEXT NOT NULL)`,
  `CREATE TABLE voids (
     payment_hash BLOB PRIMARY KEY, line BLOB NOT NULL, counter BIGINT NOT NULL,
     amount_micro TEXT NOT NULL, origin TEXT NOT NULL, leaf_index BIGINT NOT NULL)`,
  'CREATE INDEX voids_by_line ON voids (line, counter)',
  `CREATE TABLE findings (
     id INTEGER PRIMARY KEY, noted_s BIGINT NOT NULL, kind TEXT NOT NULL, reference TEXT NOT NULL,
     detail TEXT NOT NULL, UNIQUE (kind, reference))`,
  `CREATE TABLE aggregates (
     aggregate_id TEXT PRIMARY KEY, key_id TEXT NOT NULL REFERENCES keys, lane TEXT NOT NULL,
     number BIGINT NOT NULL, document BLOB NOT NULL, reason TEXT NOT NULL, cut_s BIGINT NOT NULL,
     file_name TEXT NOT NULL, UNIQUE (key_id, lane, number))`,
  'CREATE INDEX aggregates_by_file ON aggregates (file_name)',
  `CREATE TABLE presentments (
     aggregate_id TEXT PRIMARY KEY REFERENCES aggregates, file_name TEXT NOT NULL, number BIGINT NOT NULL,
     arn TEXT NOT NULL, arn_date TEXT NOT NULL, amount_micro TEXT NOT NULL, state TEXT NOT NULL,
     record TEXT NOT NULL, UNIQUE (arn, arn_date), UNIQUE (file_name, number))`,
  `CREATE TABLE files (
     file_name TEXT PRIMARY KEY, profile TEXT NOT NULL, member TEXT NOT NULL, sequence BIGINT NOT NULL,
     state TEXT NOT NULL, cut_s BIGINT NOT NULL, document TEXT NOT NULL, sha256 BLOB,
     UNIQUE (profile, member, sequence))`,
  'CREATE TABLE counters (name TEXT PRIMARY KEY, value BIGINT NOT NULL)',
  'CREATE TABLE cursors (origin TEXT PRIMARY KEY, next_index BIGINT NOT NULL)',
  'CREATE TABLE windows (programme TEXT PRIMARY KEY, closed_through_s BIGINT NOT NULL)',
  `CREATE TABLE books_journal (
     id INTEGER PRIMARY KEY, at_s BIGINT NOT NULL, key_id TEXT NOT NULL, from_bucket TEXT NOT NULL,
     to_bucket TEXT NOT NULL, amount_micro TEXT NOT NULL, cause TEXT NOT NULL)`,
];

/** The 20 digits of a u64 amount: text that is ordered as the numbers are, in every SQL dialect. */
export const sortable = (column: string): string =>
  `substr('00000000000000000000' || ${column}, 1 + length(${column}))`;

// The search of the books by date, counterparty and amount, alone or together (search.ts).
const VERSION_2: readonly string[] = [
  'CREATE INDEX receipts_by_time ON receipts (business_time_s, id)',
  'CREATE INDEX receipts_by_key ON receipts (key_id, business_time_s, id)',
  `CREATE INDEX receipts_by_amount ON receipts ((${sortable('charge_micro')}), id)`,
  'CREATE INDEX keys_by_merchant ON keys (merchant, key_id)',
  'CREATE INDEX keys_by_party ON keys (party, key_id)',
];

// Many logs: how far each is booked, with the root there; and which rows of each approver are here (taken-rows.ts).
const VERSION_3: readonly string[] = [
  'ALTER TABLE cursors ADD COLUMN root TEXT',
  `CREATE TABLE taken (
     approver BLOB PRIMARY KEY, through_sequence BIGINT NOT NULL, count BIGINT NOT NULL,
     sum_micro TEXT NOT NULL)`,
  `CREATE TABLE taken_ahead (
     approver BLOB NOT NULL, sequence BIGINT NOT NULL, count BIGINT NOT NULL, sum_micro TEXT NOT NULL,
     PRIMARY KEY (approver, sequence))`,
  `INSERT INTO taken SELECT approver, max(sequence), count(*), CAST(sum(CAST(charge_micro AS BIGINT)) AS TEXT)
     FROM receipts GROUP BY approver`,
];

// Logs that signed two histories (stopped-logs.ts), the head behind each cursor, and what shows gaps (at-risk.ts).
const VERSION_4: readonly string[] = [
  'ALTER TABLE cursors ADD COLUMN note TEXT',
  `CREATE TABLE stopped_logs (
     origin TEXT PRIMARY KEY, common_size BIGINT, common_root TEXT, evidence TEXT NOT NULL,
     stopped_s BIGINT NOT NULL, lifted_s BIGINT)`,
  `CREATE TABLE other_places (
     payment_hash BLOB NOT NULL, origin TEXT NOT NULL, leaf_index BIGINT NOT NULL,
     receipt_hash BLOB NOT NULL, PRIMARY KEY (payment_hash, origin))`,
  'CREATE INDEX receipts_by_place ON receipts (origin, leaf_index)',
  'ALTER TABLE voids ADD COLUMN approver BLOB',
  'ALTER TABLE voids ADD COLUMN sequence BIGINT',
  'CREATE INDEX receipts_by_row ON receipts (approver, sequence)',
];

// What issuers send back (read-back.ts): each file as its records stand in it, each line as its money stands now,
// disputes, what was taken in and what was not. `first_name` is the cut whose lines a file presents once more.
const READ_BACK: readonly string[] = [
  `CREATE TABLE file_lines (
     file_name TEXT NOT NULL, number BIGINT NOT NULL, aggregate_id TEXT NOT NULL, cycle BIGINT NOT NULL,
     amount_micro TEXT NOT NULL, record TEXT NOT NULL, PRIMARY KEY (file_name, number))`,
  `INSERT INTO file_lines SELECT file_name, number, aggregate_id, 1, amount_micro, record
     FROM presentments`,
  'CREATE INDEX file_lines_by_aggregate ON file_lines (aggregate_id, file_name)',
  'ALTER TABLE presentments DROP COLUMN record',
  "ALTER TABLE presentments ADD COLUMN disputed_micro TEXT NOT NULL DEFAULT '0'",
  "ALTER TABLE presentments ADD COLUMN charged_back_micro TEXT NOT NULL DEFAULT '0'",
  'ALTER TABLE presentments ADD COLUMN presented_s BIGINT',
  `UPDATE presentments SET presented_s = (SELECT f.cut_s FROM files f
     WHERE f.file_name = presentments.file_name) WHERE state = 'presentedOpen'`,
  'CREATE INDEX presentments_by_state ON presentments (state, arn)',
  'ALTER TABLE files ADD COLUMN file_id TEXT',
  `UPDATE files SET file_id = '002' || substr(file_name, length(file_name) - 14, 6) || member ||
     substr(file_name, length(file_name) - 6, 5)`,
  'CREATE UNIQUE INDEX files_by_id ON files (file_id)',
  'CREATE INDEX files_by_state ON files (state, file_name)',
  'ALTER TABLE files ADD COLUMN first_name TEXT',
  'UPDATE files SET first_name = file_name',
  'ALTER TABLE files ADD COLUMN replaced_by TEXT',
  'ALTER TABLE files ADD COLUMN written_s BIGINT',
  "UPDATE files SET written_s = cut_s WHERE state = 'written'",
  // PDS0105 holds the member and no profile, so one row of numbers serves all profiles of a member.
  `INSERT INTO counters (name, value) SELECT 'file ' || member, max(sequence) FROM files GROUP BY member`,
  `CREATE TABLE disputes (
     aggregate_id TEXT PRIMARY KEY, reason TEXT NOT NULL, amount_micro TEXT NOT NULL, opened_s BIGINT NOT NULL,
     answer_by_s BIGINT NOT NULL, second_micro TEXT NOT NULL, second_reason TEXT, second_file TEXT,
     arbitrated_micro TEXT NOT NULL, closed_s BIGINT)`,
  `CREATE TABLE inbound (
     issuer TEXT NOT NULL, number BIGINT NOT NULL, kind TEXT NOT NULL, sha256 TEXT NOT NULL,
     file_name TEXT NOT NULL, taken_s BIGINT NOT NULL, PRIMARY KEY (issuer, number))`,
  `CREATE TABLE inbound_messages (
     issuer TEXT NOT NULL, number BIGINT NOT NULL, record BIGINT NOT NULL, kind TEXT NOT NULL,
     reference TEXT NOT NULL, outcome TEXT NOT NULL, code TEXT, detail TEXT NOT NULL, noted_s BIGINT NOT NULL,
     closed_s BIGINT, PRIMARY KEY (issuer, number, record))`,
  'CREATE INDEX inbound_messages_by_outcome ON inbound_messages (outcome, noted_s)',
  `CREATE TABLE quarantine (
     sha256 TEXT PRIMARY KEY, name TEXT NOT NULL, code TEXT NOT NULL, detail TEXT NOT NULL,
     since_s BIGINT NOT NULL, closed_s BIGINT)`,
  `CREATE TABLE retrievals (
     issuer TEXT NOT NULL, number BIGINT NOT NULL, record BIGINT NOT NULL, aggregate_id TEXT NOT NULL,
     arn TEXT NOT NULL, reason TEXT NOT NULL, asked_s BIGINT NOT NULL, answered_s BIGINT,
     PRIMARY KEY (issuer, number, record))`,
  `CREATE TABLE declined (
     account TEXT NOT NULL, party TEXT NOT NULL, code TEXT NOT NULL, arn TEXT NOT NULL, since_s BIGINT NOT NULL,
     lifted_s BIGINT, PRIMARY KEY (account, party))`,
];

// Refunds and corrections (book-credit.ts), who bears what (bearers.ts), merchants' accounts (merchant-accounts.ts).
const CREDITS: readonly string[] = [
  `CREATE TABLE credits (
     id INTEGER PRIMARY KEY, credit_hash BLOB NOT NULL UNIQUE, payment_hash BLOB NOT NULL,
     key_id TEXT NOT NULL REFERENCES keys, lane TEXT NOT NULL, state TEXT NOT NULL,
     amount_micro TEXT NOT NULL, cause TEXT NOT NULL, reason TEXT NOT NULL,
     business_time_s BIGINT NOT NULL, time_flagged BIGINT NOT NULL, origin TEXT NOT NULL,
     leaf_index BIGINT NOT NULL, ingested_s BIGINT NOT NULL, aggregate_id TEXT)`,
  'CREATE INDEX credits_by_payment ON credits (payment_hash, id)',
  "CREATE INDEX credits_pending ON credits (key_id, lane, id) WHERE state = 'pending'",
  'CREATE INDEX credits_by_aggregate ON credits (aggregate_id, id)',
  'CREATE INDEX credits_by_place ON credits (origin, leaf_index)',
  `CREATE TABLE waiting_credits (
     credit_hash BLOB PRIMARY KEY, payment_hash BLOB NOT NULL, refunded_micro TEXT NOT NULL,
     reason TEXT NOT NULL, business_time_s BIGINT NOT NULL, time_flagged BIGINT NOT NULL,
     origin TEXT NOT NULL, leaf_index BIGINT NOT NULL, ingested_s BIGINT NOT NULL)`,
  'CREATE INDEX waiting_credits_by_payment ON waiting_credits (payment_hash, leaf_index)',
  `CREATE TABLE borne (
     payment_hash BLOB NOT NULL, rule TEXT NOT NULL, bearer TEXT NOT NULL, reference TEXT NOT NULL,
     key_id TEXT NOT NULL REFERENCES keys, amount_micro TEXT NOT NULL, at_s BIGINT NOT NULL,
     PRIMARY KEY (payment_hash, rule))`,
  `CREATE TABLE merchant_accounts (
     acquirer TEXT NOT NULL, merchant TEXT NOT NULL, currency BIGINT NOT NULL,
     acknowledged_micro TEXT NOT NULL, borne_micro TEXT NOT NULL, charged_back_micro TEXT NOT NULL,
     fees_micro TEXT NOT NULL, paid_micro TEXT NOT NULL, payable_micro TEXT NOT NULL,
     fee_due_e4 TEXT NOT NULL, PRIMARY KEY (acquirer, merchant, currency))`,
  `CREATE TABLE merchant_entries (
     id INTEGER PRIMARY KEY, at_s BIGINT NOT NULL, acquirer TEXT NOT NULL, merchant TEXT NOT NULL,
     currency BIGINT NOT NULL, kind TEXT NOT NULL, amount_micro TEXT NOT NULL, reference TEXT NOT NULL,
     UNIQUE (kind, reference))`,
];

// Payouts to merchants (assign-payout.ts, payout-file.ts).
const PAYOUTS: readonly string[] = [
  `CREATE TABLE payouts (
     file_name TEXT PRIMARY KEY, acquirer TEXT NOT NULL, client_code TEXT NOT NULL,
     sequence BIGINT NOT NULL, state TEXT NOT NULL, cut_s BIGINT NOT NULL, document TEXT NOT NULL,
     sha256 TEXT, UNIQUE (client_code, sequence))`,
  `CREATE TABLE payout_lines (
     file_name TEXT NOT NULL REFERENCES payouts, number BIGINT NOT NULL, merchant TEXT NOT NULL,
     currency BIGINT NOT NULL, paid_micro TEXT NOT NULL, fee_micro TEXT NOT NULL,
     PRIMARY KEY (file_name, number))`,
  "ALTER TABLE merchant_entries ADD COLUMN fee_due_e4 TEXT NOT NULL DEFAULT '0'",
  'CREATE INDEX payout_lines_by_merchant ON payout_lines (merchant, file_name)',
];

// What an issuer says it took of a file (685, 688), held against our lines (file-positions.ts).
const POSITIONS: readonly string[] = [
  `CREATE TABLE positions (
     issuer TEXT NOT NULL, number BIGINT NOT NULL, record BIGINT NOT NULL, file_name TEXT NOT NULL,
     position TEXT NOT NULL, debit_lines BIGINT NOT NULL, debit_minor TEXT NOT NULL, credit_lines BIGINT NOT NULL,
     credit_minor TEXT NOT NULL, noted_s BIGINT NOT NULL, difference TEXT, PRIMARY KEY (issuer, number, record))`,
  'CREATE INDEX positions_by_file ON positions (file_name)',
];

// The fee on a line, by its programme's rule at the cut that presented it (merchant-accounts.ts).
const FEES: readonly string[] = [
  "ALTER TABLE presentments ADD COLUMN fee_due_e4 TEXT NOT NULL DEFAULT '0'",
];

// What the partner's vaults signed about our pre-files (vault-statements.ts).
const VAULT_STATEMENTS: readonly string[] = [
  `CREATE TABLE vault_statements (
     file_name TEXT PRIMARY KEY, final_sha256 BLOB NOT NULL, statement BLOB NOT NULL, taken_s BIGINT NOT NULL)`,
];

// Erasure at the dispute horizon, and what a legal hold keeps (retention.ts).
const RETENTION: readonly string[] = [
  'ALTER TABLE receipts ADD COLUMN erased_s BIGINT',
  "CREATE INDEX receipts_unerased ON receipts (business_time_s, id) WHERE erased_s IS NULL AND state = 'aggregated'",
  `CREATE TABLE legal_holds (
     kind TEXT NOT NULL, reference TEXT NOT NULL, reason TEXT NOT NULL, set_s BIGINT NOT NULL, lifted_s BIGINT,
     PRIMARY KEY (kind, reference))`,
  `CREATE TABLE retention_journal (
     id INTEGER PRIMARY KEY, at_s BIGINT NOT NULL, receipts BIGINT NOT NULL, statement BLOB NOT NULL)`,
];

// 2: never judged (book-receipt.ts). Withheld ones may have been, before their Void.
const JUDGED: readonly string[] = [
  "UPDATE receipts SET in_conflict = 2 WHERE state = 'awaitingL2'",
];

// What changes a lane's residual between two aggregates (lane-entries.ts); the next evidence names it.
const LANE_ENTRIES: readonly string[] = [
  `CREATE TABLE lane_entries (
     id INTEGER PRIMARY KEY, at_s BIGINT NOT NULL, key_id TEXT NOT NULL REFERENCES keys, lane TEXT NOT NULL,
     kind TEXT NOT NULL, amount_micro TEXT NOT NULL, from_aggregate TEXT, number BIGINT)`,
  'CREATE INDEX lane_entries_unnamed ON lane_entries (key_id, lane, id) WHERE number IS NULL',
];

// What the issuer is told about each of its documents (inbound-answers.ts); one without a time is still to be written.
const INBOUND_ANSWERS: readonly string[] = [
  `CREATE TABLE inbound_answers (
     issuer TEXT NOT NULL, number BIGINT NOT NULL, sha256 TEXT NOT NULL, code TEXT NOT NULL,
     document BLOB NOT NULL, written_s BIGINT, PRIMARY KEY (issuer, number))`,
  'CREATE INDEX inbound_answers_by_hash ON inbound_answers (sha256)',
  'CREATE INDEX inbound_answers_unwritten ON inbound_answers (issuer, number) WHERE written_s IS NULL',
];

// What a correction names of a Void that came while the charge was held (book-void.ts); and files of which single lines were
// refused before anybody acknowledged them (core/file-states.ts).
const VOID_PROOFS: readonly string[] = [
  'ALTER TABLE voids ADD COLUMN receipt_hash BLOB',
  'ALTER TABLE voids ADD COLUMN operator TEXT',
  `UPDATE files SET state = 'partlyRefused' WHERE state = 'partly' AND NOT EXISTS
     (SELECT 1 FROM inbound_messages m WHERE m.kind = 'acknowledgement' AND m.reference = files.file_id
        AND m.outcome <> 'refused')`,
];

// Sealed segments (segments.ts). A column that is added to receipts belongs into RECEIPT_COLUMNS, every segment's table
// and the view too. `part`: which part of a parted clearing this store is (part-of-store.ts); empty where there is one.
const SEGMENTS: readonly string[] = [
  `CREATE TABLE segments (
     name TEXT PRIMARY KEY, state TEXT NOT NULL, through_id BIGINT NOT NULL, receipts BIGINT NOT NULL,
     charge_micro TEXT NOT NULL, sha256 BLOB NOT NULL, first_paid_s BIGINT NOT NULL, last_paid_s BIGINT NOT NULL,
     sealed_s BIGINT, rewritten_s BIGINT)`,
  `CREATE TABLE segment_sums (
     name TEXT NOT NULL REFERENCES segments, key_id TEXT NOT NULL REFERENCES keys, receipts BIGINT NOT NULL,
     charge_micro TEXT NOT NULL, PRIMARY KEY (name, key_id))`,
  'CREATE INDEX segment_sums_by_key ON segment_sums (key_id, name)',
  `CREATE TABLE sealed_lines (
     line BLOB PRIMARY KEY, through_counter BIGINT NOT NULL, payment_hash BLOB, counter BIGINT, amount_micro TEXT,
     total_micro TEXT)`,
  `CREATE VIEW all_receipts AS SELECT id, payment_hash, receipt_hash, key_id, lane, state, in_conflict, line, counter,
     amount_micro, charge_micro, total_micro, released_micro, approver, sequence, payee, business_time_s,
     time_flagged, origin, leaf_index, ingested_s, aggregate_id, erased_s FROM receipts`,
  'CREATE TABLE part (part_index BIGINT NOT NULL, part_count BIGINT NOT NULL)',
];

// Closes of allowances (closes.ts): devices' words, booked nowhere.
const CLOSES: readonly string[] = [
  `CREATE TABLE closes (
     close_hash BLOB PRIMARY KEY, line BLOB NOT NULL, document BLOB NOT NULL, origin TEXT NOT NULL,
     leaf_index BIGINT NOT NULL, ingested_s BIGINT NOT NULL)`,
];

// Search and erasure of refunds, as of receipts (search.ts, retention.ts).
const CREDIT_SEARCH: readonly string[] = [
  'ALTER TABLE credits ADD COLUMN erased_s BIGINT',
  'CREATE INDEX credits_by_time ON credits (business_time_s, id)',
  'CREATE INDEX credits_by_key ON credits (key_id, business_time_s, id)',
  `CREATE INDEX credits_by_amount ON credits ((${sortable('amount_micro')}), id)`,
];

/** Migrations in order; the version is the number applied. Never edited once released, only added to. */
const MIGRATIONS: readonly (readonly string[])[] = [
  VERSION_1,
  VERSION_2,
  VERSION_3,
  VERSION_4,
  READ_BACK,
  CREDITS,
  PAYOUTS,
  POSITIONS,
  FEES,
  VAULT_STATEMENTS,
  RETENTION,
  JUDGED,
  LANE_ENTRIES,
  INBOUND_ANSWERS,
  VOID_PROOFS,
  SEGMENTS,
  CLOSES,
  ISSUER_FEES,
  CLOSED_BOOKS,
  CREDIT_SEARCH,
  CLOSED_INBOUND,
  INBOUND_BY_HASH,
];

/**
 * Brings a store to the newest schema, one transaction per version.
 * @throws KiriError STORE_TOO_NEW if a later release wrote it.
 */
export const migrate = async (database: SqlDatabase): Promise<void> => {
  await database.transaction(async (session) => {
    await session.run('CREATE TABLE IF NOT EXISTS schema_version (version BIGINT NOT NULL)');
  });
  for (;;) {
    const isDone = await database.transaction(async (session) => {
      const [row] = await session.all('SELECT max(version) AS version FROM schema_version');
      const version = row && row['version'] !== null ? numberOf(row, 'version') : 0;
      if (version > MIGRATIONS.length) {
        throw new KiriError('STORE_TOO_NEW', `clearing store has schema version ${version}`);
      }
      const next = MIGRATIONS[version];
      if (!next) return true;
      for (const sql of next) await session.run(sql);
      await session.run('INSERT INTO schema_version (version) VALUES (?)', BigInt(version + 1));
      return false;
    });
    if (isDone) return;
  }
};

/**
 * Holds a store that is only read against the schema this release knows; it is not brought forward.
 * @throws KiriError STORE_TOO_NEW, STORE_TOO_OLD or STORE_UNAVAILABLE (not a clearing's store).
 */
export const checkVersion = async (database: SqlDatabase): Promise<void> => {
  const version = await database.transaction(async (session) => {
    try {
      const [row] = await session.all('SELECT max(version) AS version FROM schema_version');
      return row && row['version'] !== null ? numberOf(row, 'version') : 0;
    } catch (cause) {
      throw new KiriError('STORE_UNAVAILABLE', 'the file is not a clearing store', { cause });
    }
  });
  if (version > MIGRATIONS.length) {
    throw new KiriError('STORE_TOO_NEW', `clearing store has schema version ${version}`);
  }
  if (version < 1) throw new KiriError('STORE_UNAVAILABLE', 'the file is not a clearing store');
  if (version < MIGRATIONS.length) {
    throw new KiriError(
      'STORE_TOO_OLD',
      `clearing store has schema version ${version}, this release reads ${MIGRATIONS.length}: start its clearing with this release once`,
    );
  }
};
