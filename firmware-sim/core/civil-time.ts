/** Calendar arithmetic without the runtime's own clock or zone tables: proleptic Gregorian, as ISO 8601 has it. */

/** A written date and time. `offsetMinutes` stands where the text names its zone (Z is 0). */
export interface CivilTime {
  /** Seconds since 1970-01-01T00:00:00 as written, zone left out of account. */
  readonly wallS: number;
  readonly offsetMinutes?: number;
}

const STAMP = /^(\d{4})-(\d\d)-(\d\d)[T ](\d\d):(\d\d):(\d\d)(?:\.\d{1,9})?(Z|[+-]\d\d:\d\d)?$/;
const DAYS_IN_MONTH = [31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];

/** Days from 1970-01-01. The year is taken to start in March, so the leap day comes last and needs no case of its own. */
function daysSinceEpoch(year: number, month: number, day: number): number {
  const shifted = month > 2 ? year : year - 1;
  const monthFromMarch = (month + 9) % 12;
  const dayOfYear = Math.floor((153 * monthFromMarch + 2) / 5) + day - 1;
  const leapDays = Math.floor(shifted / 4) - Math.floor(shifted / 100) + Math.floor(shifted / 400);
  // 719,468 days lie between 0000-03-01 and 1970-01-01.
  return 365 * shifted + leapDays + dayOfYear - 719_468;
}

function isLeap(year: number): boolean {
  return year % 4 === 0 && (year % 100 !== 0 || year % 400 === 0);
}

function offsetOf(zone: string): number | undefined {
  if (zone === 'Z') return 0;
  const minutes = Number(zone.slice(1, 3)) * 60 + Number(zone.slice(4));
  if (Number(zone.slice(4)) > 59 || minutes > 14 * 60) return undefined;
  return zone.startsWith('-') ? -minutes : minutes;
}

/** Reads `2020-05-17T22:27:00Z` or `2020-02-08 09:34:25`; fractions of a second are dropped. Undefined where it is no time. */
export function parseCivilTime(text: string): CivilTime | undefined {
  const match = STAMP.exec(text);
  if (!match) return undefined;
  const [year, month, day, hour, minute, second] = match.slice(1, 7).map(Number) as [
    number,
    number,
    number,
    number,
    number,
    number,
  ];
  if (year < 1970 || month < 1 || month > 12) return undefined;
  const lastDay = month === 2 && isLeap(year) ? 29 : DAYS_IN_MONTH[month - 1]!;
  if (day < 1 || day > lastDay || hour > 23 || minute > 59 || second > 59) return undefined;
  const wallS = daysSinceEpoch(year, month, day) * 86_400 + hour * 3_600 + minute * 60 + second;
  if (match[7] === undefined) return { wallS };
  const offsetMinutes = offsetOf(match[7]);
  return offsetMinutes === undefined ? undefined : { wallS, offsetMinutes };
}

/** Minute of the day, 0 … 1439, of a wall-clock reading in seconds. */
export function minuteOfDay(wallS: number): number {
  return Math.floor((((wallS % 86_400) + 86_400) % 86_400) / 60);
}
