/** Logs without gateways: answers come into the journals by themselves, and everything else is as in whole worlds. */
import { sha256 } from '@noble/hashes/sha2.js';
import { LedgerFate } from '../../firmware-sim/core/ledger/ledger-fate.ts';
import type { LedgerEvent } from '../../firmware-sim/core/ledger/ledger-scenario.ts';
import {
  LedgerWorld,
  type LedgerHooks,
  type LogSource,
} from '../../firmware-sim/core/ledger/ledger-world.ts';
import type { FeedEntry } from '../../firmware-sim/core/ledger/log-feed.ts';
import { count, type MachineWorld } from '../../firmware-sim/core/machine.ts';
import { seedOf, type Seed } from '../../firmware-sim/core/seed.ts';
import { stubSigner, stubVerifier } from '../../firmware-sim/core/stub-signatures.ts';
import { TraceDigest } from '../../firmware-sim/core/trace-digest.ts';
import { VirtualClock } from '../../firmware-sim/core/virtual-clock.ts';
import { amountMicro } from '../../protocol/amount.ts';
import { toHex, utf8ToBytes } from '../../protocol/bytes.ts';
import { signSign1 } from '../../protocol/cose.ts';
import { EVIDENCE } from '../../protocol/messages/evidence.ts';
import { PAYMENT } from '../../protocol/messages/payment.ts';

const SAFETY_MS = 20_000;
const FINALITY_MS = 60_000;

const signer = stubSigner(sha256(utf8ToBytes('ledger rig')));
const payment = signSign1(
  signer,
  PAYMENT.encode({
    line: new Uint8Array(16),
    approver: new Uint8Array(16),
    payee: new Uint8Array(16),
    counter: 1,
    amountMicro: amountMicro(1n),
    totalMicro: amountMicro(1n),
    currency: 392,
    offerHash: new Uint8Array(20),
    timeS: 1,
    timeQuality: 0,
  }),
);

/** A journal that gets a row now and then. */
function growingSource(name: string, clock: VirtualClock, seed: Seed, untilMs: number): LogSource {
  const rows: FeedEntry[][] = [];
  const grow = (): void => {
    const row = Array.from({ length: seed.below(4) }, (): FeedEntry => {
      const payload = seed.bytes(24);
      const outcome = signSign1(signer, payload);
      return {
        receiptPayloadHash: sha256(payload),
        plain: EVIDENCE.encode({ payment, outcome, answeredAtMs: 0 }),
        partyHex: `party-${seed.below(3)}`,
      };
    });
    rows.push(row);
    if (clock.nowMs < untilMs) clock.after(seed.between(0, 1_500), grow);
  };
  clock.after(0, grow);
  return {
    name,
    feed: (before) => ({ read: (index, max) => [...before, ...rows].slice(index, index + max) }),
    expected: () => rows.flat().map((entry) => toHex(entry.receiptPayloadHash)),
  };
}

export interface LedgerRun {
  readonly world: LedgerWorld;
  readonly violation: string | undefined;
  readonly happened: (what: string) => number;
}

/** Runs the logs of one seed through the storm and the calm after it. */
export function runLedger(
  seedNumber: number,
  options: {
    readonly event?: LedgerEvent;
    readonly safetyMs?: number;
    readonly hooks?: LedgerHooks;
    readonly atStart?: (world: LedgerWorld) => void;
    readonly atCalm?: (world: LedgerWorld) => void;
  } = {},
): LedgerRun {
  const { safetyMs = SAFETY_MS } = options;
  const clock = new VirtualClock();
  const host: MachineWorld = {
    clock,
    trace: new TraceDigest(),
    counts: new Map(),
    crashPerEffect: 0,
    restartAfterMs: (seed) => seed.between(10, 1_000),
  };
  const seed = seedOf(seedNumber, 'ledger');
  let number = 0;
  const world = new LedgerWorld(host, seed, [growingSource('a', clock, seed.fork(), safetyMs)], {
    signatures: { signer: stubSigner, verifier: stubVerifier() },
    secret: () => sha256(utf8ToBytes(`kiri/sim/key/${(number += 1)}`)),
    safetyMs,
    ...(options.hooks ? { hooks: options.hooks } : {}),
    ...(options.event ? { event: options.event } : {}),
  });
  let violation: string | undefined;
  try {
    options.atStart?.(world);
    const fate = new LedgerFate(world);
    fate.begin();
    while (clock.step(safetyMs));
    options.atCalm?.(world);
    fate.calm();
    const untilMs = safetyMs + FINALITY_MS;
    for (let stopMs = safetyMs; stopMs <= untilMs && !fate.isQuiet; stopMs += 5_000) {
      while (clock.step(stopMs));
    }
    fate.finish();
  } catch (error) {
    violation = error instanceof Error ? error.message : String(error);
  }
  if (violation !== undefined) count(host, 'violation');
  return { world, violation, happened: (what) => host.counts.get(what) ?? 0 };
}
