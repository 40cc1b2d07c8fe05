/**
 * One end of a tunnel (core/tunnel.ts): asks the other end and answers it, whatever carries the pieces. Whoever asks gets
 * one answer or an error within its time; a request that comes twice is carried out once.
 */
import type { FetchAnswer, FetchOptions } from '../../platform/http-client.ts';
import type { HttpAnswer } from '../../platform/http-server.ts';
import type { Random } from '../../platform/ports.ts';
import { concatBytes, toHex } from '../../protocol/bytes.ts';
import { KiriError } from '../../protocol/kiri-error.ts';
import {
  encodePiece,
  encodeRequest,
  encodeStatus,
  ID_BYTES,
  MAX_PIECE_BYTES,
  MAX_PIECES,
  parsePiece,
  parseRequest,
  parseStatus,
  type Piece,
  type PieceKind,
  PieceRow,
  STATUS_BYTES,
  type TunnelRequest,
} from './core/tunnel.ts';

/** Requests of this end that wait for their answers; one more is refused. */
const MAX_PENDING = 64;
/** Requests of the other end under way; one more is answered 503. */
const MAX_SERVING = 64;
/** Requests of the other end that are known again when they come twice. */
const MAX_REMEMBERED = 1_024;
/** Bytes of answers that are not whole yet. */
const MAX_BUFFERED_BYTES: number = 32 * 1024 * 1024;
/** Pieces of one message under way. */
const WINDOW = 8;
/** A request that is not whole by then is forgotten. */
const ASSEMBLY_TIMEOUT_MS = 10_000;

export interface TunnelEndOptions {
  /** Resolves when the piece has arrived or left, rejects when it is lost. */
  readonly send: (payload: Uint8Array) => Promise<void>;
  /** Must answer in bounded time. */
  readonly handler: (request: TunnelRequest) => Promise<HttpAnswer>;
  /** Largest request that is taken, head included. */
  readonly maxRequestBytes: number;
  readonly random: Random;
  /** What a piece takes on the connection beside its bytes. */
  readonly overheadBytes?: number;
}

interface Pending {
  readonly row: PieceRow;
  readonly parts: Uint8Array[];
  readonly options: FetchOptions;
  readonly settle: (result: { status: number } | KiriError) => void;
  status: number | undefined;
  bytesUp: number;
  bytesDown: number;
  buffered: number;
}

interface Gathering {
  readonly kind: 'gathering';
  readonly row: PieceRow;
  readonly parts: Uint8Array[];
  readonly timer: NodeJS.Timeout;
}

type Serving =
  Gathering | { readonly kind: 'answering'; isCancelled: boolean } | { readonly kind: 'over' };

/** `ignored`: pieces that make no sense, or belong to nothing. */
export interface TunnelCounts {
  readonly asked: number;
  readonly answered: number;
  readonly ignored: number;
}

export class TunnelEnd {
  readonly #options: TunnelEndOptions;
  readonly #pending = new Map<string, Pending>();
  readonly #serving = new Map<string, Serving>();
  #servingCount = 0;
  #buffered = 0;
  readonly counts: { asked: number; answered: number; ignored: number } = {
    asked: 0,
    answered: 0,
    ignored: 0,
  };

  constructor(options: TunnelEndOptions) {
    this.#options = options;
  }

  /**
   * Asks the other end for `path`, as {@link fetchBytes} asks an address.
   * @throws KiriError HTTP_UNREACHABLE, HTTP_TIMEOUT, HTTP_TOO_LARGE
   */
  request(path: string, options: FetchOptions): Promise<FetchAnswer> {
    const method = options.body === undefined ? 'GET' : 'POST';
    const message = encodeRequest({ method, path, body: options.body ?? new Uint8Array(0) });
    if (message === undefined) {
      return Promise.reject(new KiriError('HTTP_UNREACHABLE', `${path} has no place in a tunnel`));
    }
    if (this.#pending.size >= MAX_PENDING) {
      return Promise.reject(
        new KiriError('HTTP_UNREACHABLE', `${MAX_PENDING} requests wait already`),
      );
    }
    this.counts.asked += 1;
    const id = toHex(this.#options.random.bytes(ID_BYTES));
    return new Promise((resolve, reject) => {
      const { timeoutMs } = options;
      const timer = setTimeout(() => {
        this.#sendReset(id);
        pending.settle(new KiriError('HTTP_TIMEOUT', `${path}: no answer in ${timeoutMs} ms`));
      }, timeoutMs);
      const pending: Pending = {
        row: new PieceRow(options.maxBytes + STATUS_BYTES),
        parts: [],
        options,
        status: undefined,
        bytesUp: 0,
        bytesDown: 0,
        buffered: 0,
        settle: (result) => {
          if (!this.#pending.delete(id)) return;
          clearTimeout(timer);
          this.#buffered -= pending.buffered;
          const { bytesUp, bytesDown } = pending;
          if (result instanceof KiriError) reject(result);
          else resolve({ ...result, body: concatBytes(...pending.parts), bytesUp, bytesDown });
        },
      };
      this.#pending.set(id, pending);
      const isWanted = (): boolean => this.#pending.has(id);
      const count = (bytes: number): void => void (pending.bytesUp += bytes);
      this.#sendAll('request', id, message, isWanted, count).catch((error: unknown) => {
        const why = error instanceof Error ? error.message : String(error);
        pending.settle(new KiriError('HTTP_UNREACHABLE', `${path}: ${why}`, { cause: error }));
      });
    });
  }

  /** A payload from the other end. Never throws. */
  receive(payload: Uint8Array): void {
    const piece = parsePiece(payload);
    if (!piece.ok) {
      this.counts.ignored += 1;
      return;
    }
    const { kind, id } = piece.value;
    if (kind === 'request') this.#gather(piece.value);
    else if (kind === 'answer') this.#take(piece.value);
    else {
      this.#pending.get(id)?.settle(new KiriError('HTTP_UNREACHABLE', 'the answer broke off'));
      const serving = this.#serving.get(id);
      if (serving?.kind === 'answering') serving.isCancelled = true;
      if (serving?.kind === 'gathering') this.#end(id, serving);
    }
  }

  /** Whoever waits hears it. */
  close(): void {
    for (const pending of this.#pending.values()) {
      pending.settle(new KiriError('HTTP_UNREACHABLE', 'the tunnel is closed'));
    }
    for (const serving of this.#serving.values()) {
      if (serving.kind === 'gathering') clearTimeout(serving.timer);
      if (serving.kind === 'answering') serving.isCancelled = true;
    }
    this.#serving.clear();
  }

  #take(piece: Piece): void {
    const pending = this.#pending.get(piece.id);
    if (pending === undefined) {
      // Late, or of nobody asked.
      this.counts.ignored += 1;
      return;
    }
    pending.bytesDown += piece.bytes.length + (this.#options.overheadBytes ?? 0);
    const ready = pending.row.take(piece);
    const why = ready.ok ? this.#hand(pending, ready.value) : ready.reason;
    if (why !== undefined) {
      this.#sendReset(piece.id);
      const code = why === 'too large' ? 'HTTP_TOO_LARGE' : 'HTTP_UNREACHABLE';
      pending.settle(new KiriError(code, `an answer is refused: ${why}`));
    } else if (pending.row.isWhole) {
      const { status } = pending;
      pending.settle(
        status === undefined
          ? new KiriError('HTTP_UNREACHABLE', 'an answer without a status')
          : { status },
      );
    }
  }

  /** Hands on what is in order; says why not. */
  #hand(pending: Pending, parts: readonly Uint8Array[]): string | undefined {
    for (const part of parts) {
      let bytes = part;
      if (pending.status === undefined) {
        pending.status = parseStatus(part);
        if (pending.status === undefined) return 'no status';
        bytes = part.subarray(STATUS_BYTES);
      }
      const { onPiece } = pending.options;
      if (onPiece !== undefined && pending.status === 200) {
        try {
          onPiece(bytes);
        } catch (error) {
          return error instanceof Error ? error.message : String(error);
        }
        continue;
      }
      pending.parts.push(bytes);
      pending.buffered += bytes.length;
      this.#buffered += bytes.length;
      if (this.#buffered > MAX_BUFFERED_BYTES) return 'too large';
    }
    return undefined;
  }

  #gather(piece: Piece): void {
    const { id } = piece;
    const known = this.#serving.get(id);
    if (known !== undefined && known.kind !== 'gathering') return;
    const serving = known ?? this.#begin(id);
    if (serving === undefined) return;
    const ready = serving.row.take(piece);
    if (!ready.ok) {
      this.#end(id, serving);
      void this.#answer(id, { status: 413, body: `${ready.reason}\n` });
      return;
    }
    serving.parts.push(...ready.value);
    if (!serving.row.isWhole) return;
    clearTimeout(serving.timer);
    const request = parseRequest(concatBytes(...serving.parts));
    void this.#answer(
      id,
      request.ok ? this.#handle(request.value) : { status: 400, body: `${request.reason}\n` },
    );
  }

  #begin(id: string): Gathering | undefined {
    if (this.#servingCount >= MAX_SERVING) {
      this.#remember(id, { kind: 'over' });
      this.#send(id, 'answer', true, 0, concatBytes(encodeStatus(503), BUSY)).catch(() => {});
      return undefined;
    }
    const timer = setTimeout(() => this.#end(id, serving), ASSEMBLY_TIMEOUT_MS).unref();
    const row = new PieceRow(this.#options.maxRequestBytes);
    const serving: Gathering = { kind: 'gathering', row, parts: [], timer };
    this.#servingCount += 1;
    this.#remember(id, serving);
    return serving;
  }

  #end(id: string, serving: Gathering): void {
    clearTimeout(serving.timer);
    this.#servingCount -= 1;
    this.#remember(id, { kind: 'over' });
  }

  /** Oldest first out; what is under way is never forgotten. */
  #remember(id: string, serving: Serving): void {
    this.#serving.set(id, serving);
    if (this.#serving.size <= MAX_REMEMBERED) return;
    for (const [old, { kind }] of this.#serving) {
      if (kind !== 'over') continue;
      this.#serving.delete(old);
      return;
    }
  }

  async #handle(request: TunnelRequest): Promise<HttpAnswer> {
    try {
      return await this.#options.handler(request);
    } catch (error) {
      return { status: 500, body: `${error instanceof KiriError ? error.code : 'INTERNAL'}\n` };
    }
  }

  async #answer(id: string, given: HttpAnswer | Promise<HttpAnswer>): Promise<void> {
    const serving = { kind: 'answering' as const, isCancelled: false };
    const isCounted = this.#serving.get(id)?.kind === 'gathering';
    this.#remember(id, serving);
    const isWanted = (): boolean => !serving.isCancelled;
    try {
      const { status, body = '' } = await given;
      if (typeof body === 'object' && Symbol.asyncIterator in body) {
        await this.#stream(id, status, body, isWanted);
      } else {
        const bytes = typeof body === 'string' ? new TextEncoder().encode(body) : body;
        await this.#sendAll('answer', id, concatBytes(encodeStatus(status), bytes), isWanted);
      }
      this.counts.answered += 1;
    } catch {
      this.#sendReset(id);
    } finally {
      if (isCounted) this.#servingCount -= 1;
      if (this.#serving.has(id)) this.#remember(id, { kind: 'over' });
    }
  }

  /** Parts leave as they come. */
  async #stream(
    id: string,
    status: number,
    body: AsyncIterable<Uint8Array>,
    isWanted: () => boolean,
  ): Promise<void> {
    await this.#send(id, 'answer', false, 0, encodeStatus(status));
    let number = 1;
    for await (const part of body) {
      for (let at = 0; at < part.length; at += MAX_PIECE_BYTES) {
        if (!isWanted()) return;
        await this.#send(id, 'answer', false, number, part.subarray(at, at + MAX_PIECE_BYTES));
        number += 1;
      }
    }
    await this.#send(id, 'answer', true, number, new Uint8Array(0));
  }

  async #sendAll(
    kind: PieceKind,
    id: string,
    message: Uint8Array,
    isWanted: () => boolean,
    count: (bytes: number) => void = () => {},
  ): Promise<void> {
    const underWay = new Set<Promise<void>>();
    const pieces = Math.max(1, Math.ceil(message.length / MAX_PIECE_BYTES));
    for (let number = 0; number < pieces && isWanted(); number += 1) {
      const from = number * MAX_PIECE_BYTES;
      const bytes = message.subarray(from, from + MAX_PIECE_BYTES);
      const sent = this.#send(id, kind, number === pieces - 1, number, bytes);
      count(bytes.length + (this.#options.overheadBytes ?? 0));
      const one = sent.finally(() => underWay.delete(one));
      underWay.add(one);
      if (underWay.size >= WINDOW) await Promise.race(underWay);
    }
    await Promise.all(underWay);
  }

  #send(
    id: string,
    kind: PieceKind,
    isLast: boolean,
    number: number,
    bytes: Uint8Array,
  ): Promise<void> {
    if (number >= MAX_PIECES) {
      return Promise.reject(new KiriError('HTTP_TOO_LARGE', `over ${MAX_PIECES} pieces`));
    }
    return this.#options.send(encodePiece({ kind, isLast, number, id, bytes }));
  }

  #sendReset(id: string): void {
    this.#send(id, 'reset', true, 0, new Uint8Array(0)).catch(() => {});
  }
}

const BUSY: Uint8Array = new TextEncoder().encode('BUSY\n');
