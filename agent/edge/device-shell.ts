import { join } from 'node:path';
import { toHex } from '../../protocol/bytes.ts';
import { makeConnectToken } from '../../protocol/messages/connect.ts';
import type { PublicKey, Signer, Verifier } from '../../protocol/public-key.ts';
import { inboxFilter, parseDownTopic, upTopic } from '../../protocol/topics.ts';
import { nodeVerifier } from '../../identity/edge/node-signatures.ts';
import { openJournal } from '../../platform/journal.ts';
import type { ReconnectLimits } from '../../platform/core/reconnect.ts';
import { openMqttLink, type LinkState, type MqttLink } from '../../platform/mqtt-link.ts';
import type { Clock, Journal, Now, Random } from '../../platform/ports.ts';
import { systemClock } from '../../platform/system-clock.ts';
import { systemRandom } from '../../platform/system-random.ts';
import type { DeviceEffect } from '../core/effects.ts';
import { learnDocuments, newTrustBook, type TrustBook } from '../core/trust.ts';

/** Records that can be had again wait this long for a sync of their own. */
const LAZY_COMMIT_MS = 50;

/** What payer and payee are started with. Ports that are left out are the machine's own. */
export interface DeviceOptions {
  /** Folder of this device alone; made if absent. */
  readonly dataDir: string;
  readonly gateway: {
    readonly host: string;
    readonly port: number;
    /** Key id of the gateway's approver, 16 bytes. */
    readonly approver: Uint8Array;
  };
  readonly signer: Signer;
  /** The pinned root of all trust. */
  readonly issuerKey: PublicKey;
  /** Credentials, mandates, tariffs, policy: COSE bytes in any order. */
  readonly documents: readonly Uint8Array[];
  readonly clock?: Clock;
  readonly random?: Random;
  readonly verifier?: Verifier;
  /** How soon a lost gateway is tried again; default as for a fleet. */
  readonly reconnect?: ReconnectLimits;
  readonly onNotice?: (code: string, reason: string) => void;
  readonly onLink?: (state: LinkState) => void;
}

/** Inputs that the shell itself gives; each core adds its own. */
type ShellInput =
  | { readonly kind: 'inbox'; readonly verb: string; readonly payload: Uint8Array }
  | { readonly kind: 'linkUp'; readonly approver: Uint8Array }
  | { readonly kind: 'linkDown' }
  | { readonly kind: 'persisted'; readonly through: number }
  | { readonly kind: 'diskFailed'; readonly reason: string }
  | { readonly kind: 'tick' };

interface Core<Input, Effect> {
  step(input: Input | ShellInput, now: Now): readonly (Effect | DeviceEffect)[];
  /** Effects that are the device's own. */
  onEffect(effect: Effect): void;
  isReady(): boolean;
}

export interface OpenedDevice {
  readonly trust: TrustBook;
  readonly journal: Journal;
  readonly clock: Clock;
  readonly random: Random;
}

/**
 * Opens the journal and checks the documents.
 * @throws KiriError FOLDER_LOCKED, JOURNAL_CORRUPT, DISK_*
 */
export async function openDevice(options: DeviceOptions): Promise<OpenedDevice> {
  const verifier = options.verifier ?? nodeVerifier();
  const trust = newTrustBook({ issuerKey: options.issuerKey, verifier }, options.signer.key.hex);
  for (const { code, reason } of learnDocuments(trust, options.documents)) {
    options.onNotice?.(code, reason);
  }
  const { journal } = await openJournal(join(options.dataDir, 'journal'));
  return {
    trust,
    journal,
    clock: options.clock ?? systemClock(),
    random: options.random ?? systemRandom(),
  };
}

/** Carries out what a core asks for: one journal, one connection, one timer. */
export class DeviceShell<Input, Effect extends { readonly kind: string }> {
  readonly #options: DeviceOptions;
  readonly #opened: OpenedDevice;
  readonly #core: Core<Input, Effect>;
  readonly #approverHex: string;
  readonly #link: MqttLink;
  readonly #queue: (Input | ShellInput)[] = [];
  readonly #waiting: (() => void)[] = [];
  #isStepping = false;
  #timer: NodeJS.Timeout | undefined;
  #lazyCommit: NodeJS.Timeout | undefined;
  #lastAppend = -1;
  #isClosed = false;

  constructor(options: DeviceOptions, opened: OpenedDevice, core: Core<Input, Effect>) {
    this.#options = options;
    this.#opened = opened;
    this.#core = core;
    const { signer, gateway } = options;
    const { clock, random } = opened;
    this.#approverHex = toHex(gateway.approver);
    this.#link = openMqttLink({
      host: gateway.host,
      port: gateway.port,
      clientId: signer.key.hex,
      clock,
      random,
      ...(options.reconnect ? { reconnect: options.reconnect } : {}),
      credentials: () => ({ username: signer.key.hex, password: this.#connectToken() }),
      onMessage: (topic, payload) => this.#onMessage(topic, payload),
      onState: (state) => this.#onLink(state),
    });
    this.#link.subscribe(inboxFilter(this.#approverHex, signer.key.hex));
  }

  get isUp(): boolean {
    return this.#link.isUp;
  }

  /** Resolves when the device can do its work: connected, known to the approver. */
  ready(): Promise<void> {
    if (this.#core.isReady()) return Promise.resolve();
    return new Promise((resolve) => this.#waiting.push(resolve));
  }

  /** One input at a time: an effect may cause the next input, never a step within a step. */
  dispatch(input: Input | ShellInput): void {
    this.#queue.push(input);
    if (this.#isStepping) return;
    this.#isStepping = true;
    try {
      for (let next = this.#queue.shift(); next; next = this.#queue.shift()) {
        this.carryOut(this.#core.step(next, this.#opened.clock.now()));
      }
    } finally {
      this.#isStepping = false;
    }
    if (this.#waiting.length > 0 && this.#core.isReady()) {
      for (const resolve of this.#waiting.splice(0)) resolve();
    }
  }

  carryOut(effects: readonly (Effect | DeviceEffect)[]): void {
    let isUrgent = false;
    for (const effect of effects as readonly DeviceEffect[]) {
      switch (effect.kind) {
        case 'append':
          this.#append(effect);
          isUrgent ||= effect.urgent;
          break;
        case 'publish':
          this.#publish(effect);
          break;
        case 'wakeAt':
          this.#wake(effect.monotonicMs);
          break;
        case 'notice':
          this.#options.onNotice?.(effect.code, effect.reason);
          break;
        default:
          this.#core.onEffect(effect);
      }
    }
    if (isUrgent) this.#commit();
  }

  /** Publishes past the core: evidence handed in, which changes no state. */
  publish(verb: 'hand-in', payload: Uint8Array): Promise<void> {
    const { gateway, signer } = this.#options;
    return this.#link.publish(upTopic(gateway.approver, signer.key.id, verb), payload);
  }

  /** Everything appended so far becomes durable, then journal and connection are let go. */
  async close(): Promise<void> {
    if (this.#isClosed) return;
    this.#isClosed = true;
    clearTimeout(this.#timer);
    clearTimeout(this.#lazyCommit);
    await this.#link.close();
    await this.#opened.journal.close();
  }

  #connectToken(): Uint8Array {
    const { signer, gateway } = this.#options;
    const now = this.#opened.clock.now();
    return makeConnectToken(signer, {
      approver: gateway.approver,
      timeS: now.timeQuality === 0 ? 0 : Math.floor(now.unixMs / 1_000),
      nonce: this.#opened.random.bytes(16),
    });
  }

  #onMessage(topic: string, payload: Uint8Array): void {
    const verb = parseDownTopic(topic, this.#approverHex, this.#options.signer.key.hex);
    // A copy of its own: what the core keeps must not keep the whole packet alive.
    if (verb !== undefined) this.#input({ kind: 'inbox', verb, payload: new Uint8Array(payload) });
  }

  #onLink(state: LinkState): void {
    this.#options.onLink?.(state);
    if (state.kind === 'up') {
      this.#input({ kind: 'linkUp', approver: this.#options.gateway.approver });
    } else if (state.kind === 'down') {
      this.#input({ kind: 'linkDown' });
    }
  }

  #input(input: ShellInput): void {
    if (!this.#isClosed) this.dispatch(input);
  }

  #append({ record, number, urgent }: Extract<DeviceEffect, { kind: 'append' }>): void {
    try {
      this.#opened.journal.append(record);
      this.#lastAppend = number;
      if (!urgent) this.#lazyCommit ??= setTimeout(() => this.#commit(), LAZY_COMMIT_MS);
    } catch (error) {
      this.#diskFailed(error);
    }
  }

  /** One sync for all that was appended, the lazy records before it included. */
  #commit(): void {
    clearTimeout(this.#lazyCommit);
    this.#lazyCommit = undefined;
    const through = this.#lastAppend;
    this.#opened.journal.commit().then(
      () => this.#input({ kind: 'persisted', through }),
      (error: unknown) => this.#diskFailed(error),
    );
  }

  #diskFailed(error: unknown): void {
    this.#input({ kind: 'diskFailed', reason: error instanceof Error ? error.message : 'journal' });
  }

  #publish(effect: Extract<DeviceEffect, { kind: 'publish' }>): void {
    const topic = upTopic(effect.approver, this.#options.signer.key.id, effect.verb, effect.peer);
    // Lossy by contract: a queue that is full or closed is a loss like any other.
    this.#link.publish(topic, effect.payload).catch(() => undefined);
  }

  #wake(monotonicMs: number): void {
    clearTimeout(this.#timer);
    const delayMs = Math.max(0, monotonicMs - this.#opened.clock.now().monotonicMs);
    this.#timer = setTimeout(() => this.#input({ kind: 'tick' }), Math.ceil(delayMs));
  }
}
