import { parseArgs } from 'node:util';
import { nodeVerifier } from '../../identity/edge/node-signatures.ts';
import { fetchBytes } from '../../platform/http-client.ts';
import { toHex } from '../../protocol/bytes.ts';
import { decodeSign1, verifySign1 } from '../../protocol/cose.ts';
import { payloadHash } from '../../protocol/ids.ts';
import { KiriError } from '../../protocol/kiri-error.ts';
import { levelOfSequence, parseLevels, type LogLevels } from '../../protocol/levels.ts';
import { RECEIPT } from '../../protocol/messages/receipt.ts';
import { verifyFinalCheckpoint, type FinalHead } from '../../sync/ledger/core/final-checkpoint.ts';
import { judgeMissing } from '../../sync/ledger/core/merge-delay.ts';
import { noteVerify } from '../../sync/ledger/core/note-ports.ts';
import type { FinalityRules } from '../../sync/ledger/core/policy-book.ts';
import { findReceipts } from '../../sync/ledger/find-receipts.ts';
import { readAnchored, readLevels } from '../../sync/ledger/levels-file.ts';
import { folderSource, httpSource } from '../../sync/ledger/log-source.ts';
import { EXIT_FAILED, EXIT_OK, UsageError } from '../command.ts';
import { readBytes, readPublicKey } from './config.ts';
import { policyIn } from './ledger-prove.ts';
import { describeStatus, type LogStatus, type ReceiptStatus, type Status } from './status-text.ts';

/** A program did not answer (DESIGN §9). */
const EXIT_OFFLINE = 4;
const TIMEOUT_MS = 5_000;
const MAX_STATUS_BYTES = 1_048_576;

const OPTIONS = {
  gateway: { type: 'string' },
  ledger: { type: 'string', multiple: true },
  folder: { type: 'string', multiple: true },
  hash: { type: 'string' },
  sequence: { type: 'string' },
  receipt: { type: 'string' },
  log: { type: 'string' },
  policy: { type: 'string' },
  earlier: { type: 'string' },
  'approver-key': { type: 'string' },
  'issuer-key': { type: 'string' },
  json: { type: 'boolean', default: false },
} as const;

type Values = ReturnType<typeof parseArgs<{ options: typeof OPTIONS }>>['values'];

const baseOf = (url: string): string => url.replace(/\/+$/, '');

/** JSON of a program's HTTP interface. @throws KiriError HTTP_*, STATUS_INVALID */
async function ask(url: string): Promise<Readonly<Record<string, unknown>>> {
  const { status, body } = await fetchBytes(url, {
    timeoutMs: TIMEOUT_MS,
    maxBytes: MAX_STATUS_BYTES,
  });
  if (status !== 200) throw new KiriError('STATUS_INVALID', `${url} answers ${status}`);
  try {
    return JSON.parse(Buffer.from(body).toString('utf8')) as Record<string, unknown>;
  } catch {
    throw new KiriError('STATUS_INVALID', `${url} does not answer JSON`);
  }
}

function levelsIn(place: string, value: unknown): LogLevels {
  const levels = parseLevels(value);
  if (levels === undefined) throw new KiriError('STATUS_INVALID', `${place}: no levels of a log`);
  return levels;
}

/** A gateway's word; its own last sequence tells what its ledger has not read yet. */
async function askGateway(url: string, status: Status): Promise<void> {
  const { levels, lastSequence, phase } = await ask(`${url}/status`);
  const last = Number(lastSequence);
  const through = parseLevels(levels)?.final.throughSequence;
  status.gateways.push({
    place: url,
    phase: String(phase),
    lastSequence: last,
    ...(through === undefined ? {} : { finalThrough: through, notFinal: last - through }),
  });
  if (levels !== undefined) status.logs.push({ place: url, levels: levelsIn(url, levels) });
}

async function askLedger(url: string): Promise<LogStatus> {
  const { levels, phase, witnesses, uplink } = await ask(`${url}/status`);
  return { place: url, levels: levelsIn(url, levels), phase, witnesses, uplink } as LogStatus;
}

async function lookUp(gateway: string, hash: string): Promise<ReceiptStatus> {
  if (!/^[0-9a-f]{64}$/.test(hash)) throw new UsageError('--hash is 64 hex digits');
  const found = await ask(`${gateway}/lookup?hash=${hash}`);
  return { paymentHash: hash, ...found };
}

const earliestS = (head: FinalHead): number => Math.min(...head.cosignedAtS.values());

/** When the line is known to have been up: an older checkpoint of the same log, as a witness or mirror keeps them. */
function lineUpS(
  path: string | undefined,
  origin: string,
  policy: FinalityRules,
): { lineUpS?: number } {
  if (path === undefined) return {};
  const head = verifyFinalCheckpoint(readBytes(path), policy, noteVerify(nodeVerifier()));
  if (!head.ok) throw new KiriError('FILE_INVALID', `${path}: ${head.reason}`);
  if (head.value.origin !== origin) {
    throw new KiriError('FILE_INVALID', `${path}: a checkpoint of ${head.value.origin}`);
  }
  return { lineUpS: earliestS(head.value) };
}

/** Looks for one Receipt in a log that is read whole. Not there past the merge delay: its operator answers for it. */
async function receiptInLog(file: string, values: Values): Promise<ReceiptStatus> {
  if (values.log === undefined) throw new UsageError('--receipt wants --log FOLDER|URL too');
  const policy = policyIn(values.policy, values['issuer-key']);
  const sign1 = decodeSign1(readBytes(file));
  const receipt = sign1.ok ? RECEIPT.decode(sign1.value.payload) : sign1;
  if (!sign1.ok || !receipt.ok) throw new KiriError('FILE_INVALID', `${file} is no Receipt`);
  const isUrl = /^https?:\/\//.test(values.log);
  const source = isUrl ? httpSource(baseOf(values.log)) : folderSource(values.log);
  const hash = toHex(payloadHash(sign1.value.payload));
  const verify = noteVerify(nodeVerifier());
  const { head, places } = await findReceipts(source, new Set([hash]), { policy, verify });
  const { paymentHash, sequence, timeS } = receipt.value;
  const common = { paymentHash: toHex(paymentHash), sequence, origin: head.origin };
  const index = places.get(hash);
  if (index !== undefined) {
    const anchored = isUrl ? undefined : await readAnchored(values.log);
    const level = index < (anchored?.size ?? 0) ? 'L3' : 'L2';
    return { ...common, held: 'accepted', level, policyHash: toHex(head.policy.hash), index };
  }
  const keyFile = values['approver-key'];
  // Without its approver's signature a Receipt accuses nobody.
  const isSigned =
    keyFile !== undefined && verifySign1(nodeVerifier(), readPublicKey(keyFile), sign1.value);
  const verdict = judgeMissing({
    acceptedS: timeS,
    checkpointS: earliestS(head),
    ...lineUpS(values.earlier, head.origin, policy),
  });
  const isFault = isSigned && verdict === 'passed';
  return { ...common, missing: isFault ? 'MERGE_DELAY_PASSED' : 'NOT_IN_LOG', isSigned };
}

async function gather(values: Values): Promise<Status> {
  const status: Status = { gateways: [], logs: [], receipts: [], offline: [] };
  const attempt = async (place: string, act: () => Promise<void>): Promise<void> => {
    try {
      await act();
    } catch (error) {
      const isOffline = error instanceof KiriError && error.code.startsWith('HTTP_');
      if (!isOffline) throw error;
      status.offline.push({ place, reason: error.message });
    }
  };
  const { gateway, hash, sequence, receipt } = values;
  if (gateway !== undefined) {
    const url = baseOf(gateway);
    await attempt(url, () => askGateway(url, status));
    if (hash !== undefined) {
      await attempt(url, async () => void status.receipts.push(await lookUp(url, hash)));
    }
  }
  for (const place of values.ledger ?? []) {
    const url = baseOf(place);
    await attempt(url, async () => void status.logs.push(await askLedger(url)));
  }
  for (const place of values.folder ?? []) {
    const levels = await readLevels(place);
    if (levels === undefined) throw new KiriError('STATUS_INVALID', `${place}: no state/levels`);
    status.logs.push({ place, levels });
  }
  const [log] = status.logs;
  if (sequence !== undefined && log !== undefined) {
    if (!/^[1-9]\d{0,9}$/.test(sequence)) throw new UsageError('--sequence is a number');
    const { origin, policyHash } = log.levels;
    const level = levelOfSequence(Number(sequence), log.levels);
    status.receipts.push({ sequence: Number(sequence), origin, level, policyHash });
  }
  if (receipt !== undefined) status.receipts.push(await receiptInLog(receipt, values));
  return status;
}

/** `kiri status`: the levels of logs and receipts, from running programs or from files. */
export async function runStatus(argv: readonly string[]): Promise<number> {
  const { values } = parseArgs({ args: [...argv], options: OPTIONS });
  const places = [
    values.gateway,
    values.receipt,
    ...(values.ledger ?? []),
    ...(values.folder ?? []),
  ];
  if (places.every((place) => place === undefined)) {
    throw new UsageError('--gateway, --ledger, --folder or --receipt is needed');
  }
  if (values.hash !== undefined && values.gateway === undefined) {
    throw new UsageError('--hash wants --gateway URL too');
  }
  const status = await gather(values);
  process.stdout.write(values.json ? `${JSON.stringify(status)}\n` : describeStatus(status));
  if (status.offline.length > 0) return EXIT_OFFLINE;
  const isBad =
    status.logs.some(({ phase }) => phase?.kind === 'stopped') ||
    status.receipts.some(({ missing, held }) => missing !== undefined || held === 'none');
  return isBad ? EXIT_FAILED : EXIT_OK;
}
