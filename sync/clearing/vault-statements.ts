/** What the partner's vaults signed about files of ours: the only thing that Kiri keeps of a final file. */
import { bytesEqual } from '../../protocol/bytes.ts';
import type { PublicKey, Verifier } from '../../protocol/public-key.ts';
import { isPreStage } from './core/ipm-profile.ts';
import { isSameTotals } from './core/manifest.ts';
import type { ManifestTotal } from './core/manifest.ts';
import { openVaultStatement } from './core/vault-statement.ts';
import type { VaultStatement } from './core/vault-statement.ts';
import { decodeFileDocument, decodeRecord } from './file-document.ts';
import { bytesOf, numberOf, textOf } from './sql.ts';
import type { SqlSession } from './sql.ts';

/** Why a statement is not taken. The list is closed. */
type StatementRefusal =
  /** Unreadable, or not signed by a vault of this clearing. */
  | 'STATEMENT_INVALID'
  /** Of a file that this clearing never wrote, or not to a vault. */
  | 'UNKNOWN_FILE'
  /** Of other bytes, another count or other totals than the file of that id has. */
  | 'OTHER_FILE'
  /** Another final file of the same pre-file is stated already: a file leaves once. */
  | 'STATED_OTHERWISE';

export type StatementOutcome =
  | { readonly kind: 'taken' | 'duplicate'; readonly fileName: string }
  | { readonly kind: 'refused'; readonly code: StatementRefusal; readonly detail: string };

const refuse = (code: StatementRefusal, detail: string): StatementOutcome => ({
  kind: 'refused',
  code,
  detail,
});

/** Lines in memory at a time. */
const PAGE_LINES = 10_000;

/** Lines and sums of a file as the store has them, in the manifest's order. */
const storedTotals = async (session: SqlSession, fileName: string): Promise<ManifestTotal[]> => {
  const sums = { debit: { lines: 0, sum: 0n }, credit: { lines: 0, sum: 0n } };
  let currency = 0;
  for (let last = 0n; ;) {
    const rows = await session.all(
      `SELECT number, record FROM file_lines WHERE file_name = ? AND number > ? ORDER BY number LIMIT ${PAGE_LINES}`,
      fileName,
      last,
    );
    for (const row of rows) {
      last = BigInt(numberOf(row, 'number'));
      const record = decodeRecord(textOf(row, 'record'));
      currency = Number(record.currency);
      sums[record.sign].lines++;
      sums[record.sign].sum += record.amountMinor;
    }
    if (rows.length < PAGE_LINES) break;
  }
  return (['debit', 'credit'] as const).flatMap((sign) => {
    const { lines, sum } = sums[sign];
    return lines === 0 ? [] : [{ currency, sign, lines, amountMinor: sum.toString() }];
  });
};

const compare = async (
  session: SqlSession,
  statement: VaultStatement,
): Promise<StatementOutcome> => {
  const { fileId, preSha256, records, totals, cardNumbers } = statement;
  const [row] = await session.all(
    "SELECT file_name, document, sha256 FROM files WHERE file_id = ? AND state <> 'assigned'",
    fileId,
  );
  if (!row || !isPreStage(decodeFileDocument(textOf(row, 'document')).profile)) {
    return refuse('UNKNOWN_FILE', `${fileId} is no file that waits for a vault`);
  }
  const fileName = textOf(row, 'file_name');
  if (!bytesEqual(bytesOf(row, 'sha256'), preSha256)) {
    return refuse('OTHER_FILE', `${fileName}: the vault read other bytes`);
  }
  const stored = await storedTotals(session, fileName);
  const lines = stored.reduce((sum, one) => sum + one.lines, 0);
  if (records !== lines + 2 || cardNumbers !== lines || !isSameTotals(stored, totals)) {
    return refuse('OTHER_FILE', `${fileName}: the vault counts other records or totals`);
  }
  return { kind: 'taken', fileName };
};

/** Takes one outward statement, in the caller's transaction. The same one again changes nothing. */
export const takeVaultStatement = async (
  session: SqlSession,
  cose: Uint8Array,
  trust: { readonly verifier: Verifier; readonly vaults: readonly PublicKey[] },
  nowS: number,
): Promise<StatementOutcome> => {
  const opened = openVaultStatement(cose, trust);
  if (!opened.ok) return refuse('STATEMENT_INVALID', opened.reason);
  const statement = opened.value;
  if (statement.direction !== 'outward') {
    return refuse('STATEMENT_INVALID', 'is about a file that came in');
  }
  const outcome = await compare(session, statement);
  if (outcome.kind === 'refused') return outcome;
  const { fileName } = outcome;
  const [known] = await session.all(
    'SELECT final_sha256 FROM vault_statements WHERE file_name = ?',
    fileName,
  );
  if (known) {
    return bytesEqual(bytesOf(known, 'final_sha256'), statement.finalSha256)
      ? { kind: 'duplicate', fileName }
      : refuse('STATED_OTHERWISE', `${fileName}: another final file is stated already`);
  }
  await session.run(
    'INSERT INTO vault_statements (file_name, final_sha256, statement, taken_s) VALUES (?, ?, ?, ?)',
    fileName,
    statement.finalSha256,
    cose,
    BigInt(nowS),
  );
  return outcome;
};

/** The statement about a file as it was signed; undefined while there is none. */
export const vaultStatementOf = async (
  session: SqlSession,
  fileName: string,
): Promise<Uint8Array | undefined> => {
  const [row] = await session.all(
    'SELECT statement FROM vault_statements WHERE file_name = ?',
    fileName,
  );
  return row && bytesOf(row, 'statement');
};

/**
 * SHA-256 of the file that the issuer gets and acknowledges: our own, or the final one that the vault stated.
 * Undefined for a file that is not written yet, and for a pre-file without a statement.
 */
export const finalHashOf = async (
  session: SqlSession,
  fileName: string,
): Promise<Uint8Array | undefined> => {
  const [row] = await session.all(
    'SELECT document, sha256 FROM files WHERE file_name = ?',
    fileName,
  );
  if (!row || row['sha256'] === null) return undefined;
  if (!isPreStage(decodeFileDocument(textOf(row, 'document')).profile))
    return bytesOf(row, 'sha256');
  const [stated] = await session.all(
    'SELECT final_sha256 FROM vault_statements WHERE file_name = ?',
    fileName,
  );
  return stated && bytesOf(stated, 'final_sha256');
};
