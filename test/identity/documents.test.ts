import { decode as decodeWithCborX } from 'cbor-x';
import t from 'tap';
import { openDocument } from '../../identity/core/document.ts';
import { ACKNOWLEDGEMENT } from '../../identity/core/documents/acknowledgement.ts';
import { ALLOWANCE } from '../../identity/core/documents/allowance.ts';
import { APPROVER_CLOSING } from '../../identity/core/documents/approver-closing.ts';
import { BINDING, CLOSING } from '../../identity/core/documents/binding.ts';
import {
  ACQUIRER_CREDENTIAL,
  CLEARING_CREDENTIAL,
  PARTY_CREDENTIAL,
  REGISTRAR_CREDENTIAL,
} from '../../identity/core/documents/credentials.ts';
import { GATEWAY_MANDATE } from '../../identity/core/documents/mandate.ts';
import { LOG_ENROLMENT } from '../../identity/core/documents/log-enrolment.ts';
import { LOG_POLICY } from '../../identity/core/documents/log-policy.ts';
import { MERCHANT_CREDENTIAL } from '../../identity/core/documents/merchant.ts';
import { POLICY } from '../../identity/core/documents/policy.ts';
import { STATEMENT } from '../../identity/core/documents/statement.ts';
import { STATUS_LIST } from '../../identity/core/documents/status-list.ts';
import * as issue from '../../identity/core/issue.ts';
import { packStatuses } from '../../identity/edge/status-zlib.ts';
import { decodeCanonical } from '../../protocol/cbor/decode.ts';
import { encodeCanonical } from '../../protocol/cbor/encode.ts';
import type { CborKey, CborValue } from '../../protocol/cbor/value.ts';
import type { ClaimsCodec, Issued } from '../../protocol/claims.ts';
import { decodeSign, decodeSign1 } from '../../protocol/cose.ts';
import type { Signer } from '../../protocol/public-key.ts';
import { TARIFF } from '../../protocol/tariff.ts';
import * as fixture from './fixture.ts';

const { VALID, NOW_S, JPY, yen } = fixture;
const world = fixture.newWorld();
const { signers } = world;
const hash32 = new Uint8Array(32).fill(9);

const statement = issue.issueStatement(signers.issuer, {
  line: world.line,
  issuedS: NOW_S,
  number: 3,
  currency: JPY,
  heads: [{ origin: 'gw1.example/2026q4', size: 812, root: hash32 }],
  recordedThrough: 41,
  except: [17, 40],
  settled: [
    { from: 1, to: 16, sumMicro: yen(1600) },
    { from: 18, to: 30, sumMicro: yen(1300) },
  ],
  settledTotalMicro: yen(2900),
  open: [31, 41],
  releasedMicro: yen(100),
  credits: [{ paymentHash: hash32, amountMicro: yen(50) }],
  disputes: [],
  allowance: world.payer.allowance,
});
const acknowledgement = issue.issueAcknowledgement(signers.clearing, {
  approver: signers.gateway.key.id,
  issuedS: NOW_S,
  currency: JPY,
  throughSequence: 812,
  count: 800,
  sumMicro: yen(64_000),
});
const approverClosing = issue.issueApproverClosing(signers.issuer, {
  approver: signers.gateway.key.id,
  issuedS: NOW_S,
  throughSequence: 812,
  reason: 'board dead',
});
const statusList = issue.issueStatusList(signers.issuer, {
  uri: fixture.LIST,
  issuedS: NOW_S,
  expiresS: NOW_S + 86_400,
  ttlS: 3600,
  version: 12,
  packed: packStatuses(1000, [4]),
});
const tariff = issue.issueTariff(signers.payee, {
  name: 'normal',
  issuedS: NOW_S,
  version: 2,
  effectiveFromS: NOW_S,
  currency: JPY,
  components: [{ unit: 1, steps: [{ fromMinute: 0, priceMicro: yen(4) }], freeQuantity: 5 }],
  zone: 'Asia/Tokyo',
});
const logPolicy = issue.issueLogPolicy(signers.issuer, {
  issuedS: NOW_S,
  version: 2,
  inForceFromS: NOW_S,
  text: 'quorum none\n',
  previous: hash32,
});
const logEnrolment = issue.issueLogEnrolment(signers.gateway, {
  issuedS: NOW_S,
  origin: 'gw1.example/log',
  logKey: signers.stranger.key,
  url: 'https://gw1.example:8443/log',
});
const closing = issue.issueClosing(signers, {
  subject: signers.device.key.id,
  issuedS: NOW_S,
  line: world.line,
  bindingHash: hash32,
  lastCounter: 41,
  totalMicro: yen(3100),
  open: [hash32],
});

interface Row {
  readonly codec: ClaimsCodec<Issued>;
  readonly cose: Uint8Array;
  readonly signer: Signer;
}

function row<T extends Issued>(codec: ClaimsCodec<T>, cose: Uint8Array, signer: Signer): Row {
  return { codec, cose, signer };
}

const SINGLE: readonly Row[] = [
  row(PARTY_CREDENTIAL, world.payer.party, signers.issuer),
  row(REGISTRAR_CREDENTIAL, world.payer.registrar, signers.issuer),
  row(ACQUIRER_CREDENTIAL, world.payee.acquirer, signers.issuer),
  row(CLEARING_CREDENTIAL, world.clearing, signers.issuer),
  row(ALLOWANCE, world.payer.allowance, signers.issuer),
  row(MERCHANT_CREDENTIAL, world.payee.merchant, signers.acquirer),
  row(GATEWAY_MANDATE, world.mandate, signers.issuer),
  row(POLICY, world.policy, signers.party),
  row(TARIFF, tariff, signers.payee),
  row(ACKNOWLEDGEMENT, acknowledgement, signers.clearing),
  row(STATEMENT, statement, signers.issuer),
  row(STATUS_LIST, statusList, signers.issuer),
  row(APPROVER_CLOSING, approverClosing, signers.issuer),
  row(LOG_POLICY, logPolicy, signers.issuer),
  row(LOG_ENROLMENT, logEnrolment, signers.gateway),
];
const ALL: readonly Row[] = [
  ...SINGLE,
  row(BINDING, world.payer.binding, signers.registrar),
  row(CLOSING, closing, signers.registrar),
];

function payloadOf(cose: Uint8Array): Uint8Array {
  const single = decodeSign1(cose);
  if (single.ok) return single.value.payload;
  const several = decodeSign(cose);
  if (!several.ok) throw new Error(several.reason);
  return several.value.payload;
}

function claimsOf(payload: Uint8Array): Map<CborKey, CborValue> {
  const decoded = decodeCanonical(payload, { maxBytes: 16_384 });
  if (!decoded.ok || !(decoded.value instanceof Map)) throw new Error('no claims');
  return decoded.value;
}

void t.test('every document reads back as it was written', async (t) => {
  for (const { codec, cose } of ALL) {
    const payload = payloadOf(cose);
    const read = codec.decode(payload);
    t.ok(read.ok, codec.typ);
    if (read.ok) t.strictSame(codec.encode(read.value), new Uint8Array(payload), codec.typ);
  }
});

void t.test('fields come back with the values given', async (t) => {
  const party = PARTY_CREDENTIAL.decode(payloadOf(world.payer.party));
  t.match(party, {
    ok: true,
    value: {
      ...fixture.PARTY_FACTS,
      issuer: signers.issuer.key.id,
      subject: signers.party.key.id,
      key: signers.party.key,
    },
  });
  const allowance = ALLOWANCE.decode(payloadOf(world.payer.allowance));
  t.match(allowance, {
    ok: true,
    value: { ...fixture.ALLOWANCE_FACTS, line: world.line, policyHash: world.policyHash },
  });
  const mandate = GATEWAY_MANDATE.decode(payloadOf(world.mandate));
  t.match(mandate, { ok: true, value: { ...fixture.MANDATE_FACTS, key: signers.gateway.key } });
  const merchant = MERCHANT_CREDENTIAL.decode(payloadOf(world.payee.merchant));
  t.match(merchant, {
    ok: true,
    value: { ...fixture.MERCHANT_FACTS, payeeKeys: [signers.payee.key] },
  });
  t.match(STATEMENT.decode(payloadOf(statement)), {
    ok: true,
    value: { number: 3, recordedThrough: 41, except: [17, 40], settledTotalMicro: yen(2900) },
  });
});

void t.test('another CBOR reader finds the registered CWT claims and header', async (t) => {
  const [head, , payload] = (
    decodeWithCborX(world.payer.party) as { value: [Uint8Array, unknown, Uint8Array, Uint8Array] }
  ).value;
  const header = claimsOf(head);
  t.strictSame(header.get(4), signers.issuer.key.id, 'kid');
  t.equal(header.get(16), 'kiri/party', 'typ');
  const claims = claimsOf(payload);
  t.equal(claims.get(1), signers.issuer.key.hex, 'iss is text (RFC 8392)');
  t.equal(claims.get(2), signers.party.key.hex, 'sub');
  t.equal(claims.get(4), BigInt(VALID.expiresS), 'exp');
  t.equal(claims.get(5), BigInt(VALID.notBeforeS), 'nbf');
  t.equal(claims.get(6), BigInt(VALID.issuedS), 'iat');
  const confirmed = (claims.get(8) as Map<CborKey, CborValue>).get(1) as Map<CborKey, CborValue>;
  t.strictSame(confirmed.get(-2), signers.party.key.point, 'cnf holds the COSE_Key (RFC 8747)');
  const status = claims.get(65_535) as Map<CborKey, Map<CborKey, CborValue>>;
  t.equal(status.get('status_list')?.get('idx'), 1n);
  const list = claimsOf(payloadOf(statusList));
  t.equal(list.get(65_534), 3600n, 'ttl');
  t.equal((list.get(65_533) as Map<CborKey, CborValue>).get('bits'), 1n);
});

void t.test('one changed bit anywhere in a signed document is refused', async (t) => {
  for (const { codec, cose, signer } of SINGLE) {
    const open = (bytes: Uint8Array): boolean =>
      openDocument(world.trust.verifier, signer.key, codec, bytes).ok;
    t.ok(open(cose), codec.typ);
    let passed = 0;
    for (let i = 0; i < cose.length; i += 1) {
      const changed = cose.slice();
      changed[i]! ^= 1 << (i % 8);
      if (open(changed)) passed += 1;
    }
    t.equal(passed, 0, `${codec.typ}: ${cose.length} changes`);
    t.notOk(open(cose.subarray(0, -1)));
    t.notOk(openDocument(world.trust.verifier, signers.stranger.key, codec, cose).ok);
  }
});

void t.test('no document passes for another, even with the right signer', async (t) => {
  for (const { codec, cose } of ALL) {
    for (const other of ALL) {
      t.equal(other.codec.decode(payloadOf(cose)).ok, codec === other.codec);
    }
  }
});

/** Optional claims, by document and key of its own map. */
const OPTIONAL = new Set([
  'kiri/tariff 6',
  'kiri/policy 3',
  'kiri/statement 12',
  'kiri/log-enrolment 3',
]);

void t.test('a missing or an unknown field is refused, at either level', async (t) => {
  for (const { codec, cose } of ALL) {
    const payload = payloadOf(cose);
    const without = (key: CborKey, inner: boolean): Uint8Array => {
      const claims = claimsOf(payload);
      (inner ? (claims.get(codec.claim) as Map<CborKey, CborValue>) : claims).delete(key);
      return encodeCanonical(claims);
    };
    for (const key of claimsOf(payload).keys()) {
      t.notOk(codec.decode(without(key, false)).ok, `${codec.typ} without claim ${key}`);
    }
    for (const key of (claimsOf(payload).get(codec.claim) as Map<CborKey, CborValue>).keys()) {
      const expected = OPTIONAL.has(`${codec.typ} ${key}`);
      t.equal(codec.decode(without(key, true)).ok, expected, `${codec.typ} without own ${key}`);
    }
    for (const inner of [false, true]) {
      const claims = claimsOf(payload);
      (inner ? (claims.get(codec.claim) as Map<CborKey, CborValue>) : claims).set(99, 1n);
      t.notOk(codec.decode(encodeCanonical(claims)).ok, `${codec.typ} with an unknown field`);
    }
    t.notOk(codec.decode(Uint8Array.of(0x01)).ok, 'not a map');
    t.notOk(codec.decode(Uint8Array.of(0xff)).ok, 'not CBOR');
  }
});
