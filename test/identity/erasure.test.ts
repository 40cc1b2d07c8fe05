import t from 'tap';
import { openDocument } from '../../identity/core/document.ts';
import {
  ERASURE_REQUEST,
  openConfirmation,
  type ErasureConfirmation,
} from '../../identity/core/documents/erasure.ts';
import { issueErasureConfirmation, issueErasureRequest } from '../../identity/core/issue.ts';
import { decodeSign1 } from '../../protocol/cose.ts';
import { nobleSigner } from '../../identity/core/noble-signatures.ts';
import { nodeVerifier } from '../../identity/edge/node-signatures.ts';
import { ALG_EDDSA, ALG_ES256, publicKey } from '../../protocol/public-key.ts';
import { hex, unhex } from '../protocol/helpers.ts';
import * as fixture from './fixture.ts';

const seed = (value: number): Uint8Array => new Uint8Array(32).fill(value);
const [issuer, gateway, mirror] = [1, 2, 3].map((one) => nobleSigner(ALG_EDDSA, seed(one)));
const verifier = nodeVerifier();
const kid = new Uint8Array(16).fill(0xcc);
const FACTS = {
  issuedS: 1_795_000_000,
  origin: 'gw1.example/2026q4',
  period: '2026-11',
  kids: [kid],
  reason: 1,
  holders: [
    { name: 'gateway', key: gateway!.key },
    { name: 'mirror', key: mirror!.key },
  ],
};

/**
 * The two payloads written by hand from kiri.cddl: map heads, then key and value. The key points are those of RFC 8032 for
 * the seeds 02…02 and 03…03, the ids SHA-256 over their COSE_Keys cut to 16 bytes.
 */
const ID = Object.fromEntries(
  Object.entries({ issuer, gateway }).map(([name, one]) => [name, one!.key.hex]),
) as { issuer: string; gateway: string };
const textOf = (value: string): string => Buffer.from(value, 'utf8').toString('hex');
const okp = (point: Uint8Array): string => `a301012006215820${hex(point)}`;

t.test('request and confirmation are the bytes that kiri.cddl says', async (t) => {
  const request = issueErasureRequest(issuer!, FACTS);
  const opened = decodeSign1(request);
  if (!opened.ok) throw new Error(opened.reason);
  t.equal(
    hex(opened.value.payload),
    [
      `a3017820${textOf(ID.issuer)}061a6afd86c03a0001117fa5`,
      `0172${textOf('gw1.example/2026q4')}0267${textOf('2026-11')}`,
      `038150${'cc'.repeat(16)}0401`,
      `0582a20167${textOf('gateway')}02${okp(gateway!.key.point)}`,
      `a20166${textOf('mirror')}02${okp(mirror!.key.point)}`,
    ].join(''),
  );
  const confirmation = issueErasureConfirmation(gateway!, {
    issuedS: FACTS.issuedS,
    requestHash: seed(7),
    origin: FACTS.origin,
    period: FACTS.period,
    kid,
    holder: 'gateway',
    wrappedCopies: 1,
    plainCopies: 2,
    reason: 1,
  });
  const answer = decodeSign1(confirmation);
  if (!answer.ok) throw new Error(answer.reason);
  t.equal(
    hex(answer.value.payload),
    [
      `a3017820${textOf(ID.gateway)}061a6afd86c03a00011180a8`,
      `015820${'07'.repeat(32)}0272${textOf('gw1.example/2026q4')}0367${textOf('2026-11')}`,
      `0450${'cc'.repeat(16)}0567${textOf('gateway')}060107020801`,
    ].join(''),
  );
  t.same(unhex(hex(answer.value.payload)), new Uint8Array(answer.value.payload));
});

t.test('no request without key, holder or reason, and none twice for one holder', async (t) => {
  const offCurve = publicKey(ALG_ES256, new Uint8Array(64).fill(1))!;
  const changes: readonly (readonly [RegExp, Partial<typeof FACTS>])[] = [
    [/no content key/, { kids: [] }],
    [/no holder/, { holders: [] }],
    [/no reason/, { reason: 0 }],
    [/reason|uint/, { reason: 4 }],
    [/no log/, { origin: '' }],
    [/YYYY-MM/, { period: '2026-13' }],
    [/YYYY-MM/, { period: '2026-1x' }],
    [/twice/, { holders: [...FACTS.holders, { name: 'again', key: gateway!.key }] }],
    [/without a name/, { holders: [{ name: '', key: gateway!.key }] }],
    [/not on the curve/, { holders: [{ name: 'x', key: offCurve }] }],
    [/list|kids/, { kids: Array.from({ length: 65 }, () => kid) }],
  ];
  for (const [reason, change] of changes) {
    t.throws(() => issueErasureRequest(issuer!, { ...FACTS, ...change }), { message: reason });
  }
});

t.test('a confirmation counts for its own request, key and holder alone', async (t) => {
  const cose = issueErasureRequest(issuer!, FACTS);
  const request = openDocument(verifier, issuer!.key, ERASURE_REQUEST, cose);
  if (!request.ok) throw new Error(request.reason);
  const [holder, other] = FACTS.holders;
  const answer = (change: Partial<ErasureConfirmation> = {}, signer = gateway!): Uint8Array =>
    issueErasureConfirmation(signer, {
      issuedS: fixture.NOW_S,
      requestHash: request.value.hash,
      origin: FACTS.origin,
      period: FACTS.period,
      kid,
      holder: 'gateway',
      wrappedCopies: 1,
      plainCopies: 0,
      reason: 1,
      ...change,
    });
  const judge = (bytes: Uint8Array, of = holder!): boolean =>
    openConfirmation(verifier, request.value, kid, of, bytes).ok;
  t.ok(judge(answer()));
  t.notOk(judge(answer(), other), 'another holder’s');
  t.notOk(judge(answer({}, mirror)), 'another’s signature');
  t.notOk(judge(cose), 'the request itself');
  for (const change of [
    { requestHash: seed(9) },
    { origin: 'other.example' },
    { period: '2026-10' },
    { kid: new Uint8Array(16) },
    { holder: 'mirror' },
    { reason: 2 },
  ]) {
    t.notOk(judge(answer(change)), JSON.stringify(Object.keys(change)));
  }
  const bytes = answer();
  for (let at = 0; at < bytes.length; at += 1) {
    const changed = bytes.slice();
    changed[at] = (changed[at] ?? 0) ^ 1;
    if (judge(changed)) t.fail(`byte ${at} may change`);
    if (judge(bytes.slice(0, at))) t.fail(`cut at ${at}`);
  }
});
