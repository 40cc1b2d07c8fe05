import t from 'tap';
import * as centre from '../../identity/core/centre.ts';
import { verifyBinding } from '../../identity/core/chain.ts';
import * as issue from '../../identity/core/issue.ts';
import { decodeSign1 } from '../../protocol/cose.ts';
import type { Signer } from '../../protocol/public-key.ts';
import type { Checked } from '../../protocol/refusal.ts';
import * as fixture from './fixture.ts';

const { NOW_S, JPY, yen } = fixture;
const world = fixture.newWorld();
const { signers, trust, payer } = world;
const { issuer, party, registrar, device, clearing, gateway, stranger } = signers;

function get<T>(result: Checked<T>): T {
  if (!result.ok) throw new Error(`${result.code}: ${result.reason}`);
  return result.value;
}

function refusalOf(result: Checked<unknown>): string {
  return result.ok ? 'accepted' : `${result.code}: ${result.reason}`;
}

void t.test(
  'acknowledgements come from the issuer or its clearing, for one approver',
  async (t) => {
    const facts = {
      approver: gateway.key.id,
      issuedS: NOW_S,
      currency: JPY,
      throughSequence: 9,
      count: 8,
      sumMicro: yen(640),
    };
    const credential = get(centre.verifyClearing(trust, world.clearing, NOW_S)).value;
    const byClearing = issue.issueAcknowledgement(clearing, facts);
    const seen = get(centre.verifyAcknowledgement(trust, byClearing, gateway.key.id, credential));
    t.match(seen.value, { throughSequence: 9, count: 8, sumMicro: yen(640) });
    const byIssuer = issue.issueAcknowledgement(issuer, facts);
    t.match(centre.verifyAcknowledgement(trust, byIssuer, gateway.key.id), { ok: true });
    t.match(
      refusalOf(centre.verifyAcknowledgement(trust, byClearing, gateway.key.id)),
      /not signed by key/,
      'a clearing without its credential counts for nothing',
    );
    const forged = issue.issueAcknowledgement(stranger, facts);
    t.match(
      refusalOf(centre.verifyAcknowledgement(trust, forged, gateway.key.id, credential)),
      /not signed by key/,
    );
    t.match(
      refusalOf(centre.verifyAcknowledgement(trust, byIssuer, stranger.key.id)),
      /for another approver/,
    );
  },
);

void t.test('only the issuer ends an approver', async (t) => {
  const facts = {
    approver: gateway.key.id,
    issuedS: NOW_S,
    throughSequence: 9,
    reason: 'board dead',
  };
  const seen = get(centre.verifyApproverClosing(trust, issue.issueApproverClosing(issuer, facts)));
  t.match(seen.value, { throughSequence: 9, reason: 'board dead' });
  for (const signer of [clearing, gateway, stranger]) {
    const forged = issue.issueApproverClosing(signer, facts);
    t.match(refusalOf(centre.verifyApproverClosing(trust, forged)), /not signed by key/);
  }
  // By hand from kiri.cddl: {1: iss, 2: sub, 6: iat, -70018: {1: 9, 2: "board dead"}}.
  const text = (id: string): string => `7820${Buffer.from(id).toString('hex')}`;
  const ids = `01${text(issuer.key.hex)}02${text(gateway.key.hex)}`;
  const claims = `3a00011181a20109026a${Buffer.from('board dead').toString('hex')}`;
  const expected = `a4${ids}061a${NOW_S.toString(16).padStart(8, '0')}${claims}`;
  const signed = get(decodeSign1(issue.issueApproverClosing(issuer, facts)));
  t.equal(Buffer.from(signed.payload).toString('hex'), expected);
  const long = { ...facts, reason: 'x'.repeat(65) };
  t.throws(() => issue.issueApproverClosing(issuer, long), 'a reason is short');
});

void t.test('statement, policy and tariff: the right signer and the right subject', async (t) => {
  const statement = issue.issueStatement(issuer, {
    line: world.line,
    issuedS: NOW_S,
    number: 1,
    currency: JPY,
    heads: [],
    recordedThrough: 0,
    except: [],
    settled: [],
    settledTotalMicro: yen(0),
    open: [],
    releasedMicro: yen(0),
    credits: [],
    disputes: [],
  });
  t.match(centre.verifyStatement(trust, statement, world.line), { ok: true });
  t.match(refusalOf(centre.verifyStatement(trust, statement, device.key.id)), /another line/);
  t.match(
    refusalOf(centre.verifyStatement({ ...trust, issuerKey: party.key }, statement, world.line)),
    /not signed/,
  );
  const policy = (key: Signer, hash: Uint8Array): string =>
    refusalOf(centre.verifyPolicy(trust.verifier, key.key, world.policy, hash));
  t.equal(policy(party, world.policyHash), 'accepted');
  t.match(policy(party, new Uint8Array(32)), /not the policy that the allowance names/);
  t.match(policy(stranger, world.policyHash), /not signed/);
  const tariff = issue.issueTariff(signers.payee, {
    name: 'gate',
    issuedS: NOW_S,
    version: 1,
    effectiveFromS: NOW_S,
    currency: JPY,
    components: [{ unit: 0, steps: [{ fromMinute: 0, priceMicro: yen(300) }] }],
  });
  t.match(centre.verifyTariff(trust.verifier, signers.payee.key, tariff), { ok: true });
  t.match(refusalOf(centre.verifyTariff(trust.verifier, stranger.key, tariff)), /not signed/);
});

void t.test('a closing needs party and registrar, and fits one binding', async (t) => {
  const bound = get(verifyBinding(trust, payer, NOW_S));
  const facts = {
    subject: device.key.id,
    issuedS: NOW_S,
    line: world.line,
    bindingHash: bound.bindingHash,
    lastCounter: 41,
    totalMicro: yen(3100),
    open: [],
  };
  const check = (cose: Uint8Array): string => refusalOf(centre.verifyClosing(trust, cose, bound));
  t.equal(check(issue.issueClosing({ party, registrar, device }, facts)), 'accepted');
  t.equal(check(issue.issueClosing({ party, registrar }, facts)), 'accepted', 'device is lost');
  t.match(check(issue.issueClosing({ party, registrar, device: stranger }, facts)), /device/);
  t.match(check(issue.issueClosing({ party: stranger, registrar }, facts)), /another binding/);
  const other = { ...facts, bindingHash: new Uint8Array(32) };
  t.match(check(issue.issueClosing({ party, registrar }, other)), /another binding/);
  const whole = issue.issueClosing({ party, registrar }, facts);
  t.match(check(whole.subarray(0, -1)), /CREDENTIAL_INVALID/);
  t.match(check(payer.binding), /CREDENTIAL_INVALID: kiri\/closing/);
  const forger = { key: party.key, sign: (message: Uint8Array) => stranger.sign(message) };
  t.match(check(issue.issueClosing({ party: forger, registrar }, facts)), /party's signature/);
});
