import { spawn } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { startPayee, type Payee } from '../../agent/edge/payee-device.ts';
import { startPayer, type Payer, type PaymentOutcome } from '../../agent/edge/payer-device.ts';
import { freePort } from '../../cli/demo/free-port.ts';
import { makeWorld, type EnrolledDevice, type World } from '../../cli/demo/identities.ts';
import type { Plan } from '../../cli/demo/plan.ts';
import { Program } from '../../cli/demo/processes.ts';
import { RawDevice, type RawAnswer } from '../../cli/demo/raw-device.ts';
import { gatewayConfig, gatewayFolder } from '../../cli/demo/configs.ts';
import { writeTrust } from '../../cli/demo/trust-folder.ts';
import { loadSigner } from '../../identity/edge/key-file.ts';
import { fetchBytes } from '../../platform/http-client.ts';
import { amountMicro } from '../../protocol/amount.ts';
import { TARIFF_UNITS } from '../../protocol/tariff.ts';
import { LAUNCHER } from './command.ts';
import '../plain-children.ts';

const YEN_MICRO = 1_000_000n;
const PRICE_MICRO = amountMicro(3n * YEN_MICRO);
const CEILING_MICRO = amountMicro(1_000_000n * YEN_MICRO);
/** A fleet spreads its return over up to 30 s; here no connection lasts long enough to count as stable. */
const RECONNECT = { baseMs: 20, capMs: 100, stableMs: 10_000 };
const RESEND_MS = 20;
const MAX_RESENDS = 250;
/** Sends foreign bytes again and is enrolled like the others. */
const RAW = 'raw';

/** What one device was told of one Payment. */
export interface Word {
  readonly kind: 'accepted' | 'void';
  readonly hash: Uint8Array;
  /** Payment and Receipt as signed, where it was accepted. */
  readonly paymentCose?: Uint8Array;
  readonly answerCose?: Uint8Array;
}

function planOf(payers: number): Plan {
  const refs = [...Array.from({ length: payers }, (_, i) => `car-${i + 1}`), RAW];
  const unit = TARIFF_UNITS.indexOf('pass');
  return {
    title: 'gateway kills',
    currency: 392,
    parties: 2,
    payees: [
      {
        ref: 'gate',
        merchantId: 'KIRITOLL0000001',
        name: 'Gate',
        place: 'Minato JPN',
        mcc: 4784,
        components: [{ unit, steps: [{ fromMinute: 0, priceMicro: PRICE_MICRO }] }],
      },
    ],
    payers: refs.map((ref, i) => ({ ref, party: i % 2, ceilingMicro: CEILING_MICRO })),
    purchases: [],
    paymentLimitMicro: PRICE_MICRO,
  };
}

/** A gateway process on one folder and port for ever, and real devices that never stop paying at it. */
export class KillRig {
  readonly stateDir: string = mkdtempSync(join(tmpdir(), 'kiri-kills-'));
  readonly world: World;
  readonly payers: Payer[] = [];
  readonly words: Word[] = [];
  readonly notices: Map<string, number> = new Map<string, number>();
  readonly #config: string;
  readonly #mqttPort: number;
  readonly #httpPort: number;
  readonly #loads: Promise<void>[] = [];
  readonly #paying = new AbortController();
  readonly #programs = new Set<Program>();
  payee: Payee | undefined;
  gateway: Program | undefined;
  accepted = 0;
  #onAccepted: () => void = () => {};

  private constructor(payers: number, mqttPort: number, httpPort: number) {
    this.world = makeWorld(planOf(payers), this.stateDir, Math.floor(Date.now() / 1000));
    const trust = join(this.stateDir, 'trust');
    mkdirSync(trust);
    writeTrust(trust, this.world);
    this.#mqttPort = mqttPort;
    this.#httpPort = httpPort;
    this.#config = gatewayConfig(this.world, trust, { mqtt: mqttPort, http: httpPort });
  }

  static async start(payers: number): Promise<KillRig> {
    const rig = new KillRig(payers, await freePort(), await freePort());
    await rig.startGateway();
    await rig.#startDevices();
    return rig;
  }

  get moneyFolder(): string {
    return join(gatewayFolder(this.stateDir), 'money');
  }

  async startGateway(): Promise<void> {
    const args = ['gateway', '--config', this.#config];
    this.gateway = await Program.start('gateway', args, this.#programs);
  }

  async killGateway(): Promise<void> {
    this.gateway!.kill();
    await this.gateway!.exited;
    this.#programs.delete(this.gateway!);
  }

  /** A start that dies after `ms`, wherever it then is. */
  async dieStarting(ms: number): Promise<void> {
    const args = [LAUNCHER, 'gateway', '--config', this.#config];
    const child = spawn(process.execPath, args, { stdio: ['pipe', 'ignore', 'ignore'] });
    const exited = new Promise((resolve) => child.once('close', resolve));
    const timer = setTimeout(() => child.kill('SIGKILL'), ms);
    await exited;
    clearTimeout(timer);
  }

  async #startDevices(): Promise<void> {
    const { world } = this;
    const common = ['acquirer', 'mandate', 'merchant-gate', 'tariff-gate'].map((name) =>
      world.documents.get(name)!,
    );
    const optionsOf = (device: EnrolledDevice): Parameters<typeof startPayee>[0] => ({
      gateway: { host: '127.0.0.1', port: this.#mqttPort, approver: world.gatewayKey.id },
      issuerKey: world.issuer.key,
      dataDir: join(device.folder, 'data'),
      signer: loadSigner(device.keyFile),
      documents: [...device.documents, ...common],
      reconnect: RECONNECT,
      onNotice: (code) => this.notices.set(code, (this.notices.get(code) ?? 0) + 1),
    });
    this.payee = await startPayee(optionsOf(world.payees[0]!));
    for (const device of world.payers) {
      if (device.ref === RAW) continue;
      const onOutcome = (outcome: PaymentOutcome): void => this.#heard(outcome);
      this.payers.push(await startPayer({ ...optionsOf(device), onOutcome }));
    }
    await Promise.all([this.payee.ready(), ...this.payers.map((payer) => payer.ready())]);
    for (const [i, payer] of this.payers.entries()) this.#loads.push(this.#pay(payer, i));
  }

  #heard(outcome: PaymentOutcome): void {
    if (outcome.kind === 'unknown' || outcome.paymentHash === undefined) return;
    const hash = outcome.paymentHash;
    if (outcome.kind === 'refused') {
      this.words.push({ kind: 'void', hash });
      return;
    }
    const { paymentCose, receiptCose: answerCose } = outcome.evidence ?? {};
    this.words.push({
      kind: 'accepted',
      hash,
      ...(paymentCose && answerCose ? { paymentCose, answerCose } : {}),
    });
    this.accepted += 1;
    this.#onAccepted();
  }

  /** One purchase after the other, also while older ones are unknown. */
  async #pay(payer: Payer, number: number): Promise<void> {
    const gate = this.world.payees[0]!.key.id;
    for (let i = 0; !this.#paying.signal.aborted; i += 1) {
      await payer.ready();
      const item = `lane ${number} ${i}`;
      const ref = `${number}-${i}`;
      await payer.pay({ ref, payee: gate, item, quantity: 1, maxAmountMicro: PRICE_MICRO });
    }
  }

  /** Resolves once `count` more Payments were accepted. */
  async nextAccepted(count: number): Promise<void> {
    const until = this.accepted + count;
    while (this.accepted < until) {
      await new Promise<void>((resolve) => {
        this.#onAccepted = resolve;
      });
    }
  }

  async stopPaying(): Promise<void> {
    this.#paying.abort();
    await Promise.all(this.#loads);
  }

  get unknown(): number {
    return this.payers.reduce((sum, payer) => sum + payer.status().unknown, 0);
  }

  /** What the gateway's admin interface says of each hash, in order. */
  async lookUp(hashes: readonly Uint8Array[]): Promise<string[]> {
    const answers: string[] = [];
    for (let at = 0; at < hashes.length; at += 2_000) {
      const { status, body } = await fetchBytes(`http://127.0.0.1:${this.#httpPort}/lookup`, {
        method: 'POST',
        body: Buffer.concat(hashes.slice(at, at + 2_000)),
        timeoutMs: 30_000,
        maxBytes: 65_536,
      });
      const text = Buffer.from(body).toString();
      if (status !== 200) throw new Error(`lookup: ${status} ${text}`);
      answers.push(...(JSON.parse(text) as { held: string[] }).held);
    }
    return answers;
  }

  /** All that the payers' journals hold. */
  async purchases(): Promise<Purchase[]> {
    const all: Purchase[] = [];
    for (const payer of this.payers) {
      for await (const kept of payer.receipts()) all.push(kept);
    }
    return all;
  }

  /**
   * Another device sends these Payments once more, byte for byte, and again where the answer settles
   * nothing; the gateway's answers in order.
   */
  async resend(payments: readonly Uint8Array[]): Promise<RawAnswer[]> {
    const { world } = this;
    const enrolled = world.payers.find(({ ref }) => ref === RAW)!;
    const device = new RawDevice(world, enrolled, this.#mqttPort);
    try {
      const answers: RawAnswer[] = [];
      for (const payment of payments) {
        let answer = await device.send(payment);
        for (let i = 0; !answer.final && i < MAX_RESENDS; i += 1) {
          await new Promise((resolve) => setTimeout(resolve, RESEND_MS));
          answer = await device.send(payment);
        }
        answers.push(answer);
      }
      return answers;
    } finally {
      await device.close();
    }
  }

  async close(): Promise<void> {
    this.#paying.abort();
    await Promise.all([this.payee?.close(), ...this.payers.map((payer) => payer.close())]);
    for (const program of this.#programs) await program.stop();
    rmSync(this.stateDir, { recursive: true, force: true });
  }
}

export type Purchase =
  ReturnType<Payer['receipts']> extends AsyncIterable<infer Kept> ? Kept : never;
