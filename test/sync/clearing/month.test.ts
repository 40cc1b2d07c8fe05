/** Thirty days of 100,000 receipts, cut once a day; every sum is added up here a second time, by other means. */
import { hash } from 'node:crypto';
import t from 'tap';
import type { Test } from 'tap';
import { nodeVerifier } from '../../../identity/edge/node-signatures.ts';
import { toHex } from '../../../protocol/bytes.ts';
import { CheckThreads } from '../../../sync/clearing/check-threads.ts';
import type { Programme } from '../../../sync/clearing/core/aggregate.ts';
import { JST } from '../../../sync/clearing/core/civil-time.ts';
import { directoryOf as documentsDirectory } from '../../../sync/clearing/core/directory.ts';
import { type Evidence, verifyEvidence } from '../../../sync/clearing/core/evidence.ts';
import type { VerifiedReceipt } from '../../../sync/clearing/core/ingest.ts';
import { readSettlementFile } from '../../../sync/clearing/core/ipm-file.ts';
import { DEFAULT_IPM_PROFILE } from '../../../sync/clearing/core/ipm-profile.ts';
import { buildRegistry } from '../../../sync/clearing/core/registry.ts';
import { sumTreeProof, verifySumProof } from '../../../sync/clearing/core/sum-tree.ts';
import { LogPuller } from '../../../sync/clearing/pull-log.ts';
import { checkInLine } from '../../../sync/clearing/record-check.ts';
import { hashOf } from '../../approval/kit.ts';
import { MERCHANT_FACTS, NOW_S, newWorld, yen } from '../../identity/fixture.ts';
import { issueMerchant } from '../../../identity/core/issue.ts';
import { documentsOf, LogInMemory, ORIGIN, purchase, worldPayer } from './purchases.ts';
import { anchors, DAY_S, directoryOf, inMemory, keyWith, TOKYO_MIDNIGHT_S } from './sample.ts';
import { openTestStore } from './store.ts';

// A busy machine takes several times what a quiet one does.
t.setTimeout(600_000);

/** 200 receipts of each; `npm run soak` makes it 500. */
const PARTIES = Number(process.env['KIRI_MONTH_PARTIES'] ?? 50);
const RECEIPTS = 200 * PARTIES;
const DAYS = 30;
const YEN = 1_000_000n;
/** Cuts are made ten minutes after midnight in Tokyo. */
const AFTER_MIDNIGHT_S = 600;

/** Carries small sums for most of a week: at least forty receipts a line is what this is for. */
const RULE: Programme = {
  name: 'bilateral',
  zone: JST,
  thresholdMicro: 1_000n * YEN,
  windowMinimumMicro: 1_000n * YEN,
  maxAgeS: 6 * DAY_S + 18 * 3_600,
};

/** Same numbers in every run (mulberry32). */
const randomOf = (seed: number): ((below: number) => number) => {
  let state = seed;
  return (below) => {
    state = (state + 0x6d2b79f5) | 0;
    let x = Math.imul(state ^ (state >>> 15), 1 | state);
    x = (x + Math.imul(x ^ (x >>> 7), 61 | x)) ^ x;
    return ((x ^ (x >>> 14)) >>> 0) % below;
  };
};

const digest = (text: string): Uint8Array => new Uint8Array(hash('sha256', text, 'buffer'));
const accountOf = (party: number): string => `ACC-${String(party).padStart(3, '0')}`;

/** The gateway that these parties pass was cut off from day 4 to day 9 and hands everything in on day 12. */
const isCutOff = (party: number, day: number): boolean => party < 25 && day >= 4 && day < 10;
const HANDED_IN_ON = 12;

interface Month {
  /** What comes in on each day, in the order of arrival. */
  readonly days: readonly VerifiedReceipt[][];
  /** Exact sum of each party in micro-units, and of its late receipts. */
  readonly sums: bigint[];
  readonly lateSums: bigint[];
}

const makeMonth = (): Month => {
  const random = randomOf(20_261_121);
  const days: VerifiedReceipt[][] = Array.from({ length: DAYS }, () => []);
  const sums = Array.from({ length: PARTIES }, () => 0n);
  const lateSums = Array.from({ length: PARTIES }, () => 0n);
  const counters = new Uint32Array(PARTIES);
  const keys = sums.map((_, party) =>
    keyWith({
      account: accountOf(party),
      party: `party-${party}`,
      merchant: `merchant-${party % 5}`,
    }),
  );
  const lines = sums.map((_, party) => digest(`line ${party}`).subarray(0, 16));
  const [approver, payee] = [digest('gateway').subarray(0, 16), digest('gate').subarray(0, 16)];
  for (let at = 0; at < RECEIPTS; at += 1) {
    const day = Math.floor((at * DAYS) / RECEIPTS);
    const party = random(PARTIES);
    // Fractions of a yen, down to the last micro-unit.
    const amountMicro = BigInt(1 + random(2_999_999));
    sums[party] = sums[party]! + amountMicro;
    counters[party]! += 1;
    const counter = counters[party]!;
    const name = `${party}/${counter}`;
    const receipt: VerifiedReceipt = {
      kind: 'receipt',
      level: 'L2',
      paymentHash: digest(`payment ${name}`),
      receiptHash: digest(`receipt ${name}`),
      line: lines[party]!,
      counter,
      amountMicro,
      totalMicro: sums[party],
      releasedMicro: 0n,
      approver,
      sequence: at + 1,
      payee,
      key: keys[party]!,
      businessTimeS: TOKYO_MIDNIGHT_S + day * DAY_S + random(DAY_S),
      isTimeFlagged: false,
      origin: 'gateway.example/2026q4',
      leafIndex: at,
    };
    if (isCutOff(party, day)) lateSums[party] = lateSums[party]! + amountMicro;
    days[isCutOff(party, day) ? HANDED_IN_ON : day]!.push(receipt);
    // Every hundredth comes by a second log too, a day later.
    const twin = { ...receipt, origin: 'intake.example/2026q4' };
    if (at % 100 === 0) days[Math.min(DAYS - 1, day + 1)]!.push(twin);
  }
  return { days, sums, lateSums };
};

interface Presented {
  minor: bigint;
  count: number;
}

t.test(
  `a month of ${RECEIPTS} receipts settles to the micro-unit, forty and more a line`,
  async (t) => {
    const { days, sums, lateSums } = makeMonth();
    const files = new Map<string, Uint8Array>();
    const { service } = await inMemory({
      database: await openTestStore(),
      directory: directoryOf(RULE),
      writeFile: async (path, bytes) => void files.set(path, new Uint8Array(Buffer.from(bytes))),
    });
    t.teardown(() => service.close());
    let [first, duplicate, late] = [0, 0, 0];
    for (const [day, receipts] of days.entries()) {
      const noonS = TOKYO_MIDNIGHT_S + day * DAY_S + DAY_S / 2;
      const counts = await service.ingestBatch(receipts, noonS);
      first += counts.first;
      duplicate += counts.duplicate;
      late += counts.late;
      t.equal(counts.conflict + counts.refused + counts.withheld, 0, `day ${day}`);
      const cutS = TOKYO_MIDNIGHT_S + (day + 1) * DAY_S + AFTER_MIDNIGHT_S;
      const { blocked } = await service.cut(cutS, anchors, day === DAYS - 1);
      t.same(blocked, []);
    }
    t.same({ first, duplicate }, { first: RECEIPTS, duplicate: RECEIPTS / 100 });
    t.equal(
      late,
      days[HANDED_IN_ON]!.filter((one) => isLate(one)).length,
      'late ones by their time',
    );

    const presented = new Map<string, Presented>();
    for (const [path, bytes] of files) {
      if (!path.endsWith('.ipm')) continue;
      const file = readSettlementFile(bytes, DEFAULT_IPM_PROFILE);
      if (!file.ok) return t.fail(`${path}: ${file.fault.detail}`);
      for (const { fundingReference, amountMinor } of file.value.presentments) {
        const sum = presented.get(fundingReference) ?? { minor: 0n, count: 0 };
        sum.minor += amountMinor;
        sum.count += 1;
        presented.set(fundingReference, sum);
      }
    }
    const chains = readEvidence(files);
    let lines = 0;
    for (const [party, sum] of sums.entries()) {
      const { minor, count } = presented.get(accountOf(party)) ?? { minor: 0n, count: 0 };
      lines += count;
      // Each lane keeps what is less than one yen; nothing else stays.
      const rests = lateSums[party]! > 0n ? [sum - lateSums[party]!, lateSums[party]!] : [sum];
      const carried = rests.reduce((rest, lane) => rest + (lane % YEN), 0n);
      const isExact = minor * YEN + carried === sum;
      if (!isExact) t.fail(`${accountOf(party)}: ${minor} yen and ${carried} of ${sum}`);
    }
    const covered = [...chains.receipts.values()];
    t.ok(RECEIPTS / lines >= 40, `${(RECEIPTS / lines).toFixed(1)} receipts a line`);
    t.equal(covered.length, RECEIPTS, 'each receipt stands in one aggregate and in no second one');
    t.same(chains.faults, []);

    const total = sums.reduce((all, one) => all + one, 0n);
    const { receipts, reconciles, differences, books } = await service.reconcile();
    t.same(
      { receipts, reconciles, differences },
      { receipts: RECEIPTS, reconciles: true, differences: [] },
    );
    t.equal(books[0]?.acceptedMicro, total);
    const { presentedOpen, carried, late: lateRest } = books[0]!.buckets;
    t.equal(presentedOpen + carried + lateRest, total);
    proveSample(t, days.flat(), chains.receipts);
  },
);

const isLate = ({ businessTimeS, origin }: VerifiedReceipt): boolean =>
  origin.startsWith('gateway') && businessTimeS < TOKYO_MIDNIGHT_S + HANDED_IN_ON * DAY_S;

interface Chains {
  /** The evidence of each receipt, by its hash in hex. */
  readonly receipts: Map<string, { readonly evidence: Evidence; readonly at: number }>;
  readonly faults: string[];
}

/** Every aggregate by itself, and the chain of residuals from one to the next. */
const readEvidence = (files: ReadonlyMap<string, Uint8Array>): Chains => {
  const chains: Chains = { receipts: new Map(), faults: [] };
  const byId = new Map<string, Evidence>();
  for (const [path, bytes] of files) {
    if (!path.startsWith('out/evidence/')) continue;
    const checked = verifyEvidence(bytes);
    if (!checked.ok || !path.endsWith(`/${checked.id}.cbor`)) {
      chains.faults.push(`${path}: ${checked.ok ? 'name' : checked.fault}`);
      continue;
    }
    byId.set(checked.id, checked.value);
    for (const [at, { receiptHash }] of checked.value.leaves.entries()) {
      const hex = toHex(receiptHash);
      if (chains.receipts.has(hex)) chains.faults.push(`${hex} stands in two aggregates`);
      chains.receipts.set(hex, { evidence: checked.value, at });
    }
  }
  for (const { previous, openingMicro, number } of byId.values()) {
    const before = previous === undefined ? 0n : byId.get(previous)?.closingMicro;
    if (before !== openingMicro || (number === 1) !== (previous === undefined)) {
      chains.faults.push(`opening ${openingMicro} behind ${before}`);
    }
  }
  return chains;
};

/** Two hundred receipts at random: from the receipt alone up to the root of its aggregate, 40 bytes a step. */
const proveSample = (
  t: Test,
  receipts: readonly VerifiedReceipt[],
  known: Chains['receipts'],
): void => {
  const random = randomOf(7);
  let held = 0;
  for (let i = 0; i < 200; i += 1) {
    const { receiptHash, amountMicro, key } = receipts[random(receipts.length)]!;
    const found = known.get(toHex(receiptHash));
    if (!found) continue;
    const { evidence, at } = found;
    const proof = sumTreeProof(evidence.leaves, at);
    const place = { index: at, count: evidence.leaves.length };
    const root = { hash: evidence.root, sumMicro: evidence.sumMicro };
    const isProven = verifySumProof({ receiptHash, amountMicro }, place, proof, root);
    const more = { receiptHash, amountMicro: amountMicro + 1n };
    const isForged = verifySumProof(more, place, proof, root);
    if (isProven && !isForged && evidence.key.account === key.account) held += 1;
  }
  t.equal(held, 200, 'receipts of the sample that are proven, and no micro-unit more');
};

t.test('signed purchases go the whole way: log, threads, cut, evidence', async (t) => {
  const world = newWorld();
  const merchant = issueMerchant(world.signers.acquirer, {
    ...MERCHANT_FACTS,
    notBeforeS: MERCHANT_FACTS.notBeforeS + 1,
    programme: 'BILATERAL',
    payeeKeys: [world.signers.payee.key],
  });
  const registry = buildRegistry(world.trust, [...documentsOf(world), merchant]);
  const rules = { registry, clearing: world.signers.clearing.key.id };
  const verifier = nodeVerifier();
  const threads = new CheckThreads(rules, checkInLine(rules, verifier), 2);
  t.teardown(() => threads.close());
  const files = new Map<string, Uint8Array>();
  const { service } = await inMemory({
    database: await openTestStore(),
    directory: documentsDirectory(registry),
    writeFile: async (path, bytes) => void files.set(path, new Uint8Array(Buffer.from(bytes))),
  });
  t.teardown(() => service.close());
  const log = new LogInMemory();
  const payer = worldPayer(world);
  const bought = Array.from({ length: 150 }, () => purchase(world, payer));
  log.append(bought);
  const { policy, pair, source } = log;
  const options = { ...rules, policy, verifier, contentKey: pair.privateKey, checker: threads };
  const puller = new LogPuller({ ...options, sources: [source], origin: ORIGIN });
  const { size, rootHex } = await puller.pull(service, NOW_S + 60);
  await service.cut(NOW_S + 60, [{ origin: ORIGIN, size, root: rootHex }], true);
  const { receipts, faults } = readEvidence(files);
  t.same(faults, []);
  for (const { outcome } of bought) {
    if (!receipts.has(toHex(hashOf(outcome)))) t.fail('a receipt without evidence');
  }
  t.equal(receipts.size, bought.length);
  const sums = new Set([...receipts.values()].map(({ evidence }) => evidence.sumMicro));
  t.same([...sums], [150n * yen(100)], 'one aggregate, the whole sum');
});
