import { sha256 } from '@noble/hashes/sha2.js';
import { concatBytes, toHex } from '../../../protocol/bytes.ts';
import { decodeSign1 } from '../../../protocol/cose.ts';
import { EVIDENCE } from '../../../protocol/messages/evidence.ts';
import { readPayment, violated } from '../violation.ts';
import { ReferenceTree } from './reference-tree.ts';
import {
  readBundleFile,
  readCheckpointFile,
  readHeadSize,
  readPayloadFile,
  textOfRequest,
  type ReadDurable,
} from './checked-files.ts';
import { openRecord } from './sealed-record.ts';

/** Who signs for a log: its true writer, or its operator's forger. */
export type SignedBy = 'writer' | 'forger';

interface SeenHead {
  readonly origin: string;
  readonly size: number;
  readonly rootHex: string;
  readonly tree: ReferenceTree;
  /** Cosignature lines that left each cosigner. */
  readonly lines: Map<string, Set<string>>;
}

interface SeenLog {
  readonly trees: Record<SignedBy, ReferenceTree>;
  /** Size of the head that the writer's last start found; nothing larger is signed before it is confirmed. */
  startSize: number;
  isConfirmed: boolean;
  publishedSize: number;
  /** The largest head that ever had a quorum. */
  final: SeenHead | undefined;
  /** Largest size of the forger's heads. */
  forgedSize: number;
  /** The log's own operator gave it reason to stop: older copy, lost disk, forgery. */
  mayStop: boolean;
  isStopped: boolean;
  isAccused: boolean;
  /** Entries that the mirror's durable files were checked for. */
  mirrored: number;
}

const WITNESS = /^w\d$/;
/** The policy for real use, counted here by hand: 3 of the 4 witnesses, and the mirror. */
const WITNESSES_NEEDED = 3;
const MIRROR = 'm1';

/**
 * Watches the logs of a world from outside: what stands on the disks and what leaves the machines. It shares with the
 * ledger's cores the published formats alone; trees, files and quorums are its own reading. Throws at the first broken
 * invariant.
 */
export class LedgerChecker {
  readonly #logs = new Map<string, SeenLog>();
  readonly #heads = new Map<string, SeenHead>();
  /** By witness and origin, what it cosigned last. */
  readonly #last = new Map<string, SeenHead>();
  readonly #erased = new Set<string>();

  addLog(origin: string): void {
    this.#logs.set(origin, {
      trees: { writer: new ReferenceTree(), forger: new ReferenceTree() },
      startSize: 0,
      isConfirmed: false,
      publishedSize: 0,
      final: undefined,
      forgedSize: 0,
      mayStop: false,
      isStopped: false,
      isAccused: false,
      mirrored: 0,
    });
  }

  #log(origin: string): SeenLog {
    return this.#logs.get(origin)!;
  }

  writerStarts(origin: string, headSize: number): void {
    const log = this.#log(origin);
    log.startSize = headSize;
    log.isConfirmed = false;
    log.isStopped = false;
  }

  /** Another folder stands in for the writer's: an older copy of it, or what a mirror gave back. */
  replaced(origin: string, headSize: number): void {
    const log = this.#log(origin);
    log.mayStop = true;
    log.publishedSize = 0;
    log.trees.writer = log.trees.writer.branch(headSize);
  }

  /** The operator of this log signs two histories from now on. */
  forges(origin: string): void {
    this.#log(origin).mayStop = true;
  }

  /** This content key was destroyed at every holder. */
  erased(path: string): void {
    this.#erased.add(path);
  }

  /** Largest size that ever had a quorum. */
  finalSizeOf(origin: string): number {
    return this.#log(origin).final?.size ?? 0;
  }

  isAccused(origin: string): boolean {
    return this.#log(origin).isAccused;
  }

  /** Its operator has ended this log. */
  retired(origin: string): void {
    this.#log(origin).isStopped = true;
  }

  isStopped(origin: string): boolean {
    return this.#log(origin).isStopped;
  }

  /** A note with the log's signature leaves a machine. @param read what a crash there could not take away now */
  signed(origin: string, by: SignedBy, note: string, read: ReadDurable): void {
    const text = note.slice(0, note.indexOf('\n\n') + 1);
    const log = this.#log(origin);
    const [, sizeText = '', rootText = ''] = text.split('\n');
    const size = Number(sizeText);
    const where = `${origin} ${by} at ${size}`;
    if (by === 'writer' && !log.isConfirmed && size > log.startSize) {
      violated('nothing new is signed before the quorum confirms the start', where);
    }
    if (this.#heads.has(text)) return;
    if (by === 'forger') log.forgedSize = Math.max(log.forgedSize, size);
    else if (readHeadSize(read) < size) {
      violated('a head is durable before its signature leaves', where);
    }
    const tree = log.trees[by];
    readBundleFile(read, size, tree.size, (entry) => tree.append(entry));
    const rootHex = tree.rootHexAt(size);
    if (rootHex === undefined || rootHex !== hexOfBase64(rootText)) {
      violated('a log signs one history', `${where}: not the tree of what it signed before`);
    }
    this.#heads.set(text, { origin, size, rootHex, tree, lines: new Map() });
  }

  /** A cosignature leaves a witness or the mirror. @param head its stored head of the log, as a crash would leave it */
  cosigned(
    witness: { readonly name: string; readonly isTrue: boolean },
    request: Uint8Array,
    line: string,
    head: (origin: string) => Uint8Array | undefined,
  ): void {
    const text = textOfRequest(request);
    const seen = this.#heads.get(text);
    const where = `${witness.name} ${text.split('\n').slice(0, 2).join(' ')}`;
    if (!seen) violated('a cosignature leaves when its head is durable', `${where}: never signed`);
    if (witness.isTrue) this.#stands(witness.name, where, seen, text, head(seen.origin));
    const lines = seen.lines.get(witness.name) ?? new Set();
    seen.lines.set(witness.name, lines);
    lines.add(line);
    if (hasQuorum([...seen.lines.keys()])) this.#hasQuorum(seen);
  }

  #stands(
    name: string,
    where: string,
    seen: SeenHead,
    text: string,
    stored: Uint8Array | undefined,
  ): void {
    const durable = stored && readCheckpointFile(stored);
    if (!durable || durable.size < seen.size) {
      violated('a cosignature leaves when its head is durable', where);
    }
    if (durable.size === seen.size && durable.text !== text) {
      violated('a witness stands by one history', `${where}: another is stored`);
    }
    const key = `${name} ${seen.origin}`;
    const last = this.#last.get(key);
    if (last && !extendsHead(last, seen)) {
      violated('a witness stands by one history', `${where} after ${last.size}`);
    }
    this.#last.set(key, seen);
  }

  #hasQuorum(seen: SeenHead): void {
    const log = this.#log(seen.origin);
    const { final } = log;
    if (final === seen) return;
    const [low, high] = final && final.size > seen.size ? [seen, final] : [final, seen];
    if (low && !extendsHead(low, high)) {
      violated('two histories never both have a quorum', `${seen.origin} ${low.size} ${high.size}`);
    }
    log.final = high;
  }

  /** The mirror's cosignature leaves: it must hold every entry. @param files its durable files of a log */
  mirrorHolds(request: Uint8Array, files: (origin: string) => ReadDurable): void {
    const seen = this.#heads.get(textOfRequest(request));
    if (!seen) return;
    const read = files(seen.origin);
    const log = this.#log(seen.origin);
    const where = `${seen.origin} at ${seen.size}`;
    log.mirrored = Math.min(log.mirrored, seen.size);
    let at = log.mirrored;
    const records = readPayloadFile(read, seen.size, at);
    for (const record of records) {
      if (!seen.tree.holds(at, leafOfRecord(record))) {
        violated('a mirror cosigns only what it holds', `${where}: entry ${at} is another`);
      }
      const key = `keys/${toHex(record.subarray(32, 48))}`;
      if (!this.#erased.has(key) && read(key) === undefined) {
        violated('a mirror cosigns only what it holds', `${where}: no key for entry ${at}`);
      }
      at += 1;
    }
    if (at < seen.size) violated('a mirror cosigns only what it holds', `${where}: has ${at}`);
    log.mirrored = at;
  }

  /** A published checkpoint is durable: this is what "final" means to everybody. */
  published(origin: string, bytes: Uint8Array | undefined): void {
    const log = this.#log(origin);
    const note = bytes && readCheckpointFile(bytes);
    const seen = note && this.#heads.get(note.text);
    const where = `${origin} at ${note?.size ?? 'nothing'}`;
    if (!seen || seen.origin !== origin) {
      violated('final means that the policy is met', `${where}: never signed`);
    }
    const names = [...seen.lines].filter(([, lines]) => note.lines.some((l) => lines.has(l)));
    if (!hasQuorum(names.map(([name]) => name))) {
      violated('final means that the policy is met', `${where}: ${names.length} cosignatures`);
    }
    if (seen.size < log.publishedSize) {
      violated('levels never fall', `${where} after ${log.publishedSize}`);
    }
    log.publishedSize = seen.size;
    if (seen.size >= log.startSize) log.isConfirmed = true;
  }

  stopped(origin: string, why: string): void {
    const log = this.#log(origin);
    log.isStopped = true;
    if (!log.mayStop) violated('an honest log is never stopped or accused', `${origin} ${why}`);
  }

  /** A mirror keeps evidence of a fork: two notes that the log did sign, of trees that cannot both be. */
  evidence(origin: string, read: ReadDurable): void {
    const log = this.#log(origin);
    if (log.isAccused) return;
    const file = read('evidence');
    if (file === undefined)
      violated('an honest log is never stopped or accused', `${origin}: lost`);
    const { first, second } = JSON.parse(String.fromCharCode(...file)) as Record<string, string>;
    const heads = [first, second].map((note = '') =>
      this.#heads.get(note.slice(0, note.indexOf('\n\n') + 1)),
    );
    const [a, b] = heads;
    if (!log.mayStop || !a || !b || extendsHead(a, b)) {
      violated('an honest log is never stopped or accused', `${origin}: evidence of nothing`);
    }
    log.isAccused = true;
  }

  /** After the faults. @param tree of the log's durable files; @param expected what the journal holds, in order */
  finish(origin: string, finished: FinishedLog): void {
    const { read, mirror, expected, isRetired } = finished;
    const log = this.#log(origin);
    const finalSize = this.finalSizeOf(origin);
    const kept = readPayloadFile(mirror, finalSize, 0);
    if (kept.length < finalSize) {
      violated('nothing final is lost', `${origin}: ${kept.length} of ${finalSize} at the mirror`);
    }
    for (const [at, record] of kept.entries()) {
      if (log.final?.tree.holds(at, leafOfRecord(record)) === false) {
        violated('nothing final is lost', `${origin}: entry ${at} is another at the mirror`);
      }
    }
    if (log.final?.tree === log.trees.forger) return;
    this.#settleable(origin, kept, finished);
    const size = isRetired ? finalSize : readHeadSize(read);
    const records = isRetired ? kept : readPayloadFile(read, size, 0);
    for (const [at, record] of records.entries()) {
      if (toHex(record.subarray(0, 32)) !== expected[at]) {
        violated('every answer is in the log once, in order', `${origin}: entry ${at}`);
      }
    }
    if (isRetired) return;
    if (size < expected.length || finalSize < expected.length) {
      const detail = `${origin}: ${expected.length} answers, ${size} recorded, ${finalSize} final`;
      violated('everything becomes final when the faults stop', detail);
    }
  }

  /** What is final can be opened with the keys at the mirror and is a whole answer; what was erased cannot. */
  #settleable(
    origin: string,
    kept: readonly Uint8Array[],
    { read, mirror, pastEntries }: FinishedLog,
  ): void {
    for (const [at, record] of kept.entries()) {
      const path = `keys/${toHex(record.subarray(32, 48))}`;
      const key = mirror(path);
      if (this.#erased.has(path)) {
        if (key === undefined && read(path) === undefined) continue;
        violated('erased is gone, the rest stays', `${origin}: entry ${at} can be opened`);
      }
      if (key === undefined) violated('final is settleable', `${origin}: no key for ${at}`);
      if (at < pastEntries) continue;
      const evidence = EVIDENCE.decode(openRecord(record, key));
      const outcome = evidence.ok ? decodeSign1(evidence.value.outcome) : evidence;
      const isWhole =
        evidence.ok &&
        outcome.ok &&
        readPayment(evidence.value.payment) !== undefined &&
        toHex(sha256(outcome.value.payload)) === toHex(record.subarray(0, 32));
      if (!isWhole) violated('final is settleable', `${origin}: entry ${at} is no whole answer`);
    }
  }

  /** A history that was forged ended: its log is stopped by its witnesses, or the mirror shows both signatures. */
  finishForgery(origin: string): void {
    const { forgedSize, isAccused, isStopped } = this.#log(origin);
    if (forgedSize > 0 && !isAccused && !isStopped) {
      violated('a forged history is stopped and shown', `${origin}: nobody has noticed`);
    }
  }
}

export interface FinishedLog {
  /** Durable files of the writer's folder. */
  readonly read: ReadDurable;
  /** Durable files of the mirror's copy. */
  readonly mirror: ReadDurable;
  /** SHA-256 of every answer's payload in the order of the journal, hex. */
  readonly expected: readonly string[];
  /** The origin has ended: only what was final counts. */
  readonly isRetired: boolean;
  /** Of `expected`, the first so many are opaque: no answers of this world. */
  readonly pastEntries: number;
}

function hasQuorum(names: readonly string[]): boolean {
  return (
    names.includes(MIRROR) && names.filter((name) => WITNESS.test(name)).length >= WITNESSES_NEEDED
  );
}

/** Whether `high` is the same history as `low`, not shorter. */
function extendsHead(low: SeenHead, high: SeenHead): boolean {
  return high.size >= low.size && high.tree.rootHexAt(low.size) === low.rootHex;
}

/** Version 1 ‖ SHA-256(Receipt hash ‖ SHA-256(ciphertext)), docs/ledger.md "Formats". */
function leafOfRecord(record: Uint8Array): Uint8Array {
  const both = concatBytes(record.subarray(0, 32), sha256(record.subarray(32)));
  return concatBytes(Uint8Array.of(1), sha256(both));
}

const DIGITS = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/';

function hexOfBase64(text: string): string {
  const bits = Array.from(text.replaceAll('=', ''), (digit) =>
    DIGITS.indexOf(digit).toString(2).padStart(6, '0'),
  ).join('');
  let hex = '';
  for (let at = 0; at + 8 <= bits.length; at += 8) {
    hex += Number.parseInt(bits.slice(at, at + 8), 2)
      .toString(16)
      .padStart(2, '0');
  }
  return hex;
}
