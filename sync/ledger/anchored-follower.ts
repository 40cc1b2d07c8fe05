/**
 * Brings L3 back to a log: asks the roll-up log how far it is anchored and notes that in `state/anchored`, where levels and
 * `kiri status` find it. It is the roll-up's word, shown and never counted on: evidence is checked by `kiri verify`.
 */
import { fetchBytes } from '../../platform/http-client.ts';
import { readAnchored, writeAnchored } from './levels-file.ts';

const ASK_INTERVAL_MS = 10_000;
/** 10,000 logs fit. */
const LIMITS = { timeoutMs: 5_000, maxBytes: 8 * 1024 * 1024 };

/** The roll-up's logs out of its status; what has another form is left out. */
const anchoredIn = (body: Uint8Array): readonly { origin: string; size: number; ref: string }[] => {
  const { logs } = Object(JSON.parse(Buffer.from(body).toString('utf8'))) as { logs?: unknown };
  return (Array.isArray(logs) ? logs : []).flatMap((log: unknown) => {
    const { origin, anchored } = Object(log) as Record<string, unknown>;
    const { size, ref } = Object(anchored) as Record<string, unknown>;
    const isSound = Number.isSafeInteger(size) && Number(size) > 0 && typeof ref === 'string';
    return typeof origin === 'string' && isSound ? [{ origin, size: Number(size), ref }] : [];
  });
};

/**
 * Starts asking.
 * @param url of the roll-up's HTTP interface
 * @param folderOf folder of the log of that origin; undefined for logs of others
 */
export const followAnchored = (
  url: string,
  folderOf: (origin: string) => string | undefined,
): { close(): Promise<void> } => {
  let running: Promise<void> | undefined;
  const ask = async (): Promise<void> => {
    const { status, body } = await fetchBytes(`${url}/status`, LIMITS);
    if (status !== 200) return;
    for (const { origin, size, ref } of anchoredIn(body)) {
      const root = folderOf(origin);
      const known = root === undefined ? undefined : await readAnchored(root);
      if (root !== undefined && size > (known?.size ?? 0)) await writeAnchored(root, { size, ref });
    }
  };
  const round = (): void => {
    // An offline gateway, a broken answer, a full disk: L3 stays where it was until the next round.
    running ??= ask()
      .catch(() => {})
      .finally(() => {
        running = undefined;
      });
  };
  const timer = setInterval(round, ASK_INTERVAL_MS);
  round();
  return {
    close: async () => {
      clearInterval(timer);
      await running;
    },
  };
};
