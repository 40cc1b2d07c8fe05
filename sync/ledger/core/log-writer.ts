/**
 * The log writer as a pure state machine: a cursor over the approver's journal (DESIGN section 5). The order that it
 * keeps: files of a batch durable, then the head (size, root, cursor) durable, only then the log's signature, then
 * cosignatures, then the published checkpoint. A signature therefore never exists on a head that a crash can forget.
 *
 * After every start the writer signs nothing beyond its stored head until the policy's quorum has cosigned that very
 * head: a restored older copy learns from the first witness that it is one, and stops. A single witness can stop the
 * log this way; signing two histories would be worse.
 */
import type { JournalPosition, Now } from '../../../platform/ports.ts';
import { bytesEqual } from '../../../protocol/bytes.ts';
import { invariant } from '../../../protocol/kiri-error.ts';
import { encodeCheckpoint } from './checkpoint.ts';
import { followPolicy, linkOf, startLinks } from './follow-policy.ts';
import { type LogEntry, appendBatch } from './log-batch.ts';
import type {
  FoundLog,
  LogEffect,
  LogHead,
  LogInput,
  LogPorts,
  LogWriterState,
  StopReason,
} from './log-writer-types.ts';
import { leafHash } from './merkle.ts';
import { parseSignatureLines, signNote, signatureLine } from './note.ts';
import { verifyNote } from './note-verify.ts';
import { quorumMet } from './policy.ts';
import { countsIn, spanAt } from './policy-book.ts';
import { treeRoot } from './tree.ts';
import { type WitnessLink, failRequest, finishRequest, mayAsk } from './witness-link.ts';

/** Longest wait of a leaf for its batch. */
const BATCH_INTERVAL_MS = 250;
/** A batch closes after the slice that reaches this many leaves. */
const MAX_BATCH_LEAVES = 4_096;
/** No more is read from the journal while this many leaves wait; the journal keeps the rest. */
const MAX_QUEUED_LEAVES = 16_384;
/** A backlog becomes final in steps of about this many leaves, oldest first (DESIGN section 5). */
export const STEP_LEAVES = 16_384;
/** Beyond so many steps the last one is a long one. */
export const MAX_STEPS = 4_096;

/** The state after a start; already stopped where the folder contradicts itself. */
export const startLogWriter = (found: FoundLog, ports: LogPorts): LogWriterState => {
  const { head, tree, bundle, published } = found;
  const span = spanAt(ports.policy, Infinity);
  const state: LogWriterState = {
    phase: { kind: 'confirming' },
    tree,
    bundle,
    queue: [],
    queuedLeaves: 0,
    head,
    writing: undefined,
    lastBatchMs: 0,
    round: undefined,
    finalSize: published?.size ?? -1,
    finalSequence: published?.size === head.size ? head.throughSequence : found.finalSequence,
    steps: (found.steps ?? []).slice(0, MAX_STEPS),
    signedSize: head.size,
    askFloor: 0,
    span,
    witnesses: startLinks(span.policy, found, ports.verify),
  };
  const root = treeRoot(tree, ports.hash);
  if (tree.size !== head.size || !bytesEqual(root, head.root)) {
    stop(state, 'FOLDER_INCONSISTENT', 'the tiles do not lead to the stored head');
  } else if (!bundleFits(found, ports)) {
    stop(state, 'FOLDER_INCONSISTENT', 'the last bundles do not match their tile');
  } else if (published !== undefined && published.size > head.size) {
    stop(state, 'ROLLED_BACK', 'the published checkpoint is larger than the stored head');
  } else if (published?.size === head.size && !bytesEqual(published.root, head.root)) {
    stop(state, 'FOLDER_INCONSISTENT', 'the published checkpoint has another root');
  }
  return state;
};

const bundleFits = ({ tree, bundle }: FoundLog, ports: LogPorts): boolean => {
  const tile = tree.edge[0] ?? [];
  return (
    bundle.leaves.length === tile.length &&
    bundle.payloads.length === tile.length &&
    bundle.leaves.every((leaf, at) => bytesEqual(leafHash(leaf, ports.hash), tile[at] ?? leaf))
  );
};

/** Whether the shell should read on in the journal. */
export const wantsEntries = (state: LogWriterState): boolean =>
  state.phase.kind !== 'stopped' && state.queuedLeaves < MAX_QUEUED_LEAVES;

const stop = (state: LogWriterState, reason: StopReason, detail: string): LogEffect[] => {
  state.phase = { kind: 'stopped', reason, detail };
  state.round = undefined;
  return [{ kind: 'stopped', reason, detail }];
};

const startBatch = (state: LogWriterState, ports: LogPorts, nowMs: number): LogEffect[] => {
  const due = nowMs - state.lastBatchMs >= BATCH_INTERVAL_MS;
  const first = state.queue[0];
  if (state.phase.kind !== 'running' || !due || state.writing !== undefined || !first) return [];
  const entries: LogEntry[] = [];
  let { cursor } = first;
  let { throughSequence } = state.head;
  while (entries.length < MAX_BATCH_LEAVES) {
    const group = state.queue.shift();
    if (group === undefined) break;
    for (const entry of group.entries) {
      entries.push(entry);
      throughSequence = entry.sequence ?? throughSequence;
    }
    cursor = group.cursor;
  }
  state.queuedLeaves -= entries.length;
  state.lastBatchMs = nowMs;
  const files = appendBatch(state.tree, state.bundle, entries, ports.hash);
  const { size } = state.tree;
  invariant(size === state.head.size + entries.length, 'a batch continues the durable head');
  const root = treeRoot(state.tree, ports.hash);
  const sequence = throughSequence === undefined ? {} : { throughSequence };
  const head = { size, root, cursor, ...sequence };
  state.writing = { head, acceptedAtMs: entries.map((entry) => entry.acceptedAtMs) };
  return [{ kind: 'writeBatch', size, ...files }];
};

/** The oldest step that is not final and that no witness is beyond, else the durable head. */
const nextHead = (state: LogWriterState): LogHead =>
  state.steps.find(({ size }) => size > state.finalSize && size >= state.askFloor) ?? state.head;

/** Opens a round when the last one is final: the log's signature is made here and nowhere else. */
const openRound = (state: LogWriterState, ports: LogPorts): void => {
  const confirmed = state.phase.kind === 'running';
  if (state.round !== undefined || (confirmed && state.head.size <= state.finalSize)) return;
  const { size, root, throughSequence } = nextHead(state);
  state.signedSize = Math.max(state.signedSize, size);
  const text = encodeCheckpoint({ origin: ports.origin, size, root });
  const note = signNote(text, ports.signer);
  state.round = {
    size,
    throughSequence,
    text,
    note,
    cosignatures: new Map(),
    publishing: false,
  };
};

const askWitnesses = (state: LogWriterState, nowMs: number): LogEffect[] => {
  const { round } = state;
  if (round === undefined || round.publishing) return [];
  return state.witnesses
    .filter((link) => mayAsk(link, nowMs) && !round.cosignatures.has(link.name))
    .map((link) => {
      link.askedSize = round.size;
      return {
        kind: 'requestCosignature',
        witness: link.name,
        oldSize: Math.min(link.oldSize, round.size),
        size: round.size,
        checkpoint: round.note,
      };
    });
};

const publishIfMet = (state: LogWriterState): LogEffect[] => {
  const { round } = state;
  if (round === undefined || round.publishing) return [];
  if (!quorumMet(state.span.policy, new Set(round.cosignatures.keys()))) return [];
  round.publishing = true;
  const checkpoint = round.note + [...round.cosignatures.values()].join('');
  return [{ kind: 'publish', size: round.size, checkpoint }];
};

/** Everything that can go on now, in the order: next batch, next round, witnesses, publication. */
const advance = (state: LogWriterState, ports: LogPorts, nowMs: number): LogEffect[] => {
  if (state.phase.kind === 'stopped') return [];
  const batch = startBatch(state, ports, nowMs);
  openRound(state, ports);
  return [...batch, ...askWitnesses(state, nowMs), ...publishIfMet(state)];
};

const takeCosignature = (
  state: LogWriterState,
  link: WitnessLink,
  lines: string,
  ports: LogPorts,
  nowMs: number,
): void => {
  const { round } = state;
  const asked = link.askedSize;
  if (round === undefined || asked !== round.size) {
    // The round went on without this witness; its cosignature still tells what it knows.
    if (asked !== undefined) link.oldSize = asked;
    link.askedSize = undefined;
    return;
  }
  const signatures = parseSignatureLines(lines);
  const note = { text: round.text, signatures: signatures.ok ? signatures.value : [] };
  const verified = verifyNote(note, [link.key], ports.verify);
  // A cosignature from outside the version's time would count for nobody.
  const line = verified.ok
    ? verified.value.find(({ timeS }) => timeS !== undefined && countsIn(state.span, timeS))?.line
    : undefined;
  if (line === undefined) {
    failRequest(link, 'the answer is no valid cosignature of this time', nowMs);
    return;
  }
  finishRequest(link, asked);
  round.cosignatures.set(link.name, signatureLine(line.name, line.keyId, line.signature));
};

const takeConflict = (
  state: LogWriterState,
  link: WitnessLink,
  theirSize: number,
  nowMs: number,
): LogEffect[] => {
  const asked = link.askedSize ?? 0;
  const usedOld = Math.min(link.oldSize, asked);
  link.askedSize = undefined;
  if (theirSize > asked && theirSize <= state.signedSize) {
    // It cosigned a larger head of ours before a restart and can never cosign this smaller one.
    link.oldSize = theirSize;
    state.askFloor = Math.max(state.askFloor, theirSize);
    const { round } = state;
    if (round !== undefined && !round.publishing && round.size < theirSize) state.round = undefined;
    return [];
  }
  if (theirSize > asked) {
    // Every head we ever signed before this run was at most the one found at its start.
    const detail = `witness ${link.name} has cosigned ${theirSize} leaves, this log offered ${asked}`;
    return stop(state, 'ROLLED_BACK', detail);
  }
  if (theirSize === asked && theirSize === usedOld) {
    return stop(state, 'FORKED', `witness ${link.name} has another root at ${theirSize} leaves`);
  }
  if (theirSize < link.cosignedSize) {
    link.lost = true;
    link.trouble = `answers ${theirSize} after cosigning ${link.cosignedSize}: its state is lost`;
    return [];
  }
  link.conflicts += 1;
  if (theirSize === usedOld) failRequest(link, 'refuses the size that it names itself', nowMs);
  // One such answer tells where it stands; whoever names another size every time must not be asked in a circle.
  else if (link.conflicts > 1) failRequest(link, 'names another size every time', nowMs);
  link.oldSize = theirSize;
  return [];
};

/** Remembers a head that is about to be overtaken, where it is far enough from the one before. */
const keepStep = (state: LogWriterState, head: LogHead): void => {
  const last = state.steps.at(-1)?.size ?? state.finalSize;
  if (head.size - last < STEP_LEAVES || state.steps.length >= MAX_STEPS) return;
  state.steps.push(head);
};

const headPersisted = (state: LogWriterState, size: number, now: Now): LogEffect[] => {
  const { writing } = state;
  invariant(writing?.head.size === size, 'the stored head is the one that was being written');
  keepStep(state, state.head);
  state.head = writing.head;
  state.writing = undefined;
  const { acceptedAtMs } = writing;
  return [{ kind: 'recorded', size, atMs: now.unixMs, acceptedAtMs }];
};

const published = (state: LogWriterState, size: number, now: Now): LogEffect[] => {
  invariant(state.round?.size === size && state.round.publishing, 'the open round was published');
  state.finalSequence = state.round.throughSequence;
  state.round = undefined;
  state.finalSize = size;
  state.steps = state.steps.filter((step) => step.size > size);
  if (state.phase.kind === 'confirming' && size === state.head.size) {
    state.phase = { kind: 'running' };
  }
  const { finalSequence } = state;
  const sequence = finalSequence === undefined ? {} : { throughSequence: finalSequence };
  return [{ kind: 'final', size, ...sequence, atMs: now.unixMs }];
};

const take = (
  state: LogWriterState,
  input: LogInput,
  now: Now,
  ports: LogPorts,
): readonly LogEffect[] => {
  switch (input.kind) {
    case 'tick':
      return [];
    case 'entries':
      enqueue(state, input.entries, input.cursor);
      return [];
    case 'linkUp':
      for (const link of state.witnesses) link.retryAtMs = 0;
      return [];
    case 'batchWritten':
      invariant(state.writing?.head.size === input.size, 'the written batch was under way');
      return [{ kind: 'persistHead', head: state.writing.head }];
    case 'headPersisted':
      return headPersisted(state, input.size, now);
    case 'published':
      return published(state, input.size, now);
    case 'storageFailed':
      return stop(state, 'STORAGE_FAILED', input.detail);
    case 'cosigned':
    case 'witnessConflict':
    case 'witnessInconsistent':
    case 'witnessFailed':
      return takeAnswer(state, input, ports, now.monotonicMs);
  }
};

type WitnessAnswered = Extract<LogInput, { readonly witness: string }>;

const takeAnswer = (
  state: LogWriterState,
  input: WitnessAnswered,
  ports: LogPorts,
  nowMs: number,
): LogEffect[] => {
  const link = linkOf(state, ports, input.witness);
  if (link === undefined) return [];
  switch (input.kind) {
    case 'cosigned':
      takeCosignature(state, link, input.lines, ports, nowMs);
      return [];
    case 'witnessConflict':
      return takeConflict(state, link, input.theirSize, nowMs);
    case 'witnessInconsistent':
      return stop(state, 'FORKED', `witness ${input.witness} refuses the consistency proof`);
    case 'witnessFailed':
      failRequest(link, input.trouble, nowMs);
      return [];
  }
};

const enqueue = (
  state: LogWriterState,
  entries: readonly LogEntry[],
  cursor: JournalPosition,
): void => {
  const last = state.queue.at(-1);
  if (entries.length > 0) {
    state.queue.push({ entries, cursor });
    state.queuedLeaves += entries.length;
  } else if (last !== undefined) {
    // Records without a leaf: the cursor moves on with the leaves before them.
    last.cursor = cursor;
  }
};

/**
 * One step. The state is owned and changed in place. `now.monotonicMs` drives intervals, `now.unixMs` only dates the
 * measurements. Every `requestCosignature` must be answered by exactly one cosigned, witnessConflict,
 * witnessInconsistent or witnessFailed; every write by its `…Written`/`…Persisted`/`published` or by storageFailed.
 */
export const stepLogWriter = (
  state: LogWriterState,
  input: LogInput,
  now: Now,
  ports: LogPorts,
): readonly LogEffect[] => {
  if (state.phase.kind === 'stopped') return [];
  followPolicy(state, ports, now.unixMs);
  const effects = take(state, input, now, ports);
  return [...effects, ...advance(state, ports, now.monotonicMs)];
};
