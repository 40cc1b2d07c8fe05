import { toHex } from '../../protocol/bytes.ts';
import { parseAnchorTrust } from '../../sync/ledger/anchor/anchor-trust.ts';
import {
  ANCHORS_FOLDER,
  anchorFile,
  isAnchorName,
  parseAnchorPath,
} from '../../sync/ledger/core/anchor-file.ts';
import { MAX_EVIDENCE_BYTES, type VerifyAnchor } from '../../sync/ledger/core/anchor-port.ts';
import { parseCheckpoint } from '../../sync/ledger/core/checkpoint.ts';
import { verifyFinalCheckpoint } from '../../sync/ledger/core/final-checkpoint.ts';
import { parseNote } from '../../sync/ledger/core/note.ts';
import type { Artefacts } from './artefacts.ts';
import type { Findings } from './findings.ts';
import type { LogView } from './log.ts';
import type { TrustStore } from './trust.ts';

const TRUST_NAME = /^(.+)\.json$/;

/** Reads `trust/anchors/`: what evidence of each anchor is checked against (docs/ledger.md). */
export function loadAnchors(
  files: Artefacts,
  prefix: string,
  store: Pick<TrustStore, 'noteVerify'>,
  findings: Findings,
): ReadonlyMap<string, VerifyAnchor> {
  const anchors = new Map<string, VerifyAnchor>();
  const folder = `${prefix}${ANCHORS_FOLDER}`;
  for (const path of files.below(folder)) {
    const [, name = ''] = TRUST_NAME.exec(path.slice(folder.length)) ?? [];
    const bytes = files.read(path);
    if (!bytes) continue;
    findings.count('anchor trust files');
    const trust = parseAnchorTrust(bytes, store.noteVerify);
    if (!isAnchorName(name)) findings.fault(path, 'is not <anchor>.json');
    else if (trust.ok) anchors.set(name, trust.value);
    else findings.fault(path, trust.reason);
  }
  return anchors;
}

/** Checks one anchor's evidence for a note that is known to be good. */
function checkAnchorEvidence(
  files: Artefacts,
  place: { readonly path: string; readonly name: string; readonly note: Uint8Array },
  store: TrustStore,
  findings: Findings,
): boolean {
  const { path, name, note } = place;
  const bytes = files.read(path, MAX_EVIDENCE_BYTES);
  if (!bytes) return false;
  findings.count('anchor evidence');
  const verify = store.anchors.get(name);
  if (!verify) {
    findings.fault(path, `trust/${ANCHORS_FOLDER}${name}.json is needed to check it`);
    return false;
  }
  const anchored = verify(bytes, note);
  if (!anchored.ok) findings.fault(path, anchored.reason);
  return anchored.ok;
}

/**
 * Checks everything in `anchors/` of a log's folder. Every note there must be one of the log's own heads, final under the
 * policy, and every evidence must hold for the note beside it.
 * @param prefix of the log's folder
 * @returns the entries of the log that stand at some anchor
 */
export function checkAnchors(
  files: Artefacts,
  prefix: string,
  log: LogView,
  store: TrustStore,
  findings: Findings,
): number {
  let anchoredSize = 0;
  const notes = new Map<number, Uint8Array | undefined>();
  const noteOf = (size: number): Uint8Array | undefined => {
    if (!notes.has(size)) {
      notes.set(size, checkAnchoredNote(files, { prefix, size }, log, store, findings));
    }
    return notes.get(size);
  };
  for (const path of files.below(`${prefix}${ANCHORS_FOLDER}`)) {
    const parsed = parseAnchorPath(path.slice(prefix.length));
    if (!parsed) {
      findings.fault(path, 'is no evidence of an anchor by its name');
      continue;
    }
    const { size, name } = parsed;
    const note = noteOf(size);
    if (name === undefined || !note) continue;
    if (checkAnchorEvidence(files, { path, name, note }, store, findings)) {
      anchoredSize = Math.max(anchoredSize, size);
    }
  }
  return anchoredSize;
}

function checkAnchoredNote(
  files: Artefacts,
  { prefix, size }: { readonly prefix: string; readonly size: number },
  log: LogView,
  store: TrustStore,
  findings: Findings,
): Uint8Array | undefined {
  const path = prefix + anchorFile(size, '').checkpoint;
  const bytes = files.read(path);
  if (!bytes || !store.policy) return undefined;
  const head = verifyFinalCheckpoint(bytes, store.policy, store.noteVerify);
  let reason: string | undefined;
  if (!head.ok) reason = head.reason;
  else if (head.value.origin !== log.origin) reason = 'is of another log';
  else if (head.value.size !== size) reason = 'is of another size than its folder';
  else if (log.rootAt(size) !== toHex(head.value.root)) reason = 'is not a head that this log had';
  if (reason === undefined) return bytes;
  findings.fault(path, reason);
  return undefined;
}

/** A roll-up log with how far it is anchored. */
export interface AnchoredLog {
  readonly prefix: string;
  readonly log: LogView;
  readonly anchoredSize: number;
}

/**
 * How far each log is anchored (L3): the largest head of it that stands in an anchored part of a roll-up log. A rolled
 * head that the log never had is a fault, wherever the log's own size reaches it.
 */
export function anchoredSizes(
  rollUps: readonly AnchoredLog[],
  logs: readonly LogView[],
  findings: Findings,
): ReadonlyMap<string, number> {
  const sizes = new Map<string, number>();
  for (const { prefix, log, anchoredSize } of rollUps) {
    for (const { index, note } of log.rolledNotes) {
      const parsed = parseNote(note);
      const head = parsed.ok ? parseCheckpoint(parsed.value.text) : parsed;
      if (!head.ok) {
        findings.fault(prefix, `entry ${index} is no checkpoint: ${head.reason}`);
        continue;
      }
      const { origin, size, root } = head.value;
      const rolled = logs.find((one) => one.origin === origin);
      if (!rolled || size > rolled.size) continue;
      if (rolled.rootAt(size) !== toHex(root)) {
        findings.fault(prefix, `entry ${index} is a head that ${origin} never had`);
      } else if (index < anchoredSize) {
        sizes.set(origin, Math.max(size, sizes.get(origin) ?? 0));
      }
    }
  }
  return sizes;
}
