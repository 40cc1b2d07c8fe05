import { amountMicro, type AmountMicro } from '../../protocol/amount.ts';
import { KiriError } from '../../protocol/kiri-error.ts';
import { minuteOfDay, parseCivilTime } from './civil-time.ts';
import { openCsv, type BadRow, type Csv, type CsvRow } from './csv.ts';
import { rateAt, type RateTable } from './rates.ts';

/** One payment that really was due, in trace order. */
export interface TraceEvent {
  /** Line of the trace file. */
  readonly line: number;
  /** Milliseconds since the first event; a session falls due at its end. */
  readonly atMs: number;
  /** `payer-0` … `payer-(N-1)`. */
  readonly payerRef: string;
  /** `northbound` or `charger-<id>`. */
  readonly payeeRef: string;
  /** What the payee is asked for. */
  readonly item: string;
  /** Passages: 1. Sessions: started minutes. */
  readonly quantity: number;
  /** 0 … 1439, by which a rate table prices. */
  readonly localMinuteOfDay: number;
  /** Price of one unit; `quantity × unitPriceMicro` is due, exactly. */
  readonly unitPriceMicro: AmountMicro;
  readonly amountMicro: AmountMicro;
}

export interface Trace {
  readonly kind: 'passages' | 'sessions';
  /** ISO 4217 numeric: 840 for passages, 392 for sessions. */
  readonly currency: number;
  /** Ascending by atMs, then by line. */
  readonly events: readonly TraceEvent[];
  readonly rows: number;
  /** The first {@link MAX_REPORTED_ROWS} of the rows that could not be used. */
  readonly badRows: readonly BadRow[];
  readonly badRowCount: number;
  /** Good rows with nothing to pay (a session of zero seconds, a rate of 0): no event, since a Payment is above 0. */
  readonly freeRowCount: number;
  /** Sessions over 24 hours; they are charged like any other. */
  readonly longSessionCount: number;
  /** Sessions whose duration is not end − start. The duration counts: it is what was measured, and it is right when the
   * local clock was put forward or back in between. */
  readonly durationMismatchCount: number;
  readonly payeeRefs: readonly string[];
}

export interface TraceOptions {
  /** What to call the file in errors. */
  readonly name: string;
  /**
   * Number of payer devices, default 24. Rows are dealt to them in turn: no trace names its vehicles (equal descriptions
   * are not one car), and in turn means that a burst comes from as many devices as it has vehicles.
   */
  readonly payers?: number;
  /** Price by local time of day for passages; without it every passage costs {@link FLAT_TOLL_MICRO}. */
  readonly rates?: RateTable;
  /** Local time minus UTC where the stamps are UTC. Default −300: Austin in May, daylight saving time. */
  readonly utcOffsetMinutes?: number;
}

export const MAX_REPORTED_ROWS = 100;
const MAX_PAYERS = 100_000;
const DEFAULT_PAYERS = 24;
const AUSTIN_MAY_OFFSET_MINUTES = -300;
/** 0.30 USD, the lowest rate of the road whose passages are recorded. */
const FLAT_TOLL_MICRO: AmountMicro = amountMicro(300_000n);
/** 3.85 JPY a started minute: published tariff of ordinary charging. */
const CHARGE_PER_MINUTE_MICRO: AmountMicro = amountMicro(3_850_000n);
const USD = 840;
const JPY = 392;
/** A longer session is a stuck meter. */
const MAX_SESSION_S = 366 * 86_400;
const DAY_S = 86_400;
/** A local clock put back by an hour makes an honest end stand up to that long before its start. */
const CLOCK_CHANGE_S = 3_600;
const NAME = /^[\w .:/-]{1,40}$/;
const DURATION = /^(\d{1,9})(?:\.(\d{1,6}))?$/;

const COLUMNS: Readonly<Record<Trace['kind'], readonly string[]>> = {
  passages: ['time', 'color', 'type', 'make', 'model'],
  sessions: ['charger_id', 'start_time', 'end_time', 'duration'],
};

/** A usable row before it is dealt to a payer. */
interface Draft {
  readonly line: number;
  readonly atS: number;
  readonly payeeRef: string;
  readonly item: string;
  readonly quantity: number;
  readonly localMinuteOfDay: number;
  readonly unitPriceMicro: AmountMicro;
  readonly long?: boolean;
  readonly mismatch?: boolean;
  /** Two rows with one identity are one event. */
  readonly identity?: string;
}

function readPassage(row: CsvRow, options: TraceOptions): Draft | BadRow {
  const { line } = row;
  const time = parseCivilTime(row.fields.get('time') ?? '');
  if (!time) return { line, reason: 'time is not like 2020-05-17T22:27:00Z' };
  if (time.offsetMinutes === undefined) return { line, reason: 'time does not name its zone' };
  const atS = time.wallS - time.offsetMinutes * 60;
  const localS = atS + (options.utcOffsetMinutes ?? AUSTIN_MAY_OFFSET_MINUTES) * 60;
  const localMinuteOfDay = minuteOfDay(localS);
  const unitPriceMicro = options.rates ? rateAt(options.rates, localMinuteOfDay) : FLAT_TOLL_MICRO;
  const what = { payeeRef: 'northbound', item: 'passage', quantity: 1 };
  return { line, atS, ...what, localMinuteOfDay, unitPriceMicro };
}

function readSession(row: CsvRow): Draft | BadRow {
  const { line } = row;
  const charger = row.fields.get('charger_id') ?? '';
  if (!NAME.test(charger)) return { line, reason: 'charger_id is empty, too long or not a name' };
  const start = parseCivilTime(row.fields.get('start_time') ?? '');
  if (!start) return { line, reason: 'start_time is not like 2020-02-08 09:34:25' };
  const end = parseCivilTime(row.fields.get('end_time') ?? '');
  if (!end) return { line, reason: 'end_time is not like 2020-02-08 09:34:25' };
  const duration = DURATION.exec(row.fields.get('duration') ?? '');
  if (!duration) return { line, reason: 'duration is not a number of seconds' };
  // A fraction of a second starts a second.
  const durationS = Number(duration[1]) + (/[1-9]/.test(duration[2] ?? '') ? 1 : 0);
  if (durationS > MAX_SESSION_S) return { line, reason: 'duration is over 366 days' };
  const startS = start.wallS - (start.offsetMinutes ?? 0) * 60;
  const endS = end.wallS - (end.offsetMinutes ?? 0) * 60;
  if (endS < startS && durationS - (endS - startS) !== CLOCK_CHANGE_S) {
    return { line, reason: 'end_time is before start_time' };
  }
  return {
    line,
    atS: endS,
    payeeRef: `charger-${charger}`,
    item: 'charging minute',
    quantity: Math.ceil(durationS / 60),
    localMinuteOfDay: minuteOfDay(start.wallS),
    unitPriceMicro: CHARGE_PER_MINUTE_MICRO,
    long: durationS > DAY_S,
    mismatch: Math.abs(durationS - (endS - startS)) > 1,
    identity: `${charger}|${startS}|${endS}|${durationS}`,
  };
}

function kindOf(csv: Csv, name: string): Trace['kind'] {
  for (const kind of ['passages', 'sessions'] as const) {
    if (COLUMNS[kind].every((column) => csv.columns.includes(column))) return kind;
  }
  throw new KiriError(
    'TRACE_UNREADABLE',
    `${name}: its header is neither vehicle passages (day,time,commercial,color,type,make,model) ` +
      `nor charging sessions (charger_id,start_time,end_time,duration,location_id)`,
  );
}

function dealt(drafts: readonly Draft[], payers: number): TraceEvent[] {
  const firstS = drafts[0]?.atS ?? 0;
  return drafts.map((draft, i) => ({
    line: draft.line,
    atMs: (draft.atS - firstS) * 1000,
    payerRef: `payer-${i % payers}`,
    payeeRef: draft.payeeRef,
    item: draft.item,
    quantity: draft.quantity,
    localMinuteOfDay: draft.localMinuteOfDay,
    unitPriceMicro: draft.unitPriceMicro,
    amountMicro: amountMicro(draft.unitPriceMicro * BigInt(draft.quantity)),
  }));
}

/**
 * Reads recorded traffic; the kind is recognised by the header, whatever the order of its columns. A row that cannot be
 * used is reported by line and left out. Equal passages are two vehicles in one second and both pay; a session is known by
 * charger, start, end and duration, so its second copy is a bad row.
 * @throws KiriError TRACE_UNREADABLE when the file as a whole cannot be used
 */
export function parseTrace(text: string, options: TraceOptions): Trace {
  const payers = options.payers ?? DEFAULT_PAYERS;
  if (!Number.isInteger(payers) || payers < 1 || payers > MAX_PAYERS) {
    throw new KiriError('TRACE_OPTIONS', `payers is not 1 … ${MAX_PAYERS}`);
  }
  const csv = openCsv(text, options.name, 'TRACE_UNREADABLE');
  const kind = kindOf(csv, options.name);
  const badRows: BadRow[] = [];
  const seen = new Set<string>();
  const drafts: Draft[] = [];
  let badRowCount = 0;
  let rows = 0;
  for (const row of csv.rows()) {
    rows += 1;
    let read: Draft | BadRow;
    if ('reason' in row) read = row;
    else read = kind === 'passages' ? readPassage(row, options) : readSession(row);
    if (!('reason' in read) && read.identity !== undefined) {
      if (seen.has(read.identity)) read = { line: row.line, reason: 'the same session once more' };
      else seen.add(read.identity);
    }
    if ('reason' in read) {
      badRowCount += 1;
      if (badRows.length < MAX_REPORTED_ROWS) badRows.push(read);
    } else drafts.push(read);
  }
  if (drafts.length === 0) {
    const why = badRows[0] ? `line ${badRows[0].line}: ${badRows[0].reason}` : 'it has no rows';
    throw new KiriError('TRACE_UNREADABLE', `${options.name}: no row can be used (${why})`);
  }
  drafts.sort((a, b) => a.atS - b.atS || a.line - b.line);
  const payable = drafts.filter((draft) => draft.quantity > 0 && draft.unitPriceMicro > 0n);
  return {
    kind,
    currency: kind === 'passages' ? USD : JPY,
    events: dealt(payable, payers),
    rows,
    badRows,
    badRowCount,
    freeRowCount: drafts.length - payable.length,
    longSessionCount: drafts.filter((draft) => draft.long).length,
    durationMismatchCount: drafts.filter((draft) => draft.mismatch).length,
    payeeRefs: [...new Set(drafts.map((draft) => draft.payeeRef))],
  };
}
