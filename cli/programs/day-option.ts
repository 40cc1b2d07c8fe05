import { UsageError } from '../command.ts';

const DAY_MS = 86_400_000;

/** Days since 1970 of a calendar date. @throws UsageError unless it is one, YYYY-MM-DD */
export function dayNumber(name: string, text: string): number {
  const ms = /^\d{4}-\d{2}-\d{2}$/.test(text) ? Date.parse(`${text}T00:00:00Z`) : Number.NaN;
  // The round trip refuses 30 February, which some parsers would move into March.
  if (Number.isNaN(ms) || new Date(ms).toISOString().slice(0, 10) !== text) {
    throw new UsageError(`--${name} is not a date YYYY-MM-DD`);
  }
  return ms / DAY_MS;
}
