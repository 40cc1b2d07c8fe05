import { decodeUtf8 } from '../../sync/ledger/core/text.ts';
import { toHex } from '../../protocol/bytes.ts';
import { MAX_ARTEFACT_BYTES, nativeSha256, type Artefacts } from './artefacts.ts';
import type { Findings } from './findings.ts';
import type { SettlementFileView } from './settlement-file.ts';

/** Stands in an archive of a period (`kiri clearing archive`) where an output folder has its summary. */
export const ARCHIVE_FILE = 'archive.json';
/** `<sha256>  <path>` of every file of the installed program that made the archive, as `sha256sum` writes it. */
export const PROGRAM_LIST = 'program.sha256';
/** What a reader needs to write a verifier of their own. */
export const FORMATS: readonly string[] = ['docs/clearing.md', 'protocol/kiri.cddl'];
const KIND = 'kiri-archive';

/** One settlement file of the period. */
export interface ArchivedFile {
  /** Without ending. */
  readonly fileName: string;
  /** Of the settlement file, in hex. */
  readonly sha256: string;
  /** UTC seconds. */
  readonly cutS: number;
}

/** What an archive says of itself. The signed list of contents covers it. */
export interface ArchiveStatement {
  readonly kind: typeof KIND;
  /** First and last day of the cuts in it, business days in Japan, YYYY-MM-DD. */
  readonly from: string;
  readonly to: string;
  /** From the first second to the one after the last, UTC. */
  readonly fromS: number;
  readonly toS: number;
  readonly createdS: number;
  readonly files: readonly ArchivedFile[];
  /** Aggregates that lines of this period go on from and that earlier files present: their evidence is in earlier archives. */
  readonly earlier: readonly string[];
  /** The program that made the archive and found it sound. */
  readonly verifier: {
    readonly name: string;
    readonly version: string;
    /** Of the runtime. */
    readonly node: string;
    /** Package → version. */
    readonly dependencies: Readonly<Record<string, string>>;
    /** SHA-256 of {@link PROGRAM_LIST}, in hex. */
    readonly programSha256: string;
  };
}

export const archiveStatement = (statement: Omit<ArchiveStatement, 'kind'>): ArchiveStatement => ({
  kind: KIND,
  ...statement,
});

const isTexts = (value: unknown): value is readonly string[] =>
  Array.isArray(value) && value.every((one) => typeof one === 'string');

const isFile = (value: unknown): value is ArchivedFile => {
  const { fileName, sha256, cutS } = Object(value) as Partial<ArchivedFile>;
  return typeof fileName === 'string' && typeof sha256 === 'string' && Number.isSafeInteger(cutS);
};

function parse(bytes: Uint8Array): ArchiveStatement | undefined {
  let value: Partial<ArchiveStatement>;
  try {
    value = Object(JSON.parse(decodeUtf8(bytes) ?? '')) as Partial<ArchiveStatement>;
  } catch {
    return undefined;
  }
  const { kind, fromS, toS, files, earlier, verifier } = value;
  const { programSha256 } = Object(verifier) as Partial<ArchiveStatement['verifier']>;
  const isWhole =
    kind === KIND &&
    Number.isSafeInteger(fromS) &&
    Number.isSafeInteger(toS) &&
    Array.isArray(files) &&
    files.every(isFile) &&
    isTexts(earlier) &&
    typeof programSha256 === 'string';
  return isWhole ? (value as ArchiveStatement) : undefined;
}

/** The statement of an archive; undefined for another folder, and for a broken one, which is a fault. */
export function readArchiveStatement(
  files: Artefacts,
  findings: Findings,
): ArchiveStatement | undefined {
  if (!files.has(ARCHIVE_FILE)) return undefined;
  const bytes = files.read(ARCHIVE_FILE, MAX_ARTEFACT_BYTES);
  const statement = bytes && parse(bytes);
  if (bytes && !statement) findings.fault(ARCHIVE_FILE, 'is not the statement of an archive');
  return statement;
}

/** Holds the statement against the folder: exactly these files, cut in the period, and the formats beside them. */
export function checkArchive(
  files: Artefacts,
  statement: ArchiveStatement,
  views: readonly SettlementFileView[],
  findings: Findings,
): void {
  findings.count('archives');
  const { fromS, toS, verifier } = statement;
  const seen = new Map(views.map((view) => [view.fileName.replace(/(?:\.pre)?\.ipm$/, ''), view]));
  for (const { fileName, sha256, cutS } of statement.files) {
    const view = seen.get(fileName);
    if (!view) findings.fault(ARCHIVE_FILE, `names ${fileName}, which is not here`);
    else if (view.sha256 !== sha256) findings.fault(ARCHIVE_FILE, `names another ${fileName}`);
    if (cutS < fromS || cutS >= toS) {
      findings.fault(ARCHIVE_FILE, `${fileName} was cut at ${cutS}, outside the period`);
    }
    seen.delete(fileName);
  }
  for (const fileName of seen.keys()) findings.fault(ARCHIVE_FILE, `does not name ${fileName}`);
  for (const path of FORMATS) if (!files.has(path)) findings.fault(path, 'missing');
  const list = files.read(PROGRAM_LIST);
  if (list && toHex(nativeSha256(list)) !== verifier.programSha256) {
    findings.fault(PROGRAM_LIST, `SHA-256 is not what ${ARCHIVE_FILE} states`);
  }
}
