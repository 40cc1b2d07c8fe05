import { KiriError } from '../../protocol/kiri-error.ts';
import type { ClearingService } from '../../sync/clearing/clearing-service.ts';
import { partFault } from '../../sync/clearing/core/part.ts';
import type { Part } from '../../sync/clearing/core/part.ts';
import type { Taken } from '../../sync/clearing/core/log-row.ts';
import { openStoreReadOnly } from '../../sync/clearing/open-store.ts';
import { isPostgresUrl } from '../../sync/clearing/postgres-url.ts';
import { takenOfParts } from '../../sync/clearing/parted-taken.ts';
import type { SqlDatabase } from '../../sync/clearing/sql.ts';
import type { Config } from './config.ts';
import { storePlace, type StorePlace } from './store-place.ts';

/** One part of a clearing that several processes share (docs/clearing.md, Parts). */
export interface ConfiguredPart {
  readonly part: Part;
  /** Id of the key that allowances name; the part's own key where nothing else is stated. */
  readonly clearing: Uint8Array;
  /** Where the stores of the other parts are; without them this part acknowledges nothing. */
  readonly others: readonly StorePlace[];
}

/**
 * `part` of a clearing's configuration: {index, of}, with `clearing` (public key file) and `stores` of the other parts.
 * @param own id of this process's key
 * @throws KiriError CONFIG_INVALID
 */
export function configuredPart(config: Config, own: Uint8Array): ConfiguredPart | undefined {
  if (!config.has('part')) return undefined;
  const stated = config.part('part');
  const part = { index: stated.whole('index'), of: stated.whole('of') };
  const fault = partFault(part);
  if (fault !== undefined) throw new KiriError('CONFIG_INVALID', `part: ${fault}`);
  const files = stated.has('stores') ? stated.paths('stores') : [];
  const others = (stated.has('stores') ? stated.texts('stores') : []).map((place, at) =>
    isPostgresUrl(place) ? place : files[at]!,
  );
  if (others.length > 0 && others.length !== part.of - 1) {
    const wanted = `${part.of - 1} stores of the other parts`;
    throw new KiriError('CONFIG_INVALID', `part: stores names ${others.length}, not the ${wanted}`);
  }
  const password = config.has('storePasswordFile') ? config.path('storePasswordFile') : undefined;
  return {
    part,
    clearing: stated.has('clearing') ? stated.publicKey('clearing').id : own,
    others: others.map((place) => storePlace(place, password)),
  };
}

/**
 * What may be acknowledged of each approver, by its id in hex: what all parts hold together, read beside them.
 * @throws KiriError PARTS_INCOMPLETE
 */
export async function takenOf(
  service: ClearingService,
  parted: ConfiguredPart | undefined,
): Promise<ReadonlyMap<string, Taken>> {
  if (!parted) return service.taken();
  if (parted.others.length === 0) {
    throw new KiriError(
      'PARTS_INCOMPLETE',
      'one part alone acknowledges nothing: name the stores of the others in part.stores',
    );
  }
  const stores: SqlDatabase[] = [];
  try {
    for (const { location, access } of parted.others) {
      stores.push(await openStoreReadOnly(location, access));
    }
    const own: SqlDatabase = { transaction: (work) => service.within(work), close: async () => {} };
    return await takenOfParts([own, ...stores]);
  } finally {
    for (const store of stores) await store.close();
  }
}
