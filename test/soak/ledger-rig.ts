/** One log with its writer, witnesses and mirror: processes that are killed again and again under load. */
import { createECDH } from 'node:crypto';
import { existsSync, readFileSync, watch } from 'node:fs';
import { mkdir, mkdtemp, rm } from 'node:fs/promises';
import { createServer, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { openJournal } from '../../platform/journal.ts';
import type { Journal } from '../../platform/ports.ts';
import { judgeFolder, type LogFacts } from '../c2sp/tlog.ts';
import { CopyEye, copyFolder, writerFault } from './durable-eyes.ts';
import { Mortal } from './mortal.ts';
import { Observer } from './observer.ts';
import { Relay } from './relay.ts';
import { HELD, MIRROR_NAME, policyOf, type Role, type Shape } from './soak-keys.ts';

const LOAD_INTERVAL_MS = 20;
const LOOK_INTERVAL_MS = 10;
/** Longest wait for the log to become whole and final at the end. */
const SETTLE_TIMEOUT_MS = 90_000;
/** From before a piece of work to after its answer has left. */
const WORK_MS = 12;
/** One start in so many is not waited for: recovery is interrupted too. */
const IMPATIENT = 8;

/** When a process dies: any time, just after it was handed work, or just as it writes to the disk. */
const MOMENTS = ['random', 'handed', 'writing'] as const;

const pause = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));
const pick = <T>(from: readonly T[]): T => from[Math.floor(Math.random() * from.length)]!;

export class LedgerRig {
  readonly base: string;
  readonly shape: Shape;
  readonly roles: readonly Role[];
  readonly observer: Observer;
  paid = 0;
  readonly #journal: Journal;
  readonly #relays: ReadonlyMap<string, Relay>;
  readonly #server: Server;
  readonly #mortals = new Map<Role, Mortal>();
  readonly #copyEye = new CopyEye();
  readonly #timers: NodeJS.Timeout[] = [];
  #onServed: (() => void) | undefined;
  #lastPublished = '';
  #isClosed = false;

  private constructor(
    base: string,
    shape: Shape,
    journal: Journal,
    relays: ReadonlyMap<string, Relay>,
    server: Server,
  ) {
    this.base = base;
    this.shape = shape;
    this.roles = Object.keys(HELD[shape]) as Role[];
    this.observer = new Observer(policyOf(shape));
    this.#journal = journal;
    this.#relays = relays;
    this.#server = server;
  }

  /** @param launcher of the child's script, see child-bundle.ts */
  static async open(shape: Shape, launcher: string): Promise<LedgerRig> {
    const base = await mkdtemp(join(tmpdir(), 'kiri-soak-'));
    await mkdir(join(base, 'log'), { recursive: true });
    const { journal } = await openJournal(join(base, 'journal'));
    let rig: LedgerRig | undefined;
    const relays = new Map<string, Relay>();
    for (const name of Object.values(HELD[shape]).flat()) {
      relays.set(
        name,
        await Relay.open((body, answer) => rig?.observer.exchange(name, body, answer)),
      );
    }
    const server = createServer((req, res) => rig?.serve(req.url ?? '', res));
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    rig = new LedgerRig(base, shape, journal, relays, server);
    await rig.#begin(launcher);
    return rig;
  }

  async #begin(launcher: string): Promise<void> {
    const { base, shape } = this;
    const ecdh = createECDH('prime256v1');
    ecdh.generateKeys();
    const task = {
      base,
      shape,
      issuer: ecdh.getPublicKey('hex').slice(2),
      urls: Object.fromEntries(Array.from(this.#relays, ([name, { url }]) => [name, url])),
      logUrl: `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}`,
    };
    for (const role of this.roles) {
      const mortal = new Mortal(launcher, { ...task, role }, (urls) => {
        for (const [name, url] of Object.entries(urls)) this.#relays.get(name)!.target = url;
      });
      this.#mortals.set(role, mortal);
      mortal.start();
    }
    this.#timers.push(
      setInterval(() => this.#look(), LOOK_INTERVAL_MS),
      setInterval(() => this.#pay(1 + Math.floor(Math.random() * 5)), LOAD_INTERVAL_MS),
    );
    await this.#allUp();
    await this.rest(SETTLE_TIMEOUT_MS);
    for (const mortal of this.#mortals.values()) mortal.keepCode();
  }

  async #allUp(): Promise<void> {
    await Promise.all(Array.from(this.#mortals.values(), ({ ready }) => ready));
  }

  #pay(count: number): void {
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

  /** What must not have happened: processes that ended by themselves, broken promises. */
  faults(): readonly string[] {
    const ended = Array.from(this.#mortals.values(), ({ fault }) => fault);
    return [...ended.filter((fault) => fault !== undefined), ...this.observer.broken];
  }

  /** By process. */
  kills(): Readonly<Record<string, number>> {
    return Object.fromEntries(Array.from(this.#mortals, ([role, { kills }]) => [role, kills]));
  }

  get published(): number {
    return this.observer.count('published');
  }

  /** Until something new became final. */
  async rest(limitMs: number): Promise<void> {
    const before = this.published;
    const until = Date.now() + limitMs;
    while (this.published === before && this.faults().length === 0 && Date.now() < until) {
      await pause(LOOK_INTERVAL_MS);
    }
  }

  #relaysOf(role: Role): readonly Relay[] {
    return (HELD[this.shape][role] ?? []).map((name) => this.#relays.get(name)!);
  }

  /** Where a process writes what its next signature needs. */
  #stateFolder(role: Role): string {
    if (role === 'writer') return join(this.base, 'log/state');
    if (role === 'mirror') return copyFolder(this.base);
    return join(this.base, pick(HELD[this.shape][role] ?? []), 'state/witness/journal-1');
  }

  /** Waits for a moment in the life of a process; never longer than `limitMs`. */
  async #moment(role: Role, limitMs: number): Promise<void> {
    const moment = pick(MOMENTS);
    if (moment === 'random') return pause(Math.random() * limitMs);
    const end = new AbortController();
    const happened = new Promise<void>((resolve) => {
      if (moment === 'writing') {
        try {
          watch(this.#stateFolder(role), { signal: end.signal }).once('change', resolve);
        } catch {
          // It is not there yet: then any moment will do.
          resolve();
        }
      } else if (role === 'mirror') this.#onServed = resolve;
      else if (role === 'writer') this.#relays.get(MIRROR_NAME)!.onForwarded = resolve;
      else for (const relay of this.#relaysOf(role)) relay.onForwarded = resolve;
    });
    await Promise.race([happened, pause(limitMs)]);
    end.abort();
    return pause(Math.random() * WORK_MS);
  }

  /** Kills a process, looks at what it left, and starts it again; while it starts it may be killed again. */
  async killOne(role: Role, limitMs: number): Promise<void> {
    const mortal = this.#mortals.get(role)!;
    if (Math.random() * IMPATIENT >= 1) await this.#allUp();
    await this.#moment(role, limitMs);
    for (const relay of this.#relaysOf(role)) relay.target = undefined;
    const wasAlive = await mortal.kill();
    this.#look();
    const { observer, base } = this;
    const fault =
      role === 'writer'
        ? writerFault(base, observer.signedSize)
        : role === 'mirror'
          ? this.#copyEye.fault(base, observer.cosignedSize(MIRROR_NAME))
          : undefined;
    if (fault !== undefined) observer.broken.push(fault);
    if (!wasAlive || this.#isClosed) return;
    mortal.kills += 1;
    mortal.start();
  }

  /** Ends the load, lets everything become final, and gives the log as an independent verifier reads it. */
  async settle(): Promise<LogFacts> {
    for (const timer of this.#timers.slice(1)) clearInterval(timer);
    await this.#journal.commit();
    const until = Date.now() + SETTLE_TIMEOUT_MS;
    for (;;) {
      this.#look();
      const size = Number(this.#lastPublished.split('\n')[1] ?? -1);
      // The mirror, too, has looked again: stopped in the midst of it, it leaves a temporary file till its next start.
      if ((size === this.paid && this.#isMirrored()) || this.faults().length > 0) break;
      if (Date.now() > until) throw new Error(`${size} of ${this.paid} final after the last kill`);
      await pause(LOOK_INTERVAL_MS);
    }
    await this.#stop();
    const verdict = judgeFolder(join(this.base, 'log/tlog'), Buffer.from(policyOf(this.shape)));
    if (!verdict.right) throw new Error(verdict.reason);
    return verdict.value;
  }

  #isMirrored(): boolean {
    const path = join(copyFolder(this.base), 'tlog/checkpoint');
    return existsSync(path) && readFileSync(path, 'latin1') === this.#lastPublished;
  }

  /** The mirror's copy, by the same eyes. */
  copy(): ReturnType<typeof judgeFolder> {
    return judgeFolder(join(copyFolder(this.base), 'tlog'), Buffer.from(policyOf(this.shape)));
  }

  async #stop(): Promise<void> {
    this.#isClosed = true;
    for (const timer of this.#timers) clearInterval(timer);
    for (const mortal of this.#mortals.values()) await mortal.kill();
  }

  async close(): Promise<void> {
    await this.#stop();
    for (const relay of this.#relays.values()) await relay.close();
    this.#server.closeAllConnections();
    await new Promise((resolve) => this.#server.close(resolve));
    await this.#journal.close();
    await rm(this.base, { recursive: true, force: true, maxRetries: 5 });
  }
}
