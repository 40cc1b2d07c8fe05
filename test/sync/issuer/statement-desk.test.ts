import t from 'tap';
import { ALLOWANCE, type Allowance } from '../../../identity/core/documents/allowance.ts';
import { STATEMENT, type Statement } from '../../../identity/core/documents/statement.ts';
import { issueAllowance, issueBinding, issueParty } from '../../../identity/core/issue.ts';
import { amountMicro } from '../../../protocol/amount.ts';
import { decodeSign1, signSign1 } from '../../../protocol/cose.ts';
import { lineId } from '../../../protocol/ids.ts';
import { CLOSE } from '../../../protocol/messages/after-payment.ts';
import type { Signer } from '../../../protocol/public-key.ts';
import {
  LineAccountBuilder,
  type LineAccount,
  type LineFact,
} from '../../../sync/clearing/core/line-account.ts';
import { buildRegistry, type Registry } from '../../../sync/clearing/core/registry.ts';
import type { SqlDatabase } from '../../../sync/clearing/sql.ts';
import {
  appliedThrough,
  statementFromAccount,
} from '../../../sync/issuer/core/statement-from-account.ts';
import { openStatementBook, StatementBook } from '../../../sync/issuer/statement-book.ts';
import {
  runStatementRound,
  type IssuedDocument,
  type RoundResult,
} from '../../../sync/issuer/statement-desk.ts';
import { hashOf } from '../../agent/harness.ts';
import {
  ALLOWANCE_FACTS,
  BINDING_FACTS,
  JPY,
  newSigner,
  newWorld,
  NOW_S,
  PARTY_FACTS,
  VALID,
  yen,
} from '../../identity/fixture.ts';
import { openTestStore } from '../clearing/store.ts';

const world = newWorld();
const { signers } = world;
/** Cap × 1.5 = 45,000 yen: room for two allowances of 20,000 and a quarter of a third. */
const party = issueParty(signers.issuer, {
  ...PARTY_FACTS,
  capMicro: yen(30_000),
  key: signers.party.key,
});

interface Car {
  readonly device: Signer;
  readonly line: Uint8Array;
  readonly hex: string;
  readonly documents: readonly Uint8Array[];
  readonly allowance: Uint8Array;
}

const newCar = (): Car => {
  const device = newSigner();
  const line = lineId(device.key.id, signers.party.key.id, JPY);
  const binding = issueBinding(
    { device, party: signers.party, registrar: signers.registrar },
    BINDING_FACTS,
  );
  const allowance = issueAllowance(signers.issuer, {
    ...ALLOWANCE_FACTS,
    line,
    policyHash: world.policyHash,
    clearing: signers.clearing.key.id,
  });
  const hex = Buffer.from(line).toString('hex');
  return { device, line, hex, documents: [binding, allowance], allowance };
};

const registryOf = (cars: readonly Car[]): Registry =>
  buildRegistry(world.trust, [
    party,
    world.payer.registrar,
    ...cars.flatMap(({ documents }) => documents),
  ]);

/** `count` payments of 1,000 yen, the first `settled` of them presented. */
const paidBy = ({ line }: Car, count: number, settled: number): LineAccount => {
  const builder = new LineAccountBuilder(0, 0);
  for (let at = 1; at <= count; at++) {
    const fact: LineFact = {
      kind: 'receipt',
      counter: at,
      amountMicro: yen(1_000),
      chargeMicro: yen(1_000),
      totalMicro: yen(1_000 * at),
      releasedMicro: 0n,
      paidS: NOW_S,
      state: at <= settled ? 'settled' : 'open',
      inConflict: false,
    };
    builder.add(fact);
  }
  const { hex: partyHex } = signers.party.key;
  return builder.finish({
    line,
    party: partyHex,
    currency: JPY,
    credits: [],
    disputes: [],
    heads: [],
  });
};

async function* each<T>(items: readonly T[]): AsyncGenerator<T> {
  yield* items;
}

const statementIn = (cose: Uint8Array): Statement => {
  const signed = decodeSign1(cose);
  const read = signed.ok ? STATEMENT.decode(signed.value.payload) : signed;
  if (!read.ok) throw new Error(read.reason);
  return read.value;
};
const allowanceIn = ({ allowance }: Statement): Allowance | undefined => {
  const signed = allowance && decodeSign1(allowance);
  const read = signed?.ok ? ALLOWANCE.decode(signed.value.payload) : undefined;
  return read?.ok ? read.value : undefined;
};

class Desk {
  readonly database: SqlDatabase;
  readonly cars: readonly Car[];
  handed: IssuedDocument[] = [];

  constructor(database: SqlDatabase, cars: readonly Car[]) {
    this.database = database;
    this.cars = cars;
  }

  async round(
    accounts: readonly LineAccount[],
    more: {
      readonly closes?: readonly Uint8Array[];
      readonly nowS?: number;
      readonly dies?: boolean;
    } = {},
  ): Promise<RoundResult> {
    this.handed = [];
    return runStatementRound({
      database: this.database,
      issuer: signers.issuer,
      verifier: world.trust.verifier,
      registry: registryOf(this.cars),
      accounts: each(accounts),
      closes: more.closes ?? [],
      nowS: more.nowS ?? NOW_S,
      hand: async (document) => {
        if (more.dies) throw new Error('the disk is gone');
        this.handed.push(document);
      },
    });
  }

  statement(car: Car): Statement | undefined {
    const found = this.handed.find(({ line }) => line === car.hex);
    return found && statementIn(found.statement);
  }
}

const openDesk = async (cars: readonly Car[]): Promise<Desk> => {
  const database = await openTestStore();
  t.teardown(() => database.close());
  return new Desk(database, cars);
};

/** The fixture's allowance lasts a day; at its begin nothing is due by time. */
const EARLY_S = VALID.notBeforeS + 120;

t.test(
  'a Statement says what the account says, with a fresh allowance once a quarter is settled',
  async (t) => {
    const car = newCar();
    const desk = await openDesk([car]);
    t.match(await desk.round([paidBy(car, 6, 4)], { nowS: EARLY_S }), {
      statements: 1,
      allowances: 0,
    });
    t.match(desk.statement(car), {
      number: 1,
      recordedThrough: 6,
      except: [],
      open: [5, 6],
      settled: [{ from: 1, to: 4, sumMicro: yen(4_000) }],
      settledTotalMicro: yen(4_000),
    });
    t.match(
      await desk.round([paidBy(car, 6, 4)], { nowS: EARLY_S }),
      { statements: 0 },
      'nothing new, nothing said',
    );
    t.match(await desk.round([paidBy(car, 6, 5)], { nowS: EARLY_S }), {
      statements: 1,
      allowances: 1,
    });
    const second = desk.statement(car)!;
    t.equal(second.number, 2);
    t.match(allowanceIn(second), {
      generation: 2,
      baseMicro: yen(5_000),
      ceilingMicro: yen(25_000),
      paymentLimitMicro: ALLOWANCE_FACTS.paymentLimitMicro,
      policyHash: world.policyHash,
    });
  },
);

t.test(
  'cap × factor holds over all lines of a party, and a Close makes room at once',
  async (t) => {
    const [a, b, c] = [newCar(), newCar(), newCar()];
    const desk = await openDesk([a, b, c]);
    // Enrolment gave 3 × 20,000 against 45,000: that was the issuer's word, no fresh one adds to it.
    t.match(await desk.round([paidBy(a, 5, 5)], { nowS: EARLY_S }), { allowances: 0, noRoom: 1 });
    const close = (car: Car, signer: Signer, totalMicro = yen(0)): Uint8Array =>
      signSign1(
        signer,
        CLOSE.encode({
          line: car.line,
          allowanceHash: hashOf(car.allowance),
          lastCounter: 0,
          totalMicro: amountMicro(totalMicro),
          timeS: NOW_S,
        }),
      );
    const forged = await desk.round([], { nowS: EARLY_S, closes: [close(b, signers.stranger)] });
    t.match(forged, { closes: 0, faults: [/not signed by the device/] }, 'not by anybody else');
    // The desk declines b, so that what it closed stays free: 45,000 − 20,000 of c are left to a.
    await desk.database.transaction(async (session) => {
      await new StatementBook(session).decline({
        kind: 'line',
        id: b.hex,
        sinceS: NOW_S,
        reason: 'test',
      });
    });
    const closed = await desk.round([paidBy(a, 5, 5)], {
      nowS: EARLY_S,
      closes: [close(b, b.device)],
    });
    t.match(closed, { closes: 1, allowances: 1, blocked: 1 });
    t.match(allowanceIn(desk.statement(a)!), { ceilingMicro: yen(25_000), baseMicro: yen(5_000) });
  },
);

t.test('a declined party gets Statements and no allowance until its debt is paid', async (t) => {
  const car = newCar();
  const desk = await openDesk([car]);
  await openStatementBook(desk.database);
  const id = signers.party.key.hex;
  await desk.database.transaction(async (session) => {
    const book = new StatementBook(session);
    t.ok(await book.decline({ kind: 'party', id, sinceS: NOW_S, reason: 'chargeback' }));
    t.notOk(await book.decline({ kind: 'party', id, sinceS: NOW_S, reason: 'again' }));
  });
  t.match(await desk.round([paidBy(car, 8, 8)]), { statements: 1, allowances: 0, blocked: 1 });
  await desk.database.transaction((session) => new StatementBook(session).recover('party', id));
  t.match(await desk.round([paidBy(car, 8, 8)]), { statements: 1, allowances: 1, blocked: 0 });
});

t.test(
  'what was signed and not handed out is handed out by the next round, the same bytes',
  async (t) => {
    const car = newCar();
    const desk = await openDesk([car]);
    await t.rejects(desk.round([paidBy(car, 8, 8)], { dies: true }), /the disk is gone/);
    t.match(await desk.round([paidBy(car, 8, 8)]), { statements: 0 });
    t.match(desk.statement(car), { number: 1, recordedThrough: 8 });
  },
);

t.test('an account in which nothing is recorded renews an allowance that ends', async (t) => {
  const car = newCar();
  const desk = await openDesk([car]);
  t.match(await desk.round([], { nowS: VALID.expiresS - 100 }), { statements: 1, allowances: 1 });
  t.match(allowanceIn(desk.statement(car)!), { generation: 2, ceilingMicro: yen(20_000) });
});

t.test('a Statement never calls recorded what it has no room to explain', (t) => {
  const builder = new LineAccountBuilder(0, 0);
  // 100 settled alone between Voids, then 200 open ones.
  let totalMicro = yen(0);
  const pay = (counter: number, state: 'settled' | 'open'): void => {
    totalMicro = amountMicro(totalMicro + 10n);
    builder.add({
      kind: 'receipt',
      counter,
      amountMicro: 10n,
      chargeMicro: 10n,
      totalMicro,
      releasedMicro: 0n,
      paidS: NOW_S,
      state,
      inConflict: false,
    });
  };
  for (let at = 0; at < 100; at++) {
    pay(at * 2 + 1, 'settled');
    totalMicro = amountMicro(totalMicro + 1n);
    builder.add({ kind: 'void', counter: at * 2 + 2, amountMicro: 1n });
  }
  for (let at = 201; at <= 400; at++) pay(at, 'open');
  const account = builder.finish({
    line: world.line,
    party: 'p',
    currency: JPY,
    credits: [],
    disputes: [],
    heads: [],
  });
  const body = statementFromAccount(account, 0);
  t.equal(body.settled.length, 100);
  t.equal(body.open.length, 128);
  t.equal(body.recordedThrough, 328, 'the 128th open one');
  t.equal(body.releasedMicro, 100n);
  const later = statementFromAccount(account, 200);
  t.same(later.settled, [], 'what the device has applied is in the sums alone');
  t.equal(later.releasedMicro, 100n);
  t.equal(later.settledTotalMicro, 1_000n);
  t.end();
});

t.test('a device has applied a Statement when it spends what only its allowance allows', (t) => {
  const carried = [
    { generation: 1, ceilingMicro: 100n, expiresS: 1_000, clearThrough: 0 },
    { generation: 2, ceilingMicro: 150n, expiresS: 2_000, clearThrough: 9 },
    { generation: 3, ceilingMicro: 180n, expiresS: 2_500, clearThrough: 12 },
  ];
  t.equal(appliedThrough(carried, { highestNetMicro: 100n, lastPaidS: 900 }), 0);
  t.equal(appliedThrough(carried, { highestNetMicro: 101n, lastPaidS: 900 }), 9);
  t.equal(
    appliedThrough(carried, { highestNetMicro: 90n, lastPaidS: 1_500 }),
    9,
    'or pays after the one before has ended',
  );
  t.equal(appliedThrough(carried, { highestNetMicro: 151n, lastPaidS: 900 }), 12);
  t.end();
});
