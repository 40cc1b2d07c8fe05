import { fromHex, toHex, utf8ToBytes } from '../../protocol/bytes.ts';
import { signSign1 } from '../../protocol/cose.ts';
import { invariant, KiriError } from '../../protocol/kiri-error.ts';
import type { Signer } from '../../protocol/public-key.ts';
import { Books } from './books.ts';
import type { Coded } from './core/fault.ts';
import { IpmFileWriter } from './core/ipm-file.ts';
import type { WrittenTotals } from './core/ipm-file.ts';
import { isPreStage } from './core/ipm-profile.ts';
import { fileIdOf } from './core/ipm-record.ts';
import type { IpmTotals } from './core/ipm-record.ts';
import { formatAnchors, formatLine } from './core/lines-file.ts';
import type { FileLine, LedgerAnchor } from './core/lines-file.ts';
import { MANIFEST, MANIFEST_TYP, manifestView } from './core/manifest.ts';
import type { Manifest, ManifestTotal } from './core/manifest.ts';
import { decodeFileDocument, ipmName } from './file-document.ts';
import { HashedChunks } from './hashed-chunks.ts';
import { amountOf, numberOf, textOf } from './sql.ts';
import type { SqlDatabase, SqlSession } from './sql.ts';
import { StoredFile } from './stored-file.ts';
import type { StoredEvidence, StoredLine } from './stored-file.ts';
import { vaultStatementOf } from './vault-statements.ts';

/** Writes one file as a whole, durable when the promise resolves (temporary, sync, rename, sync of the folder). */
export type WriteFile = (path: string, bytes: Uint8Array | string) => Promise<void>;

/** The same for a file that comes in pieces; a source that throws leaves no file behind. */
export type StreamFile = (
  path: string,
  content: Uint8Array | string | AsyncIterable<Uint8Array>,
) => Promise<void>;

/** Where the artefacts of a file go. */
export type Put = {
  readonly one: StreamFile;
  /** Evidence, in any order among itself; all of it is durable when the promise resolves. */
  readonly evidence: (documents: readonly StoredEvidence[]) => Promise<void>;
};

/** One artefact of a cut, with its path below the output folder. */
export type Artefact = { readonly path: string; readonly bytes: Uint8Array | string };

/** Where the artefacts stand below the output folder. */
export const CLEARING_FOLDER = 'clearing';
export const EVIDENCE_FOLDER = 'evidence';

/** In the order of a manifest's totals. */
const SIGNS = ['debit', 'credit'] as const;

/** What a file turns out to be once its records have gone by. */
type Passed = {
  readonly chunks: HashedChunks;
  totals: WrittenTotals | undefined;
};

/** @throws KiriError LINE_UNWRITABLE */
const mustWrite = <T>(result: Coded<T>): T => {
  if (result.ok) return result.value;
  const { field, detail } = result.fault;
  throw new KiriError('LINE_UNWRITABLE', `settlement file: ${field} ${detail}`);
};

/** The settlement file, a chunk at a time; `passed` holds its hash and totals at the end. */
async function* ipmChunks(stored: StoredFile, passed: Passed): AsyncGenerator<Uint8Array> {
  const { header, profile } = stored.document;
  const ready: Uint8Array[] = [];
  const writer = mustWrite(
    IpmFileWriter.open(header, profile, (chunk) => {
      const full = passed.chunks.add(chunk);
      if (full) ready.push(full);
    }),
  );
  for await (const page of stored.lines()) {
    for (const { record } of page) mustWrite(writer.add(record));
    yield* ready.splice(0);
  }
  passed.totals = mustWrite(writer.end());
  yield* ready;
  yield passed.chunks.end();
}

const fileLineOf = ({ number, aggregateId, record }: StoredLine): FileLine => {
  const { arn, sign, amountMinor, currency } = record;
  const cycle = record.second ? ({ cycle: 2 } as const) : {};
  return { number, arn, aggregateId, sign, amountMinor, currency, ...cycle };
};

/** The lines file, a page at a time. */
async function* linesChunks(stored: StoredFile, chunks: HashedChunks): AsyncGenerator<Uint8Array> {
  const { document, silent } = stored;
  const first = chunks.add(utf8ToBytes(formatAnchors(document.anchors, silent)));
  if (first) yield first;
  for await (const page of stored.lines()) {
    const full = chunks.add(utf8ToBytes(page.map((line) => formatLine(fileLineOf(line))).join('')));
    if (full) yield full;
  }
  yield chunks.end();
}

/** Name of a document of evidence in its folder. */
export const evidenceName = (id: string): string => `${id}.cbor`;

/** Writes evidence one by one, for a writer that knows no more. */
export const oneByOne =
  (put: StreamFile): Put['evidence'] =>
  async (documents) => {
    for (const { id, document } of documents) {
      await put(`${EVIDENCE_FOLDER}/${evidenceName(id)}`, document);
    }
  };

/** Takes what comes in pieces as a whole, for a writer that knows no pieces. */
export const asWhole =
  (writeFile: WriteFile): StreamFile =>
  async (path, content) => {
    if (typeof content === 'string' || content instanceof Uint8Array) {
      return writeFile(path, content);
    }
    const chunks: Uint8Array[] = [];
    for await (const chunk of content) chunks.push(chunk);
    return writeFile(path, new Uint8Array(Buffer.concat(chunks)));
  };

type FilePut = { readonly sha256: Uint8Array; readonly totals: IpmTotals };

/**
 * Puts every artefact of one file where it belongs, in the order in which they are written: evidence, settlement file,
 * lines, the manifest's view, and the signed manifest last, which marks the file as ready. Built from the store alone; the
 * same store gives the same bytes (Ed25519 signatures are deterministic).
 */
const putFile = async (
  fileName: string,
  stored: StoredFile,
  signer: Signer,
  { one: put, evidence }: Put,
): Promise<FilePut> => {
  const { document } = stored;
  for await (const page of stored.evidence()) await evidence(page);
  const base = `${CLEARING_FOLDER}/${fileName}`;
  const ipmFile = ipmName(fileName, document.profile);
  const passed: Passed = {
    chunks: new HashedChunks(),
    totals: undefined,
  };
  await put(`${CLEARING_FOLDER}/${ipmFile}`, ipmChunks(stored, passed));
  const linesHash = new HashedChunks();
  await put(`${base}.lines.jsonl`, linesChunks(stored, linesHash));
  const { totals, chunks } = passed;
  invariant(totals !== undefined, 'clearing: a settlement file was put away unread');
  const fileSha256 = chunks.sha256();
  const manifest: Manifest = {
    fileName: ipmFile,
    fileId: fileIdOf(document.header),
    profile: document.profile.name,
    profileVersion: document.profile.version,
    charset: document.profile.charset,
    blocking: document.profile.blocking,
    fileSha256,
    fileBytes: chunks.bytes,
    records: totals.records,
    totals: SIGNS.flatMap((sign): ManifestTotal[] => {
      const { lines, sumMinor } = totals.signs[sign];
      if (lines === 0) return [];
      return [{ currency: document.currency, sign, lines, amountMinor: sumMinor.toString() }];
    }),
    linesSha256: linesHash.sha256(),
    policyHash: fromHex(document.policyHash),
    cutS: document.cutS,
    ...(isPreStage(document.profile) && { stage: 'pre' }),
  };
  const header = { kid: signer.key.id, typ: MANIFEST_TYP };
  await put(`${base}.manifest.json`, manifestView(manifest));
  await put(`${base}.manifest`, signSign1(signer, MANIFEST.encode(manifest), header));
  return { sha256: fileSha256, totals };
};

/** The artefacts of a file that was cut before, from the store. @throws KiriError UNKNOWN_FILE */
export const rebuildFile = async (
  database: SqlDatabase,
  fileName: string,
  signer: Signer,
): Promise<Artefact[]> => {
  const stored = await StoredFile.open(database, fileName);
  const artefacts: Artefact[] = [];
  const keep = asWhole(async (path, bytes) => void artefacts.push({ path, bytes }));
  await putFile(fileName, stored, signer, { one: keep, evidence: oneByOne(keep) });
  const statement = await database.transaction((session) => vaultStatementOf(session, fileName));
  return statement ? [...artefacts, statementArtefact(fileName, statement)] : artefacts;
};

/** A vault's statement beside the pre-file that it is about. */
export const statementArtefact = (fileName: string, statement: Uint8Array): Artefact => ({
  path: `${CLEARING_FOLDER}/${fileName}.vault`,
  bytes: statement,
});

/** Lines whose books are held at a time. */
const MARK_PAGE = 4_096;

const markWritten = async (session: SqlSession, fileName: string, nowS: number): Promise<void> => {
  let through = 0;
  for (;;) {
    const lines = await session.all(
      `SELECT l.number, a.key_id, l.cycle, l.amount_micro FROM file_lines l JOIN aggregates a
         ON a.aggregate_id = l.aggregate_id WHERE l.file_name = ? AND l.number > ?
       ORDER BY l.number LIMIT ${MARK_PAGE}`,
      fileName,
      BigInt(through),
    );
    const last = lines.at(-1);
    if (!last) break;
    through = numberOf(last, 'number');
    // Books hold every key they touch: each page has its own.
    const books = new Books(session, nowS);
    await books.lookAt(lines.map((line) => textOf(line, 'key_id')));
    for (const line of lines) {
      await books.move({
        keyId: textOf(line, 'key_id'),
        from: line['cycle'] === 1n ? 'inFile' : 'presentedDisputed',
        to: 'presentedOpen',
        amountMicro: amountOf(line, 'amount_micro'),
        cause: `written ${fileName}`,
      });
    }
    await books.flush();
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
  put: Put,
  nowS: number,
): Promise<WrittenFile[]> => {
  const rows = await database.transaction((session) =>
    session.all("SELECT file_name FROM files WHERE state = 'assigned' ORDER BY file_name"),
  );
  const written: WrittenFile[] = [];
  for (const row of rows) {
    const fileName = textOf(row, 'file_name');
    const stored = await StoredFile.open(database, fileName);
    const { sha256, totals } = await putFile(fileName, stored, signer, put);
    await database.transaction(async (session) => {
      const changed = await session.run(
        `UPDATE files SET state = 'written', sha256 = ?, written_s = ?
         WHERE file_name = ? AND state = 'assigned'`,
        sha256,
        BigInt(nowS),
        fileName,
      );
      if (changed > 0) await markWritten(session, fileName, nowS);
    });
    written.push({
      fileName: ipmName(fileName, stored.document.profile),
      member: stored.document.header.member,
      currency: stored.document.currency,
      records: totals.records,
      presentments: totals.records - 2,
      sumMinor: totals.sumMinor,
      sha256: toHex(sha256),
    });
  }
  return written;
};
