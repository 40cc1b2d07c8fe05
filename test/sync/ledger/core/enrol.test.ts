import fc from 'fast-check';
import t from 'tap';
import { coversOrigin } from '../../../../identity/core/documents/mandate.ts';
import { LOG_ENROLMENT } from '../../../../identity/core/documents/log-enrolment.ts';
import { issueLogEnrolment, issueMandate } from '../../../../identity/core/issue.ts';
import { nodeSigner } from '../../../../identity/edge/node-signatures.ts';
import { encodeCanonical } from '../../../../protocol/cbor/encode.ts';
import { decodeSign1 } from '../../../../protocol/cose.ts';
import type { Signer } from '../../../../protocol/public-key.ts';
import {
  type EnrolledLog,
  type EnrolmentRules,
  type KnownLogs,
  MAX_ENROLMENT_BYTES,
  MAX_ORIGINS_PER_MANDATE,
  encodeEnrolment,
  isEnrolment,
  judgeEnrolment,
  restoreEnrolment,
} from '../../../../sync/ledger/core/enrol.ts';
import { encodeCheckpoint } from '../../../../sync/ledger/core/checkpoint.ts';
import type { VerifierKey } from '../../../../sync/ledger/core/note-key.ts';
import { MAX_WITNESSED_LOGS } from '../../../../sync/ledger/core/witness.ts';
import { utf8ToBytes } from '../../../../protocol/bytes.ts';
import { MANDATE_FACTS, NOW_S, VALID, newSigner, newWorld } from '../../../identity/fixture.ts';
import { generateKeyPairSync } from 'node:crypto';

const world = newWorld();
const { issuer, gateway, stranger } = world.signers;
const logKey = newSigner().key;
const rules: EnrolmentRules = { trust: world.trust, needsUrl: false, statusOf: () => 'valid' };
const nothing: KnownLogs = { keys: new Map(), enrolled: new Map() };

const mandateFor = (prefix: string, key = gateway.key, signer = issuer): Uint8Array =>
  issueMandate(signer, { ...MANDATE_FACTS, key, logOriginPrefix: prefix });
const enrolmentOf = (
  origin: string,
  more: { key?: typeof logKey; url?: string; issuedS?: number; signer?: Signer } = {},
): Uint8Array =>
  issueLogEnrolment(more.signer ?? gateway, {
    issuedS: more.issuedS ?? NOW_S,
    origin,
    logKey: more.key ?? logKey,
    ...(more.url === undefined ? {} : { url: more.url }),
  });
const bodyOf = (origin: string, more: Parameters<typeof enrolmentOf>[1] = {}): Uint8Array =>
  encodeEnrolment(mandateFor('a.example/x'), enrolmentOf(origin, more));
const statusOf = (
  body: Uint8Array,
  known = nothing,
  more: Partial<EnrolmentRules> = {},
  nowS = NOW_S,
): number => judgeEnrolment(body, known, { ...rules, ...more }, nowS).answer.status;
const knownOf = (logs: readonly EnrolledLog[], more: KnownLogs['keys'] = new Map()): KnownLogs => ({
  keys: new Map([
    ...more,
    ...logs.map((log): [string, readonly VerifierKey[]] => [log.origin, [log.key]]),
  ]),
  enrolled: new Map(logs.map((log) => [log.origin, log])),
});
const enrolled = (body: Uint8Array, known = nothing): EnrolledLog => {
  const { log } = judgeEnrolment(body, known, rules, NOW_S);
  if (log === undefined) throw new Error('not enrolled');
  return log;
};

t.test('a prefix ends with a component: a.example/x does not cover a.example/xy', async (t) => {
  const cases: [string, string, boolean][] = [
    ['a.example/x', 'a.example/x', true],
    ['a.example/x', 'a.example/x/2026q4', true],
    ['a.example/x', 'a.example/xy', false],
    ['a.example/x', 'a.example/xy/2026q4', false],
    ['a.example/x', 'a.example', false],
    ['a.example/x', 'a.example/x/', false],
    ['a.example/x', 'b.example/a.example/x', false],
    ['a.example/', 'a.example/x', true],
    ['a.example/', 'a.example', false],
    ['a.example', 'a.example.evil/x', false],
  ];
  for (const [prefix, origin, expected] of cases) {
    t.equal(coversOrigin({ logOriginPrefix: prefix }, origin), expected, `${prefix} ${origin}`);
    const body = encodeEnrolment(mandateFor(prefix), enrolmentOf(origin));
    t.equal(statusOf(body), expected ? 200 : 403, `${prefix} ${origin}`);
  }
});

t.test('what is enrolled is the key under the name of the origin', async (t) => {
  const log = enrolled(bodyOf('a.example/x', { url: 'https://a.example:8443/log' }));
  t.match(log, {
    origin: 'a.example/x',
    key: { name: 'a.example/x', type: 1, publicKey: logKey.point },
    gateway: gateway.key.hex,
    url: 'https://a.example:8443/log',
  });
  t.ok(isEnrolment(log.request));
  const head = { origin: 'a.example/x', size: 0, root: new Uint8Array(32) };
  t.notOk(isEnrolment(utf8ToBytes(encodeCheckpoint(head))), 'told from a head in one journal');
  t.match(restoreEnrolment(log.request, world.trust), { ok: true, value: log });
  // Read back years later, the mandate long over.
  t.equal(statusOf(log.request, nothing, {}, VALID.expiresS), 403, 'but not taken anew then');
  t.equal(statusOf(log.request, nothing, {}, VALID.notBeforeS - 1), 403);
  t.notOk(restoreEnrolment(log.request, { ...world.trust, issuerKey: stranger.key }).ok);
});

t.test('each code of the closed list for its reason', async (t) => {
  const mandate = mandateFor('a.example/x');
  const own = enrolmentOf('a.example/x');
  const cases: [string, Uint8Array, number][] = [
    ['nothing', new Uint8Array(0), 400],
    ['text', utf8ToBytes('old 0\n\n'), 400],
    ['one document', encodeCanonical([mandate]), 400],
    ['three documents', encodeCanonical([mandate, own, own]), 400],
    ['no bytes', encodeCanonical(['a', 'b']), 400],
    ['bytes behind it', Uint8Array.of(...encodeEnrolment(mandate, own), 0), 400],
    ['too large', encodeCanonical([new Uint8Array(MAX_ENROLMENT_BYTES), own]), 400],
    ['an origin that no note carries', bodyOf('a.example/x/a b'), 400],
    ['an origin with a line end', bodyOf('a.example/x/a\nb'), 400],
    ['the documents exchanged', encodeEnrolment(own, mandate), 403],
    [
      'a mandate of another issuer',
      encodeEnrolment(mandateFor('a.example/x', gateway.key, stranger), own),
      403,
    ],
    [
      'a mandate for another gateway',
      encodeEnrolment(mandateFor('a.example/x', stranger.key), own),
      403,
    ],
    ['signed by another', bodyOf('a.example/x', { signer: stranger }), 403],
    ['another prefix', bodyOf('b.example'), 403],
  ];
  for (const [what, body, status] of cases) {
    t.equal(statusOf(body), status, what);
    t.notOk(judgeEnrolment(body, nothing, rules, NOW_S).log, what);
  }
  t.equal(statusOf(bodyOf('a.example/x'), nothing, { statusOf: () => 'revoked' }), 403);
  t.equal(statusOf(bodyOf('a.example/x'), nothing, { statusOf: () => 'unknown' }), 503);
  t.equal(statusOf(bodyOf('a.example/x'), nothing, { needsUrl: true }), 400, 'a mirror wants it');
});

t.test('another key for a log, its prefix or one of its shards: 409', async (t) => {
  const key = newSigner().key;
  const whole = knownOf([enrolled(bodyOf('a.example/x'))]);
  t.equal(statusOf(bodyOf('a.example/x'), whole), 200, 'idempotent');
  t.notOk(judgeEnrolment(bodyOf('a.example/x'), whole, rules, NOW_S).log);
  t.equal(statusOf(bodyOf('a.example/x', { key, issuedS: NOW_S + 9 }), whole), 409);
  t.equal(statusOf(bodyOf('a.example/x/2026q4', { key }), whole), 409, 'a shard of it');
  t.equal(statusOf(bodyOf('a.example/x/2026q4'), whole), 200, 'its own shard');
  t.equal(statusOf(bodyOf('a.example/x/other', { key }), whole), 200, 'a log below, not a shard');
  const shard = knownOf([enrolled(bodyOf('a.example/x/2026q4'))]);
  t.equal(statusOf(bodyOf('a.example/x', { key }), shard), 409, 'the prefix of a known shard');
  const configured: KnownLogs = { keys: whole.keys, enrolled: new Map() };
  t.equal(statusOf(bodyOf('a.example/x'), configured), 200);
  t.notOk(judgeEnrolment(bodyOf('a.example/x'), configured, rules, NOW_S).log, 'nothing to keep');
  t.equal(statusOf(bodyOf('a.example/x', { key }), configured), 409);
});

t.test('a mirror follows a log to its later address, never back', async (t) => {
  const mirror = { ...rules, needsUrl: true };
  const at = (url: string, issuedS: number): Uint8Array => bodyOf('a.example/x', { url, issuedS });
  const known = knownOf([enrolled(at('http://one', NOW_S))]);
  t.match(judgeEnrolment(at('http://two', NOW_S + 1), known, mirror, NOW_S).log, {
    url: 'http://two',
  });
  t.notOk(judgeEnrolment(at('http://two', NOW_S), known, mirror, NOW_S).log, 'not the same second');
  t.notOk(judgeEnrolment(at('http://old', NOW_S - 1), known, mirror, NOW_S).log);
  t.notOk(judgeEnrolment(at('http://two', NOW_S + 1), known, rules, NOW_S).log, 'no witness cares');
});

t.test('limits: origins of one mandate, logs in all', async (t) => {
  const logs = Array.from({ length: MAX_ORIGINS_PER_MANDATE }, (_, at) =>
    enrolled(bodyOf(`a.example/x/${at}`)),
  );
  t.equal(statusOf(bodyOf('a.example/x/last'), knownOf(logs.slice(1))), 200);
  t.equal(statusOf(bodyOf('a.example/x/more'), knownOf(logs)), 403);
  t.equal(statusOf(bodyOf('a.example/x/3'), knownOf(logs)), 200, 'one of them again');
  // A mandate issued anew for the same gateway gives no further ones.
  const again = encodeEnrolment(mandateFor('a.example'), enrolmentOf('a.example/y'));
  t.equal(statusOf(again, knownOf(logs)), 403);
  const many = new Map(
    Array.from({ length: MAX_WITNESSED_LOGS }, (_, at): [string, readonly VerifierKey[]] => [
      `b.example/${at}`,
      [],
    ]),
  );
  t.equal(statusOf(bodyOf('a.example/x'), knownOf([], many)), 503);
  many.delete('b.example/0');
  t.equal(statusOf(bodyOf('a.example/x'), knownOf([], many)), 200);
});

t.test('addresses and keys that an enrolment may not name', async (t) => {
  for (const url of [
    'http://a',
    'https://a.example:1/b/c',
    'http://[::1]:80/log',
    'http://a/?'.slice(0, 8),
  ]) {
    const sign1 = decodeSign1(enrolmentOf('a.example/x', { url }));
    t.ok(sign1.ok && LOG_ENROLMENT.decode(sign1.value.payload).ok, url);
  }
  const wrong = [
    '',
    'a',
    'ftp://a',
    'file:///etc',
    'http://',
    'http:///a',
    'http://a/',
    'http://a//b',
  ];
  for (const url of [
    ...wrong,
    'http://u:p@a',
    'http://a/?q',
    'http://a/#f',
    'http://a b',
    'http://ä',
    `http://${'a'.repeat(250)}`,
  ]) {
    t.throws(() => enrolmentOf('a.example/x', { url }), { code: /DOCUMENT_INVALID|FIELD_/ }, url);
  }
  const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  const p256 = nodeSigner(privateKey).key;
  t.throws(() => enrolmentOf('a.example/x', { key: p256 }), { code: 'DOCUMENT_INVALID' });
  t.throws(() => enrolmentOf(''), { code: 'DOCUMENT_INVALID' });
  t.throws(() => enrolmentOf('a'.repeat(129)), { code: /DOCUMENT_INVALID|FIELD_/ });
});

t.test('no changed byte of a request is taken, none makes it throw', async (t) => {
  const body = bodyOf('a.example/x', { url: 'http://a' });
  let taken = 0;
  for (let at = 0; at < body.length; at += 1) {
    const changed = body.slice();
    changed[at]! ^= 1 << (at % 8);
    if (statusOf(changed) === 200) taken += 1;
    if (statusOf(body.subarray(0, at)) === 200) taken += 1;
  }
  t.equal(taken, 0, `${body.length} bytes`);
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 300 }), (bytes) => [400, 403].includes(statusOf(bytes))),
  );
});
