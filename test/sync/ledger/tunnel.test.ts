import fc from 'fast-check';
import t from 'tap';
import type { FetchOptions } from '../../../platform/http-client.ts';
import type { HttpAnswer } from '../../../platform/http-server.ts';
import { systemRandom } from '../../../platform/system-random.ts';
import { utf8ToBytes } from '../../../protocol/bytes.ts';
import {
  encodePiece,
  encodeRequest,
  parsePiece,
  parseRequest,
  parseStatus,
  PieceRow,
  tunnelTopics,
  type TunnelRequest,
} from '../../../sync/ledger/core/tunnel.ts';
import { TunnelEnd } from '../../../sync/ledger/tunnel-end.ts';

const ID = '000102030405060708090a0b0c0d0e0f';
const limits: FetchOptions = { timeoutMs: 2_000, maxBytes: 1_000_000 };
const never = { ...limits, timeoutMs: 60 };

/** What is under way in this process has gone on. */
const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

t.test('a piece is 21 bytes of head and what it carries', async (t) => {
  const bytes = encodePiece({
    kind: 'answer',
    isLast: true,
    number: 258,
    id: ID,
    bytes: Uint8Array.of(9),
  });
  t.equal(Buffer.from(bytes).toString('hex'), `0101010102${ID}09`);
  t.match(parsePiece(bytes), { ok: true, value: { kind: 'answer', number: 258, id: ID } });
  t.same(tunnelTopics('toll-7'), {
    up: 'kiri/v1/tunnel/toll-7/up',
    down: 'kiri/v1/tunnel/toll-7/down',
  });
});

t.test('hostile pieces and requests are refused with the reason', async (t) => {
  const head = (text: string): Uint8Array => Buffer.from(text + ID, 'hex');
  for (const [payload, reason] of [
    [new Uint8Array(20), 'short piece'],
    [new Uint8Array(21 + 15_361), 'piece too large'],
    [head('0201000000'), 'unknown piece'],
    [head('0103000000'), 'unknown piece'],
    [head('0101020000'), 'unknown piece'],
    [head('0101001000'), 'too many pieces'],
  ] as const) {
    t.same(parsePiece(payload), { ok: false, reason }, reason);
  }
  for (const [message, reason] of [
    [Uint8Array.of(0, 0), 'malformed request'],
    [Uint8Array.of(2, 0, 1, 0x2f), 'malformed request'],
    [Uint8Array.of(0, 0, 2, 0x2f), 'malformed request'],
    [Uint8Array.of(0, 1, 1, ...new Uint8Array(257).fill(0x2f)), 'malformed request'],
    [Uint8Array.of(0, 0, 0), 'malformed path'],
    [Uint8Array.of(0, 0, 1, 0x61), 'malformed path'],
    [Uint8Array.of(0, 0, 4, ...utf8ToBytes('/a?b')), 'malformed path'],
    [Uint8Array.of(0, 0, 2, 0x2f, 0x0a), 'malformed path'],
  ] as const) {
    t.same(parseRequest(message), { ok: false, reason }, Buffer.from(message).toString('hex'));
  }
  t.equal(encodeRequest({ method: 'GET', path: '/a b', body: new Uint8Array(0) }), undefined);
  t.equal(parseStatus(Uint8Array.of(0)), undefined);
  t.equal(parseStatus(Uint8Array.of(0, 199)), undefined);
  t.equal(parseStatus(Uint8Array.of(2, 88)), undefined);
  t.equal(parseStatus(Uint8Array.of(0, 200)), 200);
});

t.test('any bytes are a piece that reads the same again, or refused', async () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 64 }), (bytes) => {
      const piece = parsePiece(bytes);
      return !piece.ok || Buffer.from(encodePiece(piece.value)).equals(bytes);
    }),
    { examples: [[Uint8Array.of(1, 0, 1, 0, 7, ...new Uint8Array(20))]] },
  );
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 64 }), (bytes) => {
      const request = parseRequest(bytes);
      return !request.ok || Buffer.from(encodeRequest(request.value) ?? '').equals(bytes);
    }),
  );
});

t.test('pieces come together whatever their order, and however often they come', async () => {
  const parts = fc.array(fc.uint8Array({ minLength: 1, maxLength: 9 }), {
    minLength: 1,
    maxLength: 30,
  });
  fc.assert(
    fc.property(parts, fc.infiniteStream(fc.nat()), (all, draw) => {
      const row = new PieceRow(1_000);
      const left = all.flatMap((bytes, number) => {
        const isLast = number === all.length - 1;
        const piece = { kind: 'answer', isLast, number, id: ID, bytes } as const;
        return [piece, piece];
      });
      const got: Uint8Array[] = [];
      while (left.length > 0) {
        const [piece] = left.splice((draw.next().value ?? 0) % left.length, 1);
        const ready = piece && row.take(piece);
        if (ready?.ok !== true) return false;
        got.push(...ready.value);
      }
      return row.isWhole && Buffer.concat(got).equals(Buffer.concat(all));
    }),
  );
});

t.test('a row that contradicts itself or is over its limit is refused', async (t) => {
  const piece = (number: number, isLast: boolean, length = 1) =>
    ({ kind: 'answer', id: ID, number, isLast, bytes: new Uint8Array(length) }) as const;
  const reasonOf = (...pieces: ReturnType<typeof piece>[]): unknown => {
    const row = new PieceRow(10);
    return pieces.map((one) => row.take(one)).find(({ ok }) => !ok);
  };
  t.same(reasonOf(piece(2, true), piece(1, true)), { ok: false, reason: 'two ends' });
  t.same(reasonOf(piece(2, true), piece(3, false)), { ok: false, reason: 'two ends' });
  t.same(reasonOf(piece(3, false), piece(2, true)), { ok: false, reason: 'two ends' });
  t.same(reasonOf(piece(0, false, 6), piece(1, true, 5)), { ok: false, reason: 'too large' });
  t.same(reasonOf(piece(0, false, 0)), { ok: false, reason: 'empty piece' });
  t.same(reasonOf(piece(64, false)), { ok: false, reason: 'pieces are missing' });
  t.equal(reasonOf(piece(63, true), piece(0, false)), undefined);
});

type Carry = (payload: Uint8Array, deliver: (payload: Uint8Array) => void) => void;

/** Two ends in this process; `up` and `down` decide what becomes of each piece. */
const makePair = (
  handler: (request: TunnelRequest) => Promise<HttpAnswer>,
  down: Carry = (payload, deliver) => deliver(payload),
  up: Carry = (payload, deliver) => deliver(payload),
): { asker: TunnelEnd; other: TunnelEnd } => {
  const random = systemRandom();
  const common = { random, maxRequestBytes: 40_000 };
  const asker: TunnelEnd = new TunnelEnd({
    ...common,
    handler: async () => ({ status: 405 }),
    send: async (payload) => up(payload, (bytes) => other.receive(bytes)),
  });
  const other: TunnelEnd = new TunnelEnd({
    ...common,
    handler,
    send: async (payload) => down(payload, (bytes) => asker.receive(bytes)),
  });
  return { asker, other };
};

t.test('one answer per request, whatever comes twice or out of order', async (t) => {
  let calls = 0;
  const held: Uint8Array[] = [];
  const echo = async ({ body }: TunnelRequest): Promise<HttpAnswer> => {
    calls += 1;
    return { status: 200, body };
  };
  const swap: Carry = (payload, deliver) => {
    held.push(payload);
    if (held.length < 2 && payload[2] === 0) return;
    for (const one of held.splice(0).toReversed()) {
      deliver(one);
      deliver(one);
    }
  };
  const { asker, other } = makePair(echo, swap, swap);
  const body = new Uint8Array(35_000).map((_, at) => at % 251);
  const answer = await asker.request('/w1/add-checkpoint', { ...limits, body });
  t.equal(answer.status, 200);
  t.ok(Buffer.from(answer.body).equals(body));
  t.equal(calls, 1, 'carried out once');
  t.ok(asker.counts.ignored > 0, 'what came after the answer is ignored');
  await turn();
  t.equal(other.counts.answered, 1);
});

t.test('what is too large is refused on either side', async (t) => {
  const big = new Uint8Array(50_000);
  const { asker } = makePair(async () => ({ status: 200, body: big }));
  await t.rejects(asker.request('/a', { ...limits, maxBytes: 49_999 }), { code: 'HTTP_TOO_LARGE' });
  t.equal((await asker.request('/a', { ...limits, maxBytes: 50_000 })).body.length, 50_000);
  t.equal((await asker.request('/a', { ...limits, body: big })).status, 413);
  await t.rejects(asker.request('/a?b', limits), { code: 'HTTP_UNREACHABLE' });
});

t.test('an answer that never comes, breaks off or has no status is an error in time', async (t) => {
  const lost = makePair(
    async () => ({ status: 200 }),
    () => {},
  );
  await t.rejects(lost.asker.request('/a', never), { code: 'HTTP_TIMEOUT' });
  async function* breaking(): AsyncIterable<Uint8Array> {
    yield Uint8Array.of(1);
    throw new Error('gone');
  }
  const broken = makePair(async () => ({ status: 200, body: breaking() }));
  await t.rejects(broken.asker.request('/a', limits), { code: 'HTTP_UNREACHABLE' });
  const wrong = makePair(async () => ({ status: 7 }));
  await t.rejects(wrong.asker.request('/a', limits), { message: /no status/ });
  const dead = makePair(async () => {
    throw new Error('secret');
  });
  const failed = await dead.asker.request('/a', limits);
  t.equal(failed.status, 500);
  t.equal(Buffer.from(failed.body).toString(), 'INTERNAL\n');
  const noWay = makePair(
    async () => ({ status: 200 }),
    undefined,
    () => {
      throw new Error('closed');
    },
  );
  await t.rejects(noWay.asker.request('/a', limits), { message: /closed/ });
});

t.test('a flood of requests is answered BUSY, and the ones under way go on', async (t) => {
  const waiting: (() => void)[] = [];
  const slow = (): Promise<HttpAnswer> =>
    new Promise((resolve) => waiting.push(() => resolve({ status: 200 })));
  const { asker, other } = makePair(slow);
  const id = (n: number): string => n.toString(16).padStart(32, '0');
  const get = encodeRequest({ method: 'GET', path: '/a', body: new Uint8Array(0) }) ?? t.fail();
  if (typeof get === 'boolean') return;
  const flood = (n: number): void =>
    other.receive(encodePiece({ kind: 'request', isLast: true, number: 0, id: id(n), bytes: get }));
  for (let n = 0; n < 64; n += 1) flood(n);
  t.equal(waiting.length, 64);
  const busy = await asker.request('/a', limits);
  t.equal(busy.status, 503);
  for (const end of waiting.splice(0)) end();
  await turn();
  const next = asker.request('/a', limits);
  waiting[0]?.();
  t.equal((await next).status, 200, 'there is room again');
  await turn();
  const asked = Array.from({ length: 64 }, () => asker.request('/a', limits));
  await t.rejects(asker.request('/a', limits), { message: /64 requests wait/ });
  const closed = Promise.allSettled(asked);
  asker.close();
  t.ok((await closed).every(({ status }) => status === 'rejected'));
  other.close();
});

t.test('what is not wanted any more is not sent to its end', async (t) => {
  let sent = 0;
  let sawReset = false;
  const { asker } = makePair(
    async () => ({ status: 200, body: new Uint8Array(400 * 15_360) }),
    (payload, deliver) => {
      sent += 1;
      deliver(payload);
    },
    (payload, deliver) => {
      sawReset ||= payload[1] === 2;
      deliver(payload);
    },
  );
  await t.rejects(asker.request('/a', { ...limits, maxBytes: 100 }), { code: 'HTTP_TOO_LARGE' });
  await turn();
  t.ok(sawReset);
  t.ok(sent < 20, `${sent} of 401 pieces left`);
});
