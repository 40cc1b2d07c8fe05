import t, { type Test } from 'tap';
import { ACCEPTED_RECORD, recordType, VOID_RECORD } from '../../approval/records.ts';
import { seedOf } from '../../firmware-sim/core/seed.ts';
import { journalReader } from '../../platform/journal-reader.ts';
import type { JournalPosition } from '../../platform/ports.ts';
import { toHex } from '../../protocol/bytes.ts';
import { decodeSign1 } from '../../protocol/cose.ts';
import { payloadHash } from '../../protocol/ids.ts';
import { PAYMENT, type Payment } from '../../protocol/messages/payment.ts';
import { RECEIPT } from '../../protocol/messages/receipt.ts';
import { KillRig, type Purchase, type Word } from './kill-rig.ts';

/** `npm run soak` makes it 50. */
const KILLS = Number(process.env['KIRI_GATEWAY_KILLS'] ?? 8);
const PAYERS = 8;
/** Every so many kills one more start dies before or while it recovers. */
const DIES_STARTING_EVERY = 4;
const LONGEST_START_MS = 900;
/** The plug is pulled after so many acceptances at most, and so much later at most. */
const MOST_ACCEPTED = 24;
const MOST_LATER_MS = 12;
const RESENT_PER_ROUND = 4;
const RESENT_AT_END = 100;
const TEST_TIMEOUT_MS = 900_000;
const SETTLE_TIMEOUT_MS = 60_000;

const seedNumber = Number(process.env['KIRI_SEED'] ?? Date.now() % 1_000_000);
const seed = seedOf(seedNumber);
const sleep = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));

function payloadOf(cose: Uint8Array): Uint8Array {
  const sign1 = decodeSign1(cose);
  if (!sign1.ok) throw new Error(sign1.reason);
  return sign1.value.payload;
}

function paymentOf(cose: Uint8Array): Payment {
  const payment = PAYMENT.decode(payloadOf(cose));
  if (!payment.ok) throw new Error(payment.reason);
  return payment.value;
}

interface GatewayBooks {
  /** Payment COSE bytes by Payment hash, of acceptances that no Void took back. */
  readonly accepted: ReadonlyMap<string, Uint8Array>;
  readonly voided: ReadonlySet<string>;
  readonly sequences: readonly number[];
  readonly acceptedTwice: readonly string[];
}

/** What the gateway's journal says, read from its files. */
async function gatewayBooks(folder: string): Promise<GatewayBooks> {
  const accepted = new Map<string, Uint8Array>();
  const voided = new Set<string>();
  const sequences: number[] = [];
  const acceptedTwice: string[] = [];
  const reader = journalReader(folder);
  for (let position: JournalPosition | undefined; ;) {
    const { records, nextPosition } = await reader.readFrom(position);
    if (records.length === 0) return { accepted, voided, sequences, acceptedTwice };
    position = nextPosition;
    for (const { record } of records) {
      const type = recordType(record);
      if (type === ACCEPTED_RECORD.type) {
        const row = ACCEPTED_RECORD.decode(record);
        const receipt = row.ok ? RECEIPT.decode(row.value.receiptPayload) : row;
        if (!row.ok || !receipt.ok) throw new Error('an acceptance is unreadable');
        const hash = toHex(payloadHash(payloadOf(row.value.payment)));
        if (accepted.has(hash)) acceptedTwice.push(hash);
        accepted.set(hash, row.value.payment);
        sequences.push(receipt.value.sequence);
      } else if (type === VOID_RECORD.type) {
        const row = VOID_RECORD.decode(record);
        if (!row.ok) throw new Error(row.reason);
        const hash = toHex(payloadHash(payloadOf(row.value.payment)));
        if (row.value.reverses !== undefined) accepted.delete(hash);
        voided.add(hash);
      }
    }
  }
}

function duplicates(keys: readonly string[]): string[] {
  const seen = new Set<string>();
  return keys.filter((key) => seen.size === seen.add(key).size);
}

function some<T>(items: readonly T[], count: number): T[] {
  return Array.from({ length: Math.min(count, items.length) }, () => seed.pick(items));
}

async function assertKnown(
  t: Test,
  rig: KillRig,
  words: readonly Word[],
  round: number,
): Promise<void> {
  const held = await rig.lookUp(words.map(({ hash }) => hash));
  const lost = words.filter(({ kind }, i) => held[i] !== kind).map(({ hash }) => toHex(hash));
  if (lost.length > 0) t.fail(`after kill ${round} the gateway does not know ${lost.join(', ')}`);
}

/** The same bytes again get the same bytes again, from whoever sends them. */
async function assertSameAnswer(
  t: Test,
  rig: KillRig,
  from: readonly { paymentCose?: Uint8Array; answerCose?: Uint8Array }[],
): Promise<void> {
  const known = from.filter(({ paymentCose, answerCose }) => paymentCose && answerCose);
  const answers = await rig.resend(known.map(({ paymentCose }) => paymentCose!));
  for (const [i, { code, bytes }] of answers.entries()) {
    const { paymentCose, answerCose } = known[i]!;
    if (Buffer.from(answerCose!).equals(bytes)) continue;
    t.fail(`${toHex(payloadHash(payloadOf(paymentCose!)))} now gets other bytes: ${code}`);
  }
}

async function killAndRestart(t: Test, rig: KillRig, round: number): Promise<void> {
  await rig.nextAccepted(1 + seed.below(MOST_ACCEPTED));
  await sleep(seed.between(0, MOST_LATER_MS));
  await rig.killGateway();
  if (round % DIES_STARTING_EVERY === 0) await rig.dieStarting(seed.between(0, LONGEST_START_MS));
  const words = rig.words.slice(-MOST_ACCEPTED * 2);
  await rig.startGateway();
  await assertKnown(t, rig, words, round);
  await assertSameAnswer(t, rig, some(rig.words, RESENT_PER_ROUND));
}

async function settle(rig: KillRig): Promise<void> {
  await rig.stopPaying();
  const untilMs = performance.now() + SETTLE_TIMEOUT_MS;
  while (rig.unknown > 0 && performance.now() < untilMs) await sleep(20);
}

function assertNothingDoubled(t: Test, accepted: readonly Uint8Array[]): void {
  const payments = accepted.map(paymentOf);
  const counters = payments.map(({ line, counter }) => `${toHex(line)} ${counter}`);
  t.same(duplicates(counters), [], 'no two acceptances on one counter of a line');
  const offers = payments.map(({ offerHash }) => toHex(offerHash));
  t.same(duplicates(offers), [], 'no two acceptances on one Offer');
}

t.setTimeout(TEST_TIMEOUT_MS);
t.test(`${KILLS} SIGKILLs under load: nothing accepted is lost or doubled`, async (t) => {
  t.comment(`KIRI_SEED=${seedNumber}`);
  const rig = await KillRig.start(PAYERS);
  t.teardown(() => rig.close());
  for (let round = 1; round <= KILLS; round += 1) await killAndRestart(t, rig, round);
  await settle(rig);

  const purchases = await rig.purchases();
  const inState = (wanted: string): Purchase[] => purchases.filter(({ state }) => state === wanted);
  const receipts = inState('accepted');
  const voids = inState('void');
  t.comment(`${receipts.length} accepted, ${voids.length} voided`);
  t.comment(`notices: ${JSON.stringify(Object.fromEntries(rig.notices))}`);
  t.ok(receipts.length >= KILLS, 'every life of the gateway accepted something');
  t.same(inState('unknown'), [], 'no outcome is unknown');
  await assertKnown(t, rig, rig.words, KILLS);
  await assertSameAnswer(t, rig, some(purchases, RESENT_AT_END));

  const status = await rig.gateway!.request({ do: 'status' });
  await rig.gateway!.stop();
  const books = await gatewayBooks(rig.moneyFolder);
  const hashes = receipts.map(({ paymentHash }) => toHex(paymentHash));
  t.same(duplicates(hashes), [], 'no device holds two Receipts for one Payment');
  t.same(new Set(hashes), new Set(books.accepted.keys()), 'devices hold what was accepted');
  t.same(books.acceptedTwice, [], 'no Payment was accepted twice');
  t.same(duplicates(books.sequences.map(String)), [], 'no sequence was given twice');
  assertNothingDoubled(t, [...books.accepted.values()]);
  const both = voids.filter(({ paymentHash }) => books.accepted.has(toHex(paymentHash)));
  t.same(both, [], 'no Payment has a Receipt and a Void');
  t.same(
    [...books.voided].filter((hash) => books.accepted.has(hash)),
    [],
    'nor in the journal',
  );
  const sum = (coses: readonly Uint8Array[]): bigint =>
    coses.reduce((total, cose) => total + paymentOf(cose).amountMicro, 0n);
  const heldMicro = sum(receipts.map(({ paymentCose }) => paymentCose));
  t.equal(heldMicro, sum([...books.accepted.values()]), 'device sums are the journal sums');
  t.equal(heldMicro.toString(), status['unacknowledgedMicro'], 'and what the gateway states');
});
