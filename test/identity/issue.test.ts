import { createECDH } from 'node:crypto';
import t from 'tap';
import { openDocument } from '../../identity/core/document.ts';
import { ALLOWANCE, MAX_ALLOWANCE_VALIDITY_S } from '../../identity/core/documents/allowance.ts';
import { MAX_OPEN_PAYMENTS } from '../../identity/core/documents/binding.ts';
import { PARTY_CREDENTIAL } from '../../identity/core/documents/credentials.ts';
import { checkPolicy, type Policy } from '../../identity/core/documents/policy.ts';
import { OVERAGE_BY_ISSUER } from '../../identity/core/documents/mandate.ts';
import { MAX_PAYEE_KEYS } from '../../identity/core/documents/merchant.ts';
import * as issue from '../../identity/core/issue.ts';
import { decodeSign1 } from '../../protocol/cose.ts';
import { ALG_EDDSA, ALG_ES256, publicKey, type PublicKey } from '../../protocol/public-key.ts';
import * as fixture from './fixture.ts';

const { VALID, NOW_S, JPY, yen } = fixture;
const world = fixture.newWorld();
const { signers } = world;
const hash32 = new Uint8Array(32).fill(9);

const p256 = (fillWith: number): PublicKey => {
  const ecdh = createECDH('prime256v1');
  ecdh.setPrivateKey(Buffer.alloc(32, fillWith));
  return publicKey(ALG_ES256, new Uint8Array(ecdh.getPublicKey().subarray(1)))!;
};

/** A party's key for key agreement: on P-256, sound, and no signing key. */
function agreementRefusals(): [RegExp, () => Uint8Array][] {
  const facts = { ...fixture.PARTY_FACTS, key: signers.party.key };
  const offCurve = publicKey(ALG_ES256, new Uint8Array(64).fill(1))!;
  const rows: readonly (readonly [RegExp, Partial<typeof facts> & { agreementKey: PublicKey }])[] =
    [
      [/not on P-256/, { agreementKey: signers.device.key }],
      [/not on the curve/, { agreementKey: offCurve }],
      [/signing key/, { key: p256(4), agreementKey: p256(4) }],
    ];
  return rows.map(([reason, change]) => [
    reason,
    () => issue.issueParty(signers.issuer, { ...facts, ...change }),
  ]);
}

void t.test('a party credential carries the key that content keys are wrapped to', async (t) => {
  const { issuer, party } = signers;
  const cose = issue.issueParty(issuer, {
    ...fixture.PARTY_FACTS,
    key: party.key,
    agreementKey: p256(4),
  });
  const opened = openDocument(world.trust.verifier, issuer.key, PARTY_CREDENTIAL, cose);
  t.ok(opened.ok);
  t.same(opened.ok ? opened.value.value.agreementKey : undefined, p256(4));
});

void t.test('a maker signs nothing that a reader would refuse', async (t) => {
  const { issuer, party, device, registrar, acquirer, payee, gateway } = signers;
  const refusals: readonly [RegExp, () => Uint8Array][] = [
    [
      /card number/,
      () =>
        issue.issueParty(issuer, {
          ...fixture.PARTY_FACTS,
          key: party.key,
          fundingAccount: '4111 1111 1111 1111',
        }),
    ],
    [
      /card number/,
      () =>
        issue.issueMerchant(acquirer, {
          ...fixture.MERCHANT_FACTS,
          payeeKeys: [payee.key],
          beneficiary: '3530-1113-3330-0000',
        }),
    ],
    [
      /below 1/,
      () =>
        issue.issueParty(issuer, {
          ...fixture.PARTY_FACTS,
          key: party.key,
          overCommitPermille: 999,
        }),
    ],
    ...agreementRefusals(),
    [
      /expires before/,
      () =>
        issue.issueRegistrar(issuer, {
          ...fixture.REGISTRAR_FACTS,
          key: registrar.key,
          expiresS: VALID.notBeforeS,
        }),
    ],
    [
      /institution/,
      () =>
        issue.issueAcquirer(issuer, {
          ...fixture.ACQUIRER_FACTS,
          key: acquirer.key,
          institution: '12A',
        }),
    ],
    [
      /small order/,
      () =>
        issue.issueBinding(
          { device: { ...device, key: smallOrderKey() }, party, registrar },
          fixture.BINDING_FACTS,
        ),
    ],
    [
      /small order/,
      () =>
        issue.issueMerchant(acquirer, {
          ...fixture.MERCHANT_FACTS,
          payeeKeys: [payee.key, smallOrderKey()],
        }),
    ],
    [
      /stands twice/,
      () =>
        issue.issueMerchant(acquirer, {
          ...fixture.MERCHANT_FACTS,
          payeeKeys: [payee.key, payee.key],
        }),
    ],
    [
      /no payee key/,
      () => issue.issueMerchant(acquirer, { ...fixture.MERCHANT_FACTS, payeeKeys: [] }),
    ],
    [
      /merchant id/,
      () =>
        issue.issueMerchant(acquirer, {
          ...fixture.MERCHANT_FACTS,
          payeeKeys: [payee.key],
          merchantId: 'toll road',
        }),
    ],
    [
      /without a role/,
      () =>
        issue.issueBinding({ device, party, registrar }, { ...fixture.BINDING_FACTS, roles: 0 }),
    ],
    [
      /line does not belong/,
      () =>
        issue.issueBinding(
          { device, party, registrar },
          { ...fixture.BINDING_FACTS, line: new Uint8Array(16) },
        ),
    ],
    [
      /payeeKeys/,
      () =>
        issue.issueMerchant(acquirer, {
          ...fixture.MERCHANT_FACTS,
          payeeKeys: Array.from({ length: MAX_PAYEE_KEYS + 1 }, () => payee.key),
        }),
    ],
    [/ceiling/, () => allowanceWith({ baseMicro: yen(20_001) })],
    [/upper limit/, () => allowanceWith({ lowerMicro: yen(10_001) })],
    [/30 days/, () => allowanceWith({ expiresS: VALID.notBeforeS + MAX_ALLOWANCE_VALIDITY_S + 1 })],
    [/currency/, () => allowanceWith({ currency: 1 })],
    [/prefix/, () => issue.issueMandate(issuer, mandateFacts({ logOriginPrefix: '' }))],
    [
      /overageBearer/,
      () => issue.issueMandate(issuer, mandateFacts({ overageBearer: OVERAGE_BY_ISSUER + 1 })),
    ],
    [/neighbours/, () => issue.issueMandate(issuer, mandateFacts({ neighbours: [hash32] }))],
  ];
  function mandateFacts(change: object): Parameters<typeof issue.issueMandate>[1] {
    return { ...fixture.MANDATE_FACTS, key: gateway.key, ...change };
  }
  for (const [words, make] of refusals) t.throws(make, { message: words });
  t.throws(
    () =>
      issue.issueClosing(signers, {
        subject: device.key.id,
        issuedS: NOW_S,
        line: world.line,
        bindingHash: hash32,
        lastCounter: 1,
        totalMicro: yen(1),
        open: Array.from({ length: MAX_OPEN_PAYMENTS + 1 }, () => hash32),
      }),
    { code: 'DOCUMENT_INVALID' },
  );
});

function allowanceWith(change: object): Uint8Array {
  return issue.issueAllowance(signers.issuer, {
    ...fixture.ALLOWANCE_FACTS,
    line: world.line,
    policyHash: hash32,
    clearing: signers.clearing.key.id,
    ...change,
  });
}

function smallOrderKey(): NonNullable<ReturnType<typeof publicKey>> {
  const point = new Uint8Array(32);
  point[0] = 1;
  return publicKey(ALG_EDDSA, point)!;
}

void t.test('an allowance without an end holds for 96 hours', async (t) => {
  const signed = decodeSign1(allowanceWith({ expiresS: undefined }));
  const read = signed.ok && ALLOWANCE.decode(signed.value.payload);
  t.match(read, { ok: true, value: { expiresS: VALID.notBeforeS + 345_600 } });
});

void t.test('statements whose figures contradict each other are refused', async (t) => {
  const facts = {
    line: world.line,
    issuedS: NOW_S,
    number: 3,
    currency: JPY,
    heads: [],
    recordedThrough: 41,
    except: [17, 40],
    settled: [],
    settledTotalMicro: yen(2900),
    open: [31, 41],
    releasedMicro: yen(100),
    credits: [],
    disputes: [],
  };
  const range = { from: 1, to: 16, sumMicro: yen(1600) };
  for (const [change, words] of [
    [{ settled: [range, { ...range, from: 16, to: 20 }] }, /overlap/],
    [{ settled: [{ ...range, to: 0 }] }, /overlap/],
    [{ settled: [range], settledTotalMicro: yen(1599) }, /more than the settled total/],
    [{ except: [42] }, /above the recorded counter/],
  ] as const) {
    t.throws(() => issue.issueStatement(signers.issuer, { ...facts, ...change }), {
      message: words,
    });
  }
});

void t.test('policy: each rule refuses with its own words (R-013)', async (t) => {
  const policy: Policy = {
    ...VALID,
    issuer: signers.party.key.id,
    version: 1,
    merchants: ['TOLLROAD0000001'],
    mccs: [4784],
    maxAmountMicro: yen(1300),
    places: ['Minato'],
    times: [
      { fromMinute: 22 * 60, toMinute: 6 * 60 },
      { fromMinute: 12 * 60, toMinute: 13 * 60 },
    ],
  };
  const facts = {
    merchantId: 'TOLLROAD0000001',
    mcc: 4784,
    place: 'Minato',
    amountMicro: yen(1300),
    localMinuteOfDay: 23 * 60,
  };
  t.match(checkPolicy(policy, facts), { ok: true });
  t.match(checkPolicy(policy, { ...facts, localMinuteOfDay: 5 * 60 }), { ok: true });
  const { localMinuteOfDay: _, ...timeless } = facts;
  for (const [wrong, reason] of [
    [{ ...facts, merchantId: 'OTHER' }, /merchant OTHER/],
    [{ ...facts, mcc: 5411 }, /category 5411/],
    [{ ...facts, amountMicro: yen(1301) }, /amount/],
    [{ ...facts, place: 'Chuo' }, /place Chuo/],
    [{ ...facts, localMinuteOfDay: 6 * 60 }, /minute 360/],
    [{ ...facts, localMinuteOfDay: 13 * 60 }, /minute 780/],
    [timeless, /clock is unknown/],
  ] as const) {
    t.match(checkPolicy(policy, wrong), { ok: false, code: 'POLICY_REFUSED', reason });
  }
  const open: Policy = { ...VALID, issuer: policy.issuer, version: 1 };
  t.match(checkPolicy(open, timeless), { ok: true }, 'absent rules leave it open');
  t.match(checkPolicy({ ...open, mccs: [] }, facts), { ok: false }, 'an empty list allows nothing');
});
