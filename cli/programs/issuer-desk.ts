import { join } from 'node:path';
import { loadSigner } from '../../identity/edge/key-file.ts';
import { nodeVerifier } from '../../identity/edge/node-signatures.ts';
import { writeFileDurable } from '../../platform/durable-file.ts';
import { lockFolder } from '../../platform/folder-lock.ts';
import { makeFolder } from '../../platform/make-folder.ts';
import { MICRO_PER_MAJOR, parseMajor } from '../../protocol/amount.ts';
import { currencyOf, microPerMinor } from '../../protocol/currency.ts';
import type { PublicKey } from '../../protocol/public-key.ts';
import { openSqlite } from '../../sync/clearing/sql.ts';
import { FEE_REFERENCE } from '../../sync/clearing/core/inbound-record.ts';
import type { AccountState } from '../../sync/issuer/core/desk.ts';
import type { FeeRequest } from '../../sync/issuer/core/fee.ts';
import { IssuerDesk } from '../../sync/issuer/issuer-desk.ts';
import type { DeskRequest } from '../../sync/issuer/issuer-desk.ts';
import { EXIT_OK, EXIT_REFUSED, UsageError } from '../command.ts';
import { say, toolOptions, type ToolOptions } from './tool-options.ts';

/** What every command of the desk takes. */
export const DESK_OPTIONS: readonly string[] = ['key', 'member', 'state', 'out'];

/**
 * Opens the desk of the state folder for this process alone, which also writes what a crash kept back.
 * @param vaults whose statements about files with card numbers are believed
 */
export async function withDesk<T>(
  options: ToolOptions,
  account: (reference: string) => AccountState,
  work: (desk: IssuerDesk) => Promise<T>,
  vaults: readonly PublicKey[] = [],
): Promise<T> {
  const [state, out] = [options.need('state'), options.need('out')];
  const signer = loadSigner(options.need('key'));
  const member = options.need('member');
  makeFolder(state);
  const unlock = lockFolder(state);
  const database = openSqlite(join(state, 'desk.sqlite'));
  try {
    const writeFile = (name: string, bytes: Uint8Array): Promise<void> =>
      writeFileDurable(join(out, name), bytes, 0o644);
    const verifier = nodeVerifier();
    const own = { database, signer, member, verifier, vaults, account, writeFile };
    const desk = await IssuerDesk.open(own);
    return await work(desk);
  } finally {
    await database.close();
    unlock();
  }
}

const allOpen = (): AccountState => 'open';

const nowS = (): number => Math.floor(Date.now() / 1000);

/** Major units as typed → whole minor units of the line's currency. */
function minorOf(text: string | undefined, numeric: string | undefined): bigint | undefined {
  const currency = currencyOf(Number(numeric));
  if (text === undefined || !currency) return undefined;
  const micro = parseMajor(text);
  const unit = microPerMinor(currency);
  if (micro !== undefined && unit > 0n && micro % unit === 0n) return micro / unit;
  const least = `1/${MICRO_PER_MAJOR / unit}`;
  throw new UsageError(`--amount ${text} is no multiple of ${least} ${currency.alpha}`);
}

type Sent =
  | { readonly ok: true; readonly value: DeskRequest }
  | { readonly ok: false; readonly reason: string };

function tell(json: boolean, what: string, sent: Sent): number {
  if (!sent.ok) {
    process.stderr.write(`kiri issuer: ${sent.reason}; nothing was sent\n`);
    return EXIT_REFUSED;
  }
  const { number, isRepeated, amountMinor, written } = sent.value;
  const facts = { number, isRepeated, amountMinor: amountMinor.toString(), written };
  const again = isRepeated ? ' (sent before)' : '';
  say(json, facts, `${what}, number ${number}${again}: ${written.join(' ')}`);
  return EXIT_OK;
}

/** `kiri issuer chargeback`: takes back a line, or part of it, that the desk took. */
export async function runChargeback(argv: readonly string[]): Promise<number> {
  const names = [...DESK_OPTIONS, 'arn', 'reason', 'amount', 'cycle', 'text'];
  const options = toolOptions(argv, names);
  const [arn, reason] = [options.need('arn'), options.need('reason')];
  const cycle = options.text('cycle') ?? 'first';
  if (cycle !== 'first' && cycle !== 'arbitration') {
    throw new UsageError('--cycle is neither first nor arbitration');
  }
  const sent = await withDesk(options, allOpen, async (desk) => {
    const amountMinor = minorOf(options.text('amount'), await desk.currencyOf(arn));
    const request = { arn, reason, cycle, ...textOf(options) } as const;
    return desk.chargeback(
      amountMinor === undefined ? request : { ...request, amountMinor },
      nowS(),
    );
  });
  return tell(options.json, `chargeback of ${arn}`, sent);
}

const textOf = (options: ToolOptions): { readonly text?: string } => {
  const text = options.text('text');
  return text === undefined ? {} : { text };
};

/** What goes with a new fee alone: a return gives back the whole of one, as it was. */
const NEW_FEE = ['reason', 'amount', 'currency', 'arn', 'clearing', 'text'];

function feeRequest(options: ToolOptions, direction: FeeRequest['direction']): FeeRequest {
  const currency = currencyOf(options.need('currency'));
  if (!currency) throw new UsageError('--currency is no code such as JPY');
  const numeric = String(currency.numeric).padStart(3, '0');
  const amountMinor = minorOf(options.need('amount'), numeric);
  if (amountMinor === undefined || amountMinor < 1n) {
    throw new UsageError('--amount is no amount above zero');
  }
  const [arn, clearing] = [options.text('arn'), options.text('clearing')];
  return {
    reference: options.need('reference'),
    direction,
    amountMinor,
    currency: numeric,
    reason: options.need('reason'),
    ...(arn === undefined ? {} : { arn }),
    ...(clearing === undefined ? {} : { clearing }),
    ...textOf(options),
  };
}

/** `kiri issuer fee`: charges a fee to a clearing, pays it one, or gives one back. */
export async function runFee(argv: readonly string[]): Promise<number> {
  const options = toolOptions(argv, [...DESK_OPTIONS, 'reference', 'direction', ...NEW_FEE]);
  const reference = options.need('reference');
  if (!FEE_REFERENCE.test(reference)) {
    throw new UsageError('--reference is not 1 to 20 capital letters and digits');
  }
  const direction = options.text('direction') ?? 'charge';
  if (direction === 'return') {
    const given = NEW_FEE.find((name) => options.text(name) !== undefined);
    if (given !== undefined) throw new UsageError(`a return takes no --${given}`);
    const back = await withDesk(options, allOpen, (desk) => desk.returnFee(reference, nowS()));
    return tell(options.json, `return of fee ${reference}`, back);
  }
  if (direction !== 'charge' && direction !== 'pay') {
    throw new UsageError('--direction is none of charge, pay and return');
  }
  const request = feeRequest(options, direction === 'pay' ? 'paid' : 'charged');
  const sent = await withDesk(options, allOpen, (desk) => desk.fee(request, nowS()));
  return tell(options.json, `fee ${reference}`, sent);
}

/** `kiri issuer retrieval`: asks for the documents of a line that the desk took. */
export async function runRetrieval(argv: readonly string[]): Promise<number> {
  const options = toolOptions(argv, [...DESK_OPTIONS, 'arn', 'reason', 'text']);
  const [arn, reason] = [options.need('arn'), options.need('reason')];
  const sent = await withDesk(options, allOpen, (desk) =>
    desk.retrieval({ arn, reason, ...textOf(options) }, nowS()),
  );
  return tell(options.json, `retrieval request for ${arn}`, sent);
}
