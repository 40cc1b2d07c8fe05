import { parseMajor, type AmountMicro } from '../../protocol/amount.ts';
import { KiriError } from '../../protocol/kiri-error.ts';
import { openCsv } from './csv.ts';

export type Direction = 'north' | 'south';

/** A price that changes with the local time of day. Each step holds until the next; the last one runs over midnight. */
export interface RateTable {
  /** Ascending by minute of the day; at least one. */
  readonly steps: readonly { readonly fromMinute: number; readonly amountMicro: AmountMicro }[];
}

const TIME_OF_DAY = /^(\d{1,2}):(\d\d)$/;
/** One step a minute would be 1,440. */
const MAX_STEPS = 1_440;

function unreadable(name: string, what: string): KiriError {
  return new KiriError(
    'TRACE_UNREADABLE',
    `${name}: ${what}; a rate file has the columns time,South,North, a time as 7:30 and amounts as 0.65`,
  );
}

/**
 * Reads `time,South,North` (amounts in the major unit). Unlike a recorded passage, a step that cannot be read stops
 * everything: leaving it out would silently charge its passages at the step before.
 * @throws KiriError TRACE_UNREADABLE
 */
export function parseRates(text: string, name: string, direction: Direction): RateTable {
  const csv = openCsv(text, name, 'TRACE_UNREADABLE');
  if (!csv.columns.includes('time') || !csv.columns.includes(direction)) {
    throw unreadable(name, `no column time or ${direction}`);
  }
  const steps = new Map<number, AmountMicro>();
  for (const row of csv.rows()) {
    if ('reason' in row) throw unreadable(name, `line ${row.line}: ${row.reason}`);
    const time = TIME_OF_DAY.exec(row.fields.get('time') ?? '');
    const fromMinute = time ? Number(time[1]) * 60 + Number(time[2]) : MAX_STEPS;
    if (fromMinute >= MAX_STEPS || Number(time?.[2]) > 59) {
      throw unreadable(name, `line ${row.line}: no time of day`);
    }
    const amount = parseMajor(row.fields.get(direction) ?? '');
    if (amount === undefined) throw unreadable(name, `line ${row.line}: no amount`);
    if (steps.has(fromMinute)) throw unreadable(name, `line ${row.line}: a time stands twice`);
    steps.set(fromMinute, amount);
  }
  if (steps.size === 0) throw unreadable(name, 'no rows');
  return {
    steps: [...steps]
      .map(([fromMinute, amountMicro]) => ({ fromMinute, amountMicro }))
      .toSorted((a, b) => a.fromMinute - b.fromMinute),
  };
}

/** The rate at a local minute of the day; before the first step the last one of the evening still holds. */
export function rateAt(table: RateTable, minute: number): AmountMicro {
  let found = table.steps.at(-1)!;
  for (const step of table.steps) {
    if (step.fromMinute > minute) break;
    found = step;
  }
  return found.amountMicro;
}
