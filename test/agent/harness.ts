import { createHash } from 'node:crypto';
import { amountMicro } from '../../protocol/amount.ts';
import { concatBytes, toHex } from '../../protocol/bytes.ts';
import { decodeSign1, signSign1 } from '../../protocol/cose.ts';
import { payloadHash } from '../../protocol/ids.ts';
import { CLOSE, type Close } from '../../protocol/messages/after-payment.ts';
import { HAND_IN, HANDED_IN } from '../../protocol/messages/envelopes.ts';
import { OFFER, type Offer } from '../../protocol/messages/offer.ts';
import { PAYMENT, type Payment } from '../../protocol/messages/payment.ts';
import { RECEIPT } from '../../protocol/messages/receipt.ts';
import { REFUSAL, type Refusal } from '../../protocol/messages/refusal.ts';
import type { Signer } from '../../protocol/public-key.ts';
import { REFUSALS, type RefusalCode } from '../../protocol/refusal.ts';
import type { Tariff } from '../../protocol/tariff.ts';
import { issueAllowance, issueTariff } from '../../identity/core/issue.ts';
import type { Now } from '../../platform/ports.ts';
import {
  bootPayer,
  payerStep,
  type CloseOutcome,
  type Outcome,
  type PayerEffect,
  type PayerInput,
  type PayerState,
  type Want,
} from '../../agent/core/payer.ts';
import { CLOSED, recordType, type ClosedRecord } from '../../agent/core/records.ts';
import { learnDocuments, newTrustBook, type TrustBook } from '../../agent/core/trust.ts';
import {
  ALLOWANCE_FACTS,
  JPY,
  newWorld,
  NOW_S,
  VALID,
  yen,
  type World,
} from '../identity/fixture.ts';

const EPOCH: Uint8Array = new Uint8Array(8).fill(9);

/** Minutes at 3.85 JPY by night, 5 JPY from 06:00; at NOW_S it is 04:13 in that zone. */
export const TARIFF_FACTS: Omit<Tariff, 'issuer'> = {
  issuedS: VALID.issuedS,
  name: 'minutes',
  version: 3,
  effectiveFromS: NOW_S - 60,
  currency: JPY,
  zone: 'Pacific/Kiritimati',
  components: [
    {
      unit: 1,
      steps: [
        { fromMinute: 0, priceMicro: amountMicro(3_850_000n) },
        { fromMinute: 360, priceMicro: amountMicro(5_000_000n) },
      ],
    },
  ],
};

/** An issuer's world with one payer, one payee, one gateway and a tariff. */
export interface Kit {
  readonly world: World;
  readonly tariff: Uint8Array;
  readonly tariffHash: Uint8Array;
}

export function hashOf(cose: Uint8Array): Uint8Array {
  const opened = decodeSign1(cose);
  if (!opened.ok) throw new Error(opened.reason);
  return payloadHash(opened.value.payload);
}

export function newKit(deviceKind?: 'ed25519' | 'p256'): Kit {
  const world = newWorld(deviceKind);
  const tariff = issueTariff(world.signers.payee, TARIFF_FACTS);
  return { world, tariff, tariffHash: hashOf(tariff) };
}

export function documentsOf({ world, tariff }: Kit): Uint8Array[] {
  const { payer, payee } = world;
  return [
    tariff, // first on purpose: a set may come in any order
    world.policy,
    payer.allowance,
    payer.binding,
    payer.registrar,
    payer.party,
    payee.merchant,
    payee.acquirer,
    world.mandate,
  ];
}

export function payeeDocumentsOf({ world, tariff }: Kit): Uint8Array[] {
  return [tariff, world.payee.merchant, world.payee.acquirer, world.mandate];
}

/** Another allowance of the kit's line. */
export function allowanceOf(
  kit: Kit,
  changes: Partial<typeof ALLOWANCE_FACTS>,
  policyHash: Uint8Array = kit.world.policyHash,
): Uint8Array {
  const { signers, line } = kit.world;
  const clearing = signers.clearing.key.id;
  const facts = { ...ALLOWANCE_FACTS, line, policyHash, clearing, ...changes };
  return issueAllowance(signers.issuer, facts);
}

const books = new WeakMap<Kit, TrustBook>();

/** The kit's own documents are checked once: a model test starts thousands of devices. */
export function trustOf(kit: Kit, ownHex: string, documents?: readonly Uint8Array[]): TrustBook {
  if (documents) return learn(kit, ownHex, documents);
  const book = books.get(kit) ?? learn(kit, ownHex, documentsOf(kit));
  books.set(kit, book);
  const { payees, approvers, tariffs, parts } = book;
  return {
    ...book,
    ownHex,
    payees: new Map(payees),
    approvers: new Map(approvers),
    tariffs: new Map(tariffs),
    parts: new Map(parts),
  };
}

function learn(kit: Kit, ownHex: string, documents: readonly Uint8Array[]): TrustBook {
  const book = newTrustBook(kit.world.trust, ownHex);
  for (const { code, reason } of learnDocuments(book, documents)) {
    throw new Error(`fixture: ${code} ${reason}`);
  }
  return book;
}

let nextChallenge = 0;

export function offerOf(kit: Kit, changes: Partial<Offer> = {}, signer?: Signer): Uint8Array {
  const { payee, gateway } = kit.world.signers;
  const number = new Uint8Array(8);
  nextChallenge += 1;
  new DataView(number.buffer).setUint32(4, nextChallenge);
  const offer: Offer = {
    payee: payee.key.id,
    approver: gateway.key.id,
    challenge: concatBytes(EPOCH, number, new Uint8Array(8)),
    acceptByMs: 60_000,
    lifetimeMs: 5_000,
    currency: JPY,
    amountMicro: amountMicro(10n * 3_850_000n),
    tariffHash: kit.tariffHash,
    tariffVersion: 3,
    item: 'bay 4',
    ...changes,
  };
  return signSign1(signer ?? payee, OFFER.encode(offer));
}

export function receiptOf(kit: Kit, paymentCose: Uint8Array, signer?: Signer): Uint8Array {
  const payload = RECEIPT.encode({
    paymentHash: hashOf(paymentCose),
    epoch: EPOCH,
    sequence: 1,
    timeS: NOW_S,
    flags: 5,
    statusListVersion: 1,
    nonce: new Uint8Array(16).fill(3),
  });
  return signSign1(signer ?? kit.world.signers.gateway, payload);
}

export function refusalOf(
  kit: Kit,
  paymentCose: Uint8Array,
  code: RefusalCode,
  changes: Partial<Refusal> = {},
  signer?: Signer,
): Uint8Array {
  const final = REFUSALS[code].kind === 'final';
  const payload = REFUSAL.encode({
    paymentHash: hashOf(paymentCose),
    code,
    final,
    timeS: NOW_S,
    ...(final ? { epoch: EPOCH, sequence: 2, nonce: new Uint8Array(16).fill(4) } : {}),
    ...changes,
  });
  return signSign1(signer ?? kit.world.signers.gateway, payload);
}

export function paymentOf(cose: Uint8Array): Payment {
  const opened = decodeSign1(cose);
  const payment = opened.ok ? PAYMENT.decode(opened.value.payload) : opened;
  if (!payment.ok) throw new Error(payment.reason);
  return payment.value;
}

/** The Close that a Hand-in brings. */
export function closeIn(handIn: Uint8Array): {
  readonly close: Close;
  readonly payload: string;
} {
  const read = HAND_IN.decode(handIn);
  const sign1 = read.ok ? decodeSign1(read.value.close ?? new Uint8Array(0)) : read;
  const close = sign1.ok ? CLOSE.decode(sign1.value.payload) : sign1;
  if (!sign1.ok || !close.ok) throw new Error('a Hand-in without a Close');
  return { close: close.value, payload: toHex(sign1.value.payload) };
}

/** A gateway's word that it has this Hand-in. */
export function handedInOf(handIn: Uint8Array): Uint8Array {
  return HANDED_IN.encode({ handInHash: createHash('sha256').update(handIn).digest() });
}

/** Every end of an allowance that the rig's disk holds. */
export function durableCloses({ durable }: PayerRig): readonly ClosedRecord[] {
  return durable.flatMap((record) => {
    const closed = recordType(record) === CLOSED.type ? CLOSED.decode(record) : undefined;
    return closed?.ok ? [closed.value] : [];
  });
}

export function wantOf(kit: Kit, changes: Partial<Want> = {}): Want {
  return {
    ref: 'ref-1',
    payee: kit.world.signers.payee.key.id,
    item: 'bay 4',
    quantity: 10,
    maxAmountMicro: yen(1_000),
    ...changes,
  };
}

export type Publish = Extract<PayerEffect, { kind: 'publish' }>;

/** A payer core over a disk that knows what is synced, and hands that move by hand. */
export class PayerRig {
  readonly kit: Kit;
  readonly durable: Uint8Array[] = [];
  unsynced: { number: number; record: Uint8Array }[] = [];
  readonly published: Publish[] = [];
  readonly outcomes: Outcome[] = [];
  readonly closeOutcomes: CloseOutcome[] = [];
  readonly notices: string[] = [];
  wakeAtMs: number | undefined;
  unixMs: number = NOW_S * 1_000;
  monotonicMs = 1_000;
  timeQuality: Now['timeQuality'] = 1;
  state: PayerState;

  constructor(kit: Kit, documents?: readonly Uint8Array[]) {
    this.kit = kit;
    this.state = this.#boot(documents);
  }

  get now(): Now {
    const { unixMs, monotonicMs, timeQuality } = this;
    return { unixMs, monotonicMs, timeQuality };
  }

  #boot(documents?: readonly Uint8Array[]): PayerState {
    const { device } = this.kit.world.signers;
    const trust = trustOf(this.kit, device.key.hex, documents);
    const setup = {
      signer: device,
      localMinuteOfDay: (timeS: number) => Math.floor(timeS / 60) % 1_440,
    };
    const { state, effects } = bootPayer(setup, trust, this.durable, this.now);
    this.#carryOut(effects);
    return state;
  }

  #carryOut(effects: readonly PayerEffect[]): void {
    for (const effect of effects) {
      if (effect.kind === 'append') this.unsynced.push(effect);
      else if (effect.kind === 'publish') this.published.push(effect);
      else if (effect.kind === 'outcome') this.outcomes.push(effect.outcome);
      else if (effect.kind === 'closed') this.closeOutcomes.push(effect.outcome);
      else if (effect.kind === 'notice') this.notices.push(effect.code);
      else if (effect.kind === 'wakeAt') this.wakeAtMs = effect.monotonicMs;
    }
  }

  give(input: PayerInput): this {
    this.#carryOut(payerStep(this.state, input, this.now).effects);
    return this;
  }

  inbox(verb: string, payload: Uint8Array): this {
    return this.give({ kind: 'inbox', verb, payload });
  }

  sync(): this {
    const last = this.unsynced.at(-1);
    for (const { record } of this.unsynced.splice(0)) this.durable.push(record);
    return last ? this.give({ kind: 'persisted', through: last.number }) : this;
  }

  /** Power goes: of what was not synced the first `survive` records are there all the same. */
  crash(survive = 0): this {
    for (const { record } of this.unsynced.slice(0, survive)) this.durable.push(record);
    this.unsynced = [];
    this.wakeAtMs = undefined;
    this.state = this.#boot();
    return this;
  }

  /** An orderly end and a new start. */
  restart(): this {
    return this.give({ kind: 'close' }).sync().give({ kind: 'close' }).sync().crash();
  }

  linkUp(approver: Uint8Array = this.kit.world.signers.gateway.key.id): this {
    return this.give({ kind: 'linkUp', approver });
  }

  /** Connected and its credentials taken. */
  connect(): this {
    // 0xa3 00 11 01 00 02 60: Presented {code 0, reason ""}
    const presented = Uint8Array.of(0xa3, 0x00, 0x11, 0x01, 0x00, 0x02, 0x60);
    return this.linkUp().inbox('presented', presented);
  }

  pass(ms: number): this {
    this.monotonicMs += ms;
    this.unixMs += ms;
    return this.give({ kind: 'tick' });
  }

  last(verb: string): Uint8Array {
    const found = this.published.findLast((entry) => entry.verb === verb);
    if (!found) throw new Error(`nothing was published as ${verb}`);
    return found.payload;
  }

  count(verb: string): number {
    return this.published.filter((entry) => entry.verb === verb).length;
  }

  /** Up to the Payment's leaving. */
  spend(want: Partial<Want> = {}, offer: Partial<Offer> = {}): Uint8Array {
    this.give({ kind: 'want', want: wantOf(this.kit, want) });
    this.inbox('offer', offerOf(this.kit, offer)).sync();
    return this.last('pay');
  }

  get outcome(): Outcome | undefined {
    return this.outcomes.at(-1);
  }
}
