/** What the ledger service is given and what it shows. */
import type { FetchBytes } from '../../platform/http-client.ts';
import type { Clock, JournalReader } from '../../platform/ports.ts';
import type { PublicKey } from '../../protocol/public-key.ts';
import type { ContentKeys } from './content-keys.ts';
import type { NoteLeafKind } from './core/leaf.ts';
import type { LogPhase, LogPorts } from './core/log-writer-types.ts';
import type { LogLevels } from '../../protocol/levels.ts';
import type { ShardLevels } from './level-book.ts';
import type { UplinkCounts } from './witness-uplink.ts';

/** What the ledger needs of one accepted payment; where it stands in a journal record is the composition's knowledge. */
export interface LedgerEntry {
  /** SHA-256 of the Receipt's payload. */
  readonly receiptPayloadHash: Uint8Array;
  /** Payment, Receipt and Offer (and what else clearing needs): opaque here. */
  readonly payloadPlain: Uint8Array;
  /** Reference of the liable party: chooses the content key, stands nowhere in the log. */
  readonly partyRef: Uint8Array;
  /** P-256 key that the party's credential names for key agreement; absent: the content key goes to the issuer alone. */
  readonly partyKey?: PublicKey;
  /** Unix milliseconds. */
  readonly acceptedAtMs: number;
  /** The approver's sequence number, where the log follows an approver. */
  readonly sequence?: number;
}

/** An entry that commits to a published checkpoint, which is stored in clear (core/leaf.ts). */
export interface NoteEntry {
  readonly leafKind: NoteLeafKind;
  /** Signed note, at most 65,535 bytes. */
  readonly note: Uint8Array;
  /** Unix milliseconds. */
  readonly acceptedAtMs: number;
}

/** Turns a journal record into its entries, in log order; empty for records that do not belong into the log. */
type SourceOf<Entry> = (
  record: Uint8Array,
  index: number,
) => readonly Entry[] | Promise<readonly Entry[]>;

/** Of a log of receipts. */
export type EntrySource = SourceOf<LedgerEntry>;
/** Of a log of checkpoints. */
type NoteSource = SourceOf<NoteEntry>;

export interface LedgerServiceOptions {
  /** The log's folder: `tlog/`, `payload/`, `keys/` may be served, `state/` may not. */
  readonly root: string;
  readonly ports: LogPorts;
  readonly reader: JournalReader;
  readonly source: EntrySource | NoteSource;
  /** Absent where no entry is a receipt. */
  readonly keys?: ContentKeys;
  /** Submission prefix (tlog-witness) of each witness, by its name in the policy. */
  readonly witnessUrls: ReadonlyMap<string, string>;
  /** One upload to it reaches every witness (hub-service.ts). */
  readonly hubUrl?: string;
  /** How witnesses and hub are asked; default HTTP. */
  readonly fetch?: FetchBytes;
  /** Mandate and enrolment, for witnesses that do not know the log (core/enrol.ts). */
  readonly enrolment?: Uint8Array;
  readonly clock: Clock;
  /** Where the log is one of a chain (shard-service.ts). */
  readonly shard?: ShardLevels;
  /** Whether the uplink is there at the start; default true. */
  readonly linkUp?: boolean;
}

/** What cosigning took of the uplink in this run; a mirror's downloads are its own. */
interface UplinkStatus extends UplinkCounts {
  readonly isUp: boolean;
  /** Checkpoints published. */
  readonly checkpoints: number;
  readonly bytesUpPerCheckpoint: number;
  readonly bytesDownPerCheckpoint: number;
}

export interface LedgerStatus {
  readonly phase: LogPhase;
  /** Leaves under a durable, log-signed head (L1). */
  readonly recordedSize: number;
  /** Leaves under a published checkpoint that meets the policy (L2); 0 before the first. */
  readonly finalSize: number;
  /** Leaves read from the journal and not yet in a batch. */
  readonly queuedLeaves: number;
  /** Index of the next journal record that will be read. */
  readonly nextJournalIndex: number;
  readonly witnesses: readonly { name: string; cosignedSize: number; trouble?: string }[];
  readonly levels: LogLevels;
  readonly uplink: UplinkStatus;
  /** While a write waits for room on a full disk: nothing new is recorded until there is some. */
  readonly storageTrouble?: string;
}

export interface LedgerService {
  status(): LedgerStatus;
  /** Cuts or restores the way to the witnesses. */
  setLink(up: boolean): void;
  close(): Promise<void>;
}
