/** Devices, merchants and logs of a history: turns a step into what the logs bring. */
import type { VerifiedItem, VerifiedReceipt } from '../../../sync/clearing/core/ingest.ts';
import type { PayoutTerms } from '../../../sync/clearing/core/payout-terms.ts';
import { ZENGIN_PROFILE } from '../../../sync/clearing/core/zengin-file.ts';
import type { Programme } from '../../../sync/clearing/core/aggregate.ts';
import type { Step } from './histories.ts';
import type { AccountName, Fact, Refund, Terms } from './second-facts.ts';
import { DAY_S, directoryOf, hashOf, programme } from './sample.ts';
import type { SettlementDirectory } from '../../../sync/clearing/core/directory.ts';

export const GATEWAY = 'gateway.example/2026q4';
const INTAKE = 'intake.example/2026q4';

/** What the second bookkeeper knows; the clearing has the same in its directory. */
export const TERMS: Terms = {
  merchants: {
    'merchant-1': { member: '00000032815' },
    'merchant-2': { member: '00000032815' },
    'merchant-3': { member: '00000099001' },
  },
  programmes: {
    bilateral: {
      threshold: 20_000_000n,
      windowMinimum: 1_000_000n,
      maxAgeS: 5 * DAY_S,
      fee: { basisPoints: 25, fixedMicro: 500_000n },
    },
  },
  currencies: {
    392: { unit: 1_000_000n, alpha: 'JPY' },
    840: { unit: 10_000n, alpha: 'USD' },
    414: { unit: 1_000n, alpha: 'KWD' },
  },
};

const bank = (number: string): PayoutTerms['account'] => ({
  bank: '0005',
  bankName: '',
  branch: '007',
  branchName: '',
  kind: '1',
  number,
});

/** One merchant has no bank account, and nobody is paid less than three yen. */
export const PAYOUT_TERMS: PayoutTerms = {
  acquirer: 'acquirer-1',
  profile: ZENGIN_PROFILE,
  clientCode: '0000012345',
  clientName: 'KIRI',
  account: bank('1234567'),
  minimumYen: 3n,
  payees: new Map(
    ['merchant-1', 'merchant-2'].map((merchant, at) => [
      merchant,
      { account: bank(`000000${at}`), name: `MISE ${at}`, reference: '' },
    ]),
  ),
};

const RULE: Programme = {
  ...programme,
  thresholdMicro: 20_000_000n,
  fee: { basisPoints: 25, fixedMicro: 500_000n },
};
const known = directoryOf();

export const directory: SettlementDirectory = {
  programme: (name) => (name === RULE.name ? RULE : undefined),
  details: (key) => {
    const member = TERMS.merchants[key.merchant]?.member;
    const details = known.details(key);
    return details && member ? { ...details, member, bin: member.slice(-6) } : undefined;
  },
};

const MERCHANTS = ['merchant-1', 'merchant-1', 'merchant-2', 'merchant-3', 'unknown-1'];
const DEVICES = [
  { name: 'car', account: 'ACC-1', currency: 392 },
  { name: 'van', account: 'ACC-1', currency: 392 },
  { name: 'drone', account: 'ACC-2', currency: 840 },
  { name: 'robot', account: 'ACC-3', currency: 414 },
] as const;

type Deed =
  | { readonly kind: 'refund'; readonly refund: Refund; readonly leaf: number }
  | { readonly kind: 'receipt'; readonly fact: Fact }
  | { readonly kind: 'void'; readonly fact: Fact };

/** What every signed byte of a step says, before it is told to either bookkeeper. */
export class HistoryWorld {
  readonly #counters = new Map<string, { counter: number; total: bigint }>();
  readonly #leaves = new Map<string, number>();
  readonly #made: Fact[] = [];
  readonly #refunds: Refund[] = [];
  readonly #stopped = new Set<string>();
  #names = 0;

  #leaf(origin: string): number {
    const leaf = this.#leaves.get(origin) ?? 0;
    this.#leaves.set(origin, leaf + 1);
    return leaf;
  }

  /** The log that brings it; a stopped one brings nothing. */
  #origin(how: number): string {
    return (how & 7) === 0 || this.#stopped.has(GATEWAY) ? INTAKE : GATEWAY;
  }

  logSize(origin: string): number {
    return this.#leaves.get(origin) ?? 0;
  }

  stop(origin: string): void {
    this.#stopped.add(origin);
  }

  lift(origin: string): void {
    this.#stopped.delete(origin);
  }

  #pay({ pick, micro, how }: Step, nowS: number): Deed & { readonly kind: 'receipt' } {
    const device = DEVICES[pick % DEVICES.length]!;
    const at = this.#counters.get(device.name) ?? { counter: 0, total: 0n };
    this.#counters.set(device.name, at);
    at.counter += 1 + (how & 0x10 ? 3 : 0);
    at.total += micro;
    const account: AccountName = {
      merchant: MERCHANTS[pick % MERCHANTS.length]!,
      account: device.account,
      programme: (how & 0x1f00) === 0 ? 'not configured' : 'bilateral',
      currency: device.currency,
      sign: 'debit',
    };
    // A stream that used less than it reserved, and one that claims more than it may.
    const used = (how & 0x60) === 0x60 ? micro - BigInt(pick % 3) * (micro / 2n) : micro;
    const charge = (how & 0xf000) === 0 ? micro + 1n : used;
    const origin = this.#origin(how);
    const fact: Fact = {
      name: `payment ${(this.#names += 1)}`,
      line: device.name,
      counter: at.counter,
      amount: micro,
      charge,
      total: at.total,
      isFinal: (how & 0x300) !== 0x300,
      isHandedInLate: (how & 0xc00) === 0xc00,
      isAfterClosing: (how & 0xf00) === 0xd00,
      paidS: nowS - ((how & 0x80) === 0 ? 0 : pick * 600),
      origin,
      leaf: this.#leaf(origin),
      account,
    };
    this.#made.push(fact);
    return { kind: 'receipt', fact };
  }

  /** Something that was said before, said once more: by another log, or final now. */
  #repeat(old: Fact, how: number, isFinal: boolean): Deed {
    const origin = this.#origin(how);
    const fact = { ...old, origin, leaf: this.#leaf(origin), isFinal };
    return { kind: 'receipt', fact };
  }

  /** Another payload of the same device: on the same counter, or on a later one with a total that went down. */
  #contradict(old: Fact, step: Step, nowS: number): Deed {
    const origin = this.#origin(step.how);
    const isSameCounter = step.kind === 'clone';
    const fact: Fact = {
      ...old,
      name: `payment ${(this.#names += 1)}`,
      counter: isSameCounter ? old.counter : old.counter + 1 + (step.how & 3),
      amount: step.micro,
      charge: step.micro,
      total: isSameCounter ? old.total - old.amount + step.micro : step.micro,
      isFinal: true,
      isAfterClosing: false,
      paidS: nowS,
      origin,
      leaf: this.#leaf(origin),
    };
    this.#made.push(fact);
    return { kind: 'receipt', fact };
  }

  /** Given back so far: of any part, now and then above the charge, or what was said before. */
  #refund({ pick, micro, how }: Step, old: Fact, nowS: number): Deed {
    const leaf = this.#leaf(INTAKE);
    const said = this.#refunds[pick % Math.max(1, this.#refunds.length)];
    if (said && (how & 7) === 0) return { kind: 'refund', refund: said, leaf };
    const part = [old.charge, old.charge / 2n, old.charge + 1n, 1n + (micro % (old.charge + 1n))];
    const refund: Refund = {
      name: `refund ${(this.#names += 1)}`,
      of: old.name,
      refunded: part[(how >> 3) & 3]! || 1n,
      paidS: nowS - ((how & 0x60) === 0 ? pick * 600 : 0),
    };
    this.#refunds.push(refund);
    return { kind: 'refund', refund, leaf };
  }

  /** What the logs bring in a step; nothing if the step is about something that does not exist yet. */
  deeds(step: Step, nowS: number): Deed[] {
    const { kind, pick, how } = step;
    const old = this.#made[pick % Math.max(1, this.#made.length)];
    if (kind === 'pay') return [this.#pay(step, nowS)];
    if (kind === 'batch') {
      const first = this.#pay(step, nowS);
      const second = this.#pay({ ...step, pick: pick >> 2, how: how >> 3 }, nowS);
      const third = this.#pay({ ...step, pick: pick + 1, micro: step.micro * 3n + 1n }, nowS);
      const twice = how & 1 ? [this.#repeat(first.fact, how >> 2, true)] : [];
      const gone: Deed[] = (how & 6) === 6 ? [{ kind: 'void', fact: second.fact }] : [];
      return [first, second, ...twice, ...gone, third];
    }
    if (!old) return [];
    if (kind === 'again') return [this.#repeat(old, how, old.isFinal)];
    if (kind === 'final') return [this.#repeat(old, how, true)];
    if (kind === 'clone' || kind === 'backwards') return [this.#contradict(old, step, nowS)];
    if (kind === 'void') return [{ kind: 'void', fact: old }];
    if (kind === 'refund') return [this.#refund(step, old, nowS)];
    if (kind === 'early') {
      // The refund comes before what it gives back.
      const paid = this.#pay(step, nowS);
      return [this.#refund(step, paid.fact, nowS), paid];
    }
    return [];
  }
}

const receiptOf = (fact: Fact): VerifiedReceipt => ({
  kind: 'receipt',
  level: fact.isFinal ? 'L2' : 'L1',
  paymentHash: hashOf(fact.name),
  receiptHash: hashOf(`receipt of ${fact.name}`),
  line: hashOf(`line ${fact.line}`).subarray(0, 16),
  counter: fact.counter,
  amountMicro: fact.amount,
  chargedMicro: fact.charge,
  totalMicro: fact.total,
  releasedMicro: 0n,
  approver: hashOf('gateway').subarray(0, 16),
  sequence: fact.leaf + 1,
  ...(fact.isHandedInLate ? { isHandedInLate: true } : {}),
  ...(fact.isAfterClosing ? { isAfterClosing: true } : {}),
  payee: hashOf('gate').subarray(0, 16),
  key: {
    issuer: 'issuer-1',
    acquirer: 'acquirer-1',
    merchant: fact.account.merchant,
    programme: fact.account.programme,
    account: fact.account.account,
    party: 'party-1',
    mcc: '4784',
    currency: fact.account.currency,
  },
  businessTimeS: fact.paidS,
  isTimeFlagged: false,
  origin: fact.origin,
  leafIndex: fact.leaf,
});

/** The same as the clearing gets it, behind the check of every signature. */
export const itemOf = (deed: Deed): VerifiedItem => {
  if (deed.kind === 'refund') {
    const { name, of, refunded, paidS } = deed.refund;
    return {
      kind: 'credit',
      creditHash: hashOf(name),
      paymentHash: hashOf(of),
      refundedMicro: refunded,
      reason: 'gate stayed shut',
      businessTimeS: paidS,
      isTimeFlagged: false,
      origin: INTAKE,
      leafIndex: deed.leaf,
    };
  }
  const { kind, fact } = deed;
  const receipt = receiptOf(fact);
  if (kind === 'receipt') return receipt;
  const { paymentHash, line, counter, amountMicro, leafIndex } = receipt;
  const receiptHash = hashOf(`void of ${fact.name}`);
  // By the log that never forks here, so that a refund that follows from it stays payable.
  return { kind, paymentHash, receiptHash, line, counter, amountMicro, origin: INTAKE, leafIndex };
};
