/**
 * A mirror as an HTTP service on the loopback address. It is asked like a witness (POST /add-checkpoint) and cosigns like
 * one, but only after payload and commitment of every entry up to that size are durable here and checked (DESIGN
 * section 5); until then the asker hears 503 and comes again. What it holds it serves: /logs/<SHA-256 of origin>/….
 */
import { join } from 'node:path';
import type { Trust } from '../../identity/core/chain.ts';
import type { HttpAnswer, HttpRequest } from '../../platform/http-server.ts';
import { makeFolder } from '../../platform/make-folder.ts';
import type { Clock } from '../../platform/ports.ts';
import { toDiskError } from '../../platform/disk-error.ts';
import { lockFolder } from '../../platform/folder-lock.ts';
import type { EnrolledLog, EnrolmentRules } from './core/enrol.ts';
import type { VerifierKey } from './core/note-key.ts';
import { isShardOfTime, parseShard, shardKeys } from './core/shard.ts';
import { type WitnessPorts, openRequest } from './core/witness.ts';
import { SIGNED_HEAD_PATH } from './log-copy.ts';
import { fileAnswer } from './log-server.ts';
import { type LogSource, folderSource, httpSource, sourceBelow } from './log-source.ts';
import { MirroredLog, type MirroredLogStatus, originFolder } from './mirror-log.ts';
import { startWitnessService } from './witness-service.ts';

/** How often a log's published checkpoint is looked at, beside the requests for cosignatures. */
const FOLLOW_INTERVAL_MS = 1_000;

export interface MirrorServiceOptions {
  /** The mirror's own folder: `logs/` is served, `state/` is not. */
  readonly root: string;
  /** The mirror's cosignature key: another than any witness's. */
  readonly ports: WitnessPorts;
  /** Trusted keys and static files of each log, by origin; or of each chain of shards, by its prefix. */
  readonly logs: ReadonlyMap<
    string,
    { readonly keys: readonly VerifierKey[]; readonly source: LogSource }
  >;
  /** Logs may enrol, each with its address; absent: only `logs` are known. */
  readonly enrolment?: Omit<EnrolmentRules, 'needsUrl'>;
  /** The issuer: its signed request stands in the place of an erased content key. */
  readonly erasure?: Trust;
  /** 0 takes any free port. */
  readonly port: number;
  readonly clock: Clock;
  /** See WitnessServiceOptions. */
  readonly keyMark?: string;
}

export interface MirrorService {
  readonly url: string;
  readonly port: number;
  /** By origin; `cosignedSize` is 0 before the first cosignature. */
  status(): ReadonlyMap<string, MirroredLogStatus & { readonly cosignedSize: number }>;
  close(): Promise<void>;
}

const LOG_FILE = /^\/logs\/([0-9a-f]{64})(\/.+)$/;

const serveFile = async (
  logs: MirroredLogs,
  { method, path }: HttpRequest,
): Promise<HttpAnswer> => {
  if (method !== 'GET') return { status: 405, body: 'GET only\n' };
  const [, name = '', below = ''] = LOG_FILE.exec(path) ?? [];
  const folder = logs.folder(name);
  if (folder === undefined) return { status: 404, body: 'not found\n' };
  if (below !== `/${SIGNED_HEAD_PATH}`) return fileAnswer(folder, '', below);
  const body = await folder.read(SIGNED_HEAD_PATH);
  if (body === undefined) return { status: 404, body: 'not found\n' };
  return { status: 200, body, contentType: 'text/plain; charset=utf-8' };
};

type Mirrored = MirrorServiceOptions['logs'] extends ReadonlyMap<string, infer T> ? T : never;

/** @throws KiriError DISK_*, STATE_CORRUPT, LOG_* */
const openMirrored = (
  { root, ports, erasure }: MirrorServiceOptions,
  origin: string,
  { keys, source }: Mirrored,
): Promise<MirroredLog> => {
  const log = { origin, keys, verify: ports.verify, ...(erasure === undefined ? {} : { erasure }) };
  return MirroredLog.open(root, log, source);
};

/** A shard of a chain, beside the others at its log's address. */
const shardOf = (origin: string, { keys, source }: Mirrored): Mirrored => ({
  keys: shardKeys(keys, origin),
  source: sourceBelow(source, origin.slice(origin.lastIndexOf('/') + 1)),
});

/** What a mirror copies: configured and enrolled logs, each opened at the start or when it is first asked for. */
class MirroredLogs {
  /** Opened logs by origin; a configured prefix of shards is one of them. */
  readonly opened = new Map<string, MirroredLog>();
  /** Keys by origin or prefix. */
  readonly keys = new Map<string, readonly VerifierKey[]>();
  readonly #options: MirrorServiceOptions;
  readonly #known: Map<string, Mirrored>;
  readonly #opening = new Map<string, Promise<MirroredLog>>();
  /** Addresses of enrolled logs: a later enrolment may name another. */
  readonly #urls = new Map<string, string>();
  readonly #folders = new Map<string, LogSource>();

  constructor(options: MirrorServiceOptions) {
    this.#options = options;
    this.#known = new Map(options.logs);
    for (const [origin, { keys }] of options.logs) this.keys.set(origin, keys);
  }

  /** Static files of an opened log, by its folder's name. */
  folder(name: string): LogSource | undefined {
    return this.#folders.get(name);
  }

  /** Whether an origin itself was configured, enrolled or opened; not only its prefix. */
  knows(origin: string): boolean {
    return this.opened.has(origin) || this.#known.has(origin);
  }

  /** Takes a log, or the new address of one that is known. */
  enrol({ origin, key, url }: EnrolledLog): void {
    if (url === undefined) return;
    const isKnown = this.#urls.has(origin);
    this.#urls.set(origin, url);
    if (isKnown) return;
    const now = (): LogSource => httpSource(this.#urls.get(origin) ?? url);
    const source: LogSource = {
      get place() {
        return now().place;
      },
      read: (path) => now().read(path),
    };
    this.keys.set(origin, [key]);
    this.#known.set(origin, { keys: [key], source });
  }

  /** Finds a log; one that is not open yet is opened, and served from then on. Undefined: unknown. */
  async open(origin: string): Promise<MirroredLog | undefined> {
    const opened = this.opened.get(origin);
    const chain = this.#known.get(parseShard(origin)?.prefix ?? '');
    const known = this.#known.get(origin) ?? (chain && shardOf(origin, chain));
    if (opened !== undefined || known === undefined) return opened;
    const task =
      this.#opening.get(origin) ??
      openMirrored(this.#options, origin, known).then((log) => {
        this.opened.set(origin, log);
        const name = originFolder(origin);
        this.#folders.set(name, folderSource(join(this.#options.root, 'logs', name)));
        return log;
      });
    this.#opening.set(origin, task);
    return task.finally(() => this.#opening.delete(origin));
  }
}

const otherTime: HttpAnswer = { status: 404, body: 'a shard of another time\n' };

/** What the witness asks too, but before a folder is made: a log must not fill the disk with shards of any year. */
const isTimely = (origin: string, clock: Clock): boolean => {
  const shard = parseShard(origin);
  return shard === undefined || isShardOfTime(shard, clock.now().unixMs);
};

/**
 * Starts a mirror.
 * @throws KiriError DISK_*, FOLDER_LOCKED, STATE_CORRUPT, LOG_*, PORT_IN_USE, PORT_FAILED
 */
export const startMirrorService = async (options: MirrorServiceOptions): Promise<MirrorService> => {
  const { root, ports, port, clock, enrolment } = options;
  const state = join(root, 'state');
  try {
    makeFolder(state);
  } catch (error) {
    throw toDiskError(error, 'open mirror folder', root);
  }
  const unlock = lockFolder(state);
  try {
    const logs = new MirroredLogs(options);
    for (const origin of options.logs.keys()) await logs.open(origin);
    const witness = await startWitnessService({
      root,
      ports,
      logs: new Map(logs.keys),
      ...(enrolment === undefined ? {} : { enrolment: { ...enrolment, needsUrl: true } }),
      onEnrolled: (log) => logs.enrol(log),
      port,
      clock,
      ...(options.keyMark === undefined ? {} : { keyMark: options.keyMark }),
      admit: async (body) => {
        const opened = openRequest(logs.keys, body, ports.verify);
        if ('status' in opened) return opened;
        const { head, text, logLine } = opened;
        if (!logs.knows(head.origin) && !isTimely(head.origin, clock)) return otherTime;
        const log = await logs.open(head.origin);
        // Never a cosignature for contents that nobody here looked at.
        if (log === undefined) return { status: 404, body: 'unknown log\n' };
        return log.admit({ ...head, note: `${text}\n${logLine}` });
      },
      others: (request) => serveFile(logs, request),
    });
    for (const origin of witness.sizes().keys()) await logs.open(origin);
    const followAll = (): void => {
      for (const log of logs.opened.values()) void log.follow();
    };
    const timer = setInterval(followAll, FOLLOW_INTERVAL_MS);
    return {
      url: witness.url,
      port: witness.port,
      status: () => {
        const cosigned = witness.sizes();
        return new Map(
          Array.from(logs.opened, ([origin, log]) => [
            origin,
            { ...log.status(), cosignedSize: cosigned.get(origin) ?? 0 },
          ]),
        );
      },
      close: async () => {
        clearInterval(timer);
        await witness.close();
        for (const log of logs.opened.values()) await log.settle();
        unlock();
      },
    };
  } catch (error) {
    unlock();
    throw error;
  }
};
