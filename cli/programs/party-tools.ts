import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { toHex } from '../../protocol/bytes.ts';
import { decodeSign1 } from '../../protocol/cose.ts';
import { currencyOf } from '../../protocol/currency.ts';
import { payloadHash } from '../../protocol/ids.ts';
import { KiriError } from '../../protocol/kiri-error.ts';
import { EVIDENCE, type Evidence } from '../../protocol/messages/evidence.ts';
import { PAYMENT } from '../../protocol/messages/payment.ts';
import { RECEIPT } from '../../protocol/messages/receipt.ts';
import { openedRecords } from '../../sync/ledger/opened-records.ts';
import { EXIT_OK, UsageError } from '../command.ts';
import { RECEIPT_NAME_DIGITS } from './devices.ts';
import { policyIn } from './ledger-prove.ts';
import { finalSize, logAt, readAgreementKey } from './log-at.ts';

/** What one record of the log says, in words for a person and for JSON. */
interface ReceiptRow {
  readonly index: number;
  readonly kind: 'accepted' | 'refused';
  readonly timeS: number;
  readonly amountMicro: string;
  readonly currency: string;
  readonly payee: string;
  readonly line: string;
  readonly counter: number;
  /** First digits of the Payment's hash: the name of its files. */
  readonly payment: string;
}

function payloadOf(cose: Uint8Array): Uint8Array {
  const message = decodeSign1(cose);
  if (!message.ok) throw new KiriError('LOG_CORRUPT', message.reason);
  return message.value.payload;
}

function rowOf(index: number, evidence: Evidence): ReceiptRow {
  const payload = payloadOf(evidence.payment);
  const payment = PAYMENT.decode(payload);
  if (!payment.ok) throw new KiriError('LOG_CORRUPT', `entry ${index}: ${payment.reason}`);
  const { amountMicro, currency, payee, line, counter } = payment.value;
  const receipt = RECEIPT.decode(payloadOf(evidence.outcome));
  const charged = receipt.ok ? (receipt.value.chargedMicro ?? amountMicro) : 0n;
  return {
    index,
    kind: receipt.ok ? 'accepted' : 'refused',
    timeS: Math.floor(evidence.answeredAtMs / 1000),
    amountMicro: charged.toString(),
    currency: currencyOf(currency)?.alpha ?? String(currency),
    payee: toHex(payee),
    line: toHex(line),
    counter,
    payment: toHex(payloadHash(payload)).slice(0, RECEIPT_NAME_DIGITS),
  };
}

function exportFiles(folder: string, name: string, evidence: Evidence, kind: string): void {
  const outcome = kind === 'accepted' ? 'receipt' : 'void';
  const files: readonly (readonly [string, Uint8Array | undefined])[] = [
    ['payment', evidence.payment],
    ['offer', evidence.offer],
    [outcome, evidence.outcome],
  ];
  for (const [part, bytes] of files) {
    // Personal data: for its owner alone.
    if (bytes) writeFileSync(join(folder, `${name}.${part}.cbor`), bytes, { mode: 0o600 });
  }
}

function textOf({ timeS, kind, amountMicro, currency, payee, payment }: ReceiptRow): string {
  const time = new Date(timeS * 1000).toISOString();
  const units = BigInt(amountMicro);
  const micro = String(units % 1_000_000n).padStart(6, '0');
  return `${time}  ${kind}  ${units / 1_000_000n}.${micro} ${currency}  to ${payee}  ${payment}`;
}

async function runReceipts(argv: readonly string[]): Promise<number> {
  const { values } = parseArgs({
    args: [...argv],
    options: {
      log: { type: 'string' },
      key: { type: 'string' },
      policy: { type: 'string' },
      'issuer-key': { type: 'string' },
      out: { type: 'string' },
      json: { type: 'boolean', default: false },
    },
  });
  const { log, key, policy, out } = values;
  if (log === undefined || key === undefined || policy === undefined) {
    throw new UsageError('--log, --key and --policy are needed');
  }
  const privateKey = readAgreementKey(key);
  const source = logAt(log);
  const size = await finalSize(source, policyIn(policy, values['issuer-key']));
  if (out !== undefined) mkdirSync(out, { recursive: true, mode: 0o700 });
  let count = 0;
  for await (const { index, plain } of openedRecords(source, size, privateKey)) {
    const evidence = EVIDENCE.decode(plain);
    if (!evidence.ok) throw new KiriError('LOG_CORRUPT', `entry ${index}: ${evidence.reason}`);
    const row = rowOf(index, evidence.value);
    if (out !== undefined) exportFiles(out, row.payment, evidence.value, row.kind);
    process.stdout.write(`${values.json ? JSON.stringify(row) : textOf(row)}\n`);
    count += 1;
  }
  if (!values.json) process.stdout.write(`${count} of ${size} entries are this key's to read\n`);
  return EXIT_OK;
}

/** `kiri party receipts`. */
export async function runPartyTools([part, ...rest]: readonly string[]): Promise<number> {
  try {
    if (part === 'receipts') return await runReceipts(rest);
  } catch (error) {
    // What parseArgs throws is the user's: an option that does not exist.
    if (error instanceof TypeError && 'code' in error) throw new UsageError(error.message);
    throw error;
  }
  throw new UsageError('kiri party wants receipts');
}
