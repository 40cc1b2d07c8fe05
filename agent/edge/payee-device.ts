import { payloadHash } from '../../protocol/ids.ts';
import { HAND_IN } from '../../protocol/messages/envelopes.ts';
import { PAYMENT } from '../../protocol/messages/payment.ts';
import { RECEIPT } from '../../protocol/messages/receipt.ts';
import {
  bootPayee,
  payeeStep,
  type PayeeEffect,
  type PayeeInput,
  type PayeeState,
  type Sale,
  type Usage,
} from '../core/payee.ts';
import { isFinal } from '../core/final-through.ts';
import { recordType, SALE } from '../core/records.ts';
import { readSigned } from '../core/signed.ts';
import { DeviceShell, openDevice, type DeviceOptions, type OpenedDevice } from './device-shell.ts';
import { localMinuteOfDay } from './local-time.ts';

/** Default life of an Offer for the payer, and on the approver's clock. */
const OFFER_LIFETIME_MS = 10_000;
const ACCEPT_WINDOW_MS = 30_000;

export interface PayeeOptions extends DeviceOptions {
  /** Called once for each paid and durable sale: open the gate. */
  readonly onSale?: (sale: Sale) => void;
  readonly offerLifetimeMs?: number;
  readonly acceptWindowMs?: number;
}

/** A sale as the device's journal holds it. */
interface KeptSale {
  readonly paymentHash: Uint8Array;
  readonly paymentCose: Uint8Array;
  readonly receiptCose: Uint8Array;
  readonly offerCose?: Uint8Array;
  /** Its approver has said that it is L2 in its log; the sale is kept all the same. */
  readonly isFinal: boolean;
}

interface PayeeStatus {
  readonly isUp: boolean;
  readonly challenges: number;
  readonly openOffers: number;
  readonly sales: number;
  readonly disk: PayeeState['disk'];
}

export interface Payee {
  /** Resolves when connected, known to the gateway and in possession of challenges. */
  ready(): Promise<void>;
  /** What the payee's own sensor or meter says of a use that is about to be asked for. */
  usage(usage: Usage): void;
  documents(documents: readonly Uint8Array[]): void;
  /** All sales of the journal once it is synced, in order. */
  receipts(): AsyncIterable<KeptSale>;
  /** Gives every kept sale to the gateway at hand; returns how many. */
  handIn(): Promise<number>;
  status(): PayeeStatus;
  close(): Promise<void>;
}

/**
 * Starts a payee over its folder; works offline until the gateway is there.
 * @throws KiriError FOLDER_LOCKED, JOURNAL_CORRUPT, JOURNAL_UNREADABLE, DISK_*
 */
export async function startPayee(options: PayeeOptions): Promise<Payee> {
  const opened = await openDevice(options);
  const records = (function* read(): Iterable<Uint8Array> {
    for (const { record } of opened.journal.records()) yield record;
  })();
  const setup = {
    signer: options.signer,
    localMinuteOfDay,
    offerLifetimeMs: options.offerLifetimeMs ?? OFFER_LIFETIME_MS,
    acceptWindowMs: options.acceptWindowMs ?? ACCEPT_WINDOW_MS,
  };
  return new PayeeDevice(options, opened, bootPayee(setup, opened.trust, records));
}

class PayeeDevice implements Payee {
  readonly #opened: OpenedDevice;
  readonly #shell: DeviceShell<PayeeInput, PayeeEffect>;
  #state: PayeeState;

  constructor(options: PayeeOptions, opened: OpenedDevice, state: PayeeState) {
    this.#opened = opened;
    this.#state = state;
    this.#shell = new DeviceShell<PayeeInput, PayeeEffect>(options, opened, {
      step: (input, now) => {
        const next = payeeStep(this.#state, input, now);
        this.#state = next.state;
        return next.effects;
      },
      onEffect: (effect) => {
        if (effect.kind === 'release') options.onSale?.(effect.sale);
      },
      isReady: () => countChallenges(this.#state) > 0,
    });
  }

  ready(): Promise<void> {
    return this.#shell.ready();
  }

  usage(usage: Usage): void {
    this.#shell.dispatch({ kind: 'usage', usage });
  }

  documents(documents: readonly Uint8Array[]): void {
    this.#shell.dispatch({ kind: 'documents', documents });
  }

  async *receipts(): AsyncGenerator<KeptSale> {
    await this.#opened.journal.commit();
    for (const { record } of this.#opened.journal.records()) {
      const sale = recordType(record) === SALE.type ? readSale(record, this.#state) : undefined;
      if (sale) yield sale;
    }
  }

  async handIn(): Promise<number> {
    let count = 0;
    for await (const { paymentCose, receiptCose, offerCose } of this.receipts()) {
      if (!offerCose) continue;
      const message = { payment: paymentCose, offer: offerCose, outcome: receiptCose };
      await this.#shell.publish('hand-in', HAND_IN.encode(message));
      count += 1;
    }
    return count;
  }

  status(): PayeeStatus {
    const { open, salesKept, disk } = this.#state;
    return {
      isUp: this.#shell.isUp,
      challenges: countChallenges(this.#state),
      openOffers: open.size,
      sales: salesKept,
      disk,
    };
  }

  close(): Promise<void> {
    return this.#shell.close();
  }
}

function countChallenges({ stock }: PayeeState): number {
  return stock?.batches.reduce((sum, batch) => sum + batch.challenges.length, 0) ?? 0;
}

function readSale(record: Uint8Array, { finals }: PayeeState): KeptSale | undefined {
  const sale = SALE.decode(record);
  if (!sale.ok) return undefined;
  const { payment: paymentCose, receipt: receiptCose, offer: offerCose } = sale.value;
  const payment = readSigned(PAYMENT, paymentCose);
  const receipt = readSigned(RECEIPT, receiptCose);
  if (!payment.ok || !receipt.ok) return undefined;
  return {
    paymentHash: payloadHash(payment.value.sign1.payload),
    paymentCose,
    receiptCose,
    ...(offerCose ? { offerCose } : {}),
    isFinal: isFinal(finals, payment.value.value.approver, receipt.value.value.sequence),
  };
}
