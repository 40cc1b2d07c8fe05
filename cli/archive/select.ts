import { readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { toHex } from '../../protocol/bytes.ts';
import { KiriError } from '../../protocol/kiri-error.ts';
import { ipmProfile, isPreStage } from '../../sync/clearing/core/ipm-profile.ts';
import { parseLines } from '../../sync/clearing/core/lines-file.ts';
import { verifyEvidence } from '../../sync/clearing/core/evidence.ts';
import { decodeUtf8 } from '../../sync/ledger/core/text.ts';
import type { ArchivedFile } from '../verify/archive-statement.ts';
import { Artefacts, MAX_ARTEFACT_BYTES, hashFile } from '../verify/artefacts.ts';
import { Findings } from '../verify/findings.ts';

/** Where each part of an archive is taken from; a missing folder is an empty part. */
export interface ArchiveSources {
  /** `clearing/` and `evidence/` stand in it. */
  readonly folder: string;
  readonly trust: string;
  readonly ledger: string;
  readonly receipts: string;
  readonly answers: string;
}

/** One file to be copied. */
export interface Copy {
  readonly from: string;
  /** Below the archive, with `/`. */
  readonly path: string;
}

export interface Selection {
  readonly copies: readonly Copy[];
  /** Aggregates of files before the period that evidence goes on from. */
  readonly earlier: readonly string[];
}

/** Public by their kind; nothing else of the trust folder is taken. */
const TRUST =
  /^(?:issuer\.(?:cosekey|pem)|policy\.txt|policies|[^/]+\.vkey|keys\/[^/]+\.(?:pem|cosekey)|documents\/[^/]+\.cbor|anchors\/[^/]+\.json|vaults\/[^/]+\.cosekey)$/;
/** A running log keeps journals and locks in such a folder. */
const STATE = /(?:^|\/)state\//;
const PROOF = /^proof-[^/]*\.cbor$/;
/** Receipts and their proofs begin with this many hex digits of the Payment's hash. */
const STEM_DIGITS = 24;

function list(folder: string): Artefacts | undefined {
  const findings = new Findings();
  let files: Artefacts;
  try {
    files = new Artefacts(folder, findings);
  } catch {
    return undefined;
  }
  const [trouble] = findings.report().faults;
  if (!trouble) return files;
  throw new KiriError('ARCHIVE_SOURCE_INVALID', `${folder}/${trouble.path}: ${trouble.reason}`);
}

function copiesOf(
  folder: string,
  part: string,
  isTaken: (path: string) => boolean,
): readonly Copy[] {
  const paths = list(folder)?.paths ?? [];
  return paths
    .filter(isTaken)
    .map((path) => ({ from: join(folder, path), path: `${part}/${path}` }));
}

function readWhole(folder: string, name: string): Uint8Array {
  const path = join(folder, name);
  try {
    if (statSync(path).size <= MAX_ARTEFACT_BYTES) return new Uint8Array(readFileSync(path));
  } catch (cause) {
    throw new KiriError('ARCHIVE_FILE_MISSING', `${path} cannot be read`, { cause });
  }
  throw new KiriError('ARCHIVE_SOURCE_INVALID', `${path} is above ${MAX_ARTEFACT_BYTES} bytes`);
}

/** The settlement file with everything beside it, and the aggregates that its lines name. */
function selectFile(
  folder: string,
  { fileName, sha256 }: ArchivedFile,
): { readonly copies: readonly Copy[]; readonly named: readonly string[] } {
  const profile = ipmProfile(fileName.split('.')[1] ?? '');
  const ipm = `${fileName}${profile && isPreStage(profile) ? '.pre' : ''}.ipm`;
  const copies = copiesOf(
    folder,
    'clearing',
    // The final form of a pre-file has card numbers in it: it stands in the partner's zone, and is not taken.
    (path) =>
      path === ipm ||
      ['manifest', 'manifest.json', 'lines.jsonl', 'vault'].some(
        (ending) => path === `${fileName}.${ending}`,
      ),
  );
  const own = copies.find(({ path }) => path === `clearing/${ipm}`);
  if (!own) {
    throw new KiriError('ARCHIVE_FILE_MISSING', `${join(folder, ipm)}: the store has this file`);
  }
  if (hashFile(own.from) !== sha256) {
    throw new KiriError('ARCHIVE_FILE_CHANGED', `${own.from} is not the file that the store wrote`);
  }
  const text = decodeUtf8(readWhole(folder, `${fileName}.lines.jsonl`));
  const lines = text === undefined ? undefined : parseLines(text);
  if (!lines) {
    throw new KiriError('ARCHIVE_FILE_CHANGED', `${fileName}.lines.jsonl is not a lines file`);
  }
  return { copies, named: [...lines.lines.map((line) => line.aggregateId), ...lines.silent] };
}

/** Payments that the evidence speaks of, as receipts are named after them, and what it goes on from. */
function readEvidence(
  folder: string,
  ids: ReadonlySet<string>,
): { readonly stems: ReadonlySet<string>; readonly earlier: readonly string[] } {
  const stems = new Set<string>();
  const earlier = new Set<string>();
  for (const id of ids) {
    const checked = verifyEvidence(readWhole(folder, `${id}.cbor`));
    if (!checked.ok) {
      throw new KiriError('ARCHIVE_FILE_CHANGED', `${join(folder, id)}.cbor: ${checked.fault}`);
    }
    const { previous, leaves, conflicts } = checked.value;
    if (previous !== undefined && !ids.has(previous)) earlier.add(previous);
    const hashes = [
      ...leaves.map((leaf) => leaf.paymentHash),
      ...conflicts.flatMap(({ paymentHash, otherHash }) => [paymentHash, otherHash]),
    ];
    for (const hash of hashes) stems.add(toHex(hash).slice(0, STEM_DIGITS));
  }
  return { stems, earlier: [...earlier].toSorted() };
}

/**
 * Chooses what belongs to these settlement files: evidence, receipts behind it, answers to them, and all of the trust
 * folder and the logs.
 * @throws KiriError ARCHIVE_FILE_MISSING, ARCHIVE_FILE_CHANGED, ARCHIVE_SOURCE_INVALID
 */
export function selectArchive(sources: ArchiveSources, files: readonly ArchivedFile[]): Selection {
  const { folder, trust, ledger, receipts, answers } = sources;
  const copies: Copy[] = [];
  const ids = new Set<string>();
  for (const file of files) {
    const selected = selectFile(join(folder, 'clearing'), file);
    copies.push(...selected.copies);
    for (const id of selected.named) ids.add(id);
  }
  const evidence = join(folder, 'evidence');
  const { stems, earlier } = readEvidence(evidence, ids);
  const names = new Set(files.map(({ fileName }) => fileName));
  const isAnswer = (path: string): boolean => {
    const [, acknowledged] = /^(KIRI\..+)\.\d+\.ack$/.exec(path) ?? [];
    if (acknowledged === undefined) return /^ISSUER\.[^/]+\.(?:ipm|manifest)$/.test(path);
    return names.has(acknowledged.replace(/(?:\.pre)?\.ipm$/, ''));
  };
  copies.push(
    ...copiesOf(evidence, 'evidence', (path) => PROOF.test(path) || ids.has(path.slice(0, -5))),
    ...copiesOf(receipts, 'receipts', (path) =>
      stems.has(path.slice(path.lastIndexOf('/') + 1).slice(0, STEM_DIGITS)),
    ),
    ...copiesOf(answers, 'answers', isAnswer),
    ...copiesOf(trust, 'trust', (path) => TRUST.test(path)),
    ...copiesOf(ledger, 'ledger', (path) => !STATE.test(path)),
  );
  return { copies, earlier };
}
