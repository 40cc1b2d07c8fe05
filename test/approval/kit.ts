import { createHash, createHmac, randomBytes } from 'node:crypto';
import { createCredentials, mandateTerms } from '../../approval/credential-port.ts';
import type { ApproverEffect, ApproverInput, JournalName } from '../../approval/messages.ts';
import type { ApproverConfig, ApproverPorts } from '../../approval/ports.ts';
import { createApprover, type Approver } from '../../approval/step.ts';
import type { ApproverState } from '../../approval/state.ts';
import { verifyMandate } from '../../identity/core/chain.ts';
import * as issue from '../../identity/core/issue.ts';
import { inflateStatusList, packStatuses } from '../../identity/edge/status-zlib.ts';
import type { Now } from '../../platform/ports.ts';
import { amountMicro } from '../../protocol/amount.ts';
import { decodeSign1, signSign1 } from '../../protocol/cose.ts';
import { offerHash, payloadHash } from '../../protocol/ids.ts';
import {
  CHALLENGE_GRANT,
  CHALLENGE_REQUEST,
  OFFER_STOCK,
  PRESENT,
  QUERY,
} from '../../protocol/messages/envelopes.ts';
import { OFFER, type Offer } from '../../protocol/messages/offer.ts';
import { PAYMENT, type Payment } from '../../protocol/messages/payment.ts';
import { RECEIPT } from '../../protocol/messages/receipt.ts';
import { REFUSAL } from '../../protocol/messages/refusal.ts';
import type { Signer } from '../../protocol/public-key.ts';
import {
  ALLOWANCE_FACTS,
  BINDING_FACTS,
  JPY,
  LIST,
  MANDATE_FACTS,
  newSigner,
  NOW_S,
  PARTY_FACTS,
  type World,
  yen,
} from '../identity/fixture.ts';
import { lineId } from '../../protocol/ids.ts';

export function payloadOf(cose: Uint8Array): Uint8Array {
  const sign1 = decodeSign1(cose);
  if (!sign1.ok) throw new Error(sign1.reason);
  return sign1.value.payload;
}

export function hashOf(cose: Uint8Array): Uint8Array {
  return payloadHash(payloadOf(cose));
}

export function statusList(
  world: World,
  revoked: number[] = [],
  issuedS: number = NOW_S,
  version: number = 7,
): Uint8Array {
  return issue.issueStatusList(world.signers.issuer, {
    issuedS,
    uri: LIST,
    expiresS: issuedS + 86_400,
    ttlS: 3_600,
    version,
    packed: packStatuses(64, revoked),
  });
}

/** A device of its own with documents, ready to pay. */
export interface Payer {
  readonly signer: Signer;
  readonly party: Signer;
  readonly line: Uint8Array;
  readonly present: Uint8Array;
  counter: number;
  totalMicro: bigint;
}

type AllowanceFacts = Partial<Parameters<typeof issue.issueAllowance>[1]>;

/** Another payer of this world; same party where one is given. */
export function newPayer(
  world: World,
  facts: AllowanceFacts = {},
  party: Signer = world.signers.party,
  device: Signer = newSigner(),
): Payer {
  const { issuer, registrar, clearing } = world.signers;
  const line = lineId(device.key.id, party.key.id, JPY);
  const documents = [
    issue.issueParty(issuer, { ...PARTY_FACTS, key: party.key }),
    world.payer.registrar,
    issue.issueBinding({ device, party, registrar }, BINDING_FACTS),
    issue.issueAllowance(issuer, {
      ...ALLOWANCE_FACTS,
      line,
      policyHash: world.policyHash,
      clearing: clearing.key.id,
      ...facts,
    }),
  ];
  const present = PRESENT.encode({ documents });
  return { signer: device, party, line, present, counter: 0, totalMicro: 0n };
}

export interface PaymentFacts extends Partial<Payment> {
  readonly signer?: Signer;
}

/** Signs the payer's next Payment on this Offer; `facts` bend it. */
export function pay(payer: Payer, offer: Uint8Array, facts: PaymentFacts = {}): Uint8Array {
  const { signer, ...bent } = facts;
  const decoded = OFFER.decode(payloadOf(offer));
  if (!decoded.ok) throw new Error(decoded.reason);
  const { amountMicro: amount, approver, payee, currency } = decoded.value;
  const counter = bent.counter ?? payer.counter + 1;
  const total = bent.totalMicro ?? amountMicro(payer.totalMicro + (bent.amountMicro ?? amount));
  payer.counter = Math.max(payer.counter, counter);
  if (total > payer.totalMicro) payer.totalMicro = total;
  return signSign1(
    signer ?? payer.signer,
    PAYMENT.encode({
      line: payer.line,
      approver,
      payee,
      counter,
      amountMicro: amount,
      totalMicro: total,
      currency,
      offerHash: offerHash(payloadOf(offer)),
      timeS: NOW_S,
      timeQuality: 1,
      ...bent,
    }),
  );
}

export function signOffer(
  world: World,
  challenge: Uint8Array,
  facts: Partial<Offer> = {},
  signer: Signer = world.signers.payee,
): Uint8Array {
  const offer = OFFER.encode({
    payee: world.signers.payee.key.id,
    approver: world.signers.gateway.key.id,
    challenge,
    acceptByMs: 60_000,
    lifetimeMs: 30_000,
    currency: JPY,
    amountMicro: yen(100),
    tariffHash: new Uint8Array(32).fill(9),
    tariffVersion: 1,
    ...facts,
  });
  return signSign1(signer, offer);
}

const JOURNALS: readonly JournalName[] = ['money', 'offers', 'signed', 'documents'];

/** What came out of the approver as an answer to somebody. */
export interface Reply {
  readonly to: string;
  readonly verb: string;
  readonly bytes: Uint8Array;
}

export function readOutcome(bytes: Uint8Array): {
  code: string;
  final: boolean;
  sequence?: number;
} {
  const payload = payloadOf(bytes);
  const receipt = RECEIPT.decode(payload);
  if (receipt.ok) return { code: 'ACCEPTED', final: true, sequence: receipt.value.sequence };
  const refusal = REFUSAL.decode(payload);
  if (!refusal.ok) throw new Error(refusal.reason);
  const { code, final, sequence } = refusal.value;
  return sequence === undefined ? { code, final } : { code, final, sequence };
}

/** One approver with journals in memory whose sync the test decides. */
export class Bench {
  readonly world: World;
  readonly config: ApproverConfig;
  readonly ports: ApproverPorts;
  approver: Approver;
  state: ApproverState;
  durable: Record<JournalName, Uint8Array[]> = { money: [], offers: [], signed: [], documents: [] };
  buffered: Record<JournalName, Uint8Array[]> = {
    money: [],
    offers: [],
    signed: [],
    documents: [],
  };
  replies: Reply[] = [];
  lookups: { key: string; paymentHash: Uint8Array }[] = [];
  centre: { taken: boolean; reason: string }[] = [];
  now: Now = { unixMs: NOW_S * 1000, monotonicMs: 1_000, timeQuality: 2 };
  /** Of the next start. */
  isForwarding = false;
  /** Sync after every input. */
  isAutomatic = true;
  verifications = 0;

  constructor(
    world: World,
    mandate: Partial<Parameters<typeof issue.issueMandate>[1]> = {},
    mode: ApproverConfig['mode'] = 'fog',
  ) {
    this.world = world;
    const { issuer, gateway } = world.signers;
    const cose = issue.issueMandate(issuer, { ...MANDATE_FACTS, key: gateway.key, ...mandate });
    const verified = verifyMandate(world.trust, cose, NOW_S);
    if (!verified.ok) throw new Error(verified.reason);
    this.config = { mode, mandate: mandateTerms(verified.value.mandate) };
    this.ports = {
      signer: gateway,
      verifier: {
        verify: (...given) => {
          this.verifications += 1;
          return world.trust.verifier.verify(...given);
        },
      },
      sha256: (bytes) => createHash('sha256').update(bytes).digest(),
      hmacSha256: (key, bytes) => createHmac('sha256', key).update(bytes).digest(),
      credentials: createCredentials(world.trust, gateway.key.id, inflateStatusList),
    };
    this.approver = createApprover(this.config, this.ports);
    this.state = this.approver.initial();
    this.start();
  }

  /**
   * What a crash leaves: of each journal what was synced and any part of what was written after
   * it, but no acceptance without its Offer.
   */
  crash(keep: (name: JournalName, buffered: number) => number): void {
    const offersKept = keep('offers', this.buffered.offers.length);
    const offersAll = offersKept === this.buffered.offers.length;
    for (const name of JOURNALS) {
      const most = this.buffered[name].length;
      const kept =
        name === 'offers' ? offersKept : name === 'money' && !offersAll ? 0 : keep(name, most);
      this.durable[name].push(...this.buffered[name].slice(0, kept));
    }
    this.start();
  }

  /** Loses what is not durable, recovers and starts a new epoch. */
  start(): void {
    const { config, isForwarding: forwardsHandIns } = this;
    this.approver = createApprover({ ...config, forwardsHandIns }, this.ports);
    this.state = this.approver.initial();
    this.buffered = { money: [], offers: [], signed: [], documents: [] };
    for (const record of this.durable.signed) this.approver.recoverSigned(this.state, record);
    for (const record of this.durable.money) this.approver.recover(this.state, record);
    const nextIndex = {
      money: this.durable.money.length,
      offers: this.durable.offers.length,
      signed: this.durable.signed.length,
      documents: this.durable.documents.length,
    };
    this.feed({ kind: 'boot', epoch: randomBytes(8), epochSecret: randomBytes(32), nextIndex });
    if (!this.isAutomatic) this.sync();
    this.feed({ kind: 'status-list', bytes: statusList(this.world) });
  }

  feed(input: ApproverInput): void {
    this.step(input);
    if (this.isAutomatic) this.sync();
  }

  step(input: ApproverInput): readonly ApproverEffect[] {
    const { state, effects } = this.approver.step(this.state, input, this.now);
    this.state = state;
    for (const effect of effects) {
      if (effect.kind === 'append') this.buffered[effect.journal].push(effect.record);
      else if (effect.kind === 'reply') this.replies.push(effect);
      else if (effect.kind === 'lookup') this.lookups.push(effect);
      else this.centre.push(effect);
    }
    return effects;
  }

  sync(): void {
    for (let round = 0; round < 8; round += 1) {
      const dirty = JOURNALS.filter((name) => this.buffered[name].length > 0);
      if (dirty.length === 0) return;
      for (const journal of ['offers', 'money', 'signed', 'documents'] as const) {
        if (this.buffered[journal].length === 0) continue;
        this.durable[journal].push(...this.buffered[journal]);
        this.buffered[journal] = [];
        this.step({ kind: 'persisted', journal, through: this.durable[journal].length - 1 });
      }
    }
  }

  wait(ms: number): void {
    const { unixMs, monotonicMs, timeQuality } = this.now;
    this.now = { unixMs: unixMs + ms, monotonicMs: monotonicMs + ms, timeQuality };
  }

  take(verb?: string): Reply[] {
    const taken = this.replies.filter((reply) => verb === undefined || reply.verb === verb);
    this.replies = [];
    return taken;
  }

  presentPayee(): void {
    const { acquirer, merchant } = this.world.payee;
    const bytes = PRESENT.encode({ documents: [acquirer, merchant] });
    this.feed({ kind: 'present', from: this.world.signers.payee.key.hex, bytes });
  }

  presentPayer(payer: Payer): void {
    this.feed({ kind: 'present', from: payer.signer.key.hex, bytes: payer.present });
  }

  challenges(count: number): readonly Uint8Array[] {
    this.replies = [];
    const from = this.world.signers.payee.key.hex;
    this.feed({ kind: 'challenges', from, bytes: CHALLENGE_REQUEST.encode({ count }) });
    const grant = CHALLENGE_GRANT.decode(this.take('challenges')[0]!.bytes);
    if (!grant.ok) throw new Error(grant.reason);
    return grant.value.challenges;
  }

  offers(offers: readonly Uint8Array[]): void {
    const from = this.world.signers.payee.key.hex;
    this.feed({ kind: 'offers', from, bytes: OFFER_STOCK.encode({ offers }) });
  }

  /** A registered Offer. */
  offer(facts: Partial<Offer> = {}): Uint8Array {
    const offer = signOffer(this.world, this.challenges(1)[0]!, facts);
    this.offers([offer]);
    return offer;
  }

  payment(bytes: Uint8Array, from: string = 'd'.repeat(32)): void {
    this.feed({ kind: 'payment', from, bytes, nonce: randomBytes(16) });
  }

  query(payment: Uint8Array, offer: Uint8Array, from?: string): void {
    this.payment(QUERY.encode({ payment, offer }), from);
  }

  /** Pays and returns the answer to the payer. */
  answer(bytes: Uint8Array, offer?: Uint8Array): ReturnType<typeof readOutcome> | undefined {
    this.replies = [];
    if (offer) this.query(bytes, offer);
    else this.payment(bytes);
    const reply = this.replies.find(({ verb }) => verb === 'receipt' || verb === 'refusal');
    return reply && readOutcome(reply.bytes);
  }
}
