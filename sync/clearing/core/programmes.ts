import type { Programme } from './aggregate.ts';
import { JST } from './civil-time.ts';

const HOUR_S = 3600;
const DAY_S = 24 * HOUR_S;
/** Programmes state their sums in major units of the currency. */
const MAJOR = 1_000_000n;

/** What a merchant settles under where its own programme does not fit it. */
const FALLBACK_PROGRAMME = 'BILATERAL';

/**
 * The programmes that every clearing knows (settlement.md section 2). `BILATERAL`: on us or under an agreement of our own,
 * presented once a day from one major unit on, at the latest after five days. `TRANSIT-AGGREGATED`: fares, tolls, bridges
 * and parking alone, one local day, at the latest after fourteen. `MEMBER`: as the first, cleared by the card system.
 */
export const PROGRAMMES: readonly Programme[] = [
  {
    name: FALLBACK_PROGRAMME,
    zone: JST,
    thresholdMicro: 10_000n * MAJOR,
    windowMinimumMicro: MAJOR,
    maxAgeS: 5 * DAY_S,
  },
  {
    name: 'TRANSIT-AGGREGATED',
    zone: JST,
    thresholdMicro: 5_000n * MAJOR,
    windowMinimumMicro: MAJOR,
    maxAgeS: 14 * DAY_S,
    mccs: ['4111', '4131', '4784', '7523'],
  },
  {
    name: 'MEMBER',
    zone: JST,
    thresholdMicro: 10_000n * MAJOR,
    windowMinimumMicro: MAJOR,
    maxAgeS: 5 * DAY_S,
    profile: 'kiri-ipm-member',
  },
];

const AGE_MIN_S = HOUR_S;
const AGE_MAX_S = 30 * DAY_S;
const BASIS_POINTS_MAX = 10_000;

/** What is wrong with a programme's data, in words; undefined if nothing. */
export const programmeFault = (programme: Programme): string | undefined => {
  const { name, thresholdMicro, windowMinimumMicro, maxAgeS, mccs, fee } = programme;
  if (!/^[A-Z0-9-]{1,32}$/.test(name)) return 'name is not 1 to 32 of A-Z, 0-9 and -';
  if (thresholdMicro <= 0n) return 'threshold is not above zero';
  if (windowMinimumMicro <= 0n || windowMinimumMicro > thresholdMicro) {
    return 'windowMinimum is not above zero and at most the threshold';
  }
  if (maxAgeS < AGE_MIN_S || maxAgeS > AGE_MAX_S) return 'maxAge is not one hour to thirty days';
  if (mccs && (mccs.length === 0 || mccs.some((mcc) => !/^\d{4}$/.test(mcc)))) {
    return 'mccs are not four digits each';
  }
  if (!fee) return undefined;
  const isRate = Number.isInteger(fee.basisPoints) && fee.basisPoints >= 0;
  if (!isRate || fee.basisPoints > BASIS_POINTS_MAX || fee.fixedMicro < 0n) {
    return 'fee is not 0 to 10,000 basis points and a sum from zero on';
  }
  return undefined;
};

/**
 * The rules for a merchant: its programme's, or those of the fallback where its category does not belong there. A wrong
 * category is no reason to hold an honest merchant's money: it is paid under the rules that ask least of a card system,
 * and the difference is noted. Undefined for a programme that nobody has defined: then the lane waits.
 */
export const programmeFor = (
  programmes: ReadonlyMap<string, Programme>,
  name: string,
  mcc: string,
): Programme | undefined => {
  const programme = programmes.get(name);
  if (!programme?.mccs || programme.mccs.includes(mcc)) return programme;
  return programmes.get(FALLBACK_PROGRAMME);
};

/** The known programmes by name, those of a configuration in place of or beside them. */
export const programmesWith = (configured: readonly Programme[]): ReadonlyMap<string, Programme> =>
  new Map([...PROGRAMMES, ...configured].map((programme) => [programme.name, programme]));
