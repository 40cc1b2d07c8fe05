import { sha256 } from '@noble/hashes/sha2.js';
import { fromHex, toHex, utf8ToBytes } from '../../protocol/bytes.ts';
import { signSign1 } from '../../protocol/cose.ts';
import { KiriError } from '../../protocol/kiri-error.ts';
import type { Signer } from '../../protocol/public-key.ts';
import { Books } from './books.ts';
import { writeIpmFile } from './core/ipm-file.ts';
import { isPreStage } from './core/ipm-profile.ts';
import { fileIdOf } from './core/ipm-record.ts';
import type { IpmTotals, PresentmentRecord } from './core/ipm-record.ts';
import { formatLines } from './core/lines-file.ts';
import type { FileLine, LedgerAnchor } from './core/lines-file.ts';
import { MANIFEST, MANIFEST_TYP, manifestView } from './core/manifest.ts';
import type { Manifest, ManifestTotal } from './core/manifest.ts';
import { decodeFileDocument, decodeRecord, ipmName } from './file-document.ts';
import type { FileDocument } from './file-document.ts';
import { amountOf, bytesOf, textOf } from './sql.ts';
import type { SqlDatabase, SqlSession } from './sql.ts';
import { vaultStatementOf } from './vault-statements.ts';

/** Writes one file as a whole, durable when the promise resolves (temporary, sync, rename, sync of the folder). */
export type WriteFile = (path: string, bytes: Uint8Array | string) => Promise<void>;

/** One artefact of a cut, with its path below the output folder. */
export type Artefact = { readonly path: string; readonly bytes: Uint8Array | string };

/** Where the artefacts stand below the output folder. */
export const CLEARING_FOLDER = 'clearing';
export const EVIDENCE_FOLDER = 'evidence';

type Stored = {
  readonly document: FileDocument;
  readonly lines: readonly { readonly aggregateId: string; readonly record: PresentmentRecord }[];
  readonly aggregates: readonly { readonly id: string; readonly document: Uint8Array }[];
};

const loadFile = async (session: SqlSession, fileName: string): Promise<Stored> => {
  const [row] = await session.all(
    'SELECT document, first_name FROM files WHERE file_name = ?',
    fileName,
  );
  if (!row) throw new KiriError('UNKNOWN_FILE', `no settlement file ${fileName} in the store`);
  const lines = await session.all(
    'SELECT aggregate_id, record FROM file_lines WHERE file_name = ? ORDER BY number',
    fileName,
  );
  // Evidence of the cut, silent aggregates with it, and of every line that came by another cut.
  const aggregates = await session.all(
    `SELECT aggregate_id, document FROM aggregates WHERE aggregate_id IN (
       SELECT aggregate_id FROM aggregates WHERE file_name = ?
       UNION SELECT aggregate_id FROM file_lines WHERE file_name = ?) ORDER BY aggregate_id`,
    textOf(row, 'first_name'),
    fileName,
  );
  return {
    document: decodeFileDocument(textOf(row, 'document')),
    lines: lines.map((line) => ({
      aggregateId: textOf(line, 'aggregate_id'),
      record: decodeRecord(textOf(line, 'record')),
    })),
    aggregates: aggregates.map((one) => ({
      id: textOf(one, 'aggregate_id'),
      document: bytesOf(one, 'document'),
    })),
  };
};

const renderIpm = ({ document, lines }: Stored): { bytes: Uint8Array; totals: IpmTotals } => {
  const records = lines.map((line) => line.record);
  const writer = writeIpmFile(document.header, records, document.profile);
  const chunks: Uint8Array[] = [];
  let step = writer.next();
  for (; !step.done; step = writer.next()) chunks.push(step.value);
  if (!step.value.ok) {
    const { field, detail } = step.value.fault;
    throw new KiriError('LINE_UNWRITABLE', `settlement file: ${field} ${detail}`);
  }
  // Not as arguments: a file of a million lines has more blocks than a call may have.
  return { bytes: new Uint8Array(Buffer.concat(chunks)), totals: step.value.value };
};

const totalsOf = ({ document, lines }: Stored): ManifestTotal[] => {
  const totals: ManifestTotal[] = [];
  for (const sign of ['debit', 'credit'] as const) {
    const of = lines.filter((line) => line.record.sign === sign);
    if (of.length === 0) continue;
    const sum = of.reduce((total, line) => total + line.record.amountMinor, 0n);
    totals.push({
      currency: document.currency,
      sign,
      lines: of.length,
      amountMinor: sum.toString(),
    });
  }
  return totals;
};

const linesText = ({ document, lines, aggregates }: Stored): string => {
  const presented = new Set(lines.map((line) => line.aggregateId));
  const rows = lines.map(({ aggregateId, record }, at): FileLine => {
    const { arn, sign, amountMinor, currency } = record;
    const cycle = record.second ? ({ cycle: 2 } as const) : {};
    return { number: at + 2, arn, aggregateId, sign, amountMinor, currency, ...cycle };
  });
  const silent = aggregates.map((one) => one.id).filter((id) => !presented.has(id));
  return formatLines({ anchors: document.anchors, silent, lines: rows });
};

/**
 * Every artefact of one file, in the order in which they are written: evidence, settlement file, lines, the
 * manifest's view, and the signed manifest last, which marks the file as ready. Built from the store alone; the
 * same store gives the same bytes (Ed25519 signatures are deterministic).
 */
const renderFile = (fileName: string, stored: Stored, signer: Signer): Artefact[] => {
  const { document, aggregates } = stored;
  const ipm = renderIpm(stored);
  const lines = linesText(stored);
  const manifest: Manifest = {
    fileName: ipmName(fileName, document.profile),
    fileId: fileIdOf(document.header),
    profile: document.profile.name,
    profileVersion: document.profile.version,
    charset: document.profile.charset,
    blocking: document.profile.blocking,
    fileSha256: sha256(ipm.bytes),
    fileBytes: ipm.bytes.length,
    records: ipm.totals.records,
    totals: totalsOf(stored),
    linesSha256: sha256(utf8ToBytes(lines)),
    policyHash: fromHex(document.policyHash),
    cutS: document.cutS,
    ...(isPreStage(document.profile) && { stage: 'pre' }),
  };
  const header = { kid: signer.key.id, typ: MANIFEST_TYP };
  const base = `${CLEARING_FOLDER}/${fileName}`;
  return [
    ...aggregates.map((one) => ({
      path: `${EVIDENCE_FOLDER}/${one.id}.cbor`,
      bytes: one.document,
    })),
    { path: `${CLEARING_FOLDER}/${manifest.fileName}`, bytes: ipm.bytes },
    { path: `${base}.lines.jsonl`, bytes: lines },
    { path: `${base}.manifest.json`, bytes: manifestView(manifest) },
    { path: `${base}.manifest`, bytes: signSign1(signer, MANIFEST.encode(manifest), header) },
  ];
};

/** The artefacts of a file that was cut before, from the store. @throws KiriError UNKNOWN_FILE */
export const rebuildFile = async (
  database: SqlDatabase,
  fileName: string,
  signer: Signer,
): Promise<Artefact[]> => {
  const [stored, statement] = await database.transaction(
    async (session) =>
      [await loadFile(session, fileName), await vaultStatementOf(session, fileName)] as const,
  );
  const artefacts = renderFile(fileName, stored, signer);
  return statement ? [...artefacts, statementArtefact(fileName, statement)] : artefacts;
};

/** A vault's statement beside the pre-file that it is about. */
export const statementArtefact = (fileName: string, statement: Uint8Array): Artefact => ({
  path: `${CLEARING_FOLDER}/${fileName}.vault`,
  bytes: statement,
});

const markWritten = async (session: SqlSession, fileName: string, nowS: number): Promise<void> => {
  const books = new Books(session, nowS);
  const lines = await session.all(
    `SELECT a.key_id, l.cycle, l.amount_micro FROM file_lines l JOIN aggregates a
       ON a.aggregate_id = l.aggregate_id WHERE l.file_name = ? ORDER BY l.number`,
    fileName,
  );
  for (const line of lines) {
    await books.move({
      keyId: textOf(line, 'key_id'),
      from: line['cycle'] === 1n ? 'inFile' : 'presentedDisputed',
      to: 'presentedOpen',
      amountMicro: amountOf(line, 'amount_micro'),
      cause: `written ${fileName}`,
    });
  }
  await session.run(
    `UPDATE presentments SET state = 'presentedOpen', presented_s = ?
     WHERE file_name = ? AND state = 'inFile'`,
    BigInt(nowS),
    fileName,
  );
  await session.run(
    `UPDATE presentments SET state = 'secondPresented', disputed_micro = '0' WHERE state = 'secondInFile'
       AND aggregate_id IN (SELECT aggregate_id FROM file_lines WHERE file_name = ? AND cycle = 2)`,
    fileName,
  );
  await books.flush();
};

/** The log heads that a file was cut under; none for a file that is not there. */
export const anchorsOf = async (
  session: SqlSession,
  fileName: string,
): Promise<readonly LedgerAnchor[]> => {
  const [row] = await session.all('SELECT document FROM files WHERE file_name = ?', fileName);
  return row ? decodeFileDocument(textOf(row, 'document')).anchors : [];
};

/** A file on the disk, as summaries show it. */
export type WrittenFile = {
  readonly fileName: string;
  readonly member: string;
  readonly currency: number;
  readonly records: number;
  readonly presentments: number;
  readonly sumMinor: bigint;
  readonly sha256: string;
};

/**
 * Writes every file that is assigned and not marked written, then marks it. After a crash between any two steps the
 * same file comes out again with the same sequence and the same bytes. Returns what was written.
 */
export const writeAssigned = async (
  database: SqlDatabase,
  signer: Signer,
  outFolder: string,
  writeFile: WriteFile,
  nowS: number,
): Promise<WrittenFile[]> => {
  const rows = await database.transaction((session) =>
    session.all("SELECT file_name FROM files WHERE state = 'assigned' ORDER BY file_name"),
  );
  const written: WrittenFile[] = [];
  for (const row of rows) {
    const fileName = textOf(row, 'file_name');
    const stored = await database.transaction((session) => loadFile(session, fileName));
    const artefacts = renderFile(fileName, stored, signer);
    for (const { path, bytes } of artefacts) await writeFile(`${outFolder}/${path}`, bytes);
    const ipm = artefacts.find((one) => one.path.endsWith('.ipm'))?.bytes as Uint8Array;
    const hash = sha256(ipm);
    await database.transaction(async (session) => {
      const changed = await session.run(
        `UPDATE files SET state = 'written', sha256 = ?, written_s = ?
         WHERE file_name = ? AND state = 'assigned'`,
        hash,
        BigInt(nowS),
        fileName,
      );
      if (changed > 0) await markWritten(session, fileName, nowS);
    });
    written.push({
      fileName: ipmName(fileName, stored.document.profile),
      member: stored.document.header.member,
      currency: stored.document.currency,
      records: stored.lines.length + 2,
      presentments: stored.lines.length,
      sumMinor: stored.lines.reduce((sum, line) => sum + line.record.amountMinor, 0n),
      sha256: toHex(hash),
    });
  }
  return written;
};
