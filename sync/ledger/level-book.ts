/** Keeps a log's levels at hand and in `state/levels`, for the gateway beside the log and for `kiri status`. */
import type { Now } from '../../platform/ports.ts';
import { toHex } from '../../protocol/bytes.ts';
import type { LevelMark, LogLevels } from '../../protocol/levels.ts';
import { LevelMeter } from './core/level-meter.ts';
import type { LogEffect, LogPorts, LogWriterState } from './core/log-writer-types.ts';
import { readAnchored, readLevels, writeLevels } from './levels-file.ts';

/** The file follows what changed within this time. */
const WRITE_INTERVAL_MS = 250;
/** How often `state/anchored` is looked at. */
const ANCHOR_INTERVAL_MS = 5_000;

const markOf = (size: number, throughSequence: number | undefined): LevelMark =>
  throughSequence === undefined ? { size } : { size, throughSequence };

/** The chain that a log is a shard of. */
export interface ShardLevels {
  /** The chain's folder: its `state/levels` is always that of the shard that is written. */
  readonly root: string;
  /** Sequence that the shards before reach; all of them are final. */
  readonly finalBefore?: number;
}

type Noted = Extract<LogEffect, { kind: 'recorded' | 'final' }>;

export class LevelBook {
  readonly #root: string;
  readonly #ports: LogPorts;
  readonly #shard: ShardLevels | undefined;
  readonly #meter: LevelMeter;
  #finalSize: number;
  #anchored: { size: number; ref: string } | undefined;
  /** The mark below the anchor that an earlier run knew. */
  #anchoredMark: LevelMark | undefined;
  #written = '';
  #writtenAtMs = -Infinity;
  #anchorAtMs = -Infinity;
  #task: Promise<void> | undefined;

  constructor(
    root: string,
    ports: LogPorts,
    finalSize: number,
    last: LogLevels | undefined,
    shard: ShardLevels | undefined,
  ) {
    this.#root = root;
    this.#shard = shard;
    this.#ports = ports;
    this.#finalSize = finalSize;
    const oldestMs = last?.oldestUnfinalMs;
    const isSame = last?.final.size === finalSize && oldestMs !== undefined;
    this.#meter = new LevelMeter(isSame ? { size: last.recorded.size, oldestMs } : undefined);
    this.#anchored = last?.anchored;
    this.#anchoredMark = last?.anchored && { ...last.anchored };
  }

  note(effect: Noted): void {
    if (effect.kind === 'recorded') {
      this.#meter.recorded(effect.size, effect.acceptedAtMs);
      return;
    }
    const { size, throughSequence, atMs } = effect;
    this.#meter.final(markOf(size, throughSequence), this.#finalSize, atMs);
    this.#finalSize = size;
  }

  levels(state: LogWriterState, isBehindJournal: boolean, nowMs: number): LogLevels {
    const { head, queue } = state;
    const finalSize = Math.max(0, state.finalSize);
    const backlog = head.size + state.queuedLeaves - finalSize;
    const drainPerS = this.#meter.drainPerS(nowMs);
    const oldest = this.#meter.oldestUnfinalMs ?? queue[0]?.entries[0]?.acceptedAtMs;
    return {
      origin: this.#ports.origin,
      recorded: markOf(head.size, head.throughSequence),
      final: markOf(finalSize, state.finalSequence ?? this.#shard?.finalBefore),
      policyHash: toHex(state.span.policy.hash),
      ...(this.#anchored === undefined ? {} : { anchored: this.#anchoredLevel(finalSize) }),
      backlog,
      isBehindJournal,
      drainPerS,
      ...(drainPerS > 0 && backlog > 0 ? { etaS: backlog / drainPerS } : {}),
      ...(oldest === undefined || backlog === 0 ? {} : { oldestUnfinalMs: oldest }),
    };
  }

  #anchoredLevel(finalSize: number): NonNullable<LogLevels['anchored']> {
    const { size = 0, ref = '' } = this.#anchored ?? {};
    const below = this.#meter.markBelow(Math.min(size, finalSize));
    const known = this.#anchoredMark;
    const mark = below ?? (known !== undefined && known.size <= size ? known : undefined);
    return { ...markOf(size, mark?.throughSequence), ref };
  }

  /** Called often; reads and writes only when something is due. */
  tick(state: LogWriterState, isBehindJournal: boolean, { unixMs, monotonicMs }: Now): void {
    if (this.#task !== undefined || monotonicMs - this.#writtenAtMs < WRITE_INTERVAL_MS) return;
    this.#writtenAtMs = monotonicMs;
    const isAnchorDue = monotonicMs - this.#anchorAtMs >= ANCHOR_INTERVAL_MS;
    if (isAnchorDue) this.#anchorAtMs = monotonicMs;
    this.#task = (isAnchorDue ? this.#lookAtAnchor() : Promise.resolve())
      .then(() => this.#write(this.levels(state, isBehindJournal, unixMs)))
      .finally(() => {
        this.#task = undefined;
      });
  }

  /** Writes what is known at the end. */
  async store(state: LogWriterState, isBehindJournal: boolean, nowMs: number): Promise<void> {
    await this.#task;
    await this.#write(this.levels(state, isBehindJournal, nowMs));
  }

  async #lookAtAnchor(): Promise<void> {
    this.#anchored = (await readAnchored(this.#root).catch(() => undefined)) ?? this.#anchored;
  }

  async #write(levels: LogLevels): Promise<void> {
    // Rates move by themselves: only what happened is a reason to write.
    const { drainPerS: _rate, etaS: _eta, ...facts } = levels;
    const text = JSON.stringify(facts);
    if (text === this.#written) return;
    this.#written = text;
    await writeLevels(this.#root, levels);
    if (this.#shard !== undefined) await writeLevels(this.#shard.root, levels);
  }
}

/** @throws KiriError DISK_* */
export const openLevelBook = async (
  root: string,
  ports: LogPorts,
  state: LogWriterState,
  shard?: ShardLevels,
): Promise<LevelBook> =>
  new LevelBook(root, ports, Math.max(0, state.finalSize), await readLevels(root), shard);
