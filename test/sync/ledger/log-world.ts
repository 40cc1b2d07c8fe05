/** A log writer in a virtual world: a disk that survives crashes, witnesses, effects that wait to be carried out. */
import type { JournalPosition, Now } from '../../../platform/ports.ts';
import { toHex, utf8ToBytes } from '../../../protocol/bytes.ts';
import { parseCheckpoint } from '../../../sync/ledger/core/checkpoint.ts';
import { verifyFinalCheckpoint } from '../../../sync/ledger/core/final-checkpoint.ts';
import {
  CHECKPOINT_PATH,
  type LogEntry,
  appended,
  payloadPath,
  tlogPath,
} from '../../../sync/ledger/core/log-batch.ts';
import { startLogWriter, stepLogWriter } from '../../../sync/ledger/core/log-writer.ts';
import type {
  FoundLog,
  LogEffect,
  LogHead,
  LogInput,
  LogPorts,
  LogWriterState,
} from '../../../sync/ledger/core/log-writer-types.ts';
import { EMPTY_ROOT } from '../../../sync/ledger/core/merkle.ts';
import { parseNote } from '../../../sync/ledger/core/note.ts';
import type { Signer } from '../../../sync/ledger/core/note-key.ts';
import { encodeBase64 } from '../../../sync/ledger/core/text.ts';
import {
  hashesAtLevel,
  parseBundle,
  parseTile,
  tileWidth,
} from '../../../sync/ledger/core/tile.ts';
import { treeFromEdge } from '../../../sync/ledger/core/tree.ts';
import { consistencyRanges, hashRanges } from '../../../sync/ledger/core/tree-proof.ts';
import {
  type WitnessState,
  encodeAddCheckpoint,
  stepWitness,
  witnessState,
} from '../../../sync/ledger/core/witness.ts';
import { ORIGIN, fakeLog, fakeVerify, fakeWitness, policyOf } from './keys.ts';

const must = <T>(outcome: { ok: true; value: T } | { ok: false; reason: string }): T => {
  if (!outcome.ok) throw new Error(outcome.reason);
  return outcome.value;
};
export const position = (nextIndex: number): JournalPosition => ({
  segment: 0,
  offset: 64,
  nextIndex,
  head: '',
});
/** Entry number `at` of the journal; two sealings of one entry differ, as with random nonces. */
const entry = (at: number, sealing: number): LogEntry => ({
  leaf: utf8ToBytes(`leaf ${at} sealed ${sealing}`),
  payload: utf8ToBytes(`payload ${at} sealed ${sealing}`),
  acceptedAtMs: at,
});

/** Files that survive a crash, and the head. */
export class Disk {
  files: Map<string, Uint8Array> = new Map();
  head: LogHead = { size: 0, root: EMPTY_ROOT };

  copy(): Disk {
    const copy = new Disk();
    copy.files = new Map(this.files);
    copy.head = this.head;
    return copy;
  }

  tile(level: number, index: number, size: number): readonly Uint8Array[] {
    const width = tileWidth(size, level, index);
    const partial = this.files.get(tlogPath({ level, index, width }));
    const bytes = partial ?? this.files.get(tlogPath({ level, index, width: 256 }));
    if (bytes === undefined) throw new Error(`tile ${level}/${index} of ${size} is gone`);
    return must(parseTile(bytes, bytes.length / 32)).slice(0, width);
  }

  find(): FoundLog {
    const { size } = this.head;
    const edge: (readonly Uint8Array[])[] = [];
    for (let level = 0; hashesAtLevel(size, level) > 0; level += 1) {
      const open = Math.floor(hashesAtLevel(size, level) / 256);
      edge.push(tileWidth(size, level, open) === 0 ? [] : this.tile(level, open, size));
    }
    const index = Math.floor(size / 256);
    const width = size % 256;
    const bundle = { leaves: [] as Uint8Array[], payloads: [] as Uint8Array[] };
    if (width > 0) {
      bundle.leaves = this.leavesUpTo(size).slice(index * 256);
      const payloads = this.files.get(payloadPath(index)) ?? new Uint8Array(0);
      bundle.payloads = [...must(parseBundle(payloads, width, false))];
    }
    const checkpoint = this.files.get(CHECKPOINT_PATH);
    const found = { head: this.head, tree: treeFromEdge(size, edge), bundle };
    if (checkpoint === undefined) return found;
    const note = must(parseNote(checkpoint));
    return { ...found, published: { ...must(parseCheckpoint(note.text)), note } };
  }

  leavesUpTo(size: number): Uint8Array[] {
    const leaves: Uint8Array[] = [];
    for (let index = 0; tileWidth(size, 0, index) > 0; index += 1) {
      const width = tileWidth(size, 0, index);
      const partial = this.files.get(tlogPath({ level: 'entries', index, width }));
      const bytes = partial ?? this.files.get(tlogPath({ level: 'entries', index, width: 256 }));
      leaves.push(...must(parseBundle(bytes ?? new Uint8Array(0), width, partial !== undefined)));
    }
    return leaves;
  }
}

/** A log writer with its disk and witnesses; effects wait in a list until the test carries one out. */
export class World {
  disk: Disk = new Disk();
  readonly witnesses: Map<string, { signer: Signer; state: WitnessState }>;
  ports: LogPorts;
  state: LogWriterState;
  pending: LogEffect[] = [];
  readonly done: LogEffect[] = [];
  /** Every head that the log ever signed, as "size root". */
  readonly signedHeads: Set<string> = new Set();
  nowMs: number = 1_000;
  nextEntry = 0;
  sealing = 0;
  requests = 0;

  constructor(witnessCount: number, rule: string) {
    const log = fakeLog();
    const signers = Array.from({ length: witnessCount }, (_, at) =>
      fakeWitness(`w.example/${at + 1}`),
    );
    this.ports = {
      origin: ORIGIN,
      signer: {
        key: log.key,
        sign: (message) => {
          const head = must(parseCheckpoint(Buffer.from(message).toString('utf8')));
          this.signedHeads.add(`${head.size} ${toHex(head.root)}`);
          return log.sign(message);
        },
      },
      verify: fakeVerify,
      policy: policyOf(log, signers, rule),
    };
    this.witnesses = new Map(
      signers.map((signer, at) => [
        `w${at + 1}`,
        { signer, state: witnessState(new Map([[ORIGIN, [log.key]]]), []) },
      ]),
    );
    this.state = startLogWriter(this.disk.find(), this.ports);
  }

  /** Puts a witness with a new key and no state behind a name of the policy. */
  replaceWitness(name: string, signer: Signer): void {
    const state = witnessState(new Map([[ORIGIN, [fakeLog().key]]]), []);
    this.witnesses.set(name, { signer, state });
  }

  now(): Now {
    return { unixMs: this.nowMs, monotonicMs: this.nowMs, timeQuality: 2 };
  }

  feed(input: LogInput): void {
    this.pending.push(...stepLogWriter(this.state, input, this.now(), this.ports));
  }

  tick(ms = 250): void {
    this.nowMs += ms;
    this.feed({ kind: 'tick' });
  }

  /** Reads entries on from where the writer stands in the journal. */
  entries(count: number): void {
    this.sealing += 1;
    const entries = Array.from({ length: count }, (_, at) =>
      entry(this.nextEntry + at, this.sealing),
    );
    this.nextEntry += count;
    this.feed({ kind: 'entries', entries, cursor: position(this.nextEntry) });
  }

  witnessAnswer(effect: Extract<LogEffect, { kind: 'requestCosignature' }>): LogInput {
    const { witness, oldSize, size, checkpoint } = effect;
    const one = this.witnesses.get(witness);
    if (one === undefined) throw new Error('unknown witness');
    const ranges = consistencyRanges(oldSize, size);
    const path = hashRanges(ranges, (level, index) => this.disk.tile(level, index, size));
    const body = encodeAddCheckpoint(oldSize, path.map(encodeBase64), checkpoint);
    this.requests += 1;
    const ports = { signer: one.signer, verify: fakeVerify };
    let [answer] = stepWitness(
      one.state,
      { kind: 'addCheckpoint', requestId: this.requests, body },
      this.nowMs,
      ports,
    );
    if (answer?.kind === 'persist') {
      [answer] = stepWitness(
        one.state,
        { kind: 'persisted', requestId: this.requests },
        this.nowMs,
        ports,
      );
    }
    if (answer?.kind !== 'respond') throw new Error('no answer');
    const { status, body: text } = answer.answer;
    if (status === 200) return { kind: 'cosigned', witness, lines: text };
    if (status === 409) return { kind: 'witnessConflict', witness, theirSize: Number(text) };
    if (status === 422) return { kind: 'witnessInconsistent', witness };
    return { kind: 'witnessFailed', witness, trouble: text };
  }

  /** Carries one effect out on disk or at a witness; answers the input that reports it. */
  apply(effect: LogEffect): LogInput | undefined {
    this.done.push(effect);
    switch (effect.kind) {
      case 'writeBatch':
        for (const file of effect.files) this.disk.files.set(file.path, file.bytes);
        for (const tail of effect.appends) {
          this.disk.files.set(tail.path, appended(this.disk.files.get(tail.path), tail));
        }
        for (const folder of effect.obsolete) {
          for (const path of this.disk.files.keys()) {
            if (path.startsWith(`${folder}/`)) this.disk.files.delete(path);
          }
        }
        return { kind: 'batchWritten', size: effect.size };
      case 'persistHead':
        this.disk.head = effect.head;
        return { kind: 'headPersisted', size: effect.head.size };
      case 'publish':
        this.disk.files.set(CHECKPOINT_PATH, utf8ToBytes(effect.checkpoint));
        return { kind: 'published', size: effect.size };
      case 'requestCosignature':
        return this.witnessAnswer(effect);
      case 'recorded':
      case 'final':
      case 'stopped':
        return undefined;
    }
  }

  /** Carries out the waiting effect number `which`. */
  runOne(which = 0): void {
    const [effect] = this.pending.splice(which % Math.max(1, this.pending.length), 1);
    const next = effect === undefined ? undefined : this.apply(effect);
    if (next !== undefined) this.feed(next);
  }

  settle(): void {
    for (let steps = 0; this.pending.length > 0; steps += 1) {
      if (steps > 10_000) throw new Error('never settles');
      this.runOne();
    }
  }

  /** Process death: what was not carried out is gone; the journal is read again from the stored head. */
  crash(): void {
    this.pending = [];
    this.nextEntry = this.disk.head.cursor?.nextIndex ?? 0;
    this.state = startLogWriter(this.disk.find(), this.ports);
  }

  publishedSize(): number {
    const bytes = this.disk.files.get(CHECKPOINT_PATH);
    if (bytes === undefined) return -1;
    return must(verifyFinalCheckpoint(bytes, this.ports.policy, fakeVerify)).size;
  }
}
