import { GATEWAY_MANDATE, type GatewayMandate } from '../../identity/core/documents/mandate.ts';
import { openDocument } from '../../identity/core/document.ts';
import { LOG_POLICY } from '../../identity/core/documents/log-policy.ts';
import { issueApproverClosing, issueLogPolicy, issueMandate } from '../../identity/core/issue.ts';
import { loadSigner } from '../../identity/edge/key-file.ts';
import { nodeVerifier } from '../../identity/edge/node-signatures.ts';
import { readIfPresent, writeFileDurable } from '../../platform/durable-file.ts';
import { toHex } from '../../protocol/bytes.ts';
import { decodeCanonical } from '../../protocol/cbor/decode.ts';
import { KiriError } from '../../protocol/kiri-error.ts';
import type { PublicKey, Signer } from '../../protocol/public-key.ts';
import { encodePolicyBook, openPolicyBook } from '../../sync/ledger/core/policy-book.ts';
import { parsePolicy } from '../../sync/ledger/core/policy.ts';
import { decodeUtf8 } from '../../sync/ledger/core/text.ts';
import { EXIT_OK, UsageError } from '../command.ts';
import { readBytes, readPublicKey } from './config.ts';
import { say, toolOptions, writeNewFile } from './tool-options.ts';
import { runChargeback, runFee, runRetrieval } from './issuer-desk.ts';
import { runIngest } from './issuer-ingest.ts';
import { runErasureRequest } from './ledger-erasure.ts';
import { runDecline, runPublish, runRecover, runStatusList } from './issuer-deny.ts';
import { runReports } from './issuer-reports.ts';
import { runStatements } from './issuer-statements.ts';

const DAY_S = 86_400;
const DEFAULT_VALID_DAYS = 365;
/** A new document holds from a little earlier: clocks differ. */
const BACKDATED_S = 300;

const nowS = (): number => Math.floor(Date.now() / 1000);

/** An earlier mandate of this issuer, whose terms the next one repeats. */
function readMandate(path: string, issuer: PublicKey): GatewayMandate {
  const opened = openDocument(nodeVerifier(), issuer, GATEWAY_MANDATE, readBytes(path));
  if (opened.ok) return opened.value.value;
  throw new KiriError('DOCUMENT_INVALID', `${path}: ${opened.reason}`);
}

interface MandateChange {
  readonly key: PublicKey;
  readonly statusIndex: number;
  readonly validDays: number;
  readonly logOriginPrefix?: string;
}

function reissue(issuer: Signer, terms: GatewayMandate, change: MandateChange): Uint8Array {
  const { issuer: _issuer, subject: _subject, ...facts } = terms;
  const issuedS = nowS();
  return issueMandate(issuer, {
    ...facts,
    key: change.key,
    issuedS,
    notBeforeS: issuedS - BACKDATED_S,
    expiresS: issuedS + change.validDays * DAY_S,
    status: { uri: terms.status.uri, index: change.statusIndex },
    logOriginPrefix: change.logOriginPrefix ?? terms.logOriginPrefix,
  });
}

async function mandate(argv: readonly string[]): Promise<number> {
  const names = ['key', 'for', 'like', 'origin', 'status-index', 'valid-days', 'out'];
  const options = toolOptions(argv, names);
  const out = options.need('out');
  const statusIndex = options.count('status-index');
  if (statusIndex === undefined) throw new UsageError('--status-index is needed');
  const issuer = loadSigner(options.need('key'));
  const terms = readMandate(options.need('like'), issuer.key);
  const key = readPublicKey(options.need('for'));
  const origin = options.text('origin');
  const validDays = options.count('valid-days') ?? DEFAULT_VALID_DAYS;
  const change = { key, statusIndex, validDays };
  const facts = origin === undefined ? change : { ...change, logOriginPrefix: origin };
  await writeNewFile(out, reissue(issuer, terms, facts));
  const { hex: approver } = key;
  const line = `mandate for approver ${approver}, ${validDays} days: ${out}`;
  say(options.json, { approver, file: out }, line);
  return EXIT_OK;
}

async function closeApprover(argv: readonly string[]): Promise<number> {
  const options = toolOptions(argv, ['key', 'approver', 'through', 'reason', 'out']);
  const out = options.need('out');
  const throughSequence = options.count('through');
  if (throughSequence === undefined) throw new UsageError('--through SEQUENCE is needed');
  const reason = options.need('reason');
  const approver = readPublicKey(options.need('approver'));
  const facts = { issuedS: nowS(), approver: approver.id, throughSequence, reason };
  await writeNewFile(out, issueApproverClosing(loadSigner(options.need('key')), facts));
  const line = `approver ${approver.hex} closed at sequence ${throughSequence}: ${out}`;
  say(options.json, { approver: approver.hex, throughSequence, file: out }, line);
  return EXIT_OK;
}

interface OpenBook {
  readonly documents: readonly Uint8Array[];
  /** Hash of the last version; absent in an empty book. */
  readonly lastHash?: Uint8Array;
}

/** The versions of a book, each checked as every reader will. */
async function readBook(path: string, issuer: PublicKey): Promise<OpenBook> {
  const found = await readIfPresent(path);
  if (found === undefined) return { documents: [] };
  const bytes = new Uint8Array(found);
  const book = openPolicyBook(bytes, issuer, nodeVerifier());
  if (!book.ok) throw new KiriError('DOCUMENT_INVALID', `${path}: ${book.reason}`);
  const decoded = decodeCanonical(bytes, { maxBytes: bytes.length });
  const documents = (decoded.ok ? decoded.value : []) as Uint8Array[];
  const last = openDocument(nodeVerifier(), issuer, LOG_POLICY, documents.at(-1)!);
  if (!last.ok) throw new KiriError('DOCUMENT_INVALID', `${path}: ${last.reason}`);
  return { documents, lastHash: last.value.hash };
}

/** Adds a version to a policy book; what stands in the book stays as it is. */
async function policy(argv: readonly string[]): Promise<number> {
  const options = toolOptions(argv, ['key', 'text', 'book', 'in-force-from']);
  const [path, textFile] = [options.need('book'), options.need('text')];
  const bytes = readBytes(textFile);
  const parsed = parsePolicy(bytes);
  if (!parsed.ok) throw new KiriError('CONFIG_INVALID', `${textFile}: ${parsed.reason}`);
  const issuer = loadSigner(options.need('key'));
  const { documents, lastHash } = await readBook(path, issuer.key);
  const version = documents.length + 1;
  const issuedS = nowS();
  const inForceFromS = options.count('in-force-from') ?? issuedS;
  const added = issueLogPolicy(issuer, {
    issuedS,
    version,
    inForceFromS,
    text: decodeUtf8(bytes)!,
    ...(lastHash ? { previous: lastHash } : {}),
  });
  const next = encodePolicyBook([...documents, added]);
  const book = openPolicyBook(next, issuer.key, nodeVerifier());
  if (!book.ok) throw new KiriError('DOCUMENT_INVALID', book.reason);
  await writeFileDurable(path, next, 0o644);
  const hash = toHex(parsed.value.hash);
  const line = `policy version ${version}, SHA-256 ${hash}, in force from ${new Date(inForceFromS * 1000).toISOString()}`;
  say(options.json, { version, hash, inForceFromS, file: path }, line);
  return EXIT_OK;
}

/** `kiri issuer …`: the documents that only the issuer can sign and that keep a network of gateways running. */
export async function runIssuerTools([part, ...rest]: readonly string[]): Promise<number> {
  if (part === 'mandate') return mandate(rest);
  if (part === 'close-approver') return closeApprover(rest);
  if (part === 'policy') return policy(rest);
  if (part === 'erasure-request') return runErasureRequest(rest);
  if (part === 'ingest') return runIngest(rest);
  if (part === 'chargeback') return runChargeback(rest);
  if (part === 'retrieval') return runRetrieval(rest);
  if (part === 'fee') return runFee(rest);
  if (part === 'statements') return runStatements(rest);
  if (part === 'decline') return runDecline(rest);
  if (part === 'recover') return runRecover(rest);
  if (part === 'status-list') return runStatusList(rest);
  if (part === 'publish') return runPublish(rest);
  if (part === 'report') return runReports(rest);
  throw new UsageError(
    'kiri issuer wants mandate, close-approver, policy, erasure-request, ingest, chargeback, retrieval, fee, statements, decline, recover, status-list, publish or report',
  );
}
