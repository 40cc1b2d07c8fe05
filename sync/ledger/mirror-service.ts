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
import type { VerifierKey } from './core/note-key.ts';
import { isShardOfTime, parseShard, shardKeys } from './core/shard.ts';
import { type WitnessPorts, openRequest } from './core/witness.ts';
import { SIGNED_HEAD_PATH } from './log-copy.ts';
import { resourceOf } from './log-server.ts';
import { type LogSource, folderSource, sourceBelow } from './log-source.ts';
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
  folders: ReadonlyMap<string, LogSource>,
  { method, path }: HttpRequest,
): Promise<HttpAnswer> => {
  if (method !== 'GET') return { status: 405, body: 'GET only\n' };
  const [, name = '', below = ''] = LOG_FILE.exec(path) ?? [];
  const file =
    below === `/${SIGNED_HEAD_PATH}`
      ? { path: SIGNED_HEAD_PATH, contentType: 'text/plain; charset=utf-8' }
      : resourceOf(below);
  const body = file && (await folders.get(name)?.read(file.path));
  if (file === undefined || body === undefined) return { status: 404, body: 'not found\n' };
  return { status: 200, body, contentType: file.contentType };
};

const openLogs = async (options: MirrorServiceOptions): Promise<Map<string, MirroredLog>> => {
  const { verify } = options.ports;
  const logs = new Map<string, MirroredLog>();
  for (const [origin, { keys, source }] of options.logs) {
    const { erasure } = options;
    const log = { origin, keys, verify, ...(erasure === undefined ? {} : { erasure }) };
    logs.set(origin, await MirroredLog.open(options.root, log, source));
  }
  return logs;
};

type Mirrored = MirrorServiceOptions['logs'] extends ReadonlyMap<string, infer T> ? T : never;

/** @throws KiriError DISK_*, STATE_CORRUPT, LOG_* */
const openShard = (
  { root, ports, erasure }: MirrorServiceOptions,
  origin: string,
  { keys, source }: Mirrored,
): Promise<MirroredLog> =>
  MirroredLog.open(
    root,
    {
      origin,
      keys: shardKeys(keys, origin),
      verify: ports.verify,
      ...(erasure === undefined ? {} : { erasure }),
    },
    sourceBelow(source, origin.slice(origin.lastIndexOf('/') + 1)),
  );

/** Finds a log; a shard of a known prefix is opened when it is first asked for, and served from then on. */
const shardOpener = (
  options: MirrorServiceOptions,
  logs: Map<string, MirroredLog>,
  folders: Map<string, LogSource>,
): ((origin: string) => Promise<MirroredLog | undefined>) => {
  const opening = new Map<string, Promise<MirroredLog>>();
  return async (origin) => {
    const known = logs.get(origin);
    const shard = parseShard(origin);
    const chain = shard && options.logs.get(shard.prefix);
    if (known !== undefined || chain === undefined) return known;
    const task =
      opening.get(origin) ??
      openShard(options, origin, chain).then((log) => {
        logs.set(origin, log);
        const name = originFolder(origin);
        folders.set(name, folderSource(join(options.root, 'logs', name)));
        return log;
      });
    opening.set(origin, task);
    return task.finally(() => opening.delete(origin));
  };
};

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
  const { root, ports, port, clock } = options;
  const state = join(root, 'state');
  try {
    makeFolder(state);
  } catch (error) {
    throw toDiskError(error, 'open mirror folder', root);
  }
  const unlock = lockFolder(state);
  try {
    const logs = await openLogs(options);
    const keys = new Map(Array.from(options.logs, ([origin, log]) => [origin, log.keys]));
    const folders = new Map(
      Array.from(logs.keys(), (origin) => {
        const name = originFolder(origin);
        return [name, folderSource(join(root, 'logs', name))];
      }),
    );
    const openLog = shardOpener(options, logs, folders);
    const witness = await startWitnessService({
      root,
      ports,
      logs: keys,
      port,
      clock,
      ...(options.keyMark === undefined ? {} : { keyMark: options.keyMark }),
      admit: async (body) => {
        const opened = openRequest(keys, body, ports.verify);
        if ('status' in opened) return opened;
        const { head, text, logLine } = opened;
        if (!logs.has(head.origin) && !isTimely(head.origin, clock)) return otherTime;
        const log = await openLog(head.origin);
        // Never a cosignature for contents that nobody here looked at.
        if (log === undefined) return { status: 404, body: 'unknown log\n' };
        return log.admit({ ...head, note: `${text}\n${logLine}` });
      },
      others: (request) => serveFile(folders, request),
    });
    for (const origin of witness.sizes().keys()) await openLog(origin);
    const followAll = (): void => {
      for (const log of logs.values()) void log.follow();
    };
    const timer = setInterval(followAll, FOLLOW_INTERVAL_MS);
    return {
      url: witness.url,
      port: witness.port,
      status: () => {
        const cosigned = witness.sizes();
        return new Map(
          Array.from(logs, ([origin, log]) => [
            origin,
            { ...log.status(), cosignedSize: cosigned.get(origin) ?? 0 },
          ]),
        );
      },
      close: async () => {
        clearInterval(timer);
        await witness.close();
        for (const log of logs.values()) await log.settle();
        unlock();
      },
    };
  } catch (error) {
    unlock();
    throw error;
  }
};
