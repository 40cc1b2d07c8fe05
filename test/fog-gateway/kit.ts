import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Test } from 'tap';
import {
  startGateway,
  type GatewayOptions,
  type RunningGateway,
} from '../../fog-gateway/gateway.ts';
import { openMqttLink, type MqttLink } from '../../platform/mqtt-link.ts';
import type { Clock } from '../../platform/ports.ts';
import { systemRandom } from '../../platform/system-random.ts';
import { makeConnectToken } from '../../protocol/messages/connect.ts';
import {
  CHALLENGE_GRANT,
  CHALLENGE_REQUEST,
  OFFER_STOCK,
  PRESENT,
  PRESENTED,
  QUERY,
} from '../../protocol/messages/envelopes.ts';
import type { Offer } from '../../protocol/messages/offer.ts';
import type { Signer } from '../../protocol/public-key.ts';
import { inboxFilter, parseDownTopic, upTopic, type UpVerb } from '../../protocol/topics.ts';
import { readOutcome, signOffer, statusList, type Payer } from '../approval/kit.ts';
import { NOW_S, type World } from '../identity/fixture.ts';

/** The fixture's documents are of one moment; time runs on from there. */
export function worldClock(): Clock {
  const start = performance.now();
  return {
    now: () => ({
      unixMs: NOW_S * 1_000 + (performance.now() - start),
      monotonicMs: performance.now(),
      timeQuality: 2,
    }),
  };
}

export function tempFolder(t: Test): string {
  const folder = mkdtempSync(join(tmpdir(), 'kiri-gateway-'));
  t.teardown(() => rmSync(folder, { recursive: true, force: true }));
  return folder;
}

export async function gatewayOf(
  t: Test,
  world: World,
  folder: string,
  more: Partial<GatewayOptions> = {},
): Promise<RunningGateway> {
  const gateway = await startGateway({
    folder,
    signer: world.signers.gateway,
    issuerKey: world.trust.issuerKey,
    mandate: world.mandate,
    statusList: statusList(world),
    mqttPort: 0,
    httpPort: 0,
    clock: worldClock(),
    ...more,
  });
  t.teardown(() => gateway.close());
  return gateway;
}

/** A device on the wire that says exactly what the test wants. */
export class Device {
  readonly world: World;
  readonly signer: Signer;
  readonly link: MqttLink;
  readonly #inbox: { verb: string; payload: Uint8Array }[] = [];
  #wake: () => void = () => {};
  readonly #waiting: (() => void)[] = [];

  constructor(world: World, signer: Signer, port: number, reconnectWithinMs = 20) {
    this.world = world;
    this.signer = signer;
    const { key } = world.signers.gateway;
    const random = systemRandom();
    const clock = worldClock();
    this.link = openMqttLink({
      host: '127.0.0.1',
      port,
      clientId: signer.key.hex,
      clock,
      random,
      reconnect: { baseMs: reconnectWithinMs / 4, capMs: reconnectWithinMs, stableMs: 10_000 },
      credentials: () => ({
        username: signer.key.hex,
        password: makeConnectToken(signer, {
          approver: key.id,
          timeS: NOW_S,
          nonce: random.bytes(16),
        }),
      }),
      onMessage: (topic, payload) => {
        const verb = parseDownTopic(topic, key.hex, signer.key.hex);
        if (verb !== undefined) this.#inbox.push({ verb, payload: new Uint8Array(payload) });
        this.#wake();
      },
      onState: (state) => {
        if (state.kind !== 'up') return;
        for (const resolve of this.#waiting.splice(0)) resolve();
      },
    });
    this.link.subscribe(inboxFilter(key.hex, signer.key.hex));
  }

  /** Connected, and reading its inbox. */
  get up(): Promise<void> {
    if (this.link.isUp) return Promise.resolve();
    return new Promise((resolve) => {
      this.#waiting.push(resolve);
    });
  }

  /** Forgets what came over an earlier connection. */
  clear(): void {
    this.#inbox.length = 0;
  }

  /** Resolves when the broker has it; a link that closes before is no failure of the test. */
  async say(verb: UpVerb, payload: Uint8Array, peer?: Uint8Array): Promise<void> {
    const { gateway } = this.world.signers;
    const topic = upTopic(gateway.key.id, this.signer.key.id, verb, peer);
    await this.link.publish(topic, payload).catch(() => {});
  }

  /** The next message with one of these verbs; others are passed over. */
  async hear(...verbs: string[]): Promise<{ verb: string; payload: Uint8Array }> {
    for (;;) {
      const at = this.#inbox.findIndex(({ verb }) => verbs.includes(verb));
      if (at >= 0) return this.#inbox.splice(at, 1)[0]!;
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
    }
  }

  /** Whoever waits for an answer hears 'closed' instead. */
  giveUp(): void {
    this.#inbox.push({ verb: 'closed', payload: new Uint8Array() });
    this.#wake();
  }

  async present(bytes: Uint8Array): Promise<number> {
    await this.say('present', bytes);
    const answer = PRESENTED.decode((await this.hear('presented')).payload);
    return answer.ok ? answer.value.code : -1;
  }

  async outcome(payment: Uint8Array, offer?: Uint8Array): Promise<ReturnType<typeof readOutcome>> {
    if (offer) await this.say('query', QUERY.encode({ payment, offer }));
    else await this.say('pay', payment);
    return readOutcome((await this.hear('receipt', 'refusal')).payload);
  }
}

export async function payeeOf(world: World, port: number): Promise<Device> {
  const payee = new Device(world, world.signers.payee, port);
  await payee.up;
  const { acquirer, merchant } = world.payee;
  await payee.present(PRESENT.encode({ documents: [acquirer, merchant] }));
  return payee;
}

export async function payerOf(
  world: World,
  payer: Payer,
  port: number,
  reconnectWithinMs?: number,
): Promise<Device> {
  const device = new Device(world, payer.signer, port, reconnectWithinMs);
  await device.up;
  await device.present(payer.present);
  return device;
}

export async function challengesOf(payee: Device, count: number): Promise<readonly Uint8Array[]> {
  await payee.say('challenges', CHALLENGE_REQUEST.encode({ count }));
  const grant = CHALLENGE_GRANT.decode((await payee.hear('challenges')).payload);
  if (!grant.ok) throw new Error(grant.reason);
  return grant.value.challenges;
}

/** Offers known to the gateway. */
export async function offersOf(
  payee: Device,
  count: number,
  facts: Partial<Offer> = {},
): Promise<Uint8Array[]> {
  const offers: Uint8Array[] = [];
  while (offers.length < count) {
    const few = Math.min(50, count - offers.length);
    const challenges = await challengesOf(payee, few);
    const signed = challenges.map((challenge) => signOffer(payee.world, challenge, facts));
    await payee.say('offers', OFFER_STOCK.encode({ offers: signed }));
    offers.push(...signed);
  }
  return offers;
}
