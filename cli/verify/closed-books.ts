import { bytesEqual } from '../../protocol/bytes.ts';
import {
  CLOSED_BOOKS,
  CLOSED_BOOKS_TYP,
  CLOSED_FOLDER,
  CLOSED_LIST,
  CLOSED_STATEMENT,
  parseClosed,
} from '../../sync/clearing/core/closed-books.ts';
import { decodeUtf8 } from '../../sync/ledger/core/text.ts';
import { MAX_ARTEFACT_BYTES, nativeSha256, type Artefacts } from './artefacts.ts';
import { openOfClearing } from './clearing-document.ts';
import type { Findings } from './findings.ts';
import type { TrustStore } from './trust.ts';

/**
 * What the clearing states it has deleted after the years for which books are kept. @returns the aggregates that
 * remaining evidence may go on from; none where nothing was deleted
 */
export function readClosedBooks(context: {
  readonly files: Artefacts;
  readonly store: TrustStore;
  readonly findings: Findings;
}): ReadonlySet<string> {
  const { files, findings } = context;
  const none = new Set<string>();
  const paths = files.below(`${CLOSED_FOLDER}/`);
  for (const path of paths) {
    if (path !== CLOSED_LIST && path !== CLOSED_STATEMENT) {
      findings.fault(path, 'is no part of the statement of closed books');
    }
  }
  if (paths.length === 0) return none;
  const statement = openOfClearing(context, CLOSED_STATEMENT, {
    typ: CLOSED_BOOKS_TYP,
    codec: CLOSED_BOOKS,
    timeOf: ({ atS }) => atS,
  });
  const bytes = files.read(CLOSED_LIST, MAX_ARTEFACT_BYTES);
  if (!statement || !bytes) return none;
  const text = bytesEqual(nativeSha256(bytes), statement.listSha256)
    ? decodeUtf8(bytes)
    : undefined;
  const entries = text === undefined ? undefined : parseClosed(text);
  if (!entries) {
    findings.fault(CLOSED_LIST, 'is not the list that the signed statement names');
    return none;
  }
  const deleted = entries.filter(({ kind }) => kind === 'file').length;
  if (deleted !== statement.files) findings.fault(CLOSED_LIST, 'has another number of files');
  findings.count('deleted files', deleted);
  return new Set(entries.flatMap((entry) => (entry.kind === 'aggregate' ? [entry.id] : [])));
}
