import { readFileSync, statSync } from 'node:fs';
import { KiriError } from '../protocol/kiri-error.ts';
import { MAX_CSV_CHARS } from './core/csv.ts';
import { parseRates } from './core/rates.ts';
import { parseTrace, type Trace } from './core/trace.ts';

/** What to read; everything else as in the parser's own options. */
export interface TraceFileOptions {
  readonly tracePath: string;
  /** Rates by time of day (`time,South,North`) for vehicle passages; the northbound column counts. */
  readonly ratesPath?: string;
  readonly payers?: number;
  readonly utcOffsetMinutes?: number;
}

function readText(path: string): string {
  try {
    const { size } = statSync(path);
    // Three bytes of UTF-8 at most stand for one UTF-16 unit.
    if (size > 3 * MAX_CSV_CHARS) throw new Error(`${size} bytes are too many; cut it into parts`);
    return readFileSync(path, 'utf8');
  } catch (cause) {
    const why = cause instanceof Error ? cause.message : String(cause);
    throw new KiriError('TRACE_UNREADABLE', `${path} cannot be read: ${why}`, { cause });
  }
}

/**
 * Reads recorded traffic from disk.
 * @throws KiriError TRACE_UNREADABLE when a file cannot be used; TRACE_OPTIONS when the two files do not go together
 */
export function readTraceFile(options: TraceFileOptions): Trace {
  const { tracePath, ratesPath, payers, utcOffsetMinutes } = options;
  const rates =
    ratesPath === undefined ? {} : { rates: parseRates(readText(ratesPath), ratesPath, 'north') };
  const trace = parseTrace(readText(tracePath), {
    name: tracePath,
    ...rates,
    ...(payers === undefined ? {} : { payers }),
    ...(utcOffsetMinutes === undefined ? {} : { utcOffsetMinutes }),
  });
  if (ratesPath !== undefined && trace.kind === 'sessions') {
    throw new KiriError(
      'TRACE_OPTIONS',
      `${ratesPath} has rates for passages, but ${tracePath} has charging sessions; leave the rates out`,
    );
  }
  return trace;
}
