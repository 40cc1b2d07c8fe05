/**
 * What a log writer and a hub say to each other: one checkpoint and its proofs go up once, for several witnesses; each
 * witness's answer (tlog-witness, add-checkpoint) comes down as it is, in the order of arrival. Text, like the requests
 * that the hub makes of it:
 *
 *   request   `witness <name> <old size>` lines, then for each old size `old <size>` and its proof lines, an empty line,
 *             the checkpoint
 *   answer    for each witness the line `<name> <status> <bytes>` and so many bytes of its body
 *
 * Status 0: the hub has no answer from it. The hub decides nothing: the writer checks every cosignature itself.
 */
import { concatBytes, utf8ToBytes } from '../../../protocol/bytes.ts';
import { parseHashLines } from './proof.ts';
import { type Outcome, bad, decodeUtf8, encodeBase64, ok, parseDecimal } from './text.ts';
import { MAX_REQUEST_BYTES } from './witness.ts';

/** Witnesses and mirrors of one upload. */
export const MAX_FAN_OUT_WITNESSES = 32;
/** One add-checkpoint request, and the lines that say who gets which proof. */
export const MAX_FAN_OUT_BYTES: number = 2 * MAX_REQUEST_BYTES;
/** What a hub takes of one witness: cosignature lines, a size, or a few words. */
export const MAX_WITNESS_ANSWER = 4_096;

const NAME = /^[!-~]{1,64}$/;

/** What one witness is asked in a fan-out. */
export interface FanOutAsk {
  readonly witness: string;
  readonly oldSize: number;
}

export interface FanOutRequest {
  readonly asks: readonly FanOutAsk[];
  /** Consistency proofs by the size that they start from; one for each size that is asked. */
  readonly proofs: ReadonlyMap<number, readonly Uint8Array[]>;
  readonly checkpoint: string;
}

export interface FanOutAnswer {
  readonly witness: string;
  /** Of HTTP; 0 where there was no answer. */
  readonly status: number;
  readonly body: string;
}

export const encodeFanOut = ({ asks, proofs, checkpoint }: FanOutRequest): Uint8Array => {
  const lines = asks.map(({ witness, oldSize }) => `witness ${witness} ${oldSize}`);
  for (const [oldSize, path] of proofs) lines.push(`old ${oldSize}`, ...path.map(encodeBase64));
  return utf8ToBytes(`${lines.join('\n')}\n\n${checkpoint}`);
};

const parseAsks = (lines: readonly string[]): FanOutAsk[] | undefined => {
  const asks = new Map<string, FanOutAsk>();
  for (const line of lines) {
    const [keyword, witness = '', digits = '', ...rest] = line.split(' ');
    const oldSize = parseDecimal(digits);
    const isSound =
      keyword === 'witness' && rest.length === 0 && NAME.test(witness) && !asks.has(witness);
    if (!isSound || oldSize === undefined) return undefined;
    asks.set(witness, { witness, oldSize });
  }
  return [...asks.values()];
};

/** Reads a request; nothing is said yet about the checkpoint, which is the witnesses' to check. */
export const parseFanOut = (body: Uint8Array): Outcome<FanOutRequest> => {
  if (body.length > MAX_FAN_OUT_BYTES) return bad('request too large');
  const text = decodeUtf8(body);
  const end = text?.indexOf('\n\n') ?? -1;
  if (text === undefined || end < 0) return bad('malformed request');
  const lines = text.slice(0, end).split('\n');
  const firstOld = lines.findIndex((line) => line.startsWith('old '));
  const asks = parseAsks(lines.slice(0, firstOld < 0 ? lines.length : firstOld));
  if (asks === undefined || asks.length === 0) return bad('malformed witness line');
  if (asks.length > MAX_FAN_OUT_WITNESSES) return bad('too many witnesses');
  const proofs = new Map<number, readonly Uint8Array[]>();
  for (let at = firstOld; at >= 0 && at < lines.length;) {
    const oldSize = parseDecimal(lines[at]?.slice(4) ?? '');
    const next = lines.findIndex((line, index) => index > at && line.startsWith('old '));
    const path = parseHashLines(lines.slice(at + 1, next < 0 ? lines.length : next));
    if (oldSize === undefined || proofs.has(oldSize)) return bad('malformed old size line');
    if (path === undefined) return bad('malformed consistency proof');
    if (proofs.size === asks.length) return bad('more proofs than witnesses');
    proofs.set(oldSize, path);
    at = next;
  }
  if (asks.some(({ oldSize }) => !proofs.has(oldSize))) return bad('an old size without its proof');
  return ok({ asks, proofs, checkpoint: text.slice(end + 2) });
};

/** One witness's answer in the hub's; a cosignature that is too long or no text becomes an answer that says so. */
export const encodeFanOutAnswer = ({ witness, status, body }: FanOutAnswer): Uint8Array => {
  const bytes = utf8ToBytes(body);
  const isSound = bytes.length <= MAX_WITNESS_ANSWER;
  const shown = isSound ? bytes : utf8ToBytes('not shown\n');
  const head = `${witness} ${isSound || status !== 200 ? status : 0} ${shown.length}\n`;
  return concatBytes(utf8ToBytes(head), shown);
};

const LF = 0x0a;
/** Name, status and length with their spaces. */
const MAX_HEAD = 80;

/** Puts answers together from the pieces in which they arrive. */
export class FanOutAnswers {
  #held: Uint8Array = new Uint8Array(0);

  /** @returns the answers that are complete now, or what is wrong with what came; then nothing more is read */
  take(piece: Uint8Array): Outcome<readonly FanOutAnswer[]> {
    this.#held = concatBytes(this.#held, piece);
    const answers: FanOutAnswer[] = [];
    for (;;) {
      const end = this.#held.indexOf(LF);
      if (end > MAX_HEAD || (end < 0 && this.#held.length > MAX_HEAD))
        return bad('a line without an end');
      if (end < 0) return ok(answers);
      const head = decodeUtf8(this.#held.subarray(0, end))?.split(' ') ?? [];
      const [witness = '', digits = '', count = ''] = head;
      const [status, length] = [parseDecimal(digits), parseDecimal(count)];
      const isSound = NAME.test(witness) && head.length === 3;
      if (!isSound || status === undefined || length === undefined) return bad('malformed answer');
      if (status > 999 || length > MAX_WITNESS_ANSWER) return bad('answer out of bounds');
      if (this.#held.length < end + 1 + length) return ok(answers);
      const body = decodeUtf8(this.#held.subarray(end + 1, end + 1 + length));
      if (body === undefined) return bad('an answer that is no text');
      this.#held = this.#held.slice(end + 1 + length);
      answers.push({ witness, status, body });
    }
  }
}
