/**
 * A business zone as data: UTC offset in minutes, with the instants (UTC seconds) from which another offset holds.
 * Japan needs one entry; a zone with summer time lists its changes. No runtime zone tables are asked, so that a
 * file of years ago rebuilds the same on any machine.
 */
export type BusinessZone = {
  readonly name: string;
  readonly offsets: readonly { readonly fromS: number; readonly minutes: number }[];
};

export const JST: BusinessZone = {
  name: 'Asia/Tokyo',
  offsets: [{ fromS: 0, minutes: 540 }],
};

const DAY_S = 86_400;

/** One calendar moment of a zone. `dayNumber` counts local days from 1970-01-01. */
export type CivilTime = {
  readonly year: number;
  readonly month: number;
  readonly day: number;
  readonly dayOfYear: number;
  readonly secondOfDay: number;
  readonly dayNumber: number;
};

const offsetS = (zone: BusinessZone, timeS: number): number => {
  let minutes = zone.offsets[0]?.minutes ?? 0;
  for (const entry of zone.offsets) if (entry.fromS <= timeS) minutes = entry.minutes;
  return minutes * 60;
};

const isLeap = (year: number): boolean => year % 4 === 0 && (year % 100 !== 0 || year % 400 === 0);

const daysBeforeYear = (year: number): number => {
  const past = year - 1;
  const leaps = Math.floor(past / 4) - Math.floor(past / 100) + Math.floor(past / 400);
  return past * 365 + leaps - 719_162;
};

const MONTH_DAYS: readonly number[] = [31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];

/** UTC seconds → calendar of the zone (proleptic Gregorian). */
export const civilTime = (timeS: number, zone: BusinessZone): CivilTime => {
  const localS = timeS + offsetS(zone, timeS);
  const dayNumber = Math.floor(localS / DAY_S);
  let year = 1970 + Math.floor(dayNumber / 366);
  while (daysBeforeYear(year + 1) <= dayNumber) year++;
  let left = dayNumber - daysBeforeYear(year);
  const dayOfYear = left + 1;
  let month = 0;
  for (;;) {
    const length = (MONTH_DAYS[month] ?? 31) + (month === 1 && isLeap(year) ? 1 : 0);
    if (left < length) break;
    left -= length;
    month++;
  }
  const secondOfDay = localS - dayNumber * DAY_S;
  return { year, month: month + 1, day: left + 1, dayOfYear, secondOfDay, dayNumber };
};

/** First second of a local day, in UTC. Where the day starts at a change of offset, the later offset counts. */
export const dayStartS = (dayNumber: number, zone: BusinessZone): number => {
  const localS = dayNumber * DAY_S;
  const guess = localS - offsetS(zone, localS);
  return localS - offsetS(zone, guess);
};

/** Local days from 1970-01-01 to the first day of a month (1 … 12). */
export const monthStartDay = (year: number, month: number): number => {
  let days = daysBeforeYear(year);
  for (let at = 0; at < month - 1; at++) {
    days += (MONTH_DAYS[at] ?? 0) + (at === 1 && isLeap(year) ? 1 : 0);
  }
  return days;
};

const digits = (value: number, width: number): string => String(value).padStart(width, '0');

/** `YYMMDD` of the zone's calendar. */
export const yymmdd = (time: CivilTime): string =>
  digits(time.year % 100, 2) + digits(time.month, 2) + digits(time.day, 2);

/** Whether a text is a day of the calendar of 2000 to 2099 as `YYMMDD`. */
export const isYymmdd = (text: string): boolean => {
  if (!/^\d{6}$/.test(text)) return false;
  const [year, month, day] = [0, 2, 4].map((at) => Number(text.slice(at, at + 2)));
  const length = (MONTH_DAYS[(month ?? 0) - 1] ?? 0) + (month === 2 && isLeap(year ?? 0) ? 1 : 0);
  return day !== undefined && day >= 1 && day <= length;
};

/** `YYMMDDhhmmss`, as DE12 wants it. */
export const yymmddhhmmss = (time: CivilTime): string =>
  yymmdd(time) +
  digits(Math.floor(time.secondOfDay / 3600), 2) +
  digits(Math.floor(time.secondOfDay / 60) % 60, 2) +
  digits(time.secondOfDay % 60, 2);

/** Last digit of the year and day of the year, as DE31 wants it. */
export const yddd = (time: CivilTime): string =>
  digits(time.year % 10, 1) + digits(time.dayOfYear, 3);

/** `YYYY-MM-DD`: the full date that YDDD loses. */
export const isoDate = (time: CivilTime): string =>
  `${digits(time.year, 4)}-${digits(time.month, 2)}-${digits(time.day, 2)}`;
