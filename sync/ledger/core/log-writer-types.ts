/** What goes into and comes out of the log writer (log-writer.ts), and the state between two steps. */
import type { JournalPosition } from '../../../platform/ports.ts';
import type { TreeHead } from './checkpoint.ts';
import type { BatchFiles, LogEntry, OpenBundle } from './log-batch.ts';
import type { Sha256 } from './merkle.ts';
import type { Signer, Verify } from './note-key.ts';
import type { SignedNote } from './note.ts';
import type { FinalityRules, PolicySpan } from './policy-book.ts';
import type { Tree } from './tree.ts';
import type { WitnessLink } from './witness-link.ts';

/** The last head that may be signed, stored before its signature leaves. */
export interface LogHead {
  readonly size: number;
  readonly root: Uint8Array;
  /** Where the journal is read on; absent before the first record. */
  readonly cursor?: JournalPosition;
  /** The approver's sequence of the last entry; every Receipt and Void up to it is below this head. */
  readonly throughSequence?: number;
}

export type StopReason =
  /** A witness has cosigned more than this writer has signed: this is an older copy, or a second writer runs. */
  | 'ROLLED_BACK'
  /** A witness has cosigned another history of this origin. */
  | 'FORKED'
  /** Head, tiles and published checkpoint of the folder do not agree. */
  | 'FOLDER_INCONSISTENT'
  /** A file could not be read or written. */
  | 'STORAGE_FAILED';

export type LogPhase =
  /** The quorum has not yet confirmed the head that was found at the start. */
  | { readonly kind: 'confirming' }
  | { readonly kind: 'running' }
  | { readonly kind: 'stopped'; readonly reason: StopReason; readonly detail: string };

interface EntryGroup {
  readonly entries: readonly LogEntry[];
  cursor: JournalPosition;
}

interface Round {
  readonly size: number;
  readonly throughSequence: number | undefined;
  readonly text: string;
  /** The note signed by the log alone. */
  readonly note: string;
  /** Cosignature lines by policy name. */
  readonly cosignatures: Map<string, string>;
  publishing: boolean;
}

interface Writing {
  readonly head: LogHead;
  readonly acceptedAtMs: readonly number[];
}

export interface LogWriterState {
  phase: LogPhase;
  readonly tree: Tree;
  readonly bundle: OpenBundle;
  queue: EntryGroup[];
  queuedLeaves: number;
  /** Durable head; its size is what is recorded (L1). */
  head: LogHead;
  writing: Writing | undefined;
  lastBatchMs: number;
  round: Round | undefined;
  /** Size of the published checkpoint (L2); −1 before the first one. */
  finalSize: number;
  /** The sequence that goes with it, where it is known. */
  finalSequence: number | undefined;
  /** Heads on the way from the published one to `head`, oldest first: a backlog becomes final in these steps. */
  steps: LogHead[];
  /** The largest size that may carry a signature of this log: no witness can have honestly cosigned more. */
  signedSize: number;
  /** The largest size that a witness has cosigned: smaller heads are not offered any more. */
  askFloor: number;
  /** The policy in force, with its time. */
  span: PolicySpan;
  witnesses: readonly WitnessLink[];
}

export type LogInput =
  | {
      readonly kind: 'entries';
      readonly entries: readonly LogEntry[];
      /** Journal position behind these entries. */
      readonly cursor: JournalPosition;
    }
  | { readonly kind: 'tick' }
  /** Every witness may be tried again at once. */
  | { readonly kind: 'linkUp' }
  | { readonly kind: 'batchWritten'; readonly size: number }
  | { readonly kind: 'headPersisted'; readonly size: number }
  | { readonly kind: 'published'; readonly size: number }
  | { readonly kind: 'storageFailed'; readonly detail: string }
  | { readonly kind: 'cosigned'; readonly witness: string; readonly lines: string }
  /** 409: the witness says which size it cosigned last. */
  | { readonly kind: 'witnessConflict'; readonly witness: string; readonly theirSize: number }
  /** 422: the consistency proof did not verify there. */
  | { readonly kind: 'witnessInconsistent'; readonly witness: string }
  | { readonly kind: 'witnessFailed'; readonly witness: string; readonly trouble: string };

export type LogEffect =
  | ({ readonly kind: 'writeBatch'; readonly size: number } & BatchFiles)
  | { readonly kind: 'persistHead'; readonly head: LogHead }
  | {
      readonly kind: 'requestCosignature';
      readonly witness: string;
      readonly oldSize: number;
      readonly size: number;
      readonly checkpoint: string;
    }
  | { readonly kind: 'publish'; readonly size: number; readonly checkpoint: string }
  /** Measurement only: leaves up to `size` were recorded (L1) now. */
  | {
      readonly kind: 'recorded';
      readonly size: number;
      readonly atMs: number;
      readonly acceptedAtMs: readonly number[];
    }
  /** Measurement only: leaves up to `size` became final (L2) now. */
  | {
      readonly kind: 'final';
      readonly size: number;
      readonly throughSequence?: number;
      readonly atMs: number;
    }
  | { readonly kind: 'stopped'; readonly reason: StopReason; readonly detail: string };

export interface LogPorts {
  readonly origin: string;
  readonly signer: Signer;
  readonly verify: Verify;
  /** What makes a head final; of a book the version in force. */
  readonly policy: FinalityRules;
  readonly hash?: Sha256;
}

/** What a start finds in the folder. `published` is the checkpoint file's head, if there is one. */
export interface FoundLog {
  readonly head: LogHead;
  readonly tree: Tree;
  readonly bundle: OpenBundle;
  readonly published?: TreeHead & { readonly note?: SignedNote };
  /** Sequence through which the published checkpoint is known to reach. */
  readonly finalSequence?: number;
  /** Heads between the published one and `head`, where they are far apart; oldest first. */
  readonly steps?: readonly LogHead[];
}
