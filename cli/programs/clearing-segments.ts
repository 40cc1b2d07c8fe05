import { toHex } from '../../protocol/bytes.ts';
import { KiriError } from '../../protocol/kiri-error.ts';
import { openStore, openStoreReadOnly } from '../../sync/clearing/open-store.ts';
import { checkVersion } from '../../sync/clearing/schema.ts';
import { SEAL_AFTER_DAYS, checkSegment, sealSegments } from '../../sync/clearing/seal-segments.ts';
import { readSegments } from '../../sync/clearing/segments.ts';
import type { Segment } from '../../sync/clearing/segments.ts';
import type { SqlSession } from '../../sync/clearing/sql.ts';
import { EXIT_FAILED, EXIT_OK } from '../command.ts';
import { storePlace } from './store-place.ts';
import { say, toolOptions } from './tool-options.ts';

/** A segment as commands and answers show it. */
export function spokenSegment(segment: Segment): Record<string, string | number> {
  const { name, state, receipts, chargeMicro, sha256, sealedS, rewrittenS } = segment;
  return {
    name,
    state,
    receipts,
    chargeMicro: chargeMicro.toString(),
    sha256: toHex(sha256),
    ...(sealedS === undefined ? {} : { sealedS }),
    ...(rewrittenS === undefined ? {} : { rewrittenS }),
  };
}

/**
 * What the answer to a cut says of the sealing behind it, or why there was none: its files are cut and written by then, so
 * they are told in any case. The next cut seals again.
 */
export async function spokenSealing(
  seal: () => Promise<readonly Segment[]>,
): Promise<Record<string, unknown>> {
  try {
    const sealed = await seal();
    return sealed.length > 0 ? { sealed: sealed.map(spokenSegment) } : {};
  } catch (error) {
    if (!(error instanceof Error)) throw error;
    return {
      sealTrouble: error instanceof KiriError ? `${error.code}: ${error.message}` : error.message,
    };
  }
}

/** `kiri clearing seal --store STORE [--after-days N]`: the store's only writer meanwhile. */
export async function runSeal(argv: readonly string[]): Promise<number> {
  const options = toolOptions(argv, ['store', 'store-password-file', 'after-days']);
  const days = options.count('after-days') ?? SEAL_AFTER_DAYS;
  const place = storePlace(options.need('store'), options.text('store-password-file'));
  // A writer would make a store where there is none.
  const there = await openStoreReadOnly(place.location, place.access);
  try {
    await checkVersion(there);
  } finally {
    await there.close();
  }
  const database = await openStore(place.location, place.access);
  try {
    const sealed = await sealSegments(database, days, Math.floor(Date.now() / 1000));
    const words = sealed.map(({ name, receipts }) => `${name}: ${receipts} receipts`);
    say(options.json, { sealed: sealed.map(spokenSegment) }, words.join('\n') || 'nothing to seal');
  } finally {
    await database.close();
  }
  return EXIT_OK;
}

/** Counted anew from its rows; one that is being filled or rewritten has no end yet that could be held against them. */
async function checked(session: SqlSession, segment: Segment): Promise<Record<string, unknown>> {
  const isIntact =
    segment.state === 'sealed' ? (await checkSegment(session, segment.name)).isIntact : true;
  return { ...spokenSegment(segment), isIntact };
}

/** `kiri clearing segments --store STORE`: every segment, counted anew; exit code 1 if one is not what was sealed. */
export async function runSegments(argv: readonly string[]): Promise<number> {
  const options = toolOptions(argv, ['store', 'store-password-file']);
  const place = storePlace(options.need('store'), options.text('store-password-file'));
  const database = await openStoreReadOnly(place.location, place.access);
  try {
    await checkVersion(database);
    const segments: Record<string, unknown>[] = [];
    await database.transaction(async (session) => {
      for (const segment of await readSegments(session)) {
        segments.push(await checked(session, segment));
      }
    });
    const isIntact = segments.every((one) => one['isIntact'] === true);
    const words = segments.map(
      (one) =>
        `${String(one['name'])} ${String(one['state'])}: ${String(one['receipts'])} receipts, ${String(one['sha256'])}` +
        (one['isIntact'] === true ? '' : ': NOT WHAT WAS SEALED'),
    );
    say(options.json, { ok: isIntact, segments }, words.join('\n') || 'no segments');
    return isIntact ? EXIT_OK : EXIT_FAILED;
  } finally {
    await database.close();
  }
}
