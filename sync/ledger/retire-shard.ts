/**
 * Retires a shard where a copy of it lies: payloads and content keys are deleted when the stated days have passed; tiles,
 * entries and checkpoint stay and verify as before. `retired` is durable before the first file goes, so that none is
 * missing without a reason; a run that was interrupted is called again. What deleting cannot promise: see erase-keys.ts.
 */
import { readdir } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { systemCode, toDiskError } from '../../platform/disk-error.ts';
import { readIfPresent, writeFileDurable } from '../../platform/durable-file.ts';
import { bytesEqual } from '../../protocol/bytes.ts';
import { CONTENT_KEYS_PATH } from './content-keys.ts';
import { type FinalHead, verifyFinalCheckpoint } from './core/final-checkpoint.ts';
import { CHECKPOINT_PATH } from './core/log-batch.ts';
import type { Verify } from './core/note-key.ts';
import type { FinalityRules } from './core/policy-book.ts';
import {
  RETENTION_PATH,
  RETIRED_PATH,
  checkRetired,
  encodeRetired,
  hashOfRetention,
  lastCosignedS,
  parseRetention,
  retirementOf,
} from './core/retention.ts';
import { keysOfLog, parseShard } from './core/shard.ts';
import { policySpans } from './core/policy-book.ts';
import { parseSignedHead } from './core/signed-head.ts';
import { type Outcome, bad, ok } from './core/text.ts';
import { type LegalHold, deleteDurably, listIfPresent } from './erase-keys.ts';
import { HEAD_PATH, readHead } from './head-file.ts';
import { SIGNED_HEAD_PATH } from './log-copy.ts';

export interface RetireOptions {
  /** The shard's own folder, or a mirror's copy of it; whoever may write there is kept out by the caller's lock. */
  readonly root: string;
  readonly policy: FinalityRules;
  readonly verify: Verify;
  readonly holds: readonly LegalHold[];
  /** A mirror's own retention, for a copy that has none: what the log states binds no mirror. */
  readonly retention?: Uint8Array;
  /** POSIX seconds. */
  readonly nowS: number;
  /** Tells what would be done. */
  readonly isDryRun: boolean;
}

export interface RetiredShard {
  readonly origin: string;
  readonly size: number;
  /** Since when it was allowed, POSIX seconds. */
  readonly dueS: number;
  /** Files deleted, or to be deleted, below the folder. */
  readonly files: readonly string[];
}

/** What a retirement deletes, plain keys first: at no moment does one open what nobody else could open. */
const CONTENTS = [CONTENT_KEYS_PATH, 'payload', 'keys'];

const filesBelow = async (root: string, folder: string): Promise<string[]> => {
  try {
    const found = await readdir(join(root, folder), { recursive: true, withFileTypes: true });
    return found
      .filter((entry) => !entry.isDirectory())
      .map((entry) => join(entry.parentPath, entry.name).slice(join(root, '/').length))
      .toSorted();
  } catch (error) {
    if (systemCode(error) === 'ENOENT') return [];
    throw toDiskError(error, 'list', join(root, folder));
  }
};

/** Whether a later shard of the chain has begun beside it: until then a writer that starts goes on in this one. */
const hasSuccessor = async (root: string, origin: string): Promise<boolean> => {
  const shard = parseShard(origin);
  if (shard === undefined || basename(root) !== origin.slice(shard.prefix.length + 1)) return false;
  for (const name of await listIfPresent(dirname(root))) {
    const other = parseShard(`${shard.prefix}/${name}`);
    if (other === undefined || other.index <= shard.index) continue;
    if ((await readIfPresent(join(dirname(root), name, HEAD_PATH))) !== undefined) return true;
  }
  return false;
};

/** Why not, where something here is not under the final checkpoint; a log's own folder and a mirror's copy differ. */
const unfinished = async (
  { root, policy, verify }: RetireOptions,
  head: FinalHead,
  isOwn: boolean,
): Promise<string | undefined> => {
  if (isOwn) {
    const own = await readHead(root);
    const isWhole = own.size === head.size && bytesEqual(own.root, head.root);
    if (!isWhole) return `LOG_NOT_FINAL: ${own.size} entries recorded, ${head.size} final`;
    return (await hasSuccessor(root, head.origin))
      ? undefined
      : 'RETENTION_EARLY: no later shard has begun beside it: a writer goes on in this one';
  }
  const bytes = await readIfPresent(join(root, SIGNED_HEAD_PATH));
  const keys = policySpans(policy).flatMap((span) => keysOfLog(span.policy, head.origin));
  const copied = bytes && parseSignedHead(new Uint8Array(bytes), keys, verify);
  if (copied?.ok !== true) return 'LOG_NOT_FINAL: the folder is neither a log nor a mirror’s copy';
  const isWhole = copied.value.size === head.size && bytesEqual(copied.value.root, head.root);
  return isWhole
    ? undefined
    : `LOG_NOT_FINAL: ${copied.value.size} entries copied, ${head.size} final`;
};

/** The retention that counts here, as it stands or is to stand in the folder. */
const retentionFor = (
  stated: Uint8Array | undefined,
  told: Uint8Array | undefined,
  isOwn: boolean,
): Outcome<Uint8Array> => {
  if (stated !== undefined) {
    const isSame = told === undefined || bytesEqual(stated, told);
    return isSame ? ok(stated) : bad('RETENTION_DIFFERS: the folder states another retention');
  }
  if (told === undefined) return bad('RETENTION_NONE: no retention is stated: nothing is retired');
  // What a log never stated to its readers cannot be claimed afterwards.
  return isOwn
    ? bad('RETENTION_NONE: this log stated no retention while it was written')
    : ok(told);
};

const namesShard = ({ origin }: LegalHold, shard: string): boolean =>
  origin === shard || origin === parseShard(shard)?.prefix;

/** Everything that has to hold before a file is touched. */
const allowed = async (
  options: RetireOptions,
): Promise<Outcome<{ head: FinalHead; retention: Uint8Array; dueS: number; isNew: boolean }>> => {
  const { root, policy, verify, holds, nowS } = options;
  const note = await readIfPresent(join(root, CHECKPOINT_PATH));
  const final = note && verifyFinalCheckpoint(new Uint8Array(note), policy, verify);
  if (final?.ok !== true) return bad(`LOG_NOT_FINAL: ${final?.reason ?? 'no checkpoint'}`);
  const head = final.value;
  // Whatever part of it a hold names: a shard goes as a whole or not at all.
  if (holds.some((hold) => namesShard(hold, head.origin))) {
    return bad(`RETENTION_HELD: a legal hold keeps ${head.origin}`);
  }
  const isOwn = (await readIfPresent(join(root, HEAD_PATH))) !== undefined;
  const stated = await readIfPresent(join(root, RETENTION_PATH));
  const bytes = retentionFor(stated && new Uint8Array(stated), options.retention, isOwn);
  if (!bytes.ok) return bytes;
  const retention = parseRetention(bytes.value);
  if (!retention.ok) return bad(`RETENTION_INVALID: ${retention.reason}`);
  const due = retirementOf(head.origin, retention.value, lastCosignedS(head), nowS);
  if (!due.ok) return bad(`RETENTION_EARLY: ${due.reason}`);
  const reason = await unfinished(options, head, isOwn);
  if (reason !== undefined) return bad(reason);
  const before = await readIfPresent(join(root, RETIRED_PATH));
  const record = before && checkRetired(new Uint8Array(before), bytes.value, head, nowS);
  if (record?.ok === false) return bad(`RETENTION_INVALID: ${RETIRED_PATH} ${record.reason}`);
  return ok({ head, retention: bytes.value, dueS: due.value.dueS, isNew: before === undefined });
};

/**
 * Deletes the contents of a shard that may go. May be called again after a crash: it goes on where it stopped. A refusal
 * (its code in front) leaves everything as it was.
 * @throws KiriError DISK_*, STATE_CORRUPT
 */
export const retireShard = async (options: RetireOptions): Promise<Outcome<RetiredShard>> => {
  const { root, nowS, isDryRun } = options;
  const may = await allowed(options);
  if (!may.ok) return may;
  const { head, retention, dueS, isNew } = may.value;
  const { origin, size } = head;
  const files = (await Promise.all(CONTENTS.map((folder) => filesBelow(root, folder)))).flat();
  if (!isDryRun) {
    if (isNew) {
      // Already the same bytes on a log's own site.
      await writeFileDurable(join(root, RETENTION_PATH), retention, 0o644);
      const retentionHash = hashOfRetention(retention);
      const record = encodeRetired({ origin, size, retentionHash, retiredS: nowS });
      await writeFileDurable(join(root, RETIRED_PATH), record, 0o644);
    }
    for (const path of files) await deleteDurably(join(root, path));
  }
  return ok({ origin, size, dueS, files });
};
