import { once } from 'node:events';
import { readFile, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { writeFileDurable } from '../../platform/durable-file.ts';
import { formatMajor, parseMajor } from '../../protocol/amount.ts';
import { currencyOf } from '../../protocol/currency.ts';
import { KiriError } from '../../protocol/kiri-error.ts';
import { JST, civilTime, dayStartS, isoDate } from '../../sync/clearing/core/civil-time.ts';
import { verifyEvidence } from '../../sync/clearing/core/evidence.ts';
import { evidenceHtml } from '../../sync/clearing/core/evidence-html.ts';
import { checkVersion } from '../../sync/clearing/schema.ts';
import { searchReceipts } from '../../sync/clearing/search.ts';
import type { FoundReceipt, SearchQuery } from '../../sync/clearing/search.ts';
import { openStoreReadOnly } from '../../sync/clearing/open-store.ts';
import { EXIT_OK, UsageError } from '../command.ts';
import { runArchive } from './clearing-archive.ts';
import { runCost } from './clearing-cost.ts';
import { runReconciliation } from './clearing-csv.ts';
import { dayNumber } from './day-option.ts';
import { runSeal, runSegments } from './clearing-segments.ts';
import { storePlace, type StorePlace } from './store-place.ts';
import { runLineAccounts } from './clearing-lines.ts';

function amount(name: string, text: string): bigint {
  const value = parseMajor(text);
  if (value === undefined) throw new UsageError(`--${name} is not an amount such as 120 or 3.85`);
  return value;
}

interface SearchOptions {
  readonly store: StorePlace;
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
        'store-password-file': text,
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
  if (store === undefined)
    throw new UsageError('kiri clearing search wants --store FILE or postgres:// address');
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
  return { store: storePlace(store, values['store-password-file']), query, json };
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
  const database = await openStoreReadOnly(store.location, store.access);
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

/** An evidence document is at most this long (DESIGN §6: one document below a megabyte). */
const EVIDENCE_BYTES_MAX = 1_048_576;

async function evidencePage(path: string, folder: string): Promise<string> {
  const { size } = await stat(path).catch(() => {
    throw new KiriError('FILE_UNREADABLE', `${path} cannot be read`);
  });
  if (size > EVIDENCE_BYTES_MAX) {
    throw new KiriError('EVIDENCE_INVALID', `${path} is too long for evidence`);
  }
  const check = verifyEvidence(await readFile(path));
  if (!check.ok) throw new KiriError('EVIDENCE_INVALID', `${path}: ${check.fault}`);
  const page = join(folder, `${check.id}.html`);
  await writeFileDurable(page, evidenceHtml(check.value, check.id), 0o644);
  return page;
}

async function evidencePages(argv: readonly string[]): Promise<number> {
  let parsed;
  try {
    const options = { out: { type: 'string', default: '.' } } as const;
    parsed = parseArgs({ args: [...argv], options, allowPositionals: true });
  } catch (error) {
    throw new UsageError(error instanceof Error ? error.message : String(error));
  }
  const { positionals, values } = parsed;
  if (positionals.length === 0) throw new UsageError('kiri clearing evidence-html wants FILE...');
  for (const path of positionals) {
    process.stdout.write(`${await evidencePage(path, values.out)}\n`);
  }
  return EXIT_OK;
}

/** `kiri clearing …`: tools over a clearing's store and files; none but `seal` changes what it reads. */
export async function runClearingTool([name, ...rest]: readonly string[]): Promise<number> {
  if (name === 'search') return search(rest);
  if (name === 'evidence-html') return evidencePages(rest);
  if (name === 'reconciliation') return runReconciliation(rest);
  if (name === 'line-accounts') return runLineAccounts(rest);
  if (name === 'archive') return runArchive(rest);
  if (name === 'cost') return runCost(rest);
  if (name === 'seal') return runSeal(rest);
  if (name === 'segments') return runSegments(rest);
  throw new UsageError(
    'kiri clearing wants search, reconciliation, evidence-html, line-accounts, archive, cost, seal or segments',
  );
}
