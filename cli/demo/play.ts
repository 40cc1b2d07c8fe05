import { toHex } from '../../protocol/bytes.ts';
import { textIn } from './json.ts';
import type { Purchase } from './plan.ts';
import type { Json, Program } from './processes.ts';
import type { Report } from './report.ts';
import type { Site } from './site.ts';

/** What paying needs of a site. */
type PayingSite = Pick<Site, 'world' | 'devices'>;

/** What became of one purchase, as its device said it. */
export interface Played {
  readonly purchase: Purchase;
  readonly ref: string;
  kind: 'accepted' | 'refused' | 'unknown';
  code?: string;
  paidAnew?: boolean;
  approvalMs?: number;
}

/** Purchases under way at once when there is no recorded pace to keep. */
const MAX_IN_FLIGHT = 16;
const SETTLE_TIMEOUT_MS = 120_000;
const SETTLE_POLL_MS = 100;
/** A Void means that the purchase did not happen; the vehicle is still there and pays anew. */
const MAX_RETRIES = 5;

const sleep = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));

/** Plays purchases through the device programs and keeps what became of each. */
export class Player {
  readonly #site: PayingSite;
  readonly #report: Report;
  readonly #speed: number;
  readonly played: Played[] = [];
  #nextRef = 1;
  #settled = 0;

  constructor(site: PayingSite, report: Report, speed: number) {
    this.#site = site;
    this.#report = report;
    this.#speed = speed;
  }

  get settled(): number {
    return this.#settled;
  }

  /** Bursts stay together and in order; `onProgress` hears how many are done. */
  async play(
    purchases: readonly Purchase[],
    what: string,
    onProgress?: (done: number) => void,
  ): Promise<void> {
    let done = 0;
    const running = new Set<Promise<void>>();
    const startedMs = performance.now();
    const firstMs = purchases[0]?.atMs ?? 0;
    for (let at = 0; at < purchases.length;) {
      const burst = purchases.slice(at, this.#burstEnd(purchases, at));
      at += burst.length;
      if (this.#speed > 0) {
        const dueMs = startedMs + ((burst[0]?.atMs ?? 0) - firstMs) / this.#speed;
        await sleep(Math.max(0, dueMs - performance.now()));
      }
      while (running.size > 0 && running.size + burst.length > MAX_IN_FLIGHT)
        await Promise.race(running);
      for (const purchase of burst) {
        const task: Promise<void> = this.#buy(purchase).finally(() => {
          running.delete(task);
          done += 1;
          this.#settled += 1;
          this.#report.progress(done, purchases.length, what);
          onProgress?.(done);
        });
        running.add(task);
      }
    }
    await Promise.all(running);
  }

  #burstEnd(purchases: readonly Purchase[], from: number): number {
    let end = from + 1;
    while (end < purchases.length && purchases[end]!.atMs === purchases[from]!.atMs) end += 1;
    return end;
  }

  async #buy(purchase: Purchase): Promise<void> {
    const ref = `p${this.#nextRef}`;
    this.#nextRef += 1;
    const item = `${purchase.item} ${ref}`;
    const { world, devices } = this.#site;
    const payee = world.payees.find((one) => one.ref === purchase.payee)!;
    const { quantity, localMinuteOfDay, amountMicro } = purchase;
    await devices.get(payee.ref)!.request({
      do: 'usage',
      rows: [{ payee: payee.ref, item, quantity, localMinuteOfDay }],
    });
    const want = {
      payer: purchase.payer,
      ref,
      payee: toHex(payee.key.id),
      item,
      quantity,
      maxAmountMicro: amountMicro.toString(),
    };
    const { outcomes } = await devices.get(purchase.payer)!.request({ do: 'pay', wants: [want] });
    const [outcome] = outcomes as Json[];
    this.played.push(toPlayed(purchase, ref, outcome!));
  }

  /** Waits until no device has an unknown Payment, then buys anew what a restart has voided. */
  async settle(): Promise<void> {
    for (let round = 0; round < MAX_RETRIES; round += 1) {
      await this.#resolveUnknown();
      const voided = this.played.filter((row) => row.kind === 'refused' && isRetried(row));
      if (voided.length === 0) return;
      for (const row of voided) row.paidAnew = true;
      await this.play(
        voided.map((row) => row.purchase),
        'paid anew after a Void',
      );
    }
  }

  async #resolveUnknown(): Promise<void> {
    const untilMs = performance.now() + SETTLE_TIMEOUT_MS;
    for (;;) {
      const unknown = this.played.filter((row) => row.kind === 'unknown');
      if (unknown.length === 0 || performance.now() > untilMs) return;
      const known = new Map<string, Json>();
      for (const program of payerPrograms(this.#site)) {
        const { outcomes } = await program.request({ do: 'outcomes' });
        for (const outcome of outcomes as Json[]) known.set(textIn(outcome, 'ref'), outcome);
      }
      for (const row of unknown) {
        const outcome = known.get(row.ref);
        if (outcome && outcome['kind'] !== 'unknown') {
          // How long an outage held an answer back is not how long an approval takes.
          const { approvalMs: _, ...later } = toPlayed(row.purchase, row.ref, outcome);
          Object.assign(row, later);
        }
      }
      await sleep(SETTLE_POLL_MS);
    }
  }
}

const RETRIED: ReadonlySet<string> = new Set(['OFFER_EXPIRED', 'OFFER_UNKNOWN', 'BUSY']);

function isRetried({ code, paidAnew }: Played): boolean {
  return !paidAnew && code !== undefined && RETRIED.has(code);
}

function toPlayed(purchase: Purchase, ref: string, outcome: Json): Played {
  const timings = outcome['timings'] as { approvalMs?: number } | undefined;
  return {
    purchase,
    ref,
    kind: outcome['kind'] as Played['kind'],
    ...(outcome['code'] === undefined ? {} : { code: textIn(outcome, 'code') }),
    ...(timings?.approvalMs === undefined ? {} : { approvalMs: timings.approvalMs }),
  };
}

export function payerPrograms(site: PayingSite): ReadonlySet<Program> {
  const refs = new Set(site.world.payers.map(({ ref }) => ref));
  return new Set([...site.devices].filter(([ref]) => refs.has(ref)).map(([, program]) => program));
}
