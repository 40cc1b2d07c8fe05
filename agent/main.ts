import { readFileSync } from 'node:fs';
import { dirname, resolve } from 'node:path';
import { parseArgs } from 'node:util';
import { amountMicro } from '../protocol/amount.ts';
import { fromHex } from '../protocol/bytes.ts';
import { decodeCanonical } from '../protocol/cbor/decode.ts';
import { KiriError } from '../protocol/kiri-error.ts';
import { TIME_OWN_CLOCK, TIME_SYNCHRONISED, TIME_UNKNOWN } from '../protocol/messages/payment.ts';
import { publicKeyFromCose, type PublicKey } from '../protocol/public-key.ts';
import { loadSigner } from '../identity/edge/key-file.ts';
import type { TimeQuality } from '../platform/ports.ts';
import { systemClock } from '../platform/system-clock.ts';
import type { DeviceOptions } from './edge/device-shell.ts';
import { startPayee } from './edge/payee-device.ts';
import type { CloseOutcome } from './core/payer.ts';
import { startPayer, type PaymentOutcome } from './edge/payer-device.ts';

/** Exit codes that scripts may rely on (DESIGN §9). */
const EXIT_OK = 0;
const EXIT_FAILED = 1;
const EXIT_USAGE = 2;
const EXIT_REFUSED = 3;
const EXIT_OFFLINE = 4;

const HELP = `kiri-agent: one Kiri device

Usage: kiri-agent --config FILE                      connects and waits for SIGTERM
       kiri-agent --config FILE --close-allowance
       kiri-agent --config FILE --pay PAYEE --item NAME --max MICRO [--quantity N] [--ref REF]

--close-allowance ends the allowance in force: nothing is paid under it any more, and its signed Close is
handed in. Exit code 4: no gateway has it yet; every later start hands it in until one has.

The config is JSON; paths in it count from the file:
  role       "payer" or "payee"
  folder     the device's own folder
  keyFile    its private key, as "kiri key" makes it
  gateway    { "host", "port" }
  issuerKey, approverKey
             files with the public keys of issuer and gateway as COSE_Keys
  documents  files with credentials, mandates, tariffs, policy
  clock      how far the wall clock can be trusted: "unknown", "own" (default), "synchronised"
`;

class UsageError extends Error {}

/** BigInt leaves as a decimal string: JSON numbers are not exact above 2⁵³. */
function spell(_key: string, value: unknown): unknown {
  if (typeof value === 'bigint') return value.toString();
  return value instanceof Uint8Array ? Buffer.from(value).toString('hex') : value;
}

function print(message: Readonly<Record<string, unknown>>): void {
  process.stdout.write(`${JSON.stringify(message, spell)}\n`);
}

function textOf(record: Readonly<Record<string, unknown>>, key: string): string {
  const value = record[key];
  if (typeof value !== 'string' || value === '') throw new UsageError(`${key} is not a text`);
  return value;
}

function hexId(value: string, what: string): Uint8Array {
  if (!/^[0-9a-f]{32}$/.test(value)) throw new UsageError(`${what} is not 32 hex digits`);
  return fromHex(value);
}

function readPublicKey(path: string): PublicKey {
  const decoded = decodeCanonical(readFileSync(path), { maxBytes: 256 });
  const key = decoded.ok ? publicKeyFromCose(decoded.value) : undefined;
  if (!key) throw new KiriError('KEY_UNSUPPORTED', `${path} holds no COSE_Key`);
  return key;
}

function readClock(word: unknown): TimeQuality {
  if (word === undefined || word === 'own') return TIME_OWN_CLOCK;
  if (word === 'unknown') return TIME_UNKNOWN;
  if (word === 'synchronised') return TIME_SYNCHRONISED;
  throw new UsageError('clock is none of unknown, own, synchronised');
}

interface AgentConfig {
  readonly role: string;
  readonly options: DeviceOptions;
}

function readConfig(path: string): AgentConfig {
  const config = JSON.parse(readFileSync(path, 'utf8')) as Record<string, unknown>;
  const base = dirname(resolve(path));
  const fileOf = (key: string): string => resolve(base, textOf(config, key));
  const gateway = (config['gateway'] ?? {}) as Record<string, unknown>;
  const documents = Array.isArray(config['documents']) ? config['documents'] : [];
  const port = gateway['port'];
  if (typeof port !== 'number') throw new UsageError('gateway.port is not a number');
  return {
    role: textOf(config, 'role'),
    options: {
      dataDir: fileOf('folder'),
      signer: loadSigner(fileOf('keyFile')),
      issuerKey: readPublicKey(fileOf('issuerKey')),
      gateway: {
        host: textOf(gateway, 'host'),
        port,
        approver: readPublicKey(fileOf('approverKey')).id,
      },
      clock: systemClock(readClock(config['clock'])),
      documents: documents.map((file) => new Uint8Array(readFileSync(resolve(base, String(file))))),
      onNotice: (code, reason) => print({ notice: code, reason }),
      onLink: (state) =>
        print(
          state.kind === 'down' ? { link: 'down', code: state.error.code } : { link: state.kind },
        ),
    },
  };
}

/** Runs until SIGTERM or SIGINT. */
function stopped(): Promise<void> {
  return new Promise((done) => {
    process.once('SIGTERM', done);
    process.once('SIGINT', done);
  });
}

function exitCodeOf(outcome: PaymentOutcome): number {
  if (outcome.kind === 'accepted') return EXIT_OK;
  if (outcome.kind === 'unknown') return EXIT_FAILED;
  return outcome.code === 'OFFER_UNKNOWN' ? EXIT_OFFLINE : EXIT_REFUSED;
}

function printClose(outcome: CloseOutcome): void {
  print({ closing: outcome.kind, ...outcome, kind: undefined });
}

function exitCodeOfClose({ kind }: CloseOutcome): number {
  if (kind === 'handed-in') return EXIT_OK;
  return kind === 'waiting' ? EXIT_OFFLINE : EXIT_REFUSED;
}

async function run(argv: readonly string[]): Promise<number> {
  const { values } = parseArgs({
    args: [...argv],
    options: {
      help: { type: 'boolean' },
      config: { type: 'string' },
      pay: { type: 'string' },
      item: { type: 'string', default: '' },
      quantity: { type: 'string', default: '1' },
      max: { type: 'string', default: '' },
      ref: { type: 'string' },
      'close-allowance': { type: 'boolean', default: false },
    },
  });
  if (values.help) {
    process.stdout.write(HELP);
    return EXIT_OK;
  }
  if (values.config === undefined) throw new UsageError('--config FILE is missing');
  const { role, options } = readConfig(values.config);
  if (role === 'payee') {
    const payee = await startPayee({ ...options, onSale: (sale) => print({ sale }) });
    await stopped();
    await payee.close();
    return EXIT_OK;
  }
  if (role !== 'payer') throw new UsageError('role is neither payer nor payee');
  if (values.pay !== undefined && !/^\d{1,20}$/.test(values.max)) {
    throw new UsageError('--max is not a whole number of micro-units');
  }
  const isClosing = values['close-allowance'];
  if (isClosing && values.pay !== undefined) throw new UsageError('--pay or --close-allowance');
  const payer = await startPayer({ ...options, onClose: printClose });
  let code = EXIT_OK;
  if (isClosing) code = exitCodeOfClose(await payer.closeAllowance());
  else if (values.pay === undefined) await stopped();
  else {
    const outcome = await payer.pay({
      ref: values.ref ?? `${Date.now().toString(36)}-${process.pid}`,
      payee: hexId(values.pay, '--pay'),
      item: values.item,
      quantity: Number(values.quantity),
      maxAmountMicro: amountMicro(BigInt(values.max)),
    });
    print({ ...outcome });
    code = exitCodeOf(outcome);
  }
  await payer.close();
  return code;
}

function failed(error: unknown): number {
  const isUsage =
    error instanceof UsageError ||
    (error as { code?: string }).code === 'ERR_PARSE_ARGS_UNKNOWN_OPTION';
  process.stderr.write(`kiri-agent: ${error instanceof Error ? error.message : String(error)}\n`);
  return isUsage ? EXIT_USAGE : EXIT_FAILED;
}

// Not awaited: the bundle is a script, and scripts have no top-level await.
void run(process.argv.slice(2))
  .catch(failed)
  .then((code) => {
    process.exitCode = code;
  });
