/**
 * A witness (C2SP tlog-witness v1.0.0, add-checkpoint) as a pure state machine. It remembers one head per log and
 * cosigns only what is consistent with it. The new head is reserved in the call that checks it, stored, and only after
 * `persisted` does the cosignature leave.
 */
import { bytesEqual, utf8ToBytes } from '../../../protocol/bytes.ts';
import { invariant } from '../../../protocol/kiri-error.ts';
import { type TreeHead, parseCheckpoint } from './checkpoint.ts';
import { cosign } from './cosignature.ts';
import { EMPTY_ROOT, type Sha256, verifyConsistency } from './merkle.ts';
import { parseNote, signatureLine } from './note.ts';
import type { Signer, Verify, VerifierKey } from './note-key.ts';
import { verifyNote } from './note-verify.ts';
import { parseHashLines } from './proof.ts';
import { isShardOfTime, parseShard, shardKeys } from './shard.ts';
import { type Outcome, bad, decodeUtf8, ok, parseDecimal } from './text.ts';

/** 63 proof lines and a checkpoint with 16 signatures fit many times over. */
export const MAX_REQUEST_BYTES = 65_536;
/** Logs of one witness: what it keeps of them fits in memory and in a snapshot of the journal. */
export const MAX_WITNESSED_LOGS = 10_000;
/** Origin, size, root and some extension lines: a stored head stays small whatever a log signs. */
const MAX_TEXT_CHARACTERS = 4_096;

/** The head that this witness cosigned last for one log. */
export interface WitnessedHead extends TreeHead {
  /** The checkpoint with the log's signature and our cosignature: what is stored. */
  readonly note: string;
}

export interface WitnessState {
  /** Keys trusted per origin, or per prefix of a chain of shards; what is neither is unknown (404). */
  readonly logs: ReadonlyMap<string, readonly VerifierKey[]>;
  readonly heads: Map<string, WitnessedHead>;
  /** Answers held back until their head is durable, by request id. */
  readonly waiting: Map<number, WitnessAnswer>;
}

export interface WitnessAnswer {
  readonly status: 200 | 400 | 403 | 404 | 409 | 422;
  readonly contentType: string;
  readonly body: string;
}

export type WitnessInput =
  | { readonly kind: 'addCheckpoint'; readonly requestId: number; readonly body: Uint8Array }
  | { readonly kind: 'persisted'; readonly requestId: number };

export type WitnessEffect =
  | { readonly kind: 'persist'; readonly requestId: number; readonly head: WitnessedHead }
  | { readonly kind: 'respond'; readonly requestId: number; readonly answer: WitnessAnswer };

/** What the core needs from outside: our cosignature key and a verifier. */
export interface WitnessPorts {
  readonly signer: Signer;
  readonly verify: Verify;
  readonly hash?: Sha256;
}

interface AddCheckpoint {
  readonly oldSize: number;
  readonly path: readonly Uint8Array[];
  readonly note: Uint8Array;
}

/** Media type of a 409's body, tlog-witness. */
const SIZE_TYPE = 'text/x.tlog.size';
const TEXT_TYPE = 'text/plain; charset=utf-8';

/** The request body of add-checkpoint: `old <size>`, proof lines, empty line, checkpoint. */
const parseAddCheckpoint = (body: Uint8Array): Outcome<AddCheckpoint> => {
  if (body.length > MAX_REQUEST_BYTES) return bad('request too large');
  let end = body.indexOf(0x0a);
  while (end >= 0 && body[end + 1] !== 0x0a) end = body.indexOf(0x0a, end + 1);
  const head = end < 0 ? undefined : decodeUtf8(body.subarray(0, end));
  if (head === undefined) return bad('malformed request');
  const [oldLine, ...proofLines] = head.split('\n');
  const oldSize = oldLine?.startsWith('old ') === true ? parseDecimal(oldLine.slice(4)) : undefined;
  if (oldSize === undefined) return bad('malformed old size line');
  const path = parseHashLines(proofLines);
  if (path === undefined) return bad('malformed consistency proof');
  return ok({ oldSize, path, note: body.slice(end + 2) });
};

const refuse = (status: 400 | 403 | 404 | 422, why: string): WitnessAnswer => ({
  status,
  contentType: TEXT_TYPE,
  body: `${why}\n`,
});

const conflict = (size: number): WitnessAnswer => ({
  status: 409,
  contentType: SIZE_TYPE,
  body: `${size}\n`,
});

/** A request whose log and signature are known; nothing is said yet about consistency. */
interface OpenedRequest {
  readonly oldSize: number;
  readonly path: readonly Uint8Array[];
  readonly head: TreeHead;
  /** The checkpoint's text. */
  readonly text: string;
  /** The log's verified signature line. */
  readonly logLine: string;
}

/** Keys trusted for an origin: its own, or those of the prefix that it is a shard of. */
const keysFor = (
  logs: WitnessState['logs'],
  origin: string,
): readonly VerifierKey[] | undefined => {
  const own = logs.get(origin);
  if (own !== undefined) return own;
  const prefix = parseShard(origin)?.prefix;
  const keys = prefix === undefined ? undefined : logs.get(prefix);
  return keys && shardKeys(keys, origin);
};

/** The first checks of tlog-witness: form (400), log (404), signature (403). */
export const openRequest = (
  logs: WitnessState['logs'],
  body: Uint8Array,
  verify: Verify,
): OpenedRequest | WitnessAnswer => {
  const request = parseAddCheckpoint(body);
  if (!request.ok) return refuse(400, request.reason);
  const note = parseNote(request.value.note);
  if (!note.ok) return refuse(400, note.reason);
  if (note.value.text.length > MAX_TEXT_CHARACTERS) return refuse(400, 'checkpoint too long');
  const head = parseCheckpoint(note.value.text);
  if (!head.ok) return refuse(400, head.reason);
  const keys = keysFor(logs, head.value.origin);
  if (keys === undefined) return refuse(404, 'unknown log');
  const signed = verifyNote(note.value, keys, verify);
  if (!signed.ok) return refuse(403, signed.reason);
  // Only verified lines are kept, so that what is stored can always be read back.
  const lines = signed.value.map(({ line }) =>
    signatureLine(line.name, line.keyId, line.signature),
  );
  const { oldSize, path } = request.value;
  return { oldSize, path, head: head.value, text: note.value.text, logLine: lines[0] ?? '' };
};

/** Checks of tlog-witness in its order; answers the head to reserve, or the refusal. */
const judge = (
  state: WitnessState,
  body: Uint8Array,
  nowMs: number,
  { verify, hash }: WitnessPorts,
): OpenedRequest | WitnessAnswer => {
  const opened = openRequest(state.logs, body, verify);
  if ('status' in opened) return opened;
  const { oldSize, path } = opened;
  const { origin, size, root } = opened.head;
  if (oldSize > size) return refuse(400, 'old size above the checkpoint size');
  const latest = state.heads.get(origin);
  if (latest === undefined) {
    const shard = state.logs.has(origin) ? undefined : parseShard(origin);
    if (shard && !isShardOfTime(shard, nowMs)) return refuse(404, 'a shard of another time');
    if (state.heads.size >= MAX_WITNESSED_LOGS) return refuse(403, 'too many logs');
  }
  if (oldSize !== (latest?.size ?? 0)) return conflict(latest?.size ?? 0);
  if (latest === undefined || oldSize === 0) {
    if (path.length > 0) return refuse(422, 'a proof from size 0 is empty');
  } else if (oldSize === size) {
    // Same size, other root: tlog-witness asks for 409 here. The proof of equal sizes is empty.
    if (path.length > 0) return refuse(422, 'a proof between equal sizes is empty');
  } else if (!verifyConsistency(oldSize, size, latest.root, root, path, hash)) {
    return refuse(422, 'the consistency proof does not verify');
  }
  if (size === 0 && !bytesEqual(root, EMPTY_ROOT)) return refuse(422, 'not the empty tree');
  if (latest?.size === size && !bytesEqual(latest.root, root)) return conflict(latest.size);
  return opened;
};

export const witnessState = (
  logs: ReadonlyMap<string, readonly VerifierKey[]>,
  heads: readonly WitnessedHead[],
): WitnessState => ({
  logs,
  heads: new Map(heads.map((head) => [head.origin, head])),
  waiting: new Map(),
});

/**
 * One step. `nowMs` is wall-clock time; the cosignature carries it in seconds.
 * The state is owned and changed in place. `persist` effects of one origin must be stored in the order emitted.
 */
export const stepWitness = (
  state: WitnessState,
  input: WitnessInput,
  nowMs: number,
  ports: WitnessPorts,
): readonly WitnessEffect[] => {
  const { requestId } = input;
  if (input.kind === 'persisted') {
    const answer = state.waiting.get(requestId);
    invariant(answer !== undefined, 'a stored head has an answer waiting for it');
    state.waiting.delete(requestId);
    return [{ kind: 'respond', requestId, answer }];
  }
  const verdict = judge(state, input.body, nowMs, ports);
  if ('status' in verdict) return [{ kind: 'respond', requestId, answer: verdict }];
  const line = cosign(verdict.text, ports.signer, Math.floor(nowMs / 1000));
  const head: WitnessedHead = {
    ...verdict.head,
    note: `${verdict.text}\n${verdict.logLine}${line}`,
  };
  state.heads.set(head.origin, head);
  state.waiting.set(requestId, { status: 200, contentType: TEXT_TYPE, body: line });
  return [{ kind: 'persist', requestId, head }];
};

/** Reads a stored head back; our own cosignature on it shows that the file is what we wrote. */
export const restoreHead = (
  note: Uint8Array,
  ownKey: VerifierKey,
  verify: Verify,
): Outcome<WitnessedHead> => {
  const parsed = parseNote(note);
  if (!parsed.ok) return parsed;
  const signed = verifyNote(parsed.value, [ownKey], verify);
  if (!signed.ok) return signed;
  const head = parseCheckpoint(parsed.value.text);
  const text = decodeUtf8(note);
  return head.ok && text !== undefined ? ok({ ...head.value, note: text }) : bad('no checkpoint');
};

/** The body that asks for a cosignature. */
export const encodeAddCheckpoint = (
  oldSize: number,
  path: readonly string[],
  checkpoint: string,
): Uint8Array =>
  utf8ToBytes(`old ${oldSize}\n${path.map((hash) => `${hash}\n`).join('')}\n${checkpoint}`);
