/** Where a log's static files come from: a folder, or the same paths over HTTP. Read-only, every answer bounded. */
import { open } from 'node:fs/promises';
import { join } from 'node:path';
import { systemCode, toDiskError } from '../../platform/disk-error.ts';
import { fetchBytes } from '../../platform/http-client.ts';
import { KiriError } from '../../protocol/kiri-error.ts';

/** 256 ciphertexts of 65,535 bytes with their lengths: the largest file of a log. */
export const MAX_FILE_BYTES: number = 256 * (2 + 0xffff);
const HTTP_TIMEOUT_MS = 5_000;

export interface LogSource {
  /** For messages: the folder or the address. */
  readonly place: string;
  /**
   * The file's bytes; `undefined` where there is none.
   * @param path below the log's folder, as in core/log-batch.ts
   * @throws KiriError FILE_TOO_LARGE, DISK_*, HTTP_*, LOG_UNREACHABLE
   */
  read(path: string): Promise<Uint8Array | undefined>;
}

/** A log folder on this machine. */
export const folderSource = (root: string): LogSource => ({
  place: root,
  read: async (path) => {
    try {
      const handle = await open(join(root, path), 'r');
      try {
        const { size } = await handle.stat();
        if (size > MAX_FILE_BYTES)
          throw new KiriError('FILE_TOO_LARGE', `${root}/${path} is over ${MAX_FILE_BYTES} bytes`);
        return new Uint8Array(await handle.readFile());
      } finally {
        await handle.close();
      }
    } catch (error) {
      if (systemCode(error) === 'ENOENT' || systemCode(error) === 'ENOTDIR') return undefined;
      throw toDiskError(error, 'read', join(root, path));
    }
  },
});

/** A log served by log-server.ts (or any static file server). `url` has no trailing slash. */
export const httpSource = (url: string): LogSource => ({
  place: url,
  read: async (path) => {
    const { status, body } = await fetchBytes(`${url}/${path}`, {
      timeoutMs: HTTP_TIMEOUT_MS,
      maxBytes: MAX_FILE_BYTES,
    });
    // 410: retired (core/retention.ts), and as little there.
    if (status === 404 || status === 410) return undefined;
    if (status === 200) return new Uint8Array(body);
    throw new KiriError('LOG_UNREACHABLE', `${url}/${path} answers ${status}`);
  },
});

/** The log in a folder below: a shard of a chain, by its last name. */
export const sourceBelow = (source: LogSource, name: string): LogSource => ({
  place: `${source.place}/${name}`,
  read: (path) => source.read(`${name}/${path}`),
});
