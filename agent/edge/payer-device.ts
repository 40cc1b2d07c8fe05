import { toHex } from '../../protocol/bytes.ts';
import type { AmountMicro } from '../../protocol/amount.ts';
import { payloadHash } from '../../protocol/ids.ts';
import { HAND_IN } from '../../protocol/messages/envelopes.ts';
import { PAYMENT } from '../../protocol/messages/payment.ts';
import { RECEIPT } from '../../protocol/messages/receipt.ts';
import { REFUSAL } from '../../protocol/messages/refusal.ts';
import {
  bootPayer,
  payerStep,
  type CloseOutcome,
  type Outcome,
  type PayerEffect,
  type PayerInput,
  type PayerState,
  type Want,
} from '../core/payer.ts';
import { isFinal } from '../core/final-through.ts';
import { ANSWER, recordType, SPENT } from '../core/records.ts';
import { readSigned } from '../core/signed.ts';
import { DeviceShell, openDevice, type DeviceOptions, type OpenedDevice } from './device-shell.ts';
import { localMinuteOfDay } from './local-time.ts';

export interface PayerOptions extends DeviceOptions {
  /** Every outcome, also those that come after `pay` has answered `unknown`. */
  readonly onOutcome?: (outcome: PaymentOutcome) => void;
  /** Every news of a Close, also what comes after `closeAllowance` has answered `waiting`. */
  readonly onClose?: (outcome: CloseOutcome) => void;
}

/** By the device's monotonic clock; present as far as the purchase came. */
interface Timings {
  /** From the want to a usable Offer. */
  readonly offerMs?: number;
  /** From the Offer to the Payment's leaving: checks, signature, journal. */
  readonly signMs?: number;
  /** From the Payment's leaving to the verified answer. */
  readonly approvalMs?: number;
}

export type PaymentOutcome = Outcome & { readonly timings: Timings };

/** A purchase as the device's journal holds it. */
interface KeptReceipt {
  readonly ref: string;
  readonly paymentHash: Uint8Array;
  readonly paymentCose: Uint8Array;
  readonly offerCose: Uint8Array;
  /** Receipt or Void; absent while the outcome is unknown or a Statement alone has settled it. */
  readonly answerCose?: Uint8Array;
  readonly state: 'accepted' | 'void' | 'unknown' | 'recorded';
  /** Its approver has said that it is L2 in its log; the answer is kept all the same until a Statement. */
  readonly isFinal: boolean;
}

interface PayerStatus {
  readonly isUp: boolean;
  readonly boot: number;
  readonly counter: number;
  readonly totalMicro: AmountMicro;
  readonly releasedMicro: AmountMicro;
  /** Jumped over by unclean starts and not given back yet. */
  readonly skippedMicro: AmountMicro;
  readonly unknown: number;
  readonly kept: number;
  /** Highest allowance generation that this device has closed; absent: none. */
  readonly closedGeneration?: number;
  /** Closes that no gateway has yet. */
  readonly closesWaiting: number;
  readonly disk: PayerState['disk'];
}

export interface Payer {
  /** Resolves when connected and known to the gateway. */
  ready(): Promise<void>;
  /** Resolves with the first outcome; asked again with the same ref it tells, never pays twice. */
  pay(want: Want): Promise<PaymentOutcome>;
  /**
   * Ends the allowance in force: journalled, then signed, then handed in until a gateway has it, over restarts too.
   * Resolves `handed-in`, or `waiting` after 5 s without a gateway's word, or `refused`. Payments without an answer
   * count in full: ask when `status().unknown` is 0 and their Voids are given back too. Asked again it tells.
   */
  closeAllowance(): Promise<CloseOutcome>;
  /** A Statement for this line, as the issuer signed it. */
  statement(cose: Uint8Array): void;
  documents(documents: readonly Uint8Array[]): void;
  /** All purchases of the journal once it is synced, answered ones first, in that order. */
  receipts(): AsyncIterable<KeptReceipt>;
  /** Gives every answered purchase to the gateway at hand; returns how many. */
  handIn(): Promise<number>;
  status(): PayerStatus;
  /** Orderly end: no counter or total is jumped over at the next start. */
  close(): Promise<void>;
}

interface Started {
  readonly wantMs: number;
  offeredMs?: number;
  sentMs?: number;
  readonly waiters: ((outcome: PaymentOutcome) => void)[];
}

/**
 * Starts a payer over its folder; works offline until the gateway is there.
 * @throws KiriError FOLDER_LOCKED, JOURNAL_CORRUPT, JOURNAL_UNREADABLE, DISK_*
 */
export async function startPayer(options: PayerOptions): Promise<Payer> {
  const opened = await openDevice(options);
  const records = (function* read(): Iterable<Uint8Array> {
    for (const { record } of opened.journal.records()) yield record;
  })();
  const setup = { signer: options.signer, localMinuteOfDay };
  const boot = bootPayer(setup, opened.trust, records, opened.clock.now());
  return new PayerDevice(options, opened, boot.state, boot.effects);
}

class PayerDevice implements Payer {
  readonly #options: PayerOptions;
  readonly #opened: OpenedDevice;
  readonly #shell: DeviceShell<PayerInput, PayerEffect>;
  readonly #started = new Map<string, Started>();
  readonly #closeWaiters: ((outcome: CloseOutcome) => void)[] = [];
  #state: PayerState;

  constructor(
    options: PayerOptions,
    opened: OpenedDevice,
    state: PayerState,
    effects: readonly PayerEffect[],
  ) {
    this.#options = options;
    this.#opened = opened;
    this.#state = state;
    this.#shell = new DeviceShell<PayerInput, PayerEffect>(options, opened, {
      step: (input, now) => {
        const next = payerStep(this.#state, input, now);
        this.#state = next.state;
        return next.effects;
      },
      onEffect: (effect) => this.#onEffect(effect),
      isReady: () => isReady(this.#state),
    });
    this.#shell.carryOut(effects);
  }

  ready(): Promise<void> {
    return this.#shell.ready();
  }

  pay(want: Want): Promise<PaymentOutcome> {
    return new Promise((resolve) => {
      const running = this.#started.get(want.ref);
      if (running) {
        running.waiters.push(resolve);
        return;
      }
      const wantMs = this.#opened.clock.now().monotonicMs;
      this.#started.set(want.ref, { wantMs, waiters: [resolve] });
      this.#shell.dispatch({ kind: 'want', want });
    });
  }

  closeAllowance(): Promise<CloseOutcome> {
    return new Promise((resolve) => {
      this.#closeWaiters.push(resolve);
      this.#shell.dispatch({ kind: 'closeAllowance' });
    });
  }

  statement(cose: Uint8Array): void {
    this.#shell.dispatch({ kind: 'statement', statement: cose });
  }

  documents(documents: readonly Uint8Array[]): void {
    this.#shell.dispatch({ kind: 'documents', documents });
  }

  async *receipts(): AsyncGenerator<KeptReceipt> {
    await this.#opened.journal.commit();
    const unanswered = new Map<string, Purchase>();
    const answered = new Map<string, Purchase>();
    for (const { record } of this.#opened.journal.records()) {
      const type = recordType(record);
      if (type === SPENT.type) {
        const purchase = readPurchase(record);
        if (purchase) unanswered.set(toHex(purchase.paymentHash), purchase);
      } else if (type === ANSWER.type) {
        const answer = readAnswer(record);
        const purchase = answer && (unanswered.get(answer.hex) ?? answered.get(answer.hex));
        if (!purchase) continue;
        unanswered.delete(answer.hex);
        answered.set(answer.hex, purchase);
        const final = isFinal(this.#state.finals, purchase.approver, answer.sequence);
        yield { ...purchase, answerCose: answer.cose, state: answer.state, isFinal: final };
      }
    }
    for (const [hex, purchase] of unanswered) {
      const state = this.#state.open.has(hex) ? 'unknown' : 'recorded';
      yield { ...purchase, state, isFinal: false };
    }
  }

  async handIn(): Promise<number> {
    let count = 0;
    for await (const { paymentCose, offerCose, answerCose } of this.receipts()) {
      if (!answerCose) continue;
      const message = { payment: paymentCose, offer: offerCose, outcome: answerCose };
      await this.#shell.publish('hand-in', HAND_IN.encode(message));
      count += 1;
    }
    return count;
  }

  status(): PayerStatus {
    const { boot, counter, totalMicro, releasedMicro, skippedMicro, open, kept, disk } =
      this.#state;
    const { closedGeneration, closes } = this.#state;
    return {
      isUp: this.#shell.isUp,
      boot,
      counter,
      totalMicro,
      releasedMicro,
      skippedMicro,
      unknown: open.size,
      kept: kept.size,
      ...(closedGeneration < 0 ? {} : { closedGeneration }),
      closesWaiting: closes.filter(({ stage }) => stage.kind !== 'handed-in').length,
      disk,
    };
  }

  async close(): Promise<void> {
    this.#shell.dispatch({ kind: 'close' });
    // What is being journalled ends first, so that the clean mark is the last record.
    while (this.#state.disk === 'closing') await this.#opened.journal.commit().catch(() => -1);
    await this.#shell.close();
  }

  #onEffect(effect: PayerEffect): void {
    if (effect.kind === 'progress') {
      const started = this.#started.get(effect.ref);
      const nowMs = this.#opened.clock.now().monotonicMs;
      if (started && effect.stage === 'offered') started.offeredMs = nowMs;
      if (started && effect.stage === 'sent') started.sentMs = nowMs;
    } else if (effect.kind === 'outcome') {
      this.#onOutcome(effect.outcome);
    } else if (effect.kind === 'closed') {
      // News of an earlier Close answers nobody who has asked for the last one.
      const { outcome } = effect;
      const { closedGeneration } = this.#state;
      if (outcome.kind === 'refused' || outcome.generation === closedGeneration) {
        for (const resolve of this.#closeWaiters.splice(0)) resolve(outcome);
      }
      this.#options.onClose?.(effect.outcome);
    }
  }

  #onOutcome(outcome: Outcome): void {
    const started = this.#started.get(outcome.ref);
    const timings = started ? timingsOf(started, this.#opened.clock.now().monotonicMs) : {};
    const timed = { ...outcome, timings };
    if (started && outcome.kind !== 'unknown') this.#started.delete(outcome.ref);
    for (const resolve of started?.waiters.splice(0) ?? []) resolve(timed);
    this.#options.onOutcome?.(timed);
  }
}

function isReady({ link }: PayerState): boolean {
  return link.kind === 'up' && link.presentUntilMs === undefined && !link.refusal;
}

function timingsOf(started: Started, nowMs: number): Timings {
  const { wantMs, offeredMs, sentMs } = started;
  return {
    ...(offeredMs === undefined ? {} : { offerMs: offeredMs - wantMs }),
    ...(offeredMs === undefined || sentMs === undefined ? {} : { signMs: sentMs - offeredMs }),
    ...(sentMs === undefined ? {} : { approvalMs: nowMs - sentMs }),
  };
}

type Purchase = Omit<KeptReceipt, 'state' | 'isFinal'> & { readonly approver: Uint8Array };

function readPurchase(record: Uint8Array): Purchase | undefined {
  const spent = SPENT.decode(record);
  if (!spent.ok) return undefined;
  const { ref, payment: paymentCose, offer: offerCose } = spent.value;
  const payment = readSigned(PAYMENT, paymentCose);
  if (!payment.ok) return undefined;
  const { sign1, value } = payment.value;
  const paymentHash = payloadHash(sign1.payload);
  return { ref, paymentHash, paymentCose, offerCose, approver: value.approver };
}

interface ReadAnswer {
  readonly hex: string;
  readonly cose: Uint8Array;
  readonly sequence: number | undefined;
  readonly state: 'accepted' | 'void';
}

function readAnswer(record: Uint8Array): ReadAnswer | undefined {
  const answer = ANSWER.decode(record);
  if (!answer.ok) return undefined;
  const cose = answer.value.answer;
  const receipt = readSigned(RECEIPT, cose);
  if (receipt.ok) {
    const { paymentHash, sequence } = receipt.value.value;
    return { hex: toHex(paymentHash), cose, sequence, state: 'accepted' };
  }
  const refusal = readSigned(REFUSAL, cose);
  if (!refusal.ok) return undefined;
  const { paymentHash, sequence } = refusal.value.value;
  return { hex: toHex(paymentHash), cose, sequence, state: 'void' };
}
