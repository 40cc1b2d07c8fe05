/**
 * Gives a lost log folder back from a mirror's copy, so that the writer goes on from it without forking: all contents
 * are checked against the log's own signature and the policy, and the head, written last, names the newest checkpoint
 * that the log signed and the mirror holds. Whether that was really the newest the writer learns from its witnesses
 * before it signs anything (core/log-writer.ts).
 */
import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import type { Trust } from '../../identity/core/chain.ts';
import { readIfPresent, writeFileDurable } from '../../platform/durable-file.ts';
import { lockFolder } from '../../platform/folder-lock.ts';
import type { JournalPosition, JournalReader } from '../../platform/ports.ts';
import { bytesEqual } from '../../protocol/bytes.ts';
import { KiriError } from '../../protocol/kiri-error.ts';
import { verifyFinalCheckpoint } from './core/final-checkpoint.ts';
import { parseLeaf } from './core/leaf.ts';
import { CHECKPOINT_PATH } from './core/log-batch.ts';
import { HASH_BYTES } from './core/merkle.ts';
import type { Verify } from './core/note-key.ts';
import { type FinalityRules, logKeys, policySpans } from './core/policy-book.ts';
import { type Outcome, bad, ok } from './core/text.ts';
import { TILE_WIDTH } from './core/tile.ts';
import { HEAD_PATH, writeHead } from './head-file.ts';
import type { EntrySource } from './ledger-types.ts';
import { type SignedHead, parseSignedHead } from './core/signed-head.ts';
import { LogCopy, SIGNED_HEAD_PATH } from './log-copy.ts';
import { readEntries, readPayloads } from './log-folder.ts';
import { type LogSource, folderSource } from './log-source.ts';
import { prepareLogFolder } from './tile-store.ts';

export interface RestoreOptions {
  /** The mirror's copy of this log: `<mirror>/logs/<SHA-256 of origin>`, as folder or address. */
  readonly from: LogSource;
  /** A folder without a log. */
  readonly to: string;
  readonly origin: string;
  readonly policy: FinalityRules;
  readonly verify: Verify;
  /** The issuer, where content keys of the log were erased on its request. */
  readonly erasure?: Trust;
  /**
   * The journal that the log follows, in slices of one block; absent where it was lost too and the log goes on with a new
   * one from its first record.
   */
  readonly journal?: { readonly reader: JournalReader; readonly source: EntrySource };
}

export interface RestoredLog {
  /** Entries under the restored head. */
  readonly size: number;
  /** Entries under the restored checkpoint, which meets the policy; 0 where the mirror holds none yet. */
  readonly finalSize: number;
  /** Index of the first journal record that is not in the log yet. */
  readonly nextJournalIndex: number;
}

/** Finds the journal position behind the log's last entry, comparing every receipt's hash on the way. */
const findCursor = async (
  { reader, source }: NonNullable<RestoreOptions['journal']>,
  log: LogSource,
  size: number,
): Promise<Outcome<JournalPosition | undefined>> => {
  let position: JournalPosition | undefined;
  let payloads: readonly Uint8Array[] = [];
  // A shard's first entry is the checkpoint before it; what its predecessors hold is passed over.
  const [first] = size === 0 ? [] : await readEntries(log, 0, size);
  const start = first !== undefined && parseLeaf(first)?.kind === 'predecessor' ? 1 : 0;
  if (start === 1 && size === 1)
    return bad('a shard without a receipt says nothing of the journal');
  let at = start;
  let isPassing = start === 1;
  while (at < size) {
    const slice = await reader.readFrom(position);
    // A block may be a mark without records: the end is where reading does not move on.
    const { segment, offset } = slice.nextPosition;
    if (slice.records.length === 0 && position?.segment === segment && position.offset === offset) {
      return bad(`the journal ends before entry ${at} of the log`);
    }
    for (const { record, index } of slice.records) {
      for (const entry of await source(record, index)) {
        if (at >= size) return bad('the log ends inside a journal block: another journal');
        if (at % TILE_WIDTH === 0 || payloads.length === 0)
          payloads = await readPayloads(log, Math.floor(at / TILE_WIDTH), size);
        const logged = payloads[at % TILE_WIDTH]?.subarray(0, HASH_BYTES);
        if (logged === undefined || !bytesEqual(logged, entry.receiptPayloadHash)) {
          if (isPassing) continue;
          return bad(`journal record ${index} is not entry ${at} of the log: another journal`);
        }
        isPassing = false;
        at += 1;
      }
    }
    position = slice.nextPosition;
  }
  return ok(position);
};

/** What the mirror has to show before anything is copied. */
const readOffer = async (
  options: RestoreOptions,
): Promise<Outcome<{ head: SignedHead; note?: Uint8Array; finalSize: number }>> => {
  const { from, origin, policy, verify } = options;
  // Any log of the policy, so that the copy of another one is told from junk.
  const named = policySpans(policy).flatMap((span) => span.policy.logs.map((log) => log.key));
  const keys = [...logKeys(policy, origin), ...named];
  const signed = await from.read(SIGNED_HEAD_PATH);
  const note = await from.read(CHECKPOINT_PATH);
  if (signed === undefined) return bad(`${from.place} holds no copy of this log`);
  const head = parseSignedHead(signed, keys, verify);
  if (!head.ok) return bad(`${SIGNED_HEAD_PATH}: ${head.reason}`);
  const final = note && verifyFinalCheckpoint(note, policy, verify);
  if (final?.ok === false) return bad(`${CHECKPOINT_PATH}: ${final.reason}`);
  if (head.value.origin !== origin || (final && final.value.origin !== origin)) {
    return bad(`${from.place} is the copy of another log`);
  }
  // Lost before its first checkpoint came here: the log's own signature covers the copy, and the writer that goes on
  // from it has it confirmed by the quorum as after every start.
  if (note === undefined || final === undefined) return ok({ head: head.value, finalSize: 0 });
  const finalSize = final.value.size;
  return finalSize > head.value.size
    ? bad('the final checkpoint is larger than the copy')
    : ok({ head: head.value, note, finalSize });
};

const restoreInto = async (options: RestoreOptions): Promise<Outcome<RestoredLog>> => {
  const { from, to, origin, policy, verify, erasure, journal } = options;
  const offer = await readOffer(options);
  if (!offer.ok) return offer;
  const { head, note, finalSize } = offer.value;
  const keys = logKeys(policy, origin);
  const copy = await LogCopy.open(to, {
    origin,
    keys,
    verify,
    ...(erasure === undefined ? {} : { erasure }),
  });
  const copied = await copy.extend(from, head);
  if (!copied.ok) return copied;
  const final = note && verifyFinalCheckpoint(note, policy, verify);
  if (final && !(final.ok && bytesEqual(await copy.rootAt(finalSize), final.value.root))) {
    return bad('the final checkpoint is not of the copied tree');
  }
  const cursor = journal
    ? await findCursor(journal, folderSource(to), head.size)
    : ok<JournalPosition | undefined>(undefined);
  if (!cursor.ok) return cursor;
  if (note !== undefined) await writeFileDurable(join(to, CHECKPOINT_PATH), note, 0o644);
  const { size, root } = head;
  const at = cursor.value;
  await writeHead(to, at === undefined ? { size, root } : { size, root, cursor: at });
  await rm(join(to, SIGNED_HEAD_PATH), { force: true });
  return ok({ size, finalSize, nextJournalIndex: at?.nextIndex ?? 0 });
};

/**
 * Restores a log. May be called again after it was interrupted or refused.
 * @throws KiriError FOLDER_IN_USE where `to` has a head already; FOLDER_LOCKED, DISK_*, HTTP_*, LOG_*, JOURNAL_CORRUPT
 */
export const restoreLog = async (options: RestoreOptions): Promise<Outcome<RestoredLog>> => {
  const { to } = options;
  await prepareLogFolder(to);
  const unlock = lockFolder(join(to, 'state'));
  try {
    if ((await readIfPresent(join(to, HEAD_PATH))) !== undefined) {
      throw new KiriError('FOLDER_IN_USE', `${to} holds a log already; nothing was changed`);
    }
    return await restoreInto(options);
  } finally {
    unlock();
  }
};
