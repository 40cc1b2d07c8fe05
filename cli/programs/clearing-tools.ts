import { once } from 'node:events';
import { parseArgs } from 'node:util';
import { formatMajor, parseMajor } from '../../protocol/amount.ts';
import { currencyOf } from '../../protocol/currency.ts';
import { JST, civilTime, dayStartS, isoDate } from '../../sync/clearing/core/civil-time.ts';
import { checkVersion } from '../../sync/clearing/schema.ts';
import { searchReceipts } from '../../sync/clearing/search.ts';
import type { FoundReceipt, SearchQuery } from '../../sync/clearing/search.ts';
import { openSqliteReadOnly } from '../../sync/clearing/sql.ts';
import { EXIT_OK, UsageError } from '../command.ts';

const DAY_MS = 86_400_000;

/** Days since 1970 of a calendar date. */
function dayNumber(name: string, text: string): number {
  const ms = /^\d{4}-\d{2}-\d{2}$/.test(text) ? Date.parse(`${text}T00:00:00Z`) : Number.NaN;
  // The round trip refuses 30 February, which some parsers would move into March.
  if (Number.isNaN(ms) || new Date(ms).toISOString().slice(0, 10) !== text) {
    throw new UsageError(`--${name} is not a date YYYY-MM-DD`);
  }
  return ms / DAY_MS;
}

function amount(name: string, text: string): bigint {
  const value = parseMajor(text);
  if (value === undefined) throw new UsageError(`--${name} is not an amount such as 120 or 3.85`);
  return value;
}

interface SearchOptions {
  readonly store: string;
  readonly query: SearchQuery;
  readonly json: boolean;
}

function readOptions(argv: readonly string[]): SearchOptions {
  const text = { type: 'string' } as const;
  let values;
  try {
    ({ values } = parseArgs({
      args: [...argv],
      options: {
        store: text,
        from: text,
        to: text,
        merchant: text,
        party: text,
        min: text,
        max: text,
        json: { type: 'boolean', default: false },
      },
    }));
  } catch (error) {
    throw new UsageError(error instanceof Error ? error.message : String(error));
  }
  const { store, from, to, merchant, party, min, max, json } = values;
  if (store === undefined) throw new UsageError('kiri clearing search wants --store FILE');
  if (party !== undefined && !/^([\da-f]{2})+$/i.test(party)) {
    throw new UsageError('--party is not an id in hex');
  }
  const query: SearchQuery = {
    ...(from === undefined ? {} : { fromS: dayStartS(dayNumber('from', from), JST) }),
    ...(to === undefined ? {} : { toS: dayStartS(dayNumber('to', to) + 1, JST) }),
    ...(merchant === undefined ? {} : { merchant }),
    ...(party === undefined ? {} : { party: party.toLowerCase() }),
    ...(min === undefined ? {} : { minMicro: amount('min', min) }),
    ...(max === undefined ? {} : { maxMicro: amount('max', max) }),
  };
  return { store, query, json };
}

function clock(timeS: number): string {
  const local = civilTime(timeS, JST);
  const part = (unitS: number): string =>
    String(Math.floor(local.secondOfDay / unitS) % (unitS === 3600 ? 24 : 60)).padStart(2, '0');
  return `${isoDate(local)} ${part(3600)}:${part(60)}:${part(1)}`;
}

/** References come from other parties' documents: nothing in them may steer a terminal. */
const plain = (text: string): string => text.replaceAll(/\p{Cc}/gu, '?');

function spoken(receipt: FoundReceipt): string {
  const decimals = currencyOf(receipt.currency)?.exponent ?? 0;
  const sum = formatMajor(receipt.chargedMicro, decimals);
  return [
    clock(receipt.businessTimeS) + (receipt.isTimeFlagged ? '~' : ''),
    `${receipt.sign === 'credit' ? '-' : ''}${sum} ${receipt.currency}`,
    plain(receipt.merchant),
    plain(receipt.party),
    receipt.state,
    receipt.arn ?? '-',
    receipt.receiptHash,
  ].join('\t');
}

function inJson(receipt: FoundReceipt): string {
  return JSON.stringify({ ...receipt, chargedMicro: receipt.chargedMicro.toString() });
}

/** Standard output at the reader's pace; false when nobody reads any more (`| head`). */
function outputAtPace(): (text: string) => Promise<boolean> {
  let isOpen = true;
  process.stdout.on('error', () => {
    isOpen = false;
  });
  return async (text) => {
    if (isOpen && !process.stdout.write(text)) {
      await once(process.stdout, 'drain').catch(() => {});
    }
    return isOpen;
  };
}

async function search(argv: readonly string[]): Promise<number> {
  const { store, query, json } = readOptions(argv);
  const database = openSqliteReadOnly(store);
  try {
    await checkVersion(database);
    const write = outputAtPace();
    const line = json ? inJson : spoken;
    for await (const page of searchReceipts(database, query)) {
      if (!(await write(page.map((receipt) => `${line(receipt)}\n`).join('')))) break;
    }
  } finally {
    await database.close();
  }
  return EXIT_OK;
}

/** `kiri clearing …`: tools over a clearing's store and files; none of them changes anything. */
export async function runClearingTool([name, ...rest]: readonly string[]): Promise<number> {
  if (name === 'search') return search(rest);
  throw new UsageError('kiri clearing wants search');
}
