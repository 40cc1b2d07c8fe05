import t from 'tap';
import { verifyClearing } from '../../identity/core/centre.ts';
import * as chain from '../../identity/core/chain.ts';
import {
  MAY_BE_PAID,
  MAY_PAY,
  ROLE_DEVICE,
  ROLE_PARTY,
  ROLE_REGISTRAR,
} from '../../identity/core/documents/binding.ts';
import { LOSS_BY_ISSUER } from '../../identity/core/documents/allowance.ts';
import * as issue from '../../identity/core/issue.ts';
import { KEY_STORE_HARDWARE } from '../../identity/core/key-store.ts';
import { nobleVerifier } from '../../identity/core/noble-signatures.ts';
import { checkPeriod } from '../../identity/core/period.ts';
import { sortDocuments } from '../../identity/core/sort-documents.ts';
import { utf8ToBytes } from '../../protocol/bytes.ts';
import {
  decodeSign1,
  encodeSign,
  signShare,
  signSign1,
  verifySign1,
  type CoseSignature,
} from '../../protocol/cose.ts';
import { lineId, payloadHash } from '../../protocol/ids.ts';
import { PAYMENT } from '../../protocol/messages/payment.ts';
import { RECEIPT } from '../../protocol/messages/receipt.ts';
import type { Signer } from '../../protocol/public-key.ts';
import type { Checked } from '../../protocol/refusal.ts';
import * as fixture from './fixture.ts';

const { NOW_S, VALID, JPY, yen } = fixture;
const world = fixture.newWorld();
const { signers, trust, payer, payee } = world;
const { issuer, party, registrar, device, clearing, gateway, stranger } = signers;

function get<T>(result: Checked<T>): T {
  if (!result.ok) throw new Error(`${result.code}: ${result.reason}`);
  return result.value;
}

function refusalOf(result: Checked<unknown>): string {
  return result.ok ? 'accepted' : `${result.code}: ${result.reason}`;
}

function withBinding(binding: Uint8Array): Checked<chain.VerifiedPayer> {
  return chain.verifyPayer(trust, { ...payer, binding }, NOW_S);
}

void t.test('a whole chain holds and resolves the device to its party (R-002)', async (t) => {
  for (const kind of ['ed25519', 'p256'] as const) {
    const own = fixture.newWorld(kind);
    for (const verifier of [own.trust.verifier, nobleVerifier()]) {
      const payerSeen = get(chain.verifyPayer({ ...own.trust, verifier }, own.payer, NOW_S));
      t.equal(payerSeen.partyHex, own.signers.party.key.hex);
      t.strictSame(payerSeen.line, own.line);
      t.equal(payerSeen.deviceKey.hex, own.signers.device.key.hex);
      t.equal(payerSeen.timeChecked, true);
      t.strictSame(
        payerSeen.statuses.map(({ index }) => index),
        [1, 2, 4],
      );
    }
  }
});

void t.test('a receipt leads to the liable party with nothing but the documents', async (t) => {
  const seen = get(chain.verifyPayer(trust, payer, NOW_S));
  const mandate = get(chain.verifyMandate(trust, world.mandate, NOW_S));
  const payment = signSign1(
    device,
    PAYMENT.encode({
      line: world.line,
      approver: gateway.key.id,
      payee: signers.payee.key.id,
      counter: 1,
      amountMicro: yen(300),
      totalMicro: yen(300),
      currency: JPY,
      offerHash: new Uint8Array(20),
      timeS: NOW_S,
      timeQuality: 2,
    }),
  );
  const paid = get(decodeSign1(payment));
  const receipt = get(
    decodeSign1(
      signSign1(
        gateway,
        RECEIPT.encode({
          paymentHash: payloadHash(paid.payload),
          epoch: new Uint8Array(8),
          sequence: 1,
          timeS: NOW_S,
          flags: 2,
          statusListVersion: 1,
          nonce: new Uint8Array(16),
        }),
      ),
    ),
  );
  t.ok(verifySign1(trust.verifier, mandate.gatewayKey, receipt));
  t.strictSame(get(RECEIPT.decode(receipt.payload)).paymentHash, payloadHash(paid.payload));
  t.ok(verifySign1(trust.verifier, seen.deviceKey, paid));
  t.strictSame(get(PAYMENT.decode(paid.payload)).line, seen.line);
  t.equal(seen.party.reference, 'party-0001');
});

void t.test('binding: each of the three signatures is needed (R-001)', async (t) => {
  const payload = issue.bindingPayload(device.key, party.key, registrar.key, fixture.BINDING_FACTS);
  const by = (signer: Signer, role: string): CoseSignature => signShare(signer, payload, role);
  const three = [by(device, ROLE_DEVICE), by(party, ROLE_PARTY), by(registrar, ROLE_REGISTRAR)];
  t.match(withBinding(encodeSign(payload, three)), { ok: true });
  t.match(withBinding(encodeSign(payload, three.toReversed())), { ok: true }, 'in any order');
  for (const [i, role] of [ROLE_DEVICE, ROLE_PARTY, ROLE_REGISTRAR].entries()) {
    const rest = three.filter((_, at) => at !== i);
    t.match(
      refusalOf(withBinding(encodeSign(payload, rest))),
      `CREDENTIAL_INVALID: kiri/binding: the ${role}'s signature is missing`,
    );
    const foreign = three.with(i, by(stranger, role));
    t.match(refusalOf(withBinding(encodeSign(payload, foreign))), `the ${role}'s signature names`);
    const broken = { ...three[i]!, signature: three[(i + 1) % 3]!.signature };
    t.match(
      refusalOf(withBinding(encodeSign(payload, three.with(i, broken)))),
      `the ${role}'s signature does not fit`,
    );
    const twice = [...three, three[i]!];
    t.match(refusalOf(withBinding(encodeSign(payload, twice))), /a signature too many/);
  }
  const swapped = [by(device, ROLE_PARTY), by(party, ROLE_DEVICE), by(registrar, ROLE_REGISTRAR)];
  t.match(refusalOf(withBinding(encodeSign(payload, swapped))), /names another key/);
  const odd = three.with(2, by(registrar, 'witness'));
  t.match(refusalOf(withBinding(encodeSign(payload, odd))), /too many, with the role "witness"/);
  const relabelled = { ...three[1]!, protectedBytes: three[0]!.protectedBytes };
  t.match(
    refusalOf(withBinding(encodeSign(payload, [relabelled, three[1]!, three[2]!]))),
    /device/,
  );
});

void t.test('binding: one key in two roles is refused', async (t) => {
  const selfMade = issue.issueBinding({ device: party, party, registrar }, fixture.BINDING_FACTS);
  t.match(refusalOf(withBinding(selfMade)), /do not all have own keys/);
  const both = issue.issueRegistrar(issuer, { ...fixture.REGISTRAR_FACTS, key: party.key });
  const binding = issue.issueBinding({ device, party, registrar: party }, fixture.BINDING_FACTS);
  t.match(
    refusalOf(chain.verifyPayer(trust, { ...payer, registrar: both, binding }, NOW_S)),
    /do not all have own keys/,
  );
});

void t.test('binding: says only what its signers may say', async (t) => {
  const make = (change: object, who: object = {}): Uint8Array =>
    issue.issueBinding(
      { device, party, registrar, ...who },
      { ...fixture.BINDING_FACTS, ...change },
    );
  t.match(refusalOf(withBinding(make({ checkLevel: 4 }))), /above what the registrar may attest/);
  t.match(refusalOf(withBinding(make({ roles: MAY_BE_PAID }))), /may not pay/);
  t.match(refusalOf(withBinding(make({}, { party: stranger }))), /names another party/);
  t.match(refusalOf(withBinding(make({}, { registrar: stranger }))), /names another registrar/);
  t.match(refusalOf(withBinding(make({ currency: 840 }))), /CURRENCY_MISMATCH/);
  t.match(refusalOf(withBinding(payer.party)), /not a COSE_Sign/);
  t.match(refusalOf(withBinding(new Uint8Array(0))), /CREDENTIAL_INVALID/);
});

void t.test('a rotated key keeps its line under three new signatures', async (t) => {
  const next = fixture.newSigner('p256');
  const first = get(chain.verifyPayer(trust, payer, NOW_S));
  const binding = issue.issueBinding(
    { device: next, party, registrar },
    {
      ...fixture.BINDING_FACTS,
      roles: MAY_PAY + MAY_BE_PAID,
      keyStoreLevel: KEY_STORE_HARDWARE,
      line: first.line,
      previous: first.bindingHash,
    },
  );
  const second = get(withBinding(binding));
  t.strictSame(second.line, first.line);
  t.equal(second.deviceKey.hex, next.key.hex);
  t.equal(second.binding.keyStoreLevel, KEY_STORE_HARDWARE);
  t.strictSame(second.binding.previous, first.bindingHash);
});

void t.test('a foreign issuer is refused for every document (R-018)', async (t) => {
  const foreign = { ...trust, issuerKey: stranger.key };
  t.match(refusalOf(chain.verifyPayer(foreign, payer, NOW_S)), /kiri\/party: not signed by key/);
  t.match(refusalOf(chain.verifyPayee(foreign, payee, NOW_S)), /kiri\/acquirer: not signed/);
  t.match(refusalOf(chain.verifyMandate(foreign, world.mandate, NOW_S)), /kiri\/mandate: not/);
  t.match(refusalOf(verifyClearing(foreign, world.clearing, NOW_S)), /kiri\/clearing: not/);
  const other = fixture.newWorld();
  for (const kind of ['party', 'registrar', 'binding', 'allowance'] as const) {
    const mixed = { ...payer, [kind]: other.payer[kind] };
    t.match(refusalOf(chain.verifyPayer(trust, mixed, NOW_S)), /^CREDENTIAL_INVALID/, kind);
  }
  for (const kind of ['acquirer', 'merchant'] as const) {
    const mixed = { ...payee, [kind]: other.payee[kind] };
    t.match(refusalOf(chain.verifyPayee(trust, mixed, NOW_S)), /^CREDENTIAL_INVALID/, kind);
  }
});

void t.test('a document in the place of another is refused by its typ', async (t) => {
  const kinds = ['party', 'registrar', 'allowance'] as const;
  for (const [i, kind] of kinds.entries()) {
    const wrong = { ...payer, [kind]: payer[kinds[(i + 1) % 3]!] };
    t.match(refusalOf(chain.verifyPayer(trust, wrong, NOW_S)), /typ is kiri\//);
  }
  const untyped = signSign1(issuer, get(decodeSign1(payer.party)).payload, { kid: issuer.key.id });
  const bare = { ...payer, party: untyped };
  t.match(refusalOf(chain.verifyPayer(trust, bare, NOW_S)), /typ is missing/);
  const payload = get(decodeSign1(payer.party)).payload;
  const posed = signSign1(stranger, payload, { kid: issuer.key.id, typ: 'kiri/party' });
  t.match(refusalOf(chain.verifyPayer(trust, { ...payer, party: posed }, NOW_S)), /does not fit/);
  const lent = signSign1(stranger, payload, { kid: stranger.key.id, typ: 'kiri/party' });
  const foreign = { ...trust, issuerKey: stranger.key };
  t.match(
    refusalOf(chain.verifyPayer(foreign, { ...payer, party: lent }, NOW_S)),
    /iss is not the signer/,
  );
});

function allowance(change: object): Uint8Array {
  return issue.issueAllowance(issuer, {
    ...fixture.ALLOWANCE_FACTS,
    line: world.line,
    policyHash: world.policyHash,
    clearing: clearing.key.id,
    ...change,
  });
}

void t.test('an allowance fits its line and currency', async (t) => {
  const withAllowance = (change: object): string =>
    refusalOf(chain.verifyPayer(trust, { ...payer, allowance: allowance(change) }, NOW_S));
  t.equal(withAllowance({ lossRule: LOSS_BY_ISSUER }), 'accepted');
  const otherLine = lineId(stranger.key.id, party.key.id, JPY);
  t.match(withAllowance({ line: otherLine }), /kiri\/allowance: is for another line/);
  t.match(withAllowance({ currency: 840 }), /CURRENCY_MISMATCH/);
});

void t.test('time: expired, too early, unknown clock, and the time of acceptance', async (t) => {
  const at = (timeS: number | undefined): string =>
    refusalOf(chain.verifyPayer(trust, payer, timeS));
  t.equal(at(VALID.notBeforeS), 'accepted');
  t.equal(at(VALID.expiresS - 1), 'accepted');
  t.match(at(VALID.expiresS), /^CREDENTIAL_EXPIRED: kiri\/party/);
  t.match(at(VALID.notBeforeS - 1), /^CREDENTIAL_INVALID: kiri\/party: not valid before/);
  t.equal(get(chain.verifyPayer(trust, payer, undefined)).timeChecked, false, 'undecided, said so');
  const short = { ...payer, allowance: allowance({ expiresS: NOW_S + 10 }) };
  const seen = get(chain.verifyPayer(trust, short, NOW_S + 9));
  t.match(seen.period, { typ: 'kiri/allowance', expiresS: NOW_S + 10 }, 'the first to end');
  t.match(refusalOf(checkPeriod(seen.period, NOW_S + 10)), /^CREDENTIAL_EXPIRED: kiri\/allowance/);
  t.equal(refusalOf(checkPeriod(seen.period, NOW_S)), 'accepted', 'as clearing asks later');
  t.match(refusalOf(chain.verifyPayer(trust, short, NOW_S + 10)), /kiri\/allowance: expired/);
  const late = { ...payer, allowance: allowance({ notBeforeS: NOW_S + 5 }) };
  t.equal(get(chain.verifyPayer(trust, late, NOW_S + 5)).period.notBeforeS, NOW_S + 5);
  t.match(refusalOf(chain.verifyPayee(trust, payee, VALID.expiresS)), /EXPIRED: kiri\/acquirer/);
  t.match(refusalOf(chain.verifyMandate(trust, world.mandate, VALID.expiresS)), /EXPIRED/);
  t.match(refusalOf(verifyClearing(trust, world.clearing, VALID.expiresS)), /EXPIRED/);
});

void t.test('a payee is known by its keys, under acquirer and issuer', async (t) => {
  const seen = get(chain.verifyPayee(trust, payee, NOW_S));
  t.strictSame([...seen.payeeKeys.keys()], [signers.payee.key.hex]);
  t.match(seen.merchant, { merchantId: 'TOLLROAD0000001', mcc: 4784, currency: JPY });
  t.equal(seen.acquirer.institution, '00000012345');
  t.strictSame(
    seen.statuses.map(({ index }) => index),
    [3, 5],
  );
  const own = issue.issueMerchant(issuer, {
    ...fixture.MERCHANT_FACTS,
    payeeKeys: [signers.payee.key],
  });
  t.match(refusalOf(chain.verifyPayee(trust, { ...payee, merchant: own }, NOW_S)), /not signed by/);
});

void t.test('a mandate gives the gateway its key; an unknown clock is told', async (t) => {
  const seen = get(chain.verifyMandate(trust, world.mandate, undefined));
  t.equal(seen.gatewayKey.hex, gateway.key.hex);
  t.equal(seen.timeChecked, false);
});

void t.test('documents of a Present message are sorted by what they say they are', async (t) => {
  const closing = issue.issueClosing(signers, {
    subject: device.key.id,
    issuedS: NOW_S,
    line: world.line,
    bindingHash: new Uint8Array(32),
    lastCounter: 1,
    totalMicro: yen(1),
    open: [],
  });
  const documents = { ...payer, ...payee, closing, mandate: world.mandate, policy: world.policy };
  t.strictSame(get(sortDocuments(Object.values(documents).toReversed())), documents);
  t.match(refusalOf(sortDocuments([payer.party, payer.party])), /two documents of kind party/);
  const message = signSign1(device, utf8ToBytes('x'));
  t.match(refusalOf(sortDocuments([message])), /UNKNOWN_MESSAGE/);
  t.match(refusalOf(sortDocuments([Uint8Array.of(1, 2, 3)])), /neither COSE_Sign1 nor COSE_Sign/);
  for (const payload of [Uint8Array.of(0xa0), Uint8Array.of(0x01)]) {
    const odd = encodeSign(payload, [signShare(device, payload, ROLE_DEVICE)]);
    t.match(refusalOf(sortDocuments([odd])), /neither binding nor closing/);
  }
  const junk = encodeSign(Uint8Array.of(0xff), [signShare(device, Uint8Array.of(0xff), 'device')]);
  t.match(refusalOf(sortDocuments([junk])), /NON_CANONICAL/);
});
