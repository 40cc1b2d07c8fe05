import { createHash } from 'node:crypto';
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { startPayee, type Payee } from '../../agent/edge/payee-device.ts';
import { startPayer, type Payer, type PaymentOutcome } from '../../agent/edge/payer-device.ts';
import { loadSigner } from '../../identity/edge/key-file.ts';
import { amountMicro } from '../../protocol/amount.ts';
import { fromHex, toHex, utf8ToBytes } from '../../protocol/bytes.ts';
import { decodeSign1 } from '../../protocol/cose.ts';
import { KiriError } from '../../protocol/kiri-error.ts';
import { PAYMENT } from '../../protocol/messages/payment.ts';
import { serve, type Request } from '../serve.ts';
import { configFromArgs, type Config } from './config.ts';

/** Hex digits of the Payment hash that name a receipt's files. */
export const RECEIPT_NAME_DIGITS = 24;
/** Answers of one request travel together, so a burst costs one line each way. */
const MAX_WANTS_PER_REQUEST = 1024;
/** Outcomes kept to be asked for. */
const MAX_OUTCOMES = 65_536;

interface Devices {
  readonly payers: ReadonlyMap<string, Payer>;
  readonly payees: ReadonlyMap<string, Payee>;
  /** Last outcome of each purchase, also of those that ended after `pay` had answered. */
  readonly outcomes: Map<string, PaymentOutcome>;
  readonly notices: Map<string, number>;
}

/** The journals keep every outcome; this only answers `outcomes`, so the oldest may go. */
function remember(outcomes: Map<string, PaymentOutcome>, outcome: PaymentOutcome): void {
  outcomes.delete(outcome.ref);
  outcomes.set(outcome.ref, outcome);
  if (outcomes.size <= MAX_OUTCOMES) return;
  for (const oldest of outcomes.keys()) {
    outcomes.delete(oldest);
    break;
  }
}

function text(request: Request, key: string): string {
  const value = request[key];
  if (typeof value !== 'string') throw new KiriError('REQUEST_INVALID', `${key} is not a text`);
  return value;
}

function integer(request: Request, key: string): number {
  const value = request[key];
  if (typeof value !== 'number' || !Number.isSafeInteger(value)) {
    throw new KiriError('REQUEST_INVALID', `${key} is not a whole number`);
  }
  return value;
}

function list(request: Request, key: string): readonly Request[] {
  const value = request[key];
  if (!Array.isArray(value) || value.length > MAX_WANTS_PER_REQUEST) {
    throw new KiriError(
      'REQUEST_INVALID',
      `${key} is not a list of up to ${MAX_WANTS_PER_REQUEST}`,
    );
  }
  return value as readonly Request[];
}

/** An outcome as a JSON line can carry it. */
function spoken(outcome: PaymentOutcome): Request {
  const { kind, ref, timings } = outcome;
  if (kind === 'accepted') {
    return {
      kind,
      ref,
      timings,
      amountMicro: outcome.amountMicro,
      hash: toHex(outcome.paymentHash),
    };
  }
  const code = outcome.code === undefined ? {} : { code: outcome.code };
  return { kind, ref, timings, ...code, reason: outcome.reason };
}

async function pay(devices: Devices, want: Request): Promise<Request> {
  const payer = devices.payers.get(text(want, 'payer'));
  if (!payer) throw new KiriError('REQUEST_INVALID', `no payer ${text(want, 'payer')} here`);
  const outcome = await payer.pay({
    ref: text(want, 'ref'),
    payee: fromHex(text(want, 'payee')),
    item: text(want, 'item'),
    quantity: integer(want, 'quantity'),
    maxAmountMicro: amountMicro(BigInt(text(want, 'maxAmountMicro'))),
  });
  return spoken(outcome);
}

/** What a gate's loop or a charger's meter measured. */
function usage(devices: Devices, row: Request): void {
  const payee = devices.payees.get(text(row, 'payee'));
  if (!payee) throw new KiriError('REQUEST_INVALID', `no payee ${text(row, 'payee')} here`);
  const item = text(row, 'item');
  const quantity = integer(row, 'quantity');
  const reading = utf8ToBytes(`kiri/reading/v1 ${item} ${quantity}`);
  const readingHash = new Uint8Array(createHash('sha256').update(reading).digest());
  payee.usage({
    item,
    localMinuteOfDay: integer(row, 'localMinuteOfDay'),
    metered: { quantity, readingHash },
  });
}

/** Sums as the signed bytes state them, not as the device's memory has them. */
function amountOf(paymentCose: Uint8Array): bigint {
  const sign1 = decodeSign1(paymentCose);
  const payment = sign1.ok ? PAYMENT.decode(sign1.value.payload) : sign1;
  if (!payment.ok) throw new KiriError('JOURNAL_CORRUPT', `a kept Payment: ${payment.reason}`);
  return payment.value.amountMicro;
}

/** Writes what every payer holds, as COSE bytes as sent, and answers with the sums. */
async function exportReceipts(devices: Devices, folder: string): Promise<Request> {
  mkdirSync(folder, { recursive: true });
  const counts = { accepted: 0, void: 0, unknown: 0, recorded: 0 };
  let acceptedMicro = 0n;
  for (const payer of devices.payers.values()) {
    for await (const kept of payer.receipts()) {
      counts[kept.state] += 1;
      if (kept.state !== 'accepted' || !kept.answerCose) continue;
      const name = toHex(kept.paymentHash).slice(0, RECEIPT_NAME_DIGITS);
      writeFileSync(join(folder, `${name}.payment.cbor`), kept.paymentCose);
      writeFileSync(join(folder, `${name}.offer.cbor`), kept.offerCose);
      writeFileSync(join(folder, `${name}.receipt.cbor`), kept.answerCose);
      acceptedMicro += amountOf(kept.paymentCose);
    }
  }
  return { ...counts, acceptedMicro };
}

async function answer(devices: Devices, request: Request): Promise<Request> {
  switch (text(request, 'do')) {
    case 'pay':
      return {
        outcomes: await Promise.all(list(request, 'wants').map((want) => pay(devices, want))),
      };
    case 'usage':
      for (const row of list(request, 'rows')) usage(devices, row);
      return {};
    case 'outcomes':
      return { outcomes: [...devices.outcomes.values()].map(spoken) };
    case 'export':
      return exportReceipts(devices, text(request, 'folder'));
    case 'status':
      return {
        payers: Object.fromEntries(
          [...devices.payers].map(([ref, payer]) => [ref, payer.status()]),
        ),
        payees: Object.fromEntries(
          [...devices.payees].map(([ref, payee]) => [ref, payee.status()]),
        ),
        notices: Object.fromEntries(devices.notices),
      };
    default:
      throw new KiriError('REQUEST_INVALID', 'do is none of pay, usage, outcomes, export, status');
  }
}

/** `kiri devices --config FILE`: any number of payers and payees in one process. */
export async function runDevices(argv: readonly string[]): Promise<number> {
  const config = configFromArgs(argv);
  const gateway = config.part('gateway');
  const approver = config.publicKey('approverKey').id;
  const shared = {
    gateway: { host: '127.0.0.1', port: gateway.port('port'), approver },
    issuerKey: config.publicKey('issuerKey'),
  };
  const common = config.files('documents');
  const notices = new Map<string, number>();
  const outcomes = new Map<string, PaymentOutcome>();
  const optionsOf = (part: Config): Parameters<typeof startPayee>[0] => ({
    ...shared,
    dataDir: part.path('folder'),
    signer: loadSigner(part.path('keyFile')),
    documents: [...part.files('documents'), ...common],
    onNotice: (code) => notices.set(code, (notices.get(code) ?? 0) + 1),
  });
  const payees = new Map<string, Payee>();
  for (const part of config.parts('payees')) {
    payees.set(part.text('ref'), await startPayee(optionsOf(part)));
  }
  const payers = new Map<string, Payer>();
  for (const part of config.parts('payers')) {
    const onOutcome = (outcome: PaymentOutcome): void => remember(outcomes, outcome);
    payers.set(part.text('ref'), await startPayer({ ...optionsOf(part), onOutcome }));
  }
  const ready = Promise.all([...payees.values(), ...payers.values()].map((one) => one.ready()));
  const devices: Devices = { payers, payees, outcomes, notices };
  return serve(
    ready.then(() => ({ payers: payers.size, payees: payees.size })),
    (request) => answer(devices, request),
    async () => {
      await Promise.all([...payers.values(), ...payees.values()].map((device) => device.close()));
    },
  );
}
