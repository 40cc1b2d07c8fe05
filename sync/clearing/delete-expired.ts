/**
 * Deletion of accounting records after the years that the law wants them kept: files, their lines and evidence in
 * the store and on the disk, and the journals behind them. Each step is a transaction of its own; a run that was cut
 * short is ended by the next one. What has gone is listed and signed, so that a reader of what is left sees why.
 */
import { rm } from 'node:fs/promises';
import { sha256 } from '@noble/hashes/sha2.js';
import { utf8ToBytes } from '../../protocol/bytes.ts';
import { KiriError } from '../../protocol/kiri-error.ts';
import type { Signer } from '../../protocol/public-key.ts';
import { closeJournal, closeMerchants, closePayouts, heldKeys } from './close-books.ts';
import { closeGroup } from './close-files.ts';
import { closeAnswers, closeInbound } from './close-inbound.ts';
import type { ClosedInbound } from './close-inbound.ts';
import type { KeptReason } from './close-files.ts';
import { closeLines } from './close-lines.ts';
import type { BusinessZone } from './core/civil-time.ts';
import {
  ACCOUNTING_YEARS,
  ACCOUNTING_YEARS_MIN,
  CLOSED_LIST,
  CLOSED_STATEMENT,
  FISCAL_YEAR_END_MONTH,
  accountingHorizonS,
  formatClosed,
  signClosedBooks,
} from './core/closed-books.ts';
import type { AccountingTerms } from './core/closed-books.ts';
import { CLEARING_FOLDER, EVIDENCE_FOLDER } from './cut-file.ts';
import type { WriteFile } from './cut-file.ts';
import { PAYOUT_FOLDER } from './payout-file.ts';
import { readHolds } from './retention.ts';
import { RETRIEVAL_FOLDER } from './retrievals.ts';
import { rewriteSegment } from './seal-segments.ts';
import { dropEmptySegments, readSegments } from './segments.ts';
import { numberOf, textOf, textOrNull } from './sql.ts';
import type { SqlDatabase, SqlSession } from './sql.ts';

export type DeletionOptions = {
  readonly signer: Signer;
  /** Years and month by default 10 and March. */
  readonly terms: Pick<AccountingTerms, 'zone'> & Partial<AccountingTerms>;
  readonly outFolder: string;
  readonly writeFile: WriteFile;
  /** Removes one file; one that is not there is no fault. */
  readonly removeFile?: (path: string) => Promise<void>;
};

export type DeletionRun = {
  /** What was cut and booked before this was looked at. */
  readonly throughS: number;
  /** Settlement files and payouts that are gone. */
  readonly files: number;
  /** Settlement files that stay, by reason. */
  readonly kept: Readonly<Partial<Record<KeptReason, number>>>;
  /** Receipts of ended lines that are gone with their lines. */
  readonly receipts: number;
  /** Journal entries that opening entries stand for now. */
  readonly entries: number;
} & ClosedInbound;

const PAGE = 1_000;

const removeIfThere = (path: string): Promise<void> => rm(path, { force: true });

/** Endings of a file's parts: what marks it as ready goes first. */
const PARTS: Readonly<Record<string, { readonly folder: string; readonly endings: string[] }>> = {
  settlement: {
    folder: CLEARING_FOLDER,
    endings: ['manifest', 'manifest.json', 'ipm', 'pre.ipm', 'lines.jsonl', 'vault'],
  },
  payout: { folder: PAYOUT_FOLDER, endings: ['manifest', 'txt', 'lines.jsonl'] },
};

const removeFiles = async (
  database: SqlDatabase,
  { outFolder, removeFile = removeIfThere }: DeletionOptions,
): Promise<void> => {
  const rows = await database.transaction((session) =>
    session.all('SELECT file_name, kind FROM closed_files WHERE is_on_disk = 1 ORDER BY file_name'),
  );
  for (const row of rows) {
    const name = textOf(row, 'file_name');
    const { folder = '', endings = [] } = PARTS[textOf(row, 'kind')] ?? {};
    for (const ending of endings) await removeFile(`${outFolder}/${folder}/${name}.${ending}`);
    await database.transaction((session) =>
      session.run('UPDATE closed_files SET is_on_disk = 0 WHERE file_name = ?', name),
    );
  }
};

const removeEvidence = async (
  database: SqlDatabase,
  { outFolder, removeFile = removeIfThere }: DeletionOptions,
): Promise<void> => {
  for (;;) {
    const rows = await database.transaction((session) =>
      session.all(
        `SELECT aggregate_id, arn FROM closed_aggregates WHERE is_on_disk = 1
         ORDER BY aggregate_id LIMIT ${PAGE}`,
      ),
    );
    for (const row of rows) {
      const arn = textOrNull(row, 'arn');
      await removeFile(`${outFolder}/${EVIDENCE_FOLDER}/${textOf(row, 'aggregate_id')}.cbor`);
      for (const ending of arn === undefined ? [] : ['cbor', 'html']) {
        await removeFile(`${outFolder}/${RETRIEVAL_FOLDER}/${arn}.${ending}`);
      }
    }
    const last = rows.at(-1);
    if (!last) return;
    await database.transaction((session) =>
      session.run(
        'UPDATE closed_aggregates SET is_on_disk = 0 WHERE aggregate_id <= ?',
        textOf(last, 'aggregate_id'),
      ),
    );
  }
};

/** Whether the evidence that follows one in its lane is here, or still to come. */
const GOES_ON = `(EXISTS (SELECT 1 FROM aggregates a WHERE a.key_id = c.key_id AND a.lane = c.lane
    AND a.number = c.number + 1)
  OR c.number = (SELECT l.aggregates FROM lanes l WHERE l.key_id = c.key_id AND l.lane = c.lane))`;

/** Signs what is gone; the list holds files, and the aggregates that remaining evidence goes on from. */
const writeList = async (
  database: SqlDatabase,
  { signer, outFolder, writeFile }: DeletionOptions,
  at: { readonly nowS: number; readonly throughS: number },
): Promise<void> => {
  const { list, files } = await database.transaction(async (session) => {
    const gone = await session.all('SELECT file_name, sha256 FROM closed_files ORDER BY file_name');
    const ends = await session.all(
      `SELECT c.aggregate_id FROM closed_aggregates c WHERE ${GOES_ON} ORDER BY c.aggregate_id`,
    );
    const lines = [
      ...gone.map((row) =>
        formatClosed({
          kind: 'file',
          name: textOf(row, 'file_name'),
          sha256: textOf(row, 'sha256'),
        }),
      ),
      ...ends.map((row) => formatClosed({ kind: 'aggregate', id: textOf(row, 'aggregate_id') })),
    ];
    return { list: lines.join(''), files: gone.length };
  });
  if (files === 0) return;
  const { nowS: atS, throughS } = at;
  const listSha256 = sha256(utf8ToBytes(list));
  await writeFile(`${outFolder}/${CLOSED_LIST}`, list);
  await writeFile(
    `${outFolder}/${CLOSED_STATEMENT}`,
    signClosedBooks(signer, { atS, throughS, files, listSha256 }),
  );
};

/** Forgets aggregates that nothing goes on from any more. */
const forget = async (session: SqlSession): Promise<number> =>
  session.run(
    `DELETE FROM closed_aggregates WHERE is_on_disk = 0 AND aggregate_id IN
       (SELECT c.aggregate_id FROM closed_aggregates c WHERE NOT ${GOES_ON})`,
  );

const closeFiles = async (
  database: SqlDatabase,
  at: { readonly nowS: number; readonly horizonS: number },
): Promise<Pick<DeletionRun, 'files' | 'kept'>> => {
  const kept: Partial<Record<KeptReason, number>> = {};
  let [after, files] = ['', 0];
  for (;;) {
    const from = after;
    const done = await database.transaction(async (session) => {
      const [row] = await session.all(
        'SELECT file_name FROM files WHERE cut_s < ? AND file_name > ? ORDER BY file_name LIMIT 1',
        BigInt(at.horizonS),
        from,
      );
      if (!row) return undefined;
      const name = textOf(row, 'file_name');
      const group = await closeGroup(session, name, await readHolds(session), at);
      // A run that ends here is not done, whatever was closed before.
      if (!group.kept) await note(session, { throughS: 0, atS: at.nowS });
      return { name, ...group };
    });
    if (!done) return { files, kept };
    after = done.name;
    if (done.kept) kept[done.kept] = (kept[done.kept] ?? 0) + 1;
    else files += done.files.length;
  }
};

/** Deletes what the terms no longer ask to keep. @throws KiriError RETENTION_TOO_SHORT */
export const deleteExpired = async (
  database: SqlDatabase,
  options: DeletionOptions,
  nowS: number,
): Promise<DeletionRun> => {
  const { years = ACCOUNTING_YEARS, yearEndMonth = FISCAL_YEAR_END_MONTH, zone } = options.terms;
  if (years < ACCOUNTING_YEARS_MIN || yearEndMonth < 1 || yearEndMonth > 12) {
    const why = `${years} years after month ${yearEndMonth}, at least ${ACCOUNTING_YEARS_MIN}`;
    throw new KiriError('RETENTION_TOO_SHORT', `accounting records are kept for longer: ${why}`);
  }
  const horizonS = accountingHorizonS(nowS, { years, yearEndMonth, zone });
  const at = { nowS, horizonS, zone };
  const { files, kept } = await closeFiles(database, at);
  const isDone = await database.transaction((session) => isClosed(session, horizonS));
  const rest = isDone ? NOTHING : await closeRest(database, at);
  // The list first: whoever looks while files go knows why.
  if (!isDone) await writeList(database, options, { nowS, throughS: horizonS });
  await removeFiles(database, options);
  await removeEvidence(database, options);
  const { outFolder, removeFile = removeIfThere } = options;
  await closeAnswers(database, horizonS, (path) => removeFile(`${outFolder}/${path}`));
  if (!isDone) {
    await database.transaction(async (session) => {
      await forget(session);
      await note(session, { throughS: horizonS, atS: nowS });
    });
  }
  const { payouts, ...others } = rest;
  return { throughS: horizonS, files: files + payouts, kept, ...others };
};

/** How far the last run came that was not cut short, and when: the journals are not read again for nothing. */
const PROGRESS = { throughS: 'closed through', atS: 'closed at' } as const;

type Progress = Readonly<Record<keyof typeof PROGRESS, number>>;

const note = async (session: SqlSession, progress: Progress): Promise<void> => {
  for (const key of Object.keys(PROGRESS) as (keyof Progress)[]) {
    await session.run(
      `INSERT INTO counters (name, value) VALUES (?, ?)
       ON CONFLICT (name) DO UPDATE SET value = excluded.value`,
      PROGRESS[key],
      BigInt(progress[key]),
    );
  }
};

/** True if everything behind the files was closed through this day, and no hold has been lifted since. */
const isClosed = async (session: SqlSession, horizonS: number): Promise<boolean> => {
  const [row] = await session.all(
    `SELECT t.value AS through, (SELECT count(*) FROM legal_holds h WHERE h.lifted_s >= a.value) AS lifted
     FROM counters t JOIN counters a ON a.name = ? WHERE t.name = ?`,
    PROGRESS.atS,
    PROGRESS.throughS,
  );
  return row !== undefined && numberOf(row, 'through') === horizonS && row['lifted'] === 0n;
};

const NOTHING = { payouts: 0, receipts: 0, entries: 0, fees: 0, documents: 0 } as const;

/** What stands behind the files: payouts, journals, ended lines, what issuers sent. */
const closeRest = async (
  database: SqlDatabase,
  at: { readonly nowS: number; readonly horizonS: number; readonly zone: BusinessZone },
): Promise<Readonly<Record<keyof typeof NOTHING, number>>> => {
  const { payouts, held, merged } = await database.transaction(async (session) => {
    const keys = await heldKeys(session, await readHolds(session));
    const merchants = await merchantsOf(session, keys);
    const isHeld = ({ acquirer, merchant }: Merchant): boolean =>
      merchants.has(JSON.stringify([acquirer, merchant]));
    return {
      payouts: await closePayouts(session, isHeld, at),
      held: keys,
      merged: await closeMerchants(session, isHeld, at.horizonS),
    };
  });
  const entries = merged + (await closeJournal(database, held, at.horizonS));
  const holds = await database.transaction(readHolds);
  const receipts = await closeLines(database, holds, at.nowS);
  for (const { name } of await database.transaction(readSegments)) {
    await rewriteSegment(database, name, at.nowS);
  }
  await database.transaction(dropEmptySegments);
  const inbound = await closeInbound(database, at);
  return { payouts: payouts.length, receipts, entries, ...inbound };
};

type Merchant = { readonly acquirer: string; readonly merchant: string };

/** Merchants behind some keys. */
const merchantsOf = async (
  session: SqlSession,
  keys: ReadonlySet<string>,
): Promise<ReadonlySet<string>> => {
  const names = new Set<string>();
  for (const key of keys) {
    const [row] = await session.all('SELECT acquirer, merchant FROM keys WHERE key_id = ?', key);
    if (row) names.add(JSON.stringify([textOf(row, 'acquirer'), textOf(row, 'merchant')]));
  }
  return names;
};
