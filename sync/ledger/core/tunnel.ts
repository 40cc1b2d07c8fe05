/**
 * Requests and answers as MQTT payloads, for a site behind NAT that opens one connection outward (docs/ledger.md, "Behind
 * NAT"). A payload is one piece: version 1 ‖ kind 1 ‖ last 1 ‖ number u16 ‖ correlation id 16 ‖ bytes. The pieces of one
 * exchange and kind, in order of their numbers, are the message: method 1 ‖ path length u16 ‖ path ‖ body, or
 * status u16 ‖ body. Nothing here is signed: what travels proves itself, as it does over HTTP.
 */
import { bad, ok, type Outcome } from './text.ts';

/** Topic, piece and their heads stay below the 16 KiB that a broker's guard lets through. */
export const MAX_PIECE_BYTES = 15_360;
export const ID_BYTES = 16;
/** Of a piece. */
export const HEAD_BYTES: number = 5 + ID_BYTES;
const VERSION = 1;
/** The largest file of a log (log-source.ts) takes 1,093 full pieces; small ones may be sent as they come. */
export const MAX_PIECES = 4_096;
/** Pieces overtake each other by a sender's window at most, also after a reconnection. */
const MAX_AHEAD = 64;
const MAX_PATH_BYTES = 256;
const SITE = '[a-z0-9][a-z0-9-]{0,62}';

/** Names of sites and of what they may reach. */
export const SITE_NAME: RegExp = new RegExp(`^${SITE}$`);

/** Where a site sends, and where it is sent to. */
export const tunnelTopics = (site: string): { readonly up: string; readonly down: string } => ({
  up: `kiri/v1/tunnel/${site}/up`,
  down: `kiri/v1/tunnel/${site}/down`,
});

/** `reset`: the answer of this exchange does not come, or not whole. */
export type PieceKind = 'request' | 'answer' | 'reset';
const KINDS: readonly PieceKind[] = ['request', 'answer', 'reset'];

export interface Piece {
  readonly kind: PieceKind;
  readonly isLast: boolean;
  /** From 0 on, without a gap. */
  readonly number: number;
  /** Hex; chosen at random by whoever asks. */
  readonly id: string;
  readonly bytes: Uint8Array;
}

const HEX = '0123456789abcdef';

export const encodePiece = ({ kind, isLast, number, id, bytes }: Piece): Uint8Array => {
  const out = new Uint8Array(HEAD_BYTES + bytes.length);
  out.set([VERSION, KINDS.indexOf(kind), isLast ? 1 : 0, number >> 8, number & 0xff]);
  for (let at = 0; at < ID_BYTES; at += 1) {
    out[5 + at] = HEX.indexOf(id[2 * at] ?? '') * 16 + HEX.indexOf(id[2 * at + 1] ?? '');
  }
  out.set(bytes, HEAD_BYTES);
  return out;
};

export const parsePiece = (payload: Uint8Array): Outcome<Piece> => {
  if (payload.length < HEAD_BYTES) return bad('short piece');
  if (payload.length > HEAD_BYTES + MAX_PIECE_BYTES) return bad('piece too large');
  const [version, kindCode = 0, last = 0, high = 0, low = 0] = payload;
  const kind = KINDS[kindCode];
  if (version !== VERSION || kind === undefined || last > 1) return bad('unknown piece');
  const number = high * 256 + low;
  if (number >= MAX_PIECES) return bad('too many pieces');
  let id = '';
  for (const byte of payload.subarray(5, HEAD_BYTES)) {
    id += `${HEX[byte >> 4] ?? ''}${HEX[byte & 15] ?? ''}`;
  }
  return ok({ kind, isLast: last === 1, number, id, bytes: payload.subarray(HEAD_BYTES) });
};

/** Puts pieces back into order. Twice the same number counts once; nothing counts behind the last one. */
export class PieceRow {
  readonly #maxBytes: number;
  readonly #early = new Map<number, Uint8Array>();
  #next = 0;
  #last: number | undefined;
  #highest = -1;
  #bytes = 0;

  constructor(maxBytes: number) {
    this.#maxBytes = maxBytes;
  }

  /** All of it has been given out. */
  get isWhole(): boolean {
    return this.#last !== undefined && this.#next > this.#last;
  }

  /** What is next in order now. Refused: the row contradicts itself or is over its limit. */
  take({ number, isLast, bytes }: Piece): Outcome<readonly Uint8Array[]> {
    if (number < this.#next || this.#early.has(number)) return ok([]);
    if (this.#last !== undefined && (isLast || number > this.#last)) return bad('two ends');
    if (isLast && number < this.#highest) return bad('two ends');
    if (number >= this.#next + MAX_AHEAD) return bad('pieces are missing');
    // Only the end may be empty: a flood of nothing would cost the other side and not the sender.
    if (bytes.length === 0 && !isLast) return bad('empty piece');
    this.#bytes += bytes.length;
    if (this.#bytes > this.#maxBytes) return bad('too large');
    if (isLast) this.#last = number;
    this.#highest = Math.max(this.#highest, number);
    // A copy: the payload is a part of the connection's own buffer.
    this.#early.set(number, bytes.slice());
    const ready: Uint8Array[] = [];
    for (let one = this.#early.get(this.#next); one !== undefined;) {
      ready.push(one);
      this.#early.delete(this.#next);
      this.#next += 1;
      one = this.#early.get(this.#next);
    }
    return ok(ready);
  }
}

export interface TunnelRequest {
  readonly method: 'GET' | 'POST';
  /** Begins with '/'; letters, digits and `/._-` only. */
  readonly path: string;
  readonly body: Uint8Array;
}

const METHODS = ['GET', 'POST'] as const;
const PATH = /^\/[A-Za-z0-9._/-]*$/;

/** @returns `undefined` for a path that has no place in a request */
export const encodeRequest = ({ method, path, body }: TunnelRequest): Uint8Array | undefined => {
  if (!PATH.test(path) || path.length > MAX_PATH_BYTES) return undefined;
  const out = new Uint8Array(3 + path.length + body.length);
  out.set([METHODS.indexOf(method), path.length >> 8, path.length & 0xff]);
  for (let at = 0; at < path.length; at += 1) out[3 + at] = path.charCodeAt(at);
  out.set(body, 3 + path.length);
  return out;
};

export const parseRequest = (message: Uint8Array): Outcome<TunnelRequest> => {
  const [code = 255, high = 255, low = 255] = message;
  const method = METHODS[code];
  const end = 3 + high * 256 + low;
  if (method === undefined || end > message.length || end > 3 + MAX_PATH_BYTES) {
    return bad('malformed request');
  }
  const path = String.fromCharCode(...message.subarray(3, end));
  if (!PATH.test(path)) return bad('malformed path');
  return ok({ method, path, body: message.subarray(end) });
};

/** Head of an answer's first piece. */
export const STATUS_BYTES = 2;

export const encodeStatus = (status: number): Uint8Array =>
  Uint8Array.of(status >> 8, status & 0xff);

/** `undefined`: not a status of HTTP. */
export const parseStatus = (head: Uint8Array): number | undefined => {
  const status = (head[0] ?? 0) * 256 + (head[1] ?? 0);
  return head.length >= STATUS_BYTES && status >= 200 && status <= 599 ? status : undefined;
};
