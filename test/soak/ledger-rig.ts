/** One log with its writer, witness and mirror, each a process that is killed again and again under load. */
import { spawn, type ChildProcess } from 'node:child_process';
import { createHash, createECDH } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { mkdir, mkdtemp, rm } from 'node:fs/promises';
import { createServer, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { openJournal } from '../../platform/journal.ts';
import type { Journal } from '../../platform/ports.ts';
import { judgeFolder, type LogFacts } from '../c2sp/tlog.ts';
import { Observer } from './observer.ts';
import { Relay } from './relay.ts';
import { ORIGIN, POLICY, type Role, type SoakTask } from './soak-keys.ts';

const CHILD = fileURLToPath(new URL('./soak-child.js', import.meta.url));
const START_TIMEOUT_MS = 60_000;
const LOAD_INTERVAL_MS = 20;
const LOOK_INTERVAL_MS = 10;
/** Longest wait for the log to become whole and final at the end. */
const SETTLE_TIMEOUT_MS = 120_000;

export const ROLES: readonly Role[] = ['writer', 'witness', 'mirror'];

/** When a process dies: any time, or just after it was handed work. */
export type Moment = 'random' | 'inWork';

const pause = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));

class Mortal {
  child: ChildProcess | undefined;
  ready: Promise<void> = Promise.resolve();
  starts = 0;
  readonly #task: SoakTask;
  readonly #onReady: (said: string) => void;
  /** Set where it ended without having been killed. */
  fault: string | undefined;

  constructor(task: SoakTask, onReady: (said: string) => void) {
    this.#task = task;
    this.#onReady = onReady;
  }

  start(): void {
    this.starts += 1;
    const child = spawn(process.execPath, [CHILD, JSON.stringify(this.#task)], {
      stdio: ['pipe', 'pipe', 'pipe'],
    });
    this.child = child;
    let stderr = '';
    child.stderr.on('data', (piece: Buffer) => (stderr += piece.toString()));
    child.once('exit', (code, signal) => {
      if (signal !== 'SIGKILL') this.fault = `${this.#task.role} ended with ${code}: ${stderr}`;
    });
    this.ready = new Promise((resolve) => {
      const late = setTimeout(() => {
        this.fault ??= `${this.#task.role} does not start`;
        resolve();
      }, START_TIMEOUT_MS);
      const done = (): void => {
        clearTimeout(late);
        resolve();
      };
      child.once('exit', done);
      child.stdout.once('data', (said: Buffer) => {
        this.#onReady(said.toString().trim());
        done();
      });
    });
  }

  async kill(): Promise<void> {
    const { child } = this;
    if (child === undefined || child.exitCode !== null || child.signalCode !== null) return;
    const gone = new Promise((resolve) => child.once('exit', resolve));
    child.kill('SIGKILL');
    await gone;
  }
}

export class LedgerRig {
  readonly base: string;
  readonly observer: Observer = new Observer(POLICY);
  readonly kills: Record<Role, number> = { writer: 0, witness: 0, mirror: 0 };
  paid = 0;
  readonly #journal: Journal;
  readonly #relays: { readonly witness: Relay; readonly mirror: Relay };
  readonly #server: Server;
  readonly #mortals: Readonly<Record<Role, Mortal>>;
  readonly #timers: NodeJS.Timeout[] = [];
  #onServed: (() => void) | undefined;
  #lastPublished = '';

  private constructor(
    base: string,
    journal: Journal,
    relays: { readonly witness: Relay; readonly mirror: Relay },
    server: Server,
  ) {
    this.base = base;
    this.#journal = journal;
    this.#relays = relays;
    this.#server = server;
    const ecdh = createECDH('prime256v1');
    ecdh.generateKeys();
    const task = {
      base,
      issuer: ecdh.getPublicKey('hex').slice(2),
      witnessUrl: relays.witness.url,
      mirrorUrl: relays.mirror.url,
      logUrl: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    };
    this.#mortals = {
      writer: new Mortal({ ...task, role: 'writer' }, () => {}),
      witness: new Mortal({ ...task, role: 'witness' }, (url) => (relays.witness.target = url)),
      mirror: new Mortal({ ...task, role: 'mirror' }, (url) => (relays.mirror.target = url)),
    };
  }

  static async open(): Promise<LedgerRig> {
    const base = await mkdtemp(join(tmpdir(), 'kiri-soak-'));
    await mkdir(join(base, 'log'), { recursive: true });
    const { journal } = await openJournal(join(base, 'journal'));
    let rig: LedgerRig | undefined;
    const relayOf = (voice: 'witness' | 'mirror'): Promise<Relay> =>
      Relay.open((body, answer) => rig?.observer.exchange(voice, body, answer));
    const relays = { witness: await relayOf('witness'), mirror: await relayOf('mirror') };
    const server = createServer((req, res) => rig?.serve(req.url ?? '', res));
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    rig = new LedgerRig(base, journal, relays, server);
    await rig.#begin();
    return rig;
  }

  async #begin(): Promise<void> {
    for (const role of ROLES) this.#mortals[role].start();
    this.#timers.push(
      setInterval(() => this.#look(), LOOK_INTERVAL_MS),
      setInterval(() => this.pay(1 + Math.floor(Math.random() * 5)), LOAD_INTERVAL_MS),
    );
    await Promise.all(ROLES.map((role) => this.#mortals[role].ready));
  }

  pay(count: number): void {
    for (let at = 0; at < count; at += 1) {
      this.#journal.append(Buffer.from(`payment ${this.paid}`));
      this.paid += 1;
    }
    void this.#journal.commit();
  }

  /** The log's static files, for the mirror. */
  serve(path: string, res: ServerResponse): void {
    const served = this.#onServed;
    this.#onServed = undefined;
    served?.();
    const bytes = this.#file(path);
    res.writeHead(bytes === undefined ? 404 : 200).end(bytes);
  }

  #file(path: string): Buffer | undefined {
    if (!/^\/(?:tlog|payload|keys)\/[\w./]+$/.test(path)) return undefined;
    try {
      return readFileSync(join(this.base, 'log', path));
    } catch {
      return undefined;
    }
  }

  #look(): void {
    let note: Buffer;
    try {
      note = readFileSync(join(this.base, 'log/tlog/checkpoint'));
    } catch {
      return;
    }
    const text = note.toString('latin1');
    if (text === this.#lastPublished) return;
    this.#lastPublished = text;
    this.observer.published(note);
  }

  /** What ended on its own or never came up. */
  faults(): string[] {
    return ROLES.flatMap((role) => this.#mortals[role].fault ?? []);
  }

  /** Waits for a moment in the life of a process; never longer than `limitMs`. */
  async #moment(role: Role, moment: Moment, limitMs: number): Promise<void> {
    if (moment === 'random') return pause(Math.random() * limitMs);
    const handed = new Promise<void>((resolve) => {
      if (role === 'witness') this.#relays.witness.onForwarded = resolve;
      else if (role === 'mirror') this.#onServed = resolve;
      else this.#relays.mirror.onForwarded = resolve;
    });
    await Promise.race([handed, pause(limitMs)]);
    // From before the work begins to after the answer has left.
    return pause(Math.random() * 12);
  }

  /** Kills a process and starts it again; while it starts it may be killed again. */
  async killOne(role: Role, moment: Moment, limitMs: number): Promise<void> {
    const mortal = this.#mortals[role];
    // One start in eight is not waited for: recovery is interrupted too. The others have work to be killed in.
    if (Math.random() < 7 / 8) await Promise.all(ROLES.map((one) => this.#mortals[one].ready));
    await this.#moment(role, moment, limitMs);
    if (role !== 'writer') this.#relays[role].target = undefined;
    await mortal.kill();
    this.#look();
    this.kills[role] += 1;
    mortal.start();
  }

  get published(): number {
    return this.observer.count('published');
  }

  /** Ends the load, lets everything become final, and gives the log as an independent verifier reads it. */
  async settle(): Promise<LogFacts> {
    for (const timer of this.#timers.slice(1)) clearInterval(timer);
    await this.#journal.commit();
    const logFolder = join(this.base, 'log/tlog');
    const until = Date.now() + SETTLE_TIMEOUT_MS;
    for (;;) {
      this.#look();
      const size = Number(this.#lastPublished.split('\n')[1] ?? -1);
      const isLost = this.faults().length > 0 || this.observer.broken.length > 0;
      if (size === this.paid || isLost || Date.now() > until) break;
      await pause(LOOK_INTERVAL_MS);
    }
    for (const timer of this.#timers) clearInterval(timer);
    for (const role of ROLES) await this.#mortals[role].kill();
    const verdict = judgeFolder(logFolder, Buffer.from(POLICY));
    if (!verdict.right) throw new Error(verdict.reason);
    return verdict.value;
  }

  /** The mirror's copy, by the same eyes. */
  copy(): ReturnType<typeof judgeFolder> {
    const name = createHash('sha256').update(ORIGIN).digest('hex');
    return judgeFolder(join(this.base, 'mirror/logs', name, 'tlog'), Buffer.from(POLICY));
  }

  async close(): Promise<void> {
    for (const timer of this.#timers) clearInterval(timer);
    for (const role of ROLES) await this.#mortals[role].kill();
    await this.#relays.witness.close();
    await this.#relays.mirror.close();
    this.#server.closeAllConnections();
    await new Promise((resolve) => this.#server.close(resolve));
    await this.#journal.close();
    await rm(this.base, { recursive: true, force: true });
  }
}
