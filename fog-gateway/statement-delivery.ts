import { join } from 'node:path';
import { Buckets } from '../approval/bucket.ts';
import { bytesKey } from '../approval/keys.ts';
import type { ApproverState } from '../approval/state.ts';
import type { Trust } from '../identity/core/chain.ts';
import { ALLOWANCE } from '../identity/core/documents/allowance.ts';
import { sortDocuments } from '../identity/core/sort-documents.ts';
import type { Clock } from '../platform/ports.ts';
import { fromHex, toHex } from '../protocol/bytes.ts';
import { decodeSign1 } from '../protocol/cose.ts';
import { PRESENT } from '../protocol/messages/envelopes.ts';
import type { DownVerb } from '../protocol/topics.ts';
import type { Broker } from './broker.ts';
import { StatementStore, type StatementAnswer } from './statements.ts';

const FOLDER = 'statements';

/** A device that shows its documents again and again gets its Statement this often, then once an interval. */
const SEND_BURST = 8;
const SEND_INTERVAL_MS = 10_000;
/** Devices that are remembered at once. */
const MAX_DEVICES = 65_536;

export interface DeliveryOptions {
  readonly broker: Pick<Broker, 'flush' | 'isListening' | 'send'>;
  readonly clock: Clock;
  /** Of the approver: who is bound to a line, by documents that were verified here. */
  readonly state: () => Pick<ApproverState, 'lines'> | undefined;
  readonly onFailure: (error: unknown) => void;
  /** Devices remembered at once; default 65,536. */
  readonly maxDevices?: number;
}

/** The line that a device's documents speak of; unverified, it only says what to look for. */
const lineIn = (payload: Uint8Array): string | undefined => {
  const present = PRESENT.decode(payload);
  const sorted = present.ok ? sortDocuments(present.value.documents) : present;
  const cose = sorted.ok ? sorted.value.allowance : undefined;
  const signed = cose && decodeSign1(cose);
  const allowance = signed?.ok ? ALLOWANCE.decode(signed.value.payload) : undefined;
  return allowance?.ok ? toHex(allowance.value.line) : undefined;
};

/**
 * Sends a line's newest Statement to its device: at once where it is connected, else when it has shown its documents
 * after connecting. A device takes a number once, so sending again does no harm.
 */
export class StatementDelivery {
  readonly #store: StatementStore;
  readonly #options: DeliveryOptions;
  /**
   * Line of a device whose documents are being looked at, the one that showed them last at the end. One that vanished before
   * the answer makes room for a later one: it shows them again when it is back.
   */
  readonly #shown = new Map<string, string>();
  readonly #buckets = new Buckets(SEND_BURST, SEND_INTERVAL_MS, MAX_DEVICES);

  private constructor(store: StatementStore, options: DeliveryOptions) {
    this.#store = store;
    this.#options = options;
  }

  /** Over what the gateway's folder holds. @throws KiriError DISK_* */
  static async open(
    folder: string,
    trust: Trust,
    options: DeliveryOptions,
  ): Promise<StatementDelivery> {
    return new StatementDelivery(await StatementStore.open(join(folder, FOLDER), trust), options);
  }

  /** Durable when it answers, and on its way to a device that is connected. */
  async take(bytes: Uint8Array): Promise<StatementAnswer> {
    const answer = await this.#store.take(bytes);
    const device = answer.line === undefined ? undefined : this.#deviceOf(answer.line);
    if (device !== undefined) this.#send(device, bytes);
    return answer;
  }

  /** A device said something; what it presents names its line. */
  noteSaid(device: string, verb: string, payload: Uint8Array): void {
    if (verb !== 'present') return;
    const line = lineIn(payload);
    if (line === undefined) return;
    this.#shown.delete(device);
    const [oldest] = this.#shown.keys();
    const { maxDevices = MAX_DEVICES } = this.#options;
    if (oldest !== undefined && this.#shown.size >= maxDevices) this.#shown.delete(oldest);
    this.#shown.set(device, line);
  }

  noteSent(device: string, verb: DownVerb): void {
    const line = verb === 'presented' ? this.#shown.get(device) : undefined;
    if (line === undefined) return;
    this.#shown.delete(device);
    const { clock, onFailure } = this.#options;
    if (this.#deviceOf(line) !== device) return;
    if (!this.#buckets.take(device, clock.now().monotonicMs)) return;
    this.#store.newest(line).then((bytes) => bytes && this.#send(device, bytes), onFailure);
  }

  #deviceOf(line: string): string | undefined {
    return this.#options.state()?.lines.get(bytesKey(fromHex(line)))?.payer?.device.hex;
  }

  #send(device: string, bytes: Uint8Array): void {
    const { broker } = this.#options;
    if (!broker.isListening(device)) return;
    broker.send(device, 'statement', bytes);
    broker.flush();
  }
}
