import { availableParallelism } from 'node:os';
import { parseArgs } from 'node:util';
import { LEDGER_EVENTS, type LedgerEvent } from '../firmware-sim/core/ledger/ledger-scenario.ts';
import type { SeedResult } from '../firmware-sim/core/run-seed.ts';
import { SimSummary } from '../firmware-sim/core/summary.ts';
import { EXIT_FAILED, EXIT_OK, UsageError } from './command.ts';
import { runSeeds } from './sim-seeds.ts';
import { isReal, type SimTask } from './sim-task.ts';

const MAX_JOBS = 64;
const MAX_SEEDS = 10_000_000;
/** The terminal hears of progress this often. */
const PROGRESS_EVERY_MS = 1_000;

interface SimOptions extends SimTask {
  readonly json: boolean;
  readonly jobs: number;
}

function wholeNumber(name: string, text: string, min: number, max: number): number {
  const value = /^\d{1,10}$/.test(text) ? Number(text) : -1;
  if (value < min || value > max)
    throw new UsageError(`--${name} is not a whole number ${min} … ${max}`);
  return value;
}

function ledgerEventOf(name: string | undefined): LedgerEvent | undefined {
  const event = LEDGER_EVENTS.find((known) => known === name);
  if (name !== undefined && event === undefined)
    throw new UsageError(`--ledger is not one of ${LEDGER_EVENTS.join(', ')}`);
  return event;
}

function readOptions(argv: readonly string[]): SimOptions {
  let values;
  try {
    ({ values } = parseArgs({
      args: [...argv],
      options: {
        seeds: { type: 'string', default: '100' },
        seed: { type: 'string' },
        first: { type: 'string', default: '1' },
        events: { type: 'string', default: '40' },
        json: { type: 'boolean', default: false },
        ledger: { type: 'string' },
        jobs: { type: 'string', default: String(Math.min(MAX_JOBS, availableParallelism())) },
      },
    }));
  } catch (error) {
    throw new UsageError(error instanceof Error ? error.message : String(error));
  }
  const max = Number.MAX_SAFE_INTEGER;
  const one = values.seed === undefined ? undefined : wholeNumber('seed', values.seed, 0, max);
  return {
    first: one ?? wholeNumber('first', values.first, 0, max),
    seeds: one === undefined ? wholeNumber('seeds', values.seeds, 1, MAX_SEEDS) : 1,
    lastEvents: wholeNumber('events', values.events, 0, 400),
    json: values.json,
    ledgerEvent: ledgerEventOf(values.ledger),
    jobs: wholeNumber('jobs', values.jobs, 1, MAX_JOBS),
  };
}

function tellFailure(result: SeedResult, ledgerEvent: LedgerEvent | undefined): void {
  const ledger = ledgerEvent === undefined ? '' : ` --ledger ${ledgerEvent}`;
  const lines = [
    `seed ${result.seed} broke an invariant`,
    `  ${result.violation ?? ''}`,
    '',
    ...result.lastEvents.map((line) => `  ${line}`),
    '',
    `again: npm run sim -- --seed ${result.seed}${ledger}`,
    '',
  ];
  process.stderr.write(lines.join('\n'));
}

/**
 * `kiri sim`: virtual worlds over the real cores, one per seed, on all cores of the machine. The same seed is the same
 * story in every process, and the summary does not depend on how the seeds were shared out.
 * @returns 0 when every invariant held in every world, 1 otherwise
 */
export async function runSim(argv: readonly string[]): Promise<number> {
  const options = readOptions(argv);
  const summary = new SimSummary();
  const startedMs = performance.now();
  let toldMs = startedMs;
  for await (const result of runSeeds(options, options.jobs)) {
    summary.add(result, isReal(result.seed));
    if (result.violation !== undefined) tellFailure(result, options.ledgerEvent);
    if (process.stderr.isTTY && !options.json && performance.now() - toldMs > PROGRESS_EVERY_MS) {
      toldMs = performance.now();
      process.stderr.write(`\r${result.seed - options.first + 1} of ${options.seeds} seeds`);
    }
  }
  if (process.stderr.isTTY && !options.json) process.stderr.write('\r');
  const realMs = performance.now() - startedMs;
  process.stdout.write(options.json ? `${summary.json(realMs)}\n` : summary.text(realMs));
  return summary.failed.length === 0 ? EXIT_OK : EXIT_FAILED;
}
