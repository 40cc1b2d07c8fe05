import { readFile } from 'node:fs/promises';
import { fetchBytes } from '../../platform/http-client.ts';
import { KiriError } from '../../protocol/kiri-error.ts';
import { Attacks, type AttackResult, type HonestPayment } from './attacks.ts';
import { answerFiles, type Answered } from './issuer.ts';
import { loseAndRestoreLog, type LostLog } from './lost-log.ts';
import type { Plan } from './plan.ts';
import { Player, type Played } from './play.ts';
import type { Json, Program } from './processes.ts';
import type { Report } from './report.ts';
import { startGatewayProgram, type Site } from './site.ts';

/** Everything that was seen while the story ran; the summary is computed from it. */
export interface Told {
  readonly played: readonly Played[];
  readonly attacks: readonly AttackResult[];
  readonly honest: readonly HonestPayment[];
  /** Unix time from which one witness was gone, where the policy has one to spare. */
  readonly witnessGoneAtMs?: number;
  readonly lostLog?: LostLog;
  /** Unix times of the uplink's cut and its return. */
  readonly cutAtMs: number;
  readonly restoredAtMs: number;
  readonly allFinalAtMs: number;
  readonly gatewayDownMs: number;
  readonly ledger: Json;
  readonly pulled: Json;
  readonly books: Json;
  readonly cut: Json;
  readonly answered: Answered;
  /** As the gateway states it before the centre has acknowledged anything. */
  readonly gateway: Json;
}

/** Shares of the purchases: online, then offline, then under the gateway's death, then after it. */
const ONLINE_END = 0.3;
const OFFLINE_END = 0.6;
const KILL_END = 0.9;
/** Where one witness to spare is stopped, while the uplink is there. */
const WITNESS_GONE = 0.15;
/** Where the log is lost and restored, if a mirror has it. */
const LOG_LOST = 0.95;
/** How much of the third part is under way when the plug is pulled. */
const KILL_AT = 0.3;
/** Far above what it takes; a slow machine with a slow disk ends too. */
const FINAL_TIMEOUT_MS = 120_000;
const POLL_MS = 50;

const sleep = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));

function countOf(played: readonly Played[], kind: Played['kind']): number {
  return played.filter((row) => row.kind === kind).length;
}

/** Steps 3 to 8 of the story; the programs are running. */
export class Story {
  readonly #site: Site;
  readonly #plan: Plan;
  readonly #report: Report;
  readonly #player: Player;

  constructor(site: Site, plan: Plan, report: Report, speed: number) {
    this.#site = site;
    this.#plan = plan;
    this.#report = report;
    this.#player = new Player(site, report, speed);
  }

  async tell(): Promise<Told> {
    const { purchases } = this.#plan;
    const part = (from: number, to: number): typeof purchases =>
      purchases.slice(Math.floor(purchases.length * from), Math.floor(purchases.length * to));

    this.#report.step('pay online');
    await this.#player.play(part(0, WITNESS_GONE), 'paid online');
    // The line is not cut before the figure "final while online" has something to be measured on.
    await this.#untilFinal();
    const witnessGoneAtMs = await this.#stopSpareWitness();
    await this.#player.play(part(WITNESS_GONE, ONLINE_END), 'paid online');
    // Nor before the figure with one witness dead has.
    if (witnessGoneAtMs !== undefined) await this.#untilFinal();
    this.#sayPaid();

    this.#report.step('cut the uplink and go on paying');
    const cutAtMs = Date.now();
    for (const uplink of this.#site.uplinks) uplink.cut();
    this.#report.line('uplink', 'cut: the gateway reaches neither witnesses nor clearing');
    await this.#player.play(part(ONLINE_END, OFFLINE_END), 'paid offline');
    this.#sayPaid();

    const { results, honest } = await this.#attack();
    const gatewayDownMs = await this.#killUnderLoad(part(OFFLINE_END, KILL_END));
    await this.#player.settle();

    this.#report.step('restore the uplink');
    const restoredAtMs = Date.now();
    for (const uplink of this.#site.uplinks) uplink.restore();
    await this.#player.play(part(KILL_END, LOG_LOST), 'paid while the backlog drains');
    await this.#player.settle();
    await this.#untilFinal();
    const allFinalAtMs = Date.now();
    const lostLog = await this.#loseLog();
    await this.#player.play(part(LOG_LOST, 1), 'paid once the backlog is final');
    await this.#player.settle();
    const ledger = await this.#untilFinal();
    const { name, purpose } = this.#site.world.policy;
    this.#report.line(
      'ledger',
      `${String(ledger['finalSize'])} entries final (L2) under policy "${name}", ${purpose}`,
    );
    const settled = await this.#settle();
    return {
      played: this.#player.played,
      attacks: results,
      honest,
      ...(witnessGoneAtMs === undefined ? {} : { witnessGoneAtMs }),
      ...(lostLog === undefined ? {} : { lostLog }),
      cutAtMs,
      restoredAtMs,
      allFinalAtMs,
      gatewayDownMs,
      ledger,
      ...settled,
    };
  }

  /** SIGKILL for a witness without which the policy is still met; it does not come back. */
  async #stopSpareWitness(): Promise<number | undefined> {
    const { world, cosigners, programs } = this.#site;
    const { spare } = world.policy;
    if (spare === undefined) return undefined;
    const { program } = cosigners.get(spare)!;
    program.kill();
    await program.exited;
    programs.delete(program);
    this.#report.line('witness', `${spare} killed for good (pid ${program.pid})`);
    return Date.now();
  }

  async #loseLog(): Promise<LostLog | undefined> {
    if (this.#site.world.cosigners.every(({ kind }) => kind !== 'mirror')) return undefined;
    this.#report.step("lose the log's disk and restore it from the mirror");
    return loseAndRestoreLog(this.#site, this.#report);
  }

  #sayPaid(): void {
    const { played } = this.#player;
    const refused = countOf(played, 'refused');
    this.#report.line('payments', `${countOf(played, 'accepted')} accepted, ${refused} refused`);
  }

  async #attack(): Promise<{ results: readonly AttackResult[]; honest: readonly HonestPayment[] }> {
    this.#report.step('attacks');
    const { world, mqttPort } = this.#site;
    const attacks = new Attacks(world, mqttPort, this.#plan.paymentLimitMicro);
    try {
      await attacks.run(({ name, answer, holds }) => {
        this.#report.line(holds ? 'held' : 'BROKEN', `${name}: ${answer}`);
      });
    } finally {
      await attacks.close();
    }
    return attacks;
  }

  /** SIGKILL in the middle of the third part, and a new start on the same folder and port. */
  async #killUnderLoad(purchases: Plan['purchases']): Promise<number> {
    this.#report.step('kill the gateway with SIGKILL under load');
    const killAt = Math.floor(purchases.length * KILL_AT);
    let downMs = 0;
    let restart: Promise<void> | undefined;
    await this.#player.play(purchases, 'paid around the kill', (done) => {
      if (done >= killAt) restart ??= this.#killAndRestart().then((ms) => void (downMs = ms));
    });
    // With a trace of a few rows this part may be empty; the plug is pulled all the same.
    await (restart ?? this.#killAndRestart().then((ms) => void (downMs = ms)));
    this.#sayPaid();
    return downMs;
  }

  async #killAndRestart(): Promise<number> {
    const site = this.#site;
    const startedMs = performance.now();
    const { pid } = site.gateway;
    site.gateway.kill();
    await site.gateway.exited;
    site.programs.delete(site.gateway);
    site.gateway = await startGatewayProgram(site);
    const downMs = performance.now() - startedMs;
    this.#report.line('gateway', `killed (pid ${pid}), back after ${downMs.toFixed(0)} ms`);
    return downMs;
  }

  /** Until the log holds every answer of the gateway and the policy is met for all of them. */
  async #untilFinal(): Promise<Json> {
    const untilMs = performance.now() + FINAL_TIMEOUT_MS;
    for (;;) {
      const gateway = await this.#site.gateway.request({ do: 'status' });
      const expected =
        Number(gateway['accepted']) + Number(gateway['voided']) - Number(gateway['reversed']);
      const ledger = await this.#site.ledger.request({ do: 'status' });
      const { finalSize, recordedSize } = ledger;
      this.#report.progress(Number(finalSize), expected, 'final');
      if (Number(finalSize) >= expected && finalSize === recordedSize) return ledger;
      if (performance.now() > untilMs) {
        throw new KiriError(
          'DEMO_FAILED',
          `only ${String(finalSize)} of ${expected} entries became final`,
        );
      }
      await sleep(POLL_MS);
    }
  }

  async #settle(): Promise<Pick<Told, 'pulled' | 'books' | 'cut' | 'answered' | 'gateway'>> {
    this.#report.step('clear, write the settlement file, reconcile');
    const { clearing, gateway, world } = this.#site;
    const stated = await gateway.request({ do: 'status' });
    const pulled = await clearing.request({ do: 'pull' });
    const folder = `${world.stateDir}/acknowledgements`;
    const { currency } = this.#plan;
    const { files } = await clearing.request({ do: 'acknowledge', folder, currency });
    await this.#acknowledge(gateway, files as string[]);
    const cut = await clearing.request({ do: 'cut', closeOut: true });
    this.#report.step('the issuer takes the file in and answers');
    const answered = await answerFiles(this.#site, cut, this.#report);
    const books = await clearing.request({ do: 'reconcile' });
    return { pulled, books, cut, answered, gateway: stated };
  }

  /** The operator brings the centre's signed word to the gateway: its exposure ends. */
  async #acknowledge(gateway: Program, files: readonly string[]): Promise<void> {
    const tokenPath = String(gateway.ready['adminTokenPath']);
    const token = (await readFile(tokenPath, 'utf8')).trim();
    for (const file of files) {
      const { status, body } = await fetchBytes(
        `http://127.0.0.1:${String(gateway.ready['httpPort'])}/acknowledgement`,
        {
          method: 'POST',
          body: await readFile(file),
          timeoutMs: 5_000,
          maxBytes: 65_536,
          bearer: token,
        },
      );
      if (status !== 200) {
        throw new KiriError(
          'DEMO_FAILED',
          `acknowledgement: ${status} ${Buffer.from(body).toString()}`,
        );
      }
    }
    const { unacknowledgedMicro } = await gateway.request({ do: 'status' });
    this.#report.line(
      'exposure',
      `${String(unacknowledgedMicro)} micro-units unacknowledged at the gateway`,
    );
  }
}
