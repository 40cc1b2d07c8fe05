/**
 * Keeps one roll-up log anchored at one place: carries out what core/anchor-keeper.ts decides. The evidence ends up in
 * `anchors/<size>/` of the log's folder: `checkpoint`, the note that is anchored, and one file per anchor.
 */
import { join } from 'node:path';
import { writeFileDurable } from '../../../platform/durable-file.ts';
import type { Clock } from '../../../platform/ports.ts';
import { utf8ToBytes } from '../../../protocol/bytes.ts';
import { KiriError } from '../../../protocol/kiri-error.ts';
import { anchorFile } from '../core/anchor-file.ts';
import {
  type AnchorEffect,
  type AnchorInput,
  type AnchorKeeperState,
  type AnchorTimes,
  startAnchorKeeper,
  stepAnchorKeeper,
} from '../core/anchor-keeper.ts';
import { type Anchor, MAX_EVIDENCE_BYTES, MAX_REF_CHARACTERS } from '../core/anchor-port.ts';
import { readAnchorRecord, writeAnchorRecord } from './anchor-record.ts';

const TICK_MS = 500;

export interface AnchorServiceOptions {
  /** The roll-up log's folder. */
  readonly root: string;
  /** Tells this anchor from the others: letters, digits, `-`; names its evidence. */
  readonly name: string;
  readonly anchor: Anchor;
  readonly times: AnchorTimes;
  readonly clock: Clock;
  /** The newest published checkpoint of the roll-up log, if there is one. */
  readonly newest: () => Promise<{ readonly size: number; readonly note: string } | undefined>;
}

interface AnchorServiceStatus {
  readonly name: string;
  /** Entries of the roll-up log that stand at this place. */
  readonly anchoredSize: number;
  readonly anchoredAtMs: number;
  /** Entries that are on their way; absent when none are. */
  readonly submittedSize?: number;
  /** What is waited for, or what went wrong last. */
  readonly detail?: string;
}

export interface AnchorService {
  status(): AnchorServiceStatus;
  /** Waits for what is under way. */
  close(): Promise<void>;
}

const messageOf = (error: unknown): string => {
  if (error instanceof KiriError) return `${error.code}: ${error.message}`;
  const { shortMessage, details } = Object(error) as { shortMessage?: string; details?: string };
  return details ?? shortMessage ?? (error instanceof Error ? error.message : String(error));
};

class AnchorHost implements AnchorService {
  readonly #options: AnchorServiceOptions;
  readonly #state: AnchorKeeperState;
  readonly #timer: NodeJS.Timeout;
  #running: Promise<void> | undefined;
  #isClosed = false;

  constructor(options: AnchorServiceOptions, state: AnchorKeeperState) {
    this.#options = options;
    this.#state = state;
    this.#timer = setInterval(() => this.#tick(), TICK_MS);
    this.#tick();
  }

  status(): AnchorServiceStatus {
    const { record, detail } = this.#state;
    return {
      name: this.#options.name,
      anchoredSize: record.anchoredSize,
      anchoredAtMs: record.anchoredAtMs,
      ...(record.current === undefined ? {} : { submittedSize: record.current.size }),
      ...(detail === '' ? {} : { detail }),
    };
  }

  async close(): Promise<void> {
    this.#isClosed = true;
    clearInterval(this.#timer);
    await this.#running;
  }

  #tick(): void {
    if (this.#running !== undefined || this.#isClosed) return;
    this.#running = this.#look().finally(() => {
      this.#running = undefined;
    });
  }

  async #look(): Promise<void> {
    // A folder that cannot be read now is read again at the next tick; its own writer tells of it.
    const newest = await this.#options.newest().catch(() => undefined);
    await this.#run({ kind: 'tick', ...(newest === undefined ? {} : { newest }) });
  }

  #step(input: AnchorInput): AnchorEffect | undefined {
    const { times, clock } = this.#options;
    return stepAnchorKeeper(this.#state, input, times, clock.now())[0];
  }

  /** From one input on until nothing is left to do now. */
  async #run(first: AnchorInput): Promise<void> {
    let effect = this.#step(first);
    while (effect !== undefined) {
      let next: AnchorInput;
      try {
        next = await this.#perform(effect);
      } catch (error) {
        next = { kind: 'trouble', reason: messageOf(error) };
      }
      if (this.#isClosed && next.kind !== 'answered' && next.kind !== 'filed') return;
      effect = this.#step(next);
    }
  }

  async #perform(effect: AnchorEffect): Promise<AnchorInput> {
    const { root, name, anchor } = this.#options;
    switch (effect.kind) {
      case 'store':
        await writeAnchorRecord(root, name, effect.record);
        return { kind: 'stored' };
      case 'submit':
        await anchor.submit(utf8ToBytes(effect.note), (ref) => this.#keep(ref));
        return { kind: 'submitted' };
      case 'ask': {
        const status = await anchor.status(effect.ref, utf8ToBytes(effect.note));
        return { kind: 'answered', status };
      }
      case 'file': {
        const { checkpoint, evidence } = anchorFile(effect.size, name);
        if (effect.evidence.length > MAX_EVIDENCE_BYTES) {
          throw new KiriError('EVIDENCE_TOO_LARGE', `evidence over ${MAX_EVIDENCE_BYTES} bytes`);
        }
        await writeFileDurable(join(root, checkpoint), effect.note, 0o644);
        await writeFileDurable(join(root, evidence), effect.evidence, 0o644);
        return { kind: 'filed' };
      }
    }
  }

  async #keep(ref: string): Promise<void> {
    if (ref.length > MAX_REF_CHARACTERS) {
      throw new KiriError('REF_TOO_LARGE', `a reference over ${MAX_REF_CHARACTERS} characters`);
    }
    const effect = this.#step({ kind: 'kept', ref });
    if (effect?.kind === 'store') {
      await writeAnchorRecord(this.#options.root, this.#options.name, effect.record);
      this.#step({ kind: 'refStored' });
    }
  }
}

/**
 * Starts keeping a log anchored.
 * @throws KiriError DISK_*, STATE_CORRUPT
 */
export const startAnchorService = async (options: AnchorServiceOptions): Promise<AnchorService> =>
  new AnchorHost(options, startAnchorKeeper(await readAnchorRecord(options.root, options.name)));
