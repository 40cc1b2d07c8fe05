/** Migrations of schema.ts that stand by themselves. Never edited once released. */

// Fees of issuers (fee-book.ts), and transfers that a bank returned (returned-transfers.ts).
export const ISSUER_FEES: readonly string[] = [
  `CREATE TABLE fees (
     issuer TEXT NOT NULL, reference TEXT NOT NULL, state TEXT NOT NULL, direction TEXT NOT NULL,
     currency BIGINT NOT NULL, amount_micro TEXT NOT NULL, reason TEXT NOT NULL, fee_date TEXT NOT NULL,
     arn TEXT, number BIGINT NOT NULL, record BIGINT NOT NULL, booked_s BIGINT NOT NULL, returned_s BIGINT,
     PRIMARY KEY (issuer, reference))`,
  'CREATE INDEX fees_by_time ON fees (booked_s, issuer, reference)',
  `CREATE TABLE fee_journal (
     id INTEGER PRIMARY KEY, at_s BIGINT NOT NULL, issuer TEXT NOT NULL, currency BIGINT NOT NULL,
     move TEXT NOT NULL, amount_micro TEXT NOT NULL, reference TEXT NOT NULL)`,
  `CREATE TABLE fee_accounts (
     issuer TEXT NOT NULL, currency BIGINT NOT NULL, charged_micro TEXT NOT NULL,
     received_micro TEXT NOT NULL, owed_micro TEXT NOT NULL, PRIMARY KEY (issuer, currency))`,
  `CREATE TABLE returned_transfers (
     file_name TEXT NOT NULL REFERENCES payouts, number BIGINT NOT NULL, acquirer TEXT NOT NULL,
     merchant TEXT NOT NULL, account TEXT NOT NULL, may_retry BIGINT NOT NULL, reason TEXT NOT NULL,
     returned_s BIGINT NOT NULL, PRIMARY KEY (file_name, number))`,
  'CREATE INDEX returned_transfers_by_merchant ON returned_transfers (acquirer, merchant, returned_s)',
];

// What is left of books that were deleted after the years for which they are kept (delete-expired.ts).
export const CLOSED_BOOKS: readonly string[] = [
  'CREATE INDEX books_journal_by_key ON books_journal (key_id, id)',
  `CREATE TABLE closed_files (
     file_name TEXT PRIMARY KEY, kind TEXT NOT NULL, sha256 TEXT NOT NULL, closed_s BIGINT NOT NULL,
     is_on_disk BIGINT NOT NULL)`,
  `CREATE TABLE closed_aggregates (
     aggregate_id TEXT PRIMARY KEY, key_id TEXT NOT NULL, lane TEXT NOT NULL, number BIGINT NOT NULL,
     arn TEXT, is_on_disk BIGINT NOT NULL)`,
  `CREATE TABLE closed_sums (
     owner TEXT NOT NULL, kind TEXT NOT NULL, amount_micro TEXT NOT NULL, PRIMARY KEY (owner, kind))`,
  'CREATE TABLE closed_lines (line BLOB PRIMARY KEY, closed_s BIGINT NOT NULL)',
  'CREATE TABLE closed_approvers (approver BLOB PRIMARY KEY, through_sequence BIGINT NOT NULL)',
];

// Marks below which nothing of an issuer is taken any more, and what of its documents is still on the disk (close-inbound.ts).
export const CLOSED_INBOUND: readonly string[] = [
  `CREATE TABLE closed_issuers (
     issuer TEXT PRIMARY KEY, through_number BIGINT NOT NULL, fees_before TEXT NOT NULL)`,
  'CREATE TABLE closed_documents (sha256 TEXT PRIMARY KEY)',
  'CREATE INDEX fee_journal_by_reference ON fee_journal (issuer, reference)',
];

// Each answer asks whether its document stays. The next deletion looks at everything again: what issuers sent had no years.
export const INBOUND_BY_HASH: readonly string[] = [
  'CREATE INDEX inbound_by_hash ON inbound (sha256)',
  "DELETE FROM counters WHERE name = 'closed through'",
];
