/**
 * Runs the log writer over the real journal, disk, clock and witnesses. It holds no rule of its own: every effect of the
 * core is carried out and its end handed back as an input.
 */
import { join } from 'node:path';
import { writeFileDurable } from '../../platform/durable-file.ts';
import { lockFolder } from '../../platform/folder-lock.ts';
import type { JournalPosition } from '../../platform/ports.ts';
import { invariant } from '../../protocol/kiri-error.ts';
import { encodeNoteLeaf } from './core/leaf.ts';
import { CHECKPOINT_PATH, type LogEntry } from './core/log-batch.ts';
import type { LogEffect, LogInput, LogWriterState } from './core/log-writer-types.ts';
import { statedUrls } from './core/policy-book.ts';
import { startLogWriter, stepLogWriter, wantsEntries } from './core/log-writer.ts';
import { parseNote } from './core/note.ts';
import { type FinalityRecorder, finalityRecorder } from './finality-file.ts';
import { RoomWaiter } from './full-disk.ts';
import { findLog } from './found-log.ts';
import { writeHead } from './head-file.ts';
import { type LevelBook, openLevelBook } from './level-book.ts';
import type {
  LedgerEntry,
  LedgerService,
  LedgerServiceOptions,
  LedgerStatus,
  NoteEntry,
} from './ledger-types.ts';
import { consistencyProof } from './log-folder.ts';
import { folderSource } from './log-source.ts';
import { leafOfRecord, sealPayload } from './payload-record.ts';
import { prepareLogFolder, writeLogFiles } from './tile-store.ts';
import { WitnessUplink } from './witness-uplink.ts';

/** How often the journal is looked at, and the core's tick. */
const POLL_INTERVAL_MS = 50;

type Ask = Extract<LogEffect, { kind: 'requestCosignature' }>;

const reasonOf = (error: unknown): string =>
  error instanceof Error ? error.message : String(error);

class LedgerHost implements LedgerService {
  readonly #options: LedgerServiceOptions;
  readonly #state: LogWriterState;
  readonly #finality: FinalityRecorder;
  readonly #levels: LevelBook;
  readonly #uplink: WitnessUplink;
  readonly #unlock: () => void;
  readonly #running = new Set<Promise<void>>();
  readonly #timer: NodeJS.Timeout;
  #position: JournalPosition | undefined;
  #reading: Promise<void> | undefined;
  #isUp: boolean;
  #isBehind = false;
  #checkpoints = 0;
  #isClosed = false;
  readonly #room = new RoomWaiter();

  constructor(
    options: LedgerServiceOptions,
    state: LogWriterState,
    finality: FinalityRecorder,
    levels: LevelBook,
    unlock: () => void,
  ) {
    this.#options = options;
    this.#state = state;
    this.#finality = finality;
    this.#levels = levels;
    const witnessUrls = new Map([...statedUrls(options.ports.policy), ...options.witnessUrls]);
    this.#uplink = new WitnessUplink({ ...options, witnessUrls });
    this.#unlock = unlock;
    this.#position = state.head.cursor;
    this.#isUp = options.linkUp ?? true;
    this.#timer = setInterval(() => this.#poll(), POLL_INTERVAL_MS);
    this.#poll();
  }

  status(): LedgerStatus {
    const { phase, head, finalSize, queuedLeaves, witnesses } = this.#state;
    return {
      phase,
      recordedSize: head.size,
      finalSize: Math.max(0, finalSize),
      queuedLeaves,
      nextJournalIndex: this.#position?.nextIndex ?? 0,
      witnesses: witnesses.map(({ name, cosignedSize, trouble }) => ({
        name,
        cosignedSize,
        ...(trouble === undefined ? {} : { trouble }),
      })),
      levels: this.#levels.levels(this.#state, this.#isBehind, this.#options.clock.now().unixMs),
      uplink: this.#uplinkStatus(),
      ...(this.#room.trouble === undefined ? {} : { storageTrouble: this.#room.trouble }),
    };
  }

  #uplinkStatus(): LedgerStatus['uplink'] {
    const counts = this.#uplink.counts();
    const checkpoints = this.#checkpoints;
    const each = (bytes: number): number => Math.round(bytes / Math.max(1, checkpoints));
    return {
      ...counts,
      isUp: this.#isUp,
      checkpoints,
      bytesUpPerCheckpoint: each(counts.bytesUp),
      bytesDownPerCheckpoint: each(counts.bytesDown),
    };
  }

  setLink(up: boolean): void {
    this.#isUp = up;
    if (up) this.#feed({ kind: 'linkUp' });
  }

  async close(): Promise<void> {
    this.#isClosed = true;
    this.#room.close();
    clearInterval(this.#timer);
    await Promise.allSettled([...this.#running, this.#reading]);
    await this.#finality.flush();
    await this.#levels.store(this.#state, this.#isBehind, this.#options.clock.now().unixMs);
    this.#unlock();
  }

  #poll(): void {
    this.#feed({ kind: 'tick' });
    this.#levels.tick(this.#state, this.#isBehind, this.#options.clock.now());
    this.#reading ??= this.#readOn()
      .catch((error: unknown) => this.#feed({ kind: 'storageFailed', detail: reasonOf(error) }))
      .finally(() => {
        this.#reading = undefined;
      });
  }

  #feed(input: LogInput): void {
    if (this.#isClosed) return;
    const { clock, ports } = this.#options;
    const effects = stepLogWriter(this.#state, input, clock.now(), ports);
    const asks = effects.filter((effect) => effect.kind === 'requestCosignature');
    if (asks.length > 0) this.#track(this.#askAll(asks));
    for (const effect of effects) {
      if (effect.kind !== 'requestCosignature') this.#track(this.#perform(effect));
    }
  }

  #track(work: Promise<LogInput | undefined>): void {
    const task = work
      .catch((error: unknown) => ({ kind: 'storageFailed', detail: reasonOf(error) }) as const)
      .then((next) => {
        this.#running.delete(task);
        if (next !== undefined) this.#feed(next);
      });
    this.#running.add(task);
  }

  async #perform(effect: Exclude<LogEffect, Ask>): Promise<LogInput | undefined> {
    const { root } = this.#options;
    switch (effect.kind) {
      case 'writeBatch':
        await this.#room.write(() => writeLogFiles(root, effect));
        return { kind: 'batchWritten', size: effect.size };
      case 'persistHead':
        await this.#room.write(() => writeHead(root, effect.head));
        return { kind: 'headPersisted', size: effect.head.size };
      case 'publish':
        await this.#room.write(() =>
          writeFileDurable(join(root, CHECKPOINT_PATH), effect.checkpoint, 0o644),
        );
        return { kind: 'published', size: effect.size };
      case 'recorded':
      case 'final':
        this.#finality.add(effect);
        this.#levels.note(effect);
        if (effect.kind === 'final') this.#checkpoints += 1;
        return undefined;
      case 'stopped':
        return undefined;
    }
  }

  /** One proof for each size that is asked from, however many witnesses stand there. */
  async #askAll(asks: readonly Ask[]): Promise<LogInput | undefined> {
    const { root, ports, clock } = this.#options;
    const [first] = asks;
    if (first === undefined) return undefined;
    if (!this.#isUp) {
      for (const { witness } of asks) {
        this.#feed({ kind: 'witnessFailed', witness, trouble: 'the uplink is down' });
      }
      return undefined;
    }
    const { size, checkpoint } = first;
    const proofs = new Map<number, readonly Uint8Array[]>();
    for (const { oldSize } of asks) {
      if (proofs.has(oldSize)) continue;
      proofs.set(oldSize, await consistencyProof(folderSource(root), oldSize, size, ports.hash));
    }
    const round = {
      size,
      checkpoint,
      proofs,
      asks: asks.map(({ witness, oldSize }) => {
        const link = this.#state.witnesses.find(({ name }) => name === witness);
        const { failures = 0, cosignedSize = 0 } = link ?? {};
        return { witness, oldSize, failures, cosignedSize };
      }),
    };
    await this.#uplink.request(round, clock.now().monotonicMs, (input) => this.#feed(input));
    return undefined;
  }

  async #readOn(): Promise<void> {
    const { reader, source } = this.#options;
    while (!this.#isClosed && wantsEntries(this.#state)) {
      const slice = await reader.readFrom(this.#position);
      const entries: LogEntry[] = [];
      for (const { record, index } of slice.records) {
        for (const entry of await source(record, index)) entries.push(await this.#seal(entry));
      }
      this.#position = slice.nextPosition;
      this.#isBehind = slice.records.length > 0;
      if (!this.#isBehind) return;
      this.#feed({ kind: 'entries', entries, cursor: slice.nextPosition });
    }
  }

  #noteEntry({ leafKind, note, acceptedAtMs }: NoteEntry): LogEntry {
    const parsed = parseNote(note);
    invariant(parsed.ok, 'an entry’s note was read before it was journalled');
    const leaf = encodeNoteLeaf(leafKind, parsed.value.text, this.#options.ports.hash);
    return { leaf, payload: note, acceptedAtMs };
  }

  async #seal(entry: LedgerEntry | NoteEntry): Promise<LogEntry> {
    if ('note' in entry) return this.#noteEntry(entry);
    const { keys } = this.#options;
    invariant(keys !== undefined, 'receipts are logged under content keys');
    const key = await this.#room.write(() => keys.keyFor(entry));
    const payload = sealPayload(entry.payloadPlain, entry.receiptPayloadHash, key);
    const leaf = leafOfRecord(payload, this.#options.ports.hash) ?? new Uint8Array(0);
    const { acceptedAtMs, sequence } = entry;
    return { leaf, payload, acceptedAtMs, ...(sequence === undefined ? {} : { sequence }) };
  }
}

/**
 * Starts the log writer in `options.root`.
 * @throws KiriError DISK_*, FOLDER_LOCKED, STATE_CORRUPT, LOG_INCOMPLETE, LOG_CORRUPT
 */
export const startLedgerService = async (options: LedgerServiceOptions): Promise<LedgerService> => {
  const { root, ports } = options;
  await prepareLogFolder(root);
  const unlock = lockFolder(join(root, 'state'));
  try {
    const state = startLogWriter(await findLog(root, ports), ports);
    const levels = await openLevelBook(root, ports, state, options.shard);
    return new LedgerHost(options, state, await finalityRecorder(root), levels, unlock);
  } catch (error) {
    unlock();
    throw error;
  }
};
