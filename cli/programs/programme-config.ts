import { parseMajor } from '../../protocol/amount.ts';
import { KiriError } from '../../protocol/kiri-error.ts';
import type { Programme } from '../../sync/clearing/core/aggregate.ts';
import { JST } from '../../sync/clearing/core/civil-time.ts';
import type { BusinessZone } from '../../sync/clearing/core/civil-time.ts';
import { ipmProfile } from '../../sync/clearing/core/ipm-profile.ts';
import { programmeFault, programmesWith } from '../../sync/clearing/core/programmes.ts';
import type { Config } from './config.ts';

const HOUR_S = 3600;
/** The widest offsets in use, in minutes. */
const OFFSET_MIN = -720;
const OFFSET_MAX = 840;

function amountOf(config: Config, key: string): bigint {
  const amount = parseMajor(config.text(key));
  if (amount !== undefined) return amount;
  throw new KiriError('CONFIG_INVALID', `programmes: ${key} is not an amount such as 120 or 3.85`);
}

/** Japan where no zone is stated: windows, ages and dates of lines follow it. */
function zoneOf(config: Config): BusinessZone {
  if (!config.has('zone')) return JST;
  const zone = config.part('zone');
  const minutes = Number(zone.text('utcOffsetMinutes'));
  if (!Number.isInteger(minutes) || minutes < OFFSET_MIN || minutes > OFFSET_MAX) {
    throw new KiriError('CONFIG_INVALID', 'programmes: zone.utcOffsetMinutes is not an offset');
  }
  return { name: zone.text('name'), offsets: [{ fromS: 0, minutes }] };
}

function programmeOf(config: Config): Programme {
  const programme: Programme = {
    name: config.text('name'),
    zone: zoneOf(config),
    thresholdMicro: amountOf(config, 'threshold'),
    windowMinimumMicro: config.has('windowMinimum')
      ? amountOf(config, 'windowMinimum')
      : 1_000_000n,
    maxAgeS: config.count('maxAgeHours', 120) * HOUR_S,
    ...(config.has('mccs') ? { mccs: config.texts('mccs') } : {}),
    ...(config.has('profile') ? { profile: config.text('profile') } : {}),
    ...(config.has('fee') ? { fee: feeOf(config.part('fee')) } : {}),
  };
  const fault = programmeFault(programme);
  if (fault !== undefined) {
    throw new KiriError('CONFIG_INVALID', `programmes: ${programme.name}: ${fault}`);
  }
  if (programme.profile !== undefined && !ipmProfile(programme.profile)) {
    throw new KiriError('CONFIG_INVALID', `programmes: no profile ${programme.profile}`);
  }
  return programme;
}

const feeOf = (config: Config): NonNullable<Programme['fee']> => ({
  basisPoints: config.has('basisPoints') ? Number(config.text('basisPoints')) : 0,
  fixedMicro: config.has('fixed') ? amountOf(config, 'fixed') : 0n,
});

/**
 * `programmes` of a clearing's configuration, in place of or beside those that every clearing knows.
 * @throws KiriError CONFIG_INVALID
 */
export function configuredProgrammes(config: Config): ReadonlyMap<string, Programme> {
  if (!config.has('programmes')) return programmesWith([]);
  const programmes = config.parts('programmes').map(programmeOf);
  if (new Set(programmes.map(({ name }) => name)).size !== programmes.length) {
    throw new KiriError('CONFIG_INVALID', 'programmes: a name stands twice');
  }
  return programmesWith(programmes);
}
