import { readdirSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { KiriError } from '../../protocol/kiri-error.ts';
import { centralMessages, perTenThousand, ratio, readCost } from '../../sync/clearing/cost.ts';
import { openStoreReadOnly } from '../../sync/clearing/open-store.ts';
import { isPostgresUrl } from '../../sync/clearing/postgres-url.ts';
import { checkVersion } from '../../sync/clearing/schema.ts';
import { EXIT_OK } from '../command.ts';
import { storePlace } from './store-place.ts';
import { say, toolOptions } from './tool-options.ts';

/** Bytes of all files below a folder whose name passes; 0 where there is no such folder. */
function bytesBelow(folder: string, passes: (name: string) => boolean): number {
  try {
    return readdirSync(folder, { recursive: true, withFileTypes: true })
      .filter((entry) => entry.isFile() && passes(entry.name))
      .reduce((sum, entry) => sum + statSync(join(entry.parentPath, entry.name)).size, 0);
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code === 'ENOENT') return 0;
    throw new KiriError('FILE_UNREADABLE', `${folder} cannot be read`, { cause });
  }
}

/** The file and what is not merged into it yet; a server's store is not measured. */
function storeBytes(location: string): number | undefined {
  if (isPostgresUrl(location)) return undefined;
  const wal = statSync(`${location}-wal`, { throwIfNoEntry: false })?.size ?? 0;
  return statSync(location).size + wal;
}

interface Bytes {
  readonly store?: number;
  /** Settlement files alone. */
  readonly settlement?: number;
  /** Manifests, lines files and indexes beside them. */
  readonly beside?: number;
  readonly evidence?: number;
}

const isIpm = (name: string): boolean => name.endsWith('.ipm');

function measure(location: string, out: string | undefined): Bytes {
  const store = storeBytes(location);
  const known = store === undefined ? {} : { store };
  if (out === undefined) return known;
  if (!statSync(out, { throwIfNoEntry: false })?.isDirectory()) {
    throw new KiriError('FILE_UNREADABLE', `${out} is no folder that can be read`);
  }
  const files = join(out, 'clearing');
  return {
    ...known,
    settlement: bytesBelow(files, isIpm),
    beside: bytesBelow(files, (name) => !isIpm(name)),
    evidence: bytesBelow(join(out, 'evidence'), () => true),
  };
}

/** `kiri clearing cost`: lines, bytes and central messages per payment, beside a running clearing. */
export async function runCost(argv: readonly string[]): Promise<number> {
  const options = toolOptions(argv, ['store', 'store-password-file', 'out']);
  const place = storePlace(options.need('store'), options.text('store-password-file'));
  const database = await openStoreReadOnly(place.location, place.access);
  try {
    await checkVersion(database);
    const cost = await database.transaction(readCost);
    const bytes = measure(place.location, options.text('out'));
    const { receipts, aggregated, presentments, credits, files, answers, payoutFiles } = cost;
    const messages = centralMessages(cost);
    const facts = {
      ...cost,
      receiptsPerPresentment: ratio(aggregated, presentments) ?? null,
      centralMessages: messages,
      centralMessagesPer10000: perTenThousand(messages, receipts) ?? null,
      presentmentsPer10000: perTenThousand(presentments, receipts) ?? null,
      bytes,
    };
    const each = Object.entries(bytes).map(
      ([name, sum]) => `bytes, ${name}: ${sum} (${ratio(sum, receipts) ?? '-'} per payment)`,
    );
    const lines = [
      `payments: ${receipts}, ${aggregated} of them in ${presentments} presentments`,
      `receipts per presentment: ${facts.receiptsPerPresentment ?? '-'}`,
      `central messages: ${messages} (${files} files, ${answers} answers), ${facts.centralMessagesPer10000 ?? '-'} per 10,000 payments`,
      `presentments per 10,000 payments: ${facts.presentmentsPer10000 ?? '-'}; credit lines: ${credits}; payout files: ${payoutFiles}`,
      ...each,
    ];
    say(options.json, facts, lines.join('\n'));
  } finally {
    await database.close();
  }
  return EXIT_OK;
}
