/**
 * The roll-up log: an ordinary log whose entries are final checkpoints of gateways' logs, so that one anchor a period is
 * enough for all of them. It collects checkpoints, journals those that have grown, and lets the log writer do the rest.
 */
import { join } from 'node:path';
import { openJournal } from '../../platform/journal.ts';
import { journalReader } from '../../platform/journal-reader.ts';
import type { Clock, Journal } from '../../platform/ports.ts';
import { concatBytes } from '../../protocol/bytes.ts';
import { KiriError } from '../../protocol/kiri-error.ts';
import { type TreeHead, parseCheckpoint } from './core/checkpoint.ts';
import type { LogPorts } from './core/log-writer-types.ts';
import { parseNote } from './core/note.ts';
import type { FinalityRules } from './core/policy-book.ts';
import { hasGrownFrom, judgeCheckpoint } from './core/roll-up.ts';
import { startLedgerService } from './ledger-service.ts';
import type { LedgerService, LedgerStatus, NoteEntry } from './ledger-types.ts';
import { consistencyProof, readCheckpoint } from './log-folder.ts';
import type { LogSource } from './log-source.ts';

/** Logs asked at the same time. */
const MAX_ASKED = 16;
const TIME_BYTES = 8;

/** A log whose checkpoints are rolled up. */
interface RolledLog {
  readonly origin: string;
  /** What makes its checkpoints final. */
  readonly policy: FinalityRules;
  readonly source: LogSource;
}

export interface RollUpOptions {
  /** The roll-up log's folder. */
  readonly root: string;
  readonly ports: LogPorts;
  readonly logs: readonly RolledLog[];
  /** Submission prefix of each witness of the roll-up log, by its name in the policy. */
  readonly witnessUrls: ReadonlyMap<string, string>;
  /** Pause between two rounds of collecting. */
  readonly collectMs: number;
  readonly clock: Clock;
}

interface RolledLogStatus {
  readonly origin: string;
  /** Entries of that log under the newest checkpoint that got in. */
  readonly size: number;
  /** How far that log is anchored (L3), and where; absent while nothing is. */
  readonly anchored?: { readonly size: number; readonly ref: string };
  /** Why the last round brought nothing for it. */
  readonly trouble?: string;
}

/** How far the roll-up log itself is anchored at one place. */
interface AnchoredPlace {
  readonly name: string;
  readonly anchoredSize: number;
}

export interface RollUpService {
  /** @param places where the roll-up log is anchored; from it follows how far each log is */
  status(places?: readonly AnchoredPlace[]): {
    readonly ledger: LedgerStatus;
    readonly logs: readonly RolledLogStatus[];
  };
  close(): Promise<void>;
}

const encodeRecord = (note: Uint8Array, atMs: number): Uint8Array => {
  const time = new Uint8Array(TIME_BYTES);
  new DataView(time.buffer).setBigUint64(0, BigInt(Math.max(0, Math.floor(atMs))));
  return concatBytes(time, note);
};

const decodeRecord = (record: Uint8Array): NoteEntry => ({
  leafKind: 'rollUp',
  note: record.slice(TIME_BYTES),
  acceptedAtMs: Number(new DataView(record.buffer, record.byteOffset).getBigUint64(0)),
});

const headOf = (note: Uint8Array): TreeHead => {
  const parsed = parseNote(note);
  const head = parsed.ok ? parseCheckpoint(parsed.value.text) : parsed;
  if (!head.ok) throw new KiriError('JOURNAL_CORRUPT', `a journalled checkpoint: ${head.reason}`);
  return head.value;
};

/** Collects checkpoints into the journal. */
class Collector {
  readonly #options: RollUpOptions;
  readonly #journal: Journal;
  readonly #last = new Map<string, TreeHead>();
  readonly #trouble = new Map<string, string>();
  /** Entries of the roll-up log that no place was known to hold so far, from entry `#anchoredSize` on. */
  readonly #waiting: { readonly origin: string; readonly size: number }[] = [];
  readonly #anchored = new Map<string, { readonly size: number; readonly ref: string }>();
  #anchoredSize = 0;

  constructor(options: RollUpOptions, journal: Journal) {
    this.#options = options;
    this.#journal = journal;
    for (const { record } of journal.records()) {
      const head = headOf(decodeRecord(record).note);
      this.#last.set(head.origin, head);
      this.#waiting.push({ origin: head.origin, size: head.size });
    }
  }

  /** Every journal record is one entry, in this order. */
  #note({ name, anchoredSize }: AnchoredPlace): void {
    const count = anchoredSize - this.#anchoredSize;
    if (count <= 0) return;
    const ref = `${name}: ${this.#options.ports.origin} through ${anchoredSize} entries`;
    for (const { origin, size } of this.#waiting.splice(0, count)) {
      this.#anchored.set(origin, { size, ref });
    }
    this.#anchoredSize = anchoredSize;
  }

  status(places: readonly AnchoredPlace[]): readonly RolledLogStatus[] {
    for (const place of places) this.#note(place);
    return this.#options.logs.map(({ origin }) => {
      const [trouble, anchored] = [this.#trouble.get(origin), this.#anchored.get(origin)];
      return {
        origin,
        size: this.#last.get(origin)?.size ?? 0,
        ...(anchored === undefined ? {} : { anchored }),
        ...(trouble === undefined ? {} : { trouble }),
      };
    });
  }

  /** One round over all logs; one that fails holds up no other. @throws KiriError DISK_* of the journal */
  async collect(): Promise<void> {
    const waiting = [...this.#options.logs];
    const worker = async (): Promise<void> => {
      for (let log = waiting.shift(); log !== undefined; log = waiting.shift()) {
        const trouble = await this.#take(log).catch((error: unknown) =>
          error instanceof Error ? error.message : String(error),
        );
        if (trouble === undefined) this.#trouble.delete(log.origin);
        else this.#trouble.set(log.origin, trouble);
      }
    };
    await Promise.all(Array.from({ length: MAX_ASKED }, worker));
    await this.#journal.commit();
  }

  /** Takes one log's published checkpoint, if it has grown. @returns what is wrong with it */
  async #take({ origin, policy, source }: RolledLog): Promise<string | undefined> {
    const { ports, clock } = this.#options;
    const note = await readCheckpoint(source);
    if (note === undefined) return 'no checkpoint is there';
    const last = this.#last.get(origin);
    const verdict = judgeCheckpoint(note, origin, last, policy, ports.verify);
    if (!verdict.ok) return verdict.reason;
    if (verdict.value.kind === 'forked') return 'FORKED: two final checkpoints of one size';
    if (verdict.value.kind === 'older') return `an old copy is served: ${verdict.value.size}`;
    if (verdict.value.kind === 'unchanged') return undefined;
    const { head } = verdict.value;
    const proof =
      last === undefined ? [] : await consistencyProof(source, last.size, head.size, ports.hash);
    if (!hasGrownFrom(last, head, proof, ports.hash)) {
      return `FORKED or damaged: its tiles do not lead from ${last?.size} to ${head.size} entries`;
    }
    this.#journal.append(encodeRecord(note, clock.now().unixMs));
    this.#last.set(origin, { origin, size: head.size, root: head.root });
    this.#waiting.push({ origin, size: head.size });
    return undefined;
  }
}

class RollUpHost implements RollUpService {
  readonly #collector: Collector;
  readonly #ledger: LedgerService;
  readonly #journal: Journal;
  readonly #timer: NodeJS.Timeout;
  #running: Promise<void> | undefined;
  #stopped: string | undefined;

  constructor(collector: Collector, ledger: LedgerService, journal: Journal, collectMs: number) {
    this.#collector = collector;
    this.#ledger = ledger;
    this.#journal = journal;
    this.#timer = setInterval(() => this.#round(), collectMs);
    this.#round();
  }

  status(places: readonly AnchoredPlace[] = []): {
    readonly ledger: LedgerStatus;
    readonly logs: readonly RolledLogStatus[];
  } {
    const logs = this.#collector.status(places);
    const trouble = this.#stopped;
    return {
      ledger: this.#ledger.status(),
      logs: trouble === undefined ? logs : logs.map((log) => ({ ...log, trouble })),
    };
  }

  async close(): Promise<void> {
    clearInterval(this.#timer);
    await this.#running;
    await this.#ledger.close();
    await this.#journal.close().catch(() => {});
  }

  #round(): void {
    if (this.#running !== undefined || this.#stopped !== undefined) return;
    this.#running = this.#collector
      .collect()
      .catch((error: unknown) => {
        // A journal that could not write stays stopped: what is in memory may be ahead of it.
        this.#stopped = error instanceof Error ? error.message : String(error);
      })
      .finally(() => {
        this.#running = undefined;
      });
  }
}

/**
 * Starts the roll-up log in `options.root`; its journal stands in `state/intake`.
 * @throws KiriError DISK_*, FOLDER_LOCKED, STATE_CORRUPT, JOURNAL_CORRUPT, LOG_*
 */
export const startRollUp = async (options: RollUpOptions): Promise<RollUpService> => {
  const { root, ports, witnessUrls, clock, collectMs } = options;
  const folder = join(root, 'state/intake');
  const { journal } = await openJournal(folder);
  try {
    const ledger = await startLedgerService({
      root,
      ports,
      reader: journalReader(folder),
      source: (record) => [decodeRecord(record)],
      witnessUrls,
      clock,
    });
    return new RollUpHost(new Collector(options, journal), ledger, journal, collectMs);
  } catch (error) {
    await journal.close();
    throw error;
  }
};
