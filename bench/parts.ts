import { hash } from 'node:crypto';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { nodeVerifier } from '../identity/edge/node-signatures.ts';
import { openJournal } from '../platform/journal.ts';
import { checkCanonical } from '../protocol/cbor/check.ts';
import { decodeSign1, verifySign1 } from '../protocol/cose.ts';
import { OFFER } from '../protocol/messages/offer.ts';
import { PAYMENT } from '../protocol/messages/payment.ts';
import { RECEIPT } from '../protocol/messages/receipt.ts';
import { appendLeaves, emptyTree } from '../sync/ledger/core/tree.ts';
import { leafHash } from '../sync/ledger/core/merkle.ts';
import { section, type Figure } from './figure.ts';
import { cpuMicros, cpuPerCall, median } from './measure.ts';
import { payloadOf, sampleSale } from './samples.ts';
import type { BenchWorld } from './world.ts';

const figure = section('Building blocks (CPU)');
const LEAVES = 256;
const RECORD_BYTES = 320;
const CHECK = { maxBytes: 16_384 };

function must<T>(checked: { readonly ok: true; readonly value: T } | { readonly ok: false }): T {
  if (!checked.ok) throw new Error('a sample is not well formed');
  return checked.value;
}

/** CPU microseconds per record of the durable journal, with `group` records per fdatasync. */
async function appendMicros(group: number, commits: number, rounds: number): Promise<number> {
  const folder = await mkdtemp(join(tmpdir(), 'kiri-bench-journal-'));
  const { journal } = await openJournal(folder);
  const record = new Uint8Array(RECORD_BYTES).fill(1);
  const taken: number[] = [];
  for (let round = -1; round < rounds; round += 1) {
    const before = cpuMicros();
    for (let commit = 0; commit < commits; commit += 1) {
      for (let i = 0; i < group; i += 1) journal.append(record);
      await journal.commit();
    }
    if (round >= 0) taken.push((cpuMicros() - before) / (group * commits));
  }
  await journal.close();
  await rm(folder, { recursive: true, force: true });
  return median(taken);
}

function sha256(bytes: Uint8Array): Uint8Array {
  return hash('sha256', bytes, 'buffer');
}

function repeat(run: () => void): (count: number) => void {
  return (count) => {
    for (let i = 0; i < count; i += 1) run();
  };
}

export async function measureParts(world: BenchWorld, rounds: number): Promise<readonly Figure[]> {
  const sale = sampleSale(world, 0, 1_000);
  const payload = payloadOf(sale.payment);
  const payment = must(PAYMENT.decode(payload));
  const receipt = must(RECEIPT.decode(payloadOf(sale.receipt)));
  const offerPayload = payloadOf(sale.offer);
  const sign1 = must(decodeSign1(sale.payment));
  const { signer } = world.payers[0]!;
  const verifier = nodeVerifier();
  const hashes = Array.from({ length: LEAVES }, (_, i) => leafHash(Uint8Array.of(i & 255)));
  const cheap = cpuPerCall(
    {
      encodePayment: repeat(() => PAYMENT.encode(payment)),
      encodeReceipt: repeat(() => RECEIPT.encode(receipt)),
      check: repeat(() => checkCanonical(payload, CHECK)),
      decodePayment: repeat(() => PAYMENT.decode(payload)),
      decodeOffer: repeat(() => OFFER.decode(offerPayload)),
    },
    { rounds, calls: 10_000 },
  );
  const dear = cpuPerCall(
    {
      verify: repeat(() => verifySign1(verifier, signer.key, sign1)),
      sign: repeat(() => signer.sign(payload)),
      leaves: repeat(() => appendLeaves(emptyTree(), hashes, sha256)),
    },
    { rounds, calls: 300 },
  );
  return [
    figure('Ed25519 verify', dear['verify']!, 'µs'),
    figure('Ed25519 sign', dear['sign']!, 'µs'),
    figure('Payment: encode', cheap['encodePayment']!, 'µs'),
    figure('Payment: canonical check alone', cheap['check']!, 'µs'),
    figure('Payment: check and decode', cheap['decodePayment']!, 'µs'),
    figure('Offer: check and decode', cheap['decodeOffer']!, 'µs'),
    figure('Receipt: encode', cheap['encodeReceipt']!, 'µs'),
    figure('journal record, 32 per fdatasync', await appendMicros(32, 40, rounds), 'µs'),
    figure('journal record, 512 per fdatasync', await appendMicros(512, 5, rounds), 'µs'),
    figure('log tree, per leaf', dear['leaves']! / LEAVES, 'µs'),
  ];
}
