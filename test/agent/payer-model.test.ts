import fc from 'fast-check';
import t from 'tap';
import { amountMicro } from '../../protocol/amount.ts';
import { toHex } from '../../protocol/bytes.ts';
import { decodeSign1 } from '../../protocol/cose.ts';
import { CLOSE } from '../../protocol/messages/after-payment.ts';
import { QUERY } from '../../protocol/messages/envelopes.ts';
import type { Payment } from '../../protocol/messages/payment.ts';
import { yen } from '../identity/fixture.ts';
import {
  allowanceOf,
  closeIn,
  durableCloses,
  handedInOf,
  hashOf,
  newKit,
  offerOf,
  paymentOf,
  PayerRig,
  receiptOf,
  refusalOf,
} from './harness.ts';

const kit = newKit();
const UNIT = 3_850_000n;

type Move =
  | { readonly kind: 'want'; readonly ref: number; readonly quantity: number }
  | { readonly kind: 'offer'; readonly quantity: number }
  | { readonly kind: 'sync' }
  | { readonly kind: 'crash'; readonly survive: number }
  | { readonly kind: 'restart' }
  | { readonly kind: 'link'; readonly up: boolean }
  | { readonly kind: 'answer'; readonly pick: number; readonly lose: boolean }
  | { readonly kind: 'again'; readonly pick: number }
  | { readonly kind: 'closeAllowance' }
  | { readonly kind: 'fresh' }
  | { readonly kind: 'taken' }
  | { readonly kind: 'pass'; readonly ms: number };

const move: fc.Arbitrary<Move> = fc.oneof(
  {
    weight: 5,
    arbitrary: fc.record({
      kind: fc.constant('want' as const),
      ref: fc.nat(11),
      quantity: fc.integer({ min: 1, max: 3 }),
    }),
  },
  {
    weight: 6,
    arbitrary: fc.record({
      kind: fc.constant('offer' as const),
      quantity: fc.integer({ min: 1, max: 3 }),
    }),
  },
  { weight: 5, arbitrary: fc.record({ kind: fc.constant('sync' as const) }) },
  { weight: 2, arbitrary: fc.record({ kind: fc.constant('crash' as const), survive: fc.nat(4) }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant('restart' as const) }) },
  { weight: 2, arbitrary: fc.record({ kind: fc.constant('link' as const), up: fc.boolean() }) },
  {
    weight: 5,
    arbitrary: fc.record({
      kind: fc.constant('answer' as const),
      pick: fc.nat(30),
      lose: fc.boolean(),
    }),
  },
  { weight: 2, arbitrary: fc.record({ kind: fc.constant('again' as const), pick: fc.nat(30) }) },
  { weight: 2, arbitrary: fc.record({ kind: fc.constant('pass' as const), ms: fc.nat(20_000) }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant('closeAllowance' as const) }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant('fresh' as const) }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant('taken' as const) }) },
);

/** Allowances of the generations 2, 3, …: the kit's own is 1. */
const FRESH = Array.from({ length: 12 }, (_, i) => allowanceOf(kit, { generation: i + 2 }));

/** An approver that decides once, in whatever order Payments reach it, and never twice. */
class World {
  readonly rig = new PayerRig(kit);
  /** Payment COSE by hash: everything that ever left the device. */
  readonly left = new Map<string, Uint8Array>();
  readonly decided = new Map<
    string,
    { readonly answer: Uint8Array; readonly isReceipt: boolean }
  >();
  readonly delivered = new Set<string>();
  /** In force at the device: a start gives it the kit's own again, as from its files. */
  generation = 1;
  #newest = 1;
  /** Generation in force when the Payment was signed, by hash. */
  readonly signedUnder = new Map<string, number>();
  /** Closes that left the device: payload by the allowance's hash, in hex. */
  readonly closes = new Map<string, string>();
  #closeFault: string | undefined;
  #seen = 0;

  play(action: Move): void {
    const { rig } = this;
    switch (action.kind) {
      case 'want': {
        const { ref, quantity } = action;
        const payee = kit.world.signers.payee.key.id;
        const maxAmountMicro = yen(1_000);
        const want = { ref: `ref-${ref}`, payee, item: 'bay 4', quantity, maxAmountMicro };
        rig.give({ kind: 'want', want });
        break;
      }
      case 'offer': {
        const amount = amountMicro(BigInt(action.quantity) * UNIT);
        rig.inbox('offer', offerOf(kit, { amountMicro: amount }));
        break;
      }
      case 'sync':
        rig.sync();
        break;
      case 'crash':
        rig.crash(action.survive);
        this.generation = 1;
        break;
      case 'restart':
        rig.restart();
        this.generation = 1;
        break;
      case 'link':
        if (action.up) rig.connect();
        else rig.give({ kind: 'linkDown' });
        break;
      case 'closeAllowance':
        rig.give({ kind: 'closeAllowance' });
        break;
      case 'fresh':
        this.#fresh();
        break;
      case 'taken':
        this.#taken();
        break;
      case 'pass':
        rig.pass(action.ms);
        break;
      case 'answer':
        this.#answer(action.pick, action.lose);
        break;
      case 'again':
        this.#again(action.pick);
    }
    this.#collect();
  }

  #fresh(): void {
    const allowance = FRESH[this.#newest - 1];
    if (!allowance) return;
    this.#newest += 1;
    this.generation = this.#newest;
    this.rig.give({ kind: 'documents', documents: [allowance] });
  }

  /** The gateway has the last Hand-in. */
  #taken(): void {
    const handIn = this.rig.published.findLast(({ verb }) => verb === 'hand-in')?.payload;
    if (handIn) this.rig.inbox('handed-in', handedInOf(handIn));
  }

  /** The approver decides one of the Payments that reached it; even hashes are accepted. */
  #answer(pick: number, lose: boolean): void {
    const entries = [...this.left];
    const entry = entries[pick % Math.max(1, entries.length)];
    if (!entry) return;
    const [hex, cose] = entry;
    const isReceipt = Number.parseInt(hex.slice(0, 2), 16) % 2 === 0;
    const known = this.decided.get(hex) ?? {
      isReceipt,
      answer: isReceipt ? receiptOf(kit, cose) : refusalOf(kit, cose, 'OFFER_EXPIRED'),
    };
    this.decided.set(hex, known);
    if (lose) return;
    this.#deliver(hex, known);
  }

  #again(pick: number): void {
    const entries = [...this.decided];
    const entry = entries[pick % Math.max(1, entries.length)];
    if (entry) this.#deliver(...entry);
  }

  #deliver(hex: string, { answer, isReceipt }: { answer: Uint8Array; isReceipt: boolean }): void {
    this.rig.inbox(isReceipt ? 'receipt' : 'refusal', answer);
    this.delivered.add(hex);
  }

  #collect(): void {
    for (const hex of this.rig.state.open.keys()) {
      if (this.signedUnder.has(hex)) continue;
      this.signedUnder.set(hex, this.generation);
      const closed = Math.max(0, ...durableCloses(this.rig).map(({ generation }) => generation));
      if (this.generation <= closed) this.#closeFault = 'signed under a closed allowance';
    }
    for (const { verb, payload } of this.rig.published.slice(this.#seen)) {
      if (verb === 'hand-in') this.#collectClose(payload);
      const query = verb === 'query' ? QUERY.decode(payload) : undefined;
      const cose = verb === 'pay' ? payload : query?.ok ? query.value.payment : undefined;
      if (cose) this.left.set(toHex(hashOf(cose)), cose);
    }
    this.#seen = this.rig.published.length;
  }

  #collectClose(handIn: Uint8Array): void {
    const { payload, close } = closeIn(handIn);
    const hex = toHex(close.allowanceHash);
    if ((this.closes.get(hex) ?? payload) !== payload)
      this.#closeFault = 'two Closes of one allowance';
    this.closes.set(hex, payload);
    const isDurable = durableCloses(this.rig).some((record) => toHex(record.payload) === payload);
    if (!isDurable) this.#closeFault = 'a Close left before it was durable';
  }

  /** What payees can present is all that was signed before and not voided: no Close may say less. */
  #understated(): string | undefined {
    for (const { generation, payload } of durableCloses(this.rig)) {
      const close = CLOSE.decode(payload);
      if (!close.ok) return 'a Close that cannot be read';
      const { lastCounter, totalMicro, releasedMicro } = close.value;
      let presentable = 0n;
      for (const [hex, cose] of this.left) {
        const payment = paymentOf(cose);
        const isEarlier = (this.signedUnder.get(hex) ?? 0) <= generation;
        if (isEarlier && payment.counter > lastCounter) return 'a Payment beyond its Close';
        if (isEarlier && payment.totalMicro > totalMicro) return 'a total beyond its Close';
        const isVoid = this.decided.get(hex)?.isReceipt === false;
        if (payment.counter <= lastCounter && !isVoid) presentable += payment.amountMicro;
      }
      if (totalMicro - (releasedMicro ?? 0n) < presentable) return 'a Close says too little';
    }
    return undefined;
  }

  /** Undefined where everything holds. */
  fault(): string | undefined {
    const payments = [...this.left.values()]
      .map(paymentOf)
      .toSorted((a, b) => a.counter - b.counter);
    return (
      this.#closeFault ??
      this.#understated() ??
      this.#lineFault(payments) ??
      this.#outcomeFault() ??
      this.#moneyFault()
    );
  }

  #lineFault(payments: readonly Payment[]): string | undefined {
    const bytes = new Set([...this.left.values()].map(toHex));
    if (bytes.size !== this.left.size) return 'one payload left under two signatures';
    for (const [i, payment] of payments.entries()) {
      const before = payments[i - 1];
      if (!before) continue;
      if (payment.counter === before.counter) return `counter ${payment.counter} used twice`;
      if (payment.totalMicro - payment.amountMicro < before.totalMicro) return 'total is broken';
    }
    return undefined;
  }

  #outcomeFault(): string | undefined {
    const hashOfRef = new Map<string, string>();
    for (const outcome of this.rig.outcomes) {
      if (!('paymentHash' in outcome) || !outcome.paymentHash) continue;
      const hex = toHex(outcome.paymentHash);
      if ((hashOfRef.get(outcome.ref) ?? hex) !== hex) return `${outcome.ref} was paid twice`;
      hashOfRef.set(outcome.ref, hex);
      if (outcome.kind === 'unknown') continue;
      const decided = this.decided.get(hex);
      if (!decided || !this.delivered.has(hex)) return 'an outcome that nobody signed';
      if (decided.isReceipt !== (outcome.kind === 'accepted')) return 'the wrong outcome';
    }
    return undefined;
  }

  #moneyFault(): string | undefined {
    let voided = 0n;
    for (const [hex, { isReceipt }] of this.decided) {
      const cose = this.left.get(hex);
      if (!isReceipt && cose && this.delivered.has(hex)) voided += paymentOf(cose).amountMicro;
    }
    const { releasedMicro, totalMicro, mark, counter } = this.rig.state;
    if (releasedMicro > voided) return 'more given back than was voided';
    if (counter > mark.counter || totalMicro > mark.totalMicro) return 'beyond the reserved mark';
    return undefined;
  }

  /** Faults stop: every Payment that left ends as its approver decided. */
  settle(): string | undefined {
    this.rig.sync().connect().pass(70_000);
    for (const [hex] of this.left) this.#answer([...this.left.keys()].indexOf(hex), false);
    this.rig.sync();
    for (const open of this.rig.state.open.values()) {
      if (this.left.has(toHex(open.hash))) return 'a Payment stayed unknown';
    }
    this.rig.pass(70_000);
    this.#collect();
    const { beside, closes } = this.rig.state;
    for (const { close } of beside ? closes : []) {
      if (!this.closes.has(toHex(close.allowanceHash))) return 'a Close was never handed in';
    }
    return this.fault();
  }
}

t.test('whatever is lost, doubled or cut off: no counter twice, no double debit', (t) => {
  fc.assert(
    fc.property(fc.array(move, { minLength: 1, maxLength: 60 }), (moves) => {
      const world = new World();
      for (const action of moves) {
        world.play(action);
        const fault = world.fault();
        if (fault !== undefined) throw new Error(`${action.kind}: ${fault}`);
      }
      const fault = world.settle();
      if (fault !== undefined) throw new Error(`at the end: ${fault}`);
    }),
    { numRuns: 500 },
  );
  t.pass('500 histories');
  t.end();
});

t.test('a crash between any two records of a busy day breaks nothing', (t) => {
  const day: Move[] = [{ kind: 'link', up: true }];
  for (let i = 0; i < 6; i += 1) {
    const quantity = 1 + (i % 3);
    day.push({ kind: 'want', ref: i, quantity }, { kind: 'offer', quantity });
    day.push({ kind: 'sync' }, { kind: 'answer', pick: i, lose: i % 3 === 0 });
    if (i === 3)
      day.push({ kind: 'closeAllowance' }, { kind: 'sync' }, { kind: 'fresh' }, { kind: 'taken' });
  }
  for (let at = 1; at <= day.length; at += 1) {
    for (const survive of [0, 1, 2]) {
      const world = new World();
      for (const action of day.slice(0, at)) world.play(action);
      world.play({ kind: 'crash', survive });
      for (const action of day.slice(at)) world.play(action);
      world.play({ kind: 'link', up: true });
      t.equal(world.settle(), undefined, `crash after move ${at}, ${survive} survive`);
    }
  }
  t.end();
});

t.test('every Payment that leaves is signed by the device over its payload', (t) => {
  const world = new World();
  const quantity = 2;
  world.play({ kind: 'link', up: true });
  world.play({ kind: 'want', ref: 1, quantity });
  world.play({ kind: 'offer', quantity });
  world.play({ kind: 'sync' });
  const { trust, signers } = kit.world;
  for (const cose of world.left.values()) {
    const sign1 = decodeSign1(cose);
    // Sig_structure of RFC 9052 §4.4, built by hand: ["Signature1", h'a10127', h'', payload]
    const payload = sign1.ok ? sign1.value.payload : new Uint8Array(0);
    const head = Uint8Array.of(0x84, 0x6a, ...Buffer.from('Signature1'), 0x43, 0xa1, 0x01, 0x27);
    const input = Buffer.concat([head, Uint8Array.of(0x40, 0x58, payload.length), payload]);
    const signature = cose.subarray(cose.length - 64);
    t.ok(trust.verifier.verify(signers.device.key, input, signature));
  }
  t.equal(world.left.size, 1);
  t.end();
});
