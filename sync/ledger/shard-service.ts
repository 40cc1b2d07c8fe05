/**
 * A gateway's log as a chain of quarterly shards: `<year>q<1-4>/` below one folder, each a log folder of its own. At the
 * quarter's end the old shard is closed, which means that all of it is final; then the new one is made, its first entry
 * naming the old one's last checkpoint and its cursor standing where the old one's stood. The new head, written last,
 * is the switch: until it is there the old shard goes on, so a crash anywhere loses and doubles nothing.
 */
import { readdir } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { readIfPresent, writeFileDurable } from '../../platform/durable-file.ts';
import { lockFolder } from '../../platform/folder-lock.ts';
import { makeFolder, syncFolderNow } from '../../platform/make-folder.ts';
import { toDiskError } from '../../platform/disk-error.ts';
import type { JournalPosition } from '../../platform/ports.ts';
import { KiriError } from '../../protocol/kiri-error.ts';
import type { ContentKeys } from './content-keys.ts';
import { verifyFinalCheckpoint } from './core/final-checkpoint.ts';
import { encodeNoteLeaf } from './core/leaf.ts';
import { appendBatch } from './core/log-batch.ts';
import type { LogPorts } from './core/log-writer-types.ts';
import type { Signer } from './core/note-key.ts';
import { RETENTION_PATH, type Retention, encodeRetention } from './core/retention.ts';
import { parseShard, quarterOf, shardOrigin } from './core/shard.ts';
import { emptyTree, treeRoot } from './core/tree.ts';
import { RoomWaiter } from './full-disk.ts';
import { HEAD_PATH, readHead, writeHead } from './head-file.ts';
import { startLedgerService } from './ledger-service.ts';
import type { LedgerService, LedgerServiceOptions, LedgerStatus } from './ledger-types.ts';
import { readCheckpoint } from './log-folder.ts';
import { folderSource } from './log-source.ts';
import { prepareLogFolder, writeLogFiles } from './tile-store.ts';

/** How often the clock is compared with the shard. */
const CHECK_INTERVAL_MS = 1_000;
/** The journal is not read on for this long at most; then the old shard goes on and closing is tried later. */
const CLOSING_LIMIT_MS = 30_000;
const POLL_MS = 20;

export interface ShardedLedgerOptions extends Omit<
  LedgerServiceOptions,
  'root' | 'ports' | 'keys' | 'shard'
> {
  /** Holds a folder per shard. */
  readonly root: string;
  readonly prefix: string;
  readonly ports: Omit<LogPorts, 'origin' | 'signer'>;
  /** The log's key under the name of a shard. */
  readonly signerFor: (origin: string) => Signer;
  /** Content keys of a shard's folder. */
  readonly keysFor: (root: string) => ContentKeys;
  /** Stated by every shard from its start on; absent: nothing is ever retired. */
  readonly retention?: Retention;
  /** Default 1 s. */
  readonly checkIntervalMs?: number;
}

/** Where the journal begins, for a reader that is held before its first record. */
const START: JournalPosition = { segment: 0, offset: 0, nextIndex: 0, head: '' };

const nameOf = (origin: string): string => origin.slice(origin.lastIndexOf('/') + 1);

/** Shards of the prefix that have a head, oldest first: the last one is the one that goes on. */
const shardsIn = async (root: string, prefix: string): Promise<string[]> => {
  const found: { readonly origin: string; readonly index: number }[] = [];
  for (const name of await readdir(root)) {
    const origin = `${prefix}/${name}`;
    const shard = parseShard(origin);
    if (shard === undefined || shard.prefix !== prefix) continue;
    if ((await readIfPresent(join(root, name, HEAD_PATH))) === undefined) continue;
    found.push({ origin, index: shard.index });
  }
  return found.toSorted((a, b) => a.index - b.index).map(({ origin }) => origin);
};

/**
 * Makes a shard that follows another, up to its stored head; nothing is signed here. Called again after a crash it
 * writes the same files.
 * @throws KiriError DISK_*, STATE_CORRUPT; LOG_NOT_FINAL where the predecessor has entries that are not final
 */
export const beginShard = async (
  root: string,
  predecessor: { readonly root: string; readonly origin: string },
  ports: ShardedLedgerOptions['ports'],
): Promise<void> => {
  const head = await readHead(predecessor.root);
  const note = await readCheckpoint(folderSource(predecessor.root));
  const final = note && verifyFinalCheckpoint(note, ports.policy, ports.verify);
  if (note === undefined || final?.ok !== true || final.value.origin !== predecessor.origin) {
    const why = final?.ok === false ? final.reason : 'no checkpoint of this log';
    throw new KiriError('LOG_NOT_FINAL', `${predecessor.root}: ${why}`);
  }
  if (final.value.size !== head.size) {
    throw new KiriError('LOG_NOT_FINAL', `${predecessor.root}: ${head.size} entries recorded`);
  }
  const leaf = encodeNoteLeaf('predecessor', final.value.note.text, ports.hash);
  const tree = emptyTree();
  const entry = { leaf, payload: new Uint8Array(note), acceptedAtMs: 0 };
  await prepareLogFolder(root);
  // Also where an attempt before this one made the folder: a shard that is signed for must not vanish in a power cut.
  try {
    syncFolderNow(dirname(root));
  } catch (error) {
    throw toDiskError(error, 'open shards in', dirname(root));
  }
  const bundle = { leaves: [], payloads: [] };
  await writeLogFiles(root, appendBatch(tree, bundle, [entry], ports.hash));
  const { cursor, throughSequence } = head;
  await writeHead(root, {
    size: 1,
    root: treeRoot(tree, ports.hash),
    ...(cursor === undefined ? {} : { cursor }),
    ...(throughSequence === undefined ? {} : { throughSequence }),
  });
};

/**
 * Whether a quarter is at most the one after that of the last cosignature: a clock that leaps years ahead would open a shard
 * that no witness takes, and there would be no way back from it. A log that runs sees every quarter.
 */
const isWitnessed = async (
  shard: { readonly root: string; readonly origin: string },
  quarter: number,
  { policy, verify }: ShardedLedgerOptions['ports'],
): Promise<boolean> => {
  const note = await readCheckpoint(folderSource(shard.root));
  const final = note && verifyFinalCheckpoint(note, policy, verify);
  if (final?.ok !== true) return false;
  const times = [...final.value.cosignedAtS.values()];
  return times.length === 0 || quarter <= quarterOf(1000 * Math.max(...times)) + 1;
};

/** Nothing is on its way: all that was read is recorded, all that is recorded is final. */
const isQuiet = ({ phase, queuedLeaves, recordedSize, finalSize }: LedgerStatus): boolean =>
  phase.kind === 'running' && queuedLeaves === 0 && recordedSize === finalSize;

/** What a chain of shards shows: the shard that is written now, in the terms of a single log. */
export interface ShardedLedger extends LedgerService {
  /** Origin of the shard that is written. */
  origin(): string;
}

class ShardHost implements ShardedLedger {
  readonly #options: ShardedLedgerOptions;
  readonly #gate: Gate;
  readonly #unlock: () => void;
  readonly #timer: NodeJS.Timeout;
  #origin: string;
  #service: LedgerService;
  #isUp: boolean;
  #isClosed = false;
  #turning: Promise<void> | undefined;
  readonly #room = new RoomWaiter();
  #trouble: string | undefined;

  constructor(
    options: ShardedLedgerOptions,
    gate: Gate,
    origin: string,
    service: LedgerService,
    unlock: () => void,
  ) {
    this.#options = options;
    this.#gate = gate;
    this.#origin = origin;
    this.#service = service;
    this.#unlock = unlock;
    this.#isUp = options.linkUp ?? true;
    const intervalMs = options.checkIntervalMs ?? CHECK_INTERVAL_MS;
    this.#timer = setInterval(() => this.#check(), intervalMs);
  }

  origin(): string {
    return this.#origin;
  }

  status(): LedgerStatus {
    const storageTrouble = this.#room.trouble;
    const status = {
      ...this.#service.status(),
      ...(storageTrouble === undefined ? {} : { storageTrouble }),
    };
    if (this.#trouble === undefined) return status;
    const phase = { kind: 'stopped', reason: 'STORAGE_FAILED', detail: this.#trouble } as const;
    return { ...status, phase };
  }

  setLink(up: boolean): void {
    this.#isUp = up;
    this.#service.setLink(up);
  }

  async close(): Promise<void> {
    this.#isClosed = true;
    this.#room.close();
    clearInterval(this.#timer);
    await this.#turning;
    if (this.#trouble === undefined) await this.#service.close();
    this.#unlock();
  }

  /** Offline at the quarter's end the old shard goes on: only what is wholly final is closed. */
  #check(): void {
    const quarter = quarterOf(this.#options.clock.now().unixMs);
    const isOver = quarter > (parseShard(this.#origin)?.index ?? quarter);
    if (this.#turning !== undefined || this.#isClosed || !isOver) return;
    const { phase, recordedSize, finalSize } = this.#service.status();
    if (this.#trouble !== undefined || phase.kind !== 'running' || recordedSize !== finalSize)
      return;
    this.#turning = this.#turn(quarter)
      .catch((error: unknown) => {
        this.#trouble = error instanceof Error ? error.message : String(error);
      })
      .finally(() => {
        this.#gate.isHeld = false;
        this.#turning = undefined;
      });
  }

  async #turn(quarter: number): Promise<void> {
    const { root, prefix, ports, clock } = this.#options;
    const old = { root: join(root, nameOf(this.#origin)), origin: this.#origin };
    if (!(await isWitnessed(old, quarter, ports))) return;
    this.#gate.isHeld = true;
    const limitMs = clock.now().monotonicMs + CLOSING_LIMIT_MS;
    while (!isQuiet(this.#service.status())) {
      if (this.#isClosed || clock.now().monotonicMs > limitMs) return;
      await new Promise((resolve) => setTimeout(resolve, POLL_MS));
    }
    await this.#service.close();
    const next = shardOrigin({ prefix, index: quarter });
    let { origin } = old;
    try {
      await this.#room.write(() => beginShard(join(root, nameOf(next)), old, ports));
      origin = next;
    } catch (error) {
      // A batch was still on its way: the old shard goes on and is closed at another check.
      if (!(error instanceof KiriError) || error.code !== 'LOG_NOT_FINAL') throw error;
    }
    this.#service = await this.#room.write(() =>
      openShard(this.#options, this.#gate, origin, this.#isUp),
    );
    // With its writer: until then what is shown is the old shard's, under its own name.
    this.#origin = origin;
  }
}

/** Lets the journal be read, or not, while a shard is closed. */
interface Gate {
  isHeld: boolean;
}

/** A shard keeps what it has stated: another configuration counts from the next one on. */
const stateRetention = async (root: string, retention: Retention): Promise<void> => {
  const path = join(root, RETENTION_PATH);
  if ((await readIfPresent(path)) !== undefined) return;
  await writeFileDurable(path, encodeRetention(retention), 0o644);
};

const openShard = async (
  options: ShardedLedgerOptions,
  gate: Gate,
  origin: string,
  linkUp: boolean,
): Promise<LedgerService> => {
  const { reader, ports, signerFor, keysFor } = options;
  const root = join(options.root, nameOf(origin));
  if (options.retention !== undefined) await stateRetention(root, options.retention);
  const chain = await shardsIn(options.root, options.prefix);
  const predecessor = chain[chain.indexOf(origin) - 1];
  // A shard is begun only when all of the one before is final.
  const finalBefore =
    predecessor === undefined
      ? undefined
      : (await readHead(join(options.root, nameOf(predecessor)))).throughSequence;
  return startLedgerService({
    ...options,
    root,
    ports: { ...ports, origin, signer: signerFor(origin) },
    keys: keysFor(root),
    linkUp,
    shard: { root: options.root, ...(finalBefore === undefined ? {} : { finalBefore }) },
    reader: {
      readFrom: (position) =>
        gate.isHeld
          ? Promise.resolve({ records: [], nextPosition: position ?? START })
          : reader.readFrom(position),
    },
  });
};

/**
 * Starts the writer of a chain of shards: in the newest shard that has a head, or in the first one.
 * @throws KiriError DISK_*, FOLDER_LOCKED, STATE_CORRUPT, LOG_INCOMPLETE, LOG_CORRUPT
 */
export const startShardedLedger = async (options: ShardedLedgerOptions): Promise<ShardedLedger> => {
  const { root, prefix, clock } = options;
  makeFolder(join(root, 'state'));
  const unlock = lockFolder(root);
  try {
    const first = shardOrigin({ prefix, index: quarterOf(clock.now().unixMs) });
    const origin = (await shardsIn(root, prefix)).at(-1) ?? first;
    const gate = { isHeld: false };
    const service = await openShard(options, gate, origin, options.linkUp ?? true);
    return new ShardHost(options, gate, origin, service, unlock);
  } catch (error) {
    unlock();
    throw error;
  }
};
