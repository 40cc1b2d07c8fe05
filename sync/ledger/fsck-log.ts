/**
 * Full check of a log folder at rest: everything that a stranger can check (verify-log.ts), and what only its owner has:
 * the stored head against tiles, entries and payloads beyond the published checkpoint, leftovers, the measurements.
 * A problem is something that must not be; a note is something that a crash may leave behind and nothing depends on.
 */
import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import type { Trust } from '../../identity/core/chain.ts';
import { toDiskError } from '../../platform/disk-error.ts';
import { readIfPresent } from '../../platform/durable-file.ts';
import { bytesEqual, toHex } from '../../protocol/bytes.ts';
import { KiriError } from '../../protocol/kiri-error.ts';
import { CONTENT_KEYS_PATH, kidOfStoredKey, wrappedKeyPath } from './content-keys.ts';
import { payloadPath } from './core/log-batch.ts';
import { type GrowingCopy, growCopy, reaches } from './core/mirror.ts';
import type { Verify } from './core/note-key.ts';
import type { FinalityRules } from './core/policy-book.ts';
import { TILE_WIDTH, bundleLength, parseTilePath, tileWidth } from './core/tile.ts';
import { emptyTree, treeRoot } from './core/tree.ts';
import { tombstonePath } from './erasure.ts';
import { FINALITY_PATH } from './finality-file.ts';
import { HEAD_PATH, readHead } from './head-file.ts';
import { nativeHash } from './log-copy.ts';
import { readEntries, readPayloads, readTree } from './log-folder.ts';
import { rootOfEntries } from './log-root.ts';
import { folderSource } from './log-source.ts';
import { parsePayloadRecord } from './payload-record.ts';
import { type LogReport, verifyLog } from './verify-log.ts';

interface Remark {
  /** Below the log's folder. */
  readonly path: string;
  readonly reason: string;
}

export interface FsckReport {
  /** Entries under the stored head (L1); absent where there is none or it cannot be read. */
  readonly recordedSize?: number;
  /** Entries under the published checkpoint that meets the policy (L2). */
  readonly finalSize?: number;
  /** Content keys that are there, and those that were erased on the issuer's request. */
  readonly keys?: { readonly held: number; readonly issuerOnly: number; readonly erased: number };
  /** When the payloads were deleted under the stated retention, POSIX seconds. */
  readonly retiredS?: number;
  readonly problems: readonly Remark[];
  readonly notes: readonly Remark[];
}

const TEMPORARY = /\.[0-9a-f]{16}\.tmp$/;

const filesBelow = async (root: string): Promise<string[]> => {
  try {
    const entries = await readdir(root, { recursive: true, withFileTypes: true });
    return entries
      .filter((entry) => entry.isFile())
      .map((entry) => join(entry.parentPath, entry.name).slice(join(root, '/').length))
      .toSorted();
  } catch (error) {
    throw toDiskError(error, 'read log folder', root);
  }
};

/** The tiles' edge and the entries of a retired log, whose payloads are gone. */
const checkBareHead = async (
  root: string,
  { size, root: head }: { size: number; root: Uint8Array },
): Promise<Remark[]> => {
  const source = folderSource(root);
  const edge = treeRoot(await readTree(source, size, nativeHash), nativeHash);
  const same = bytesEqual(edge, head) && bytesEqual(await rootOfEntries(source, size), head);
  return same
    ? []
    : [{ path: HEAD_PATH, reason: 'tiles or entries do not lead to the stored head' }];
};

/**
 * Recomputes the tree of the stored head from entries and payloads alone, and compares the tiles' edge with it.
 * @param named gets the files of the content keys that its records name
 */
const checkHead = async (
  root: string,
  { size, root: head }: { size: number; root: Uint8Array },
  named: Set<string>,
): Promise<Remark[]> => {
  const source = folderSource(root);
  const copy: GrowingCopy = { tree: emptyTree(), bundle: { leaves: [], payloads: [] } };
  for (let index = 0; copy.tree.size < size; index += 1) {
    const [leaves, payloads] = [
      await readEntries(source, index, size),
      await readPayloads(source, index, size),
    ];
    const grown = growCopy(copy, { leaves, payloads }, nativeHash);
    if (!grown.ok) return [{ path: payloadPath(index), reason: grown.reason }];
    for (const record of payloads) {
      const kid = parsePayloadRecord(record)?.kid;
      if (kid !== undefined) named.add(wrappedKeyPath(toHex(kid)));
    }
  }
  if (!reaches(copy, { size, root: head }, nativeHash)) {
    return [{ path: HEAD_PATH, reason: 'the entries do not lead to the stored head' }];
  }
  const edge = treeRoot(await readTree(source, size, nativeHash), nativeHash);
  const same = bytesEqual(edge, head);
  return same ? [] : [{ path: HEAD_PATH, reason: 'the tiles do not lead to the stored head' }];
};

/** What a batch left behind the stored head's last record when it was interrupted. */
const checkTail = async (root: string, size: number): Promise<Remark[]> => {
  const source = folderSource(root);
  const index = Math.floor(size / TILE_WIDTH);
  const path = payloadPath(index);
  const bytes = await source.read(path);
  if (bytes === undefined) return [];
  const tail = bytes.length - bundleLength(await readPayloads(source, index, size));
  const reason = `${tail} bytes behind the last record, under no head: the next batch cuts them off`;
  return tail === 0 ? [] : [{ path, reason }];
};

/** A file that the checkpoint does not cover: explained by the stored head, or a leftover. */
const remarkOn = (path: string, size: number): Remark | undefined => {
  const tile = parseTilePath(path.startsWith('tlog/') ? path.slice('tlog/'.length) : '');
  if (!tile.ok) {
    const isPayload = /^payload\/(?:x[0-9]{3}\/)*[0-9]{3}$/.test(path);
    // A payload bundle grows in place; keys are looked at by checkContentKeys.
    return isPayload || path.startsWith('keys/') ? undefined : { path, reason: 'is unknown' };
  }
  const { level, index, width } = tile.value;
  const covered = width <= tileWidth(size, level === 'entries' ? 0 : level, index);
  return covered
    ? undefined
    : { path, reason: 'lies beyond the stored head: written, never signed' };
};

/** Partial tiles beside their full one: a crash came between writing and removing. */
const stalePartials = (paths: readonly string[]): Remark[] => {
  const all = new Set(paths);
  return paths.flatMap((path) => {
    const [, full] = /^(tlog\/tile\/.+)\.p\/[0-9]+$/.exec(path) ?? [];
    const isStale = full !== undefined && all.has(full);
    return isStale ? [{ path, reason: 'stale partial tile: the full one is there' }] : [];
  });
};

const checkFinality = async (root: string, size: number): Promise<Remark[]> => {
  const text = (await readIfPresent(join(root, FINALITY_PATH)))?.toString('utf8') ?? '';
  const lines = text.split('\n').slice(0, -1);
  let damaged = 0;
  let beyond = 0;
  for (const line of lines) {
    try {
      const event = JSON.parse(line) as { readonly size?: unknown };
      if (typeof event.size !== 'number') damaged += 1;
      else if (event.size > size) beyond += 1;
    } catch {
      damaged += 1;
    }
  }
  const remarks: Remark[] = [];
  if (damaged > 0) remarks.push({ path: FINALITY_PATH, reason: `${damaged} lines are damaged` });
  if (beyond > 0) {
    remarks.push({ path: FINALITY_PATH, reason: `${beyond} lines name more than the stored head` });
  }
  return remarks;
};

/** Wrapped keys that no record names and that the writer does not use: a crash came while a key was made. */
const unusedKeys = async (
  root: string,
  paths: readonly string[],
  uncovered: readonly string[],
  named: ReadonlySet<string>,
): Promise<Remark[]> => {
  const inUse = new Set(named);
  for (const path of paths.filter((one) => one.startsWith(`${CONTENT_KEYS_PATH}/`))) {
    const stored = (await readIfPresent(join(root, path))) ?? new Uint8Array(0);
    inUse.add(wrappedKeyPath(kidOfStoredKey(stored)));
  }
  const reason =
    'is a content key that no record names: made before a crash; a restored log is without it, and it may be deleted';
  return uncovered
    .filter((path) => path.startsWith('keys/') && !inUse.has(path))
    .map((path) => ({ path, reason }));
};

/** Plain content keys: an erased one must not be there, and each belongs to a wrapped file. */
const checkContentKeys = async (root: string, paths: readonly string[]): Promise<Remark[]> => {
  const all = new Set(paths);
  const remarks: Remark[] = [];
  for (const path of paths.filter((one) => one.startsWith(`${CONTENT_KEYS_PATH}/`))) {
    const kid = kidOfStoredKey((await readIfPresent(join(root, path))) ?? new Uint8Array(0));
    if (all.has(tombstonePath(kid))) {
      remarks.push({ path, reason: 'is the plain copy of an erased key: erase it again' });
    } else if (!all.has(wrappedKeyPath(kid))) {
      remarks.push({ path, reason: `belongs to no file of keys/: the issuer cannot open it` });
    }
  }
  return remarks;
};

/** The stored head, or what is wrong with its file. */
const findHead = async (
  root: string,
  hasFile: boolean,
): Promise<{ size: number; root: Uint8Array } | string> => {
  if (!hasFile) return 'is missing: nothing says what this log may sign';
  try {
    return await readHead(root);
  } catch (error) {
    if (error instanceof KiriError && error.code === 'STATE_CORRUPT') return 'is damaged';
    throw error;
  }
};

const keysOf = ({
  held,
  issuerOnly,
  erased,
}: NonNullable<LogReport['keys']>): NonNullable<FsckReport['keys']> => ({
  held,
  issuerOnly,
  erased,
});

const checkState = async (
  root: string,
  head: { size: number; root: Uint8Array },
  {
    finalSize,
    paths,
    uncovered,
    isRetired,
  }: { finalSize: number; isRetired: boolean } & Record<'paths' | 'uncovered', readonly string[]>,
): Promise<{ problems: readonly Remark[]; notes: readonly Remark[] }> => {
  if (finalSize > head.size) {
    const reason = `is older than the published ${finalSize} entries: put the newer one back, or restore`;
    return { problems: [{ path: HEAD_PATH, reason }], notes: [] };
  }
  const named = new Set<string>();
  try {
    if (isRetired) return { problems: await checkBareHead(root, head), notes: [] };
    const problems = await checkHead(root, head, named);
    if (problems.length > 0) return { problems, notes: [] };
    const unused = await unusedKeys(root, paths, uncovered, named);
    return { problems, notes: [...unused, ...(await checkTail(root, head.size))] };
  } catch (error) {
    if (!(error instanceof KiriError) || !error.code.startsWith('LOG_')) throw error;
    return { problems: [{ path: HEAD_PATH, reason: error.message }], notes: [] };
  }
};

/**
 * Checks a log folder that no writer is working on.
 * @param trust the issuer; needed where content keys were erased on its request
 * @param nowS POSIX seconds, default now
 * @throws KiriError DISK_*: an unreadable disk is no verdict
 */
export const fsckLog = async (
  root: string,
  policy: FinalityRules,
  verify: Verify,
  trust?: Trust,
  nowS?: number,
): Promise<FsckReport> => {
  const paths = await filesBelow(root);
  const temporary = paths.filter((path) => TEMPORARY.test(path));
  const served = paths.filter((path) => /^(?:tlog|payload|keys|erased)\//.test(path));
  const counted = served.filter((path) => !TEMPORARY.test(path));
  const stale = stalePartials(counted);
  const report = await verifyLog(folderSource(root), counted, policy, verify, trust, nowS);
  const { retired } = report;
  const problems: Remark[] = [...report.problems];
  const notes: Remark[] = [
    ...stale,
    ...(report.keys?.unconfirmed ?? []),
    ...(retired?.left ?? []).map((path) => ({
      path,
      reason: 'is retired and still there: call retire again',
    })),
    ...temporary.map((path) => ({ path, reason: 'left by a crash; the next start removes it' })),
  ];
  problems.push(
    ...(await checkContentKeys(
      root,
      paths.filter((path) => !TEMPORARY.test(path)),
    )),
  );
  const finalSize = report.head?.size;
  const head = await findHead(root, paths.includes(HEAD_PATH));
  if (typeof head === 'string') problems.push({ path: HEAD_PATH, reason: head });
  else {
    const { uncovered } = report;
    const isRetired = retired !== undefined;
    const state = await checkState(root, head, {
      finalSize: finalSize ?? 0,
      paths,
      uncovered,
      isRetired,
    });
    problems.push(...state.problems);
    notes.push(...state.notes);
    for (const path of uncovered) {
      const remark = remarkOn(path, head.size);
      if (remark !== undefined) notes.push(remark);
    }
    notes.push(...(await checkFinality(root, head.size)));
  }
  return {
    ...(typeof head === 'string' ? {} : { recordedSize: head.size }),
    ...(finalSize === undefined ? {} : { finalSize }),
    ...(report.keys === undefined ? {} : { keys: keysOf(report.keys) }),
    ...(retired === undefined ? {} : { retiredS: retired.retiredS }),
    problems,
    notes,
  };
};
