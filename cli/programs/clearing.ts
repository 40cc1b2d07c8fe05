import { policyAt } from '../../sync/ledger/core/policy-book.ts';
import { createPrivateKey } from 'node:crypto';
import { mkdirSync, writeFileSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { join } from 'node:path';
import { issueAcknowledgement } from '../../identity/core/issue.ts';
import { loadSigner } from '../../identity/edge/key-file.ts';
import { nodeVerifier } from '../../identity/edge/node-signatures.ts';
import { makeFolder } from '../../platform/make-folder.ts';
import { fromHex } from '../../protocol/bytes.ts';
import { KiriError } from '../../protocol/kiri-error.ts';
import { amountMicro } from '../../protocol/amount.ts';
import { ClearingService } from '../../sync/clearing/clearing-service.ts';
import { CheckThreads } from '../../sync/clearing/check-threads.ts';
import { directoryOf } from '../../sync/clearing/core/directory.ts';
import { nextWeekday, type PayoutTerms } from '../../sync/clearing/core/payout-terms.ts';
import { removeLeftovers } from '../../sync/clearing/leftovers.ts';
import type { DocumentWatch } from '../../sync/clearing/document-watch.ts';
import { LogPuller, type PullOptions, type RuleChanges } from '../../sync/clearing/pull-log.ts';
import { pullLogs, type PullRound } from '../../sync/clearing/pull-logs.ts';
import { EvidenceFolder, type SpokenStop } from '../../sync/clearing/evidence-folder.ts';
import { pullTotals, type Exposure } from '../../sync/clearing/pull-totals.ts';
import { checkInLine, type CheckRules } from '../../sync/clearing/record-check.ts';
import { openStore } from '../../sync/clearing/open-store.ts';
import { parseShard, quarterOf } from '../../sync/ledger/core/shard.ts';
import { httpSource } from '../../sync/ledger/log-source.ts';
import { serve, type Request } from '../serve.ts';
import {
  DISPUTE_COMMANDS,
  answerDispute,
  disputeOptions,
  inboxOf,
  openMatters,
  readBack,
} from './clearing-disputes.ts';
import type { InboxFolder } from '../../sync/clearing/inbox-folder.ts';
import { changesOf, documentsOf } from './clearing-documents.ts';
import { SEAL_AFTER_DAYS } from '../../sync/clearing/seal-segments.ts';
import type { Segment } from '../../sync/clearing/segments.ts';
import { spokenSealing, spokenSegment } from './clearing-segments.ts';
import { configuredPart, takenOf, type ConfiguredPart } from './clearing-part.ts';
import { bookReturn } from '../../sync/clearing/returned-transfers.ts';
import type { TransferReturn } from '../../sync/clearing/returned-transfers.ts';
import { profilesOf } from './clearing-profiles.ts';
import { RETENTION_COMMANDS, answerRetention } from './clearing-retention.ts';
import { configFromArgs, readBytes, type Config } from './config.ts';
import { policyOf } from './ledger.ts';
import { payoutsOf } from './payout-config.ts';
import { configuredProgrammes } from './programme-config.ts';
import { configuredStore } from './store-place.ts';

const nowS = (): number => Math.floor(Date.now() / 1000);

/** PDS0122: nothing here is certified, so every file is a test file. */
const MODE = 'T';

interface Clearing {
  readonly config: Config;
  readonly service: ClearingService;
  /** The logs that are followed now: a chain of shards grows with the calendar. */
  readonly pullers: () => readonly LogPuller[];
  readonly documents: DocumentWatch;
  /** What of them is new comes into force before a request, and between two chunks of a log. */
  readonly changes: RuleChanges;
  /** Evidence of forks: what is put there is read, what is found is written there. */
  readonly evidence: EvidenceFolder;
  /** Where the issuer's files arrive. */
  readonly inbox: InboxFolder;
  /** Sites that may tell spent totals: the first address of each log, of a chain without its shards. */
  readonly sites: readonly string[];
  /** By acquirer. */
  readonly payouts: ReadonlyMap<string, PayoutTerms>;
  /** Where the clearing is parted. */
  readonly parted: ConfiguredPart | undefined;
  readonly close: () => Promise<void>;
}

/** One entry of `logs`, or the configuration itself where it names a single log by `origin` and `logUrl`. */
interface NamedLog {
  /** An origin, or the prefix of a chain of shards. */
  readonly name: string;
  /** The log, then its mirrors; of a chain with `{shard}` where the shard's name stands. */
  readonly urls: readonly string[];
  /** First quarter of a chain, such as 2026q4. */
  readonly firstShard?: string;
}

function logsOf(config: Config): NamedLog[] {
  if (!config.has('logs')) {
    return [{ name: config.text('origin'), urls: [config.text('logUrl')] }];
  }
  return config.parts('logs').map((part) => {
    const urls = part.has('urls') ? part.texts('urls') : [part.text('url')];
    if (!part.has('originPrefix')) return { name: part.text('origin'), urls };
    return { name: part.text('originPrefix'), urls, firstShard: part.text('firstShard') };
  });
}

/** More shards than this of one chain are not asked for: ten years of quarters. */
const MAX_SHARDS = 40;

/** The logs behind a name at a time: itself, or every shard of its chain until the one after this quarter. */
function originsOf({ name, urls, firstShard }: NamedLog): { origin: string; urls: string[] }[] {
  if (firstShard === undefined) return [{ origin: name, urls: [...urls] }];
  const first = parseShard(`${name}/${firstShard}`);
  if (!first)
    throw new KiriError('CONFIG_INVALID', `firstShard ${firstShard} is no year and quarter`);
  const last = Math.min(quarterOf(Date.now()) + 1, first.index + MAX_SHARDS - 1);
  return Array.from({ length: Math.max(0, last - first.index + 1) }, (_, at) => {
    const index = first.index + at;
    const shard = `${Math.floor(index / 4)}q${(index % 4) + 1}`;
    return {
      origin: `${name}/${shard}`,
      urls: urls.map((url) => url.replaceAll('{shard}', shard)),
    };
  });
}

/** The pullers of all logs that are configured, made when a log is first met. */
function pullersOf(
  config: Config,
  optionsOf: (origin: string, urls: readonly string[]) => PullOptions,
): Pick<Clearing, 'pullers' | 'sites'> {
  const logs = logsOf(config);
  const known = new Map<string, LogPuller>();
  const pullerOf = (origin: string, urls: readonly string[]): LogPuller => {
    const puller = known.get(origin) ?? new LogPuller(optionsOf(origin, urls));
    known.set(origin, puller);
    return puller;
  };
  const pullers = (): LogPuller[] =>
    logs.flatMap(originsOf).map(({ origin, urls }) => pullerOf(origin, urls));
  // What is wrong with the configuration is said at the start.
  pullers();
  const sites = logs.map(({ urls }) => (urls[0] ?? '').replace(/\/?\{shard\}.*$/, ''));
  return { pullers, sites };
}

async function openClearing(config: Config): Promise<Clearing> {
  const folder = config.path('folder');
  makeFolder(folder);
  const verifier = nodeVerifier();
  const trust = { issuerKey: config.publicKey('issuerKey'), verifier };
  const documents = await documentsOf(config, trust);
  const programmes = configuredProgrammes(config);
  const policy = policyOf(config);
  // What is wrong with the terms of payouts is said at the start, before any store is opened.
  const payouts = payoutsOf(config);
  const signer = loadSigner(config.path('keyFile'));
  const parted = configuredPart(config, signer.key.id);
  const { location, access } = configuredStore(config, folder);
  const database = await openStore(location, access);
  // The store has one writer, and so has the folder of its files.
  await removeLeftovers(config.path('outFolder'));
  const service = await ClearingService.open(
    {
      database,
      signer,
      outFolder: config.path('outFolder'),
      directory: directoryOf(documents.registry, programmes),
      policyHash: (atS) => policyAt(policy, atS).hash,
      mode: MODE,
      ...(parted && { part: parted.part }),
      ...disputeOptions(config),
      ...profilesOf(config),
    },
    nowS(),
  );
  const rules: CheckRules = {
    registry: documents.registry,
    clearing: parted?.clearing ?? signer.key.id,
    ...(parted && { part: parted.part }),
  };
  const checker = new CheckThreads(rules, checkInLine(rules, verifier), availableParallelism());
  const changes = changesOf(documents, checker, service, programmes);
  const contentKey = createPrivateKey(Buffer.from(readBytes(config.path('contentKeyFile'))));
  const { pullers, sites } = pullersOf(config, (origin, urls) => ({
    sources: urls.map(httpSource),
    origin,
    policy,
    ...rules,
    verifier,
    checker,
    changes,
    erasure: trust,
    contentKey,
  }));
  const evidenceFolder = config.has('evidence')
    ? config.path('evidence')
    : join(folder, 'evidence');
  const evidence = new EvidenceFolder(evidenceFolder, policy, verifier);
  const close = async (): Promise<void> => {
    await checker.close();
    await service.close();
  };
  const inbox = inboxOf(config, { ...trust, clearing: signer.key.id, mode: MODE });
  const running = { service, payouts, pullers, documents, changes, evidence, inbox, sites, parted };
  return { config, ...running, close };
}

/** The first log's size and root stand beside the others' too: all there is to say where there is one log. */
async function spokenPull({ service }: Clearing, round: PullRound): Promise<Request> {
  const [first] = round.logs;
  const taken = Object.fromEntries(await service.taken());
  return { ...round, size: first?.size ?? 0, rootHex: first?.rootHex ?? '', taken };
}

/** Signs what the centre holds of each approver and writes it where the operator fetches it. */
async function acknowledge(
  { config, service, parted }: Clearing,
  request: Request,
): Promise<Request> {
  const signer = loadSigner(config.path('keyFile'));
  const folder = String(request['folder']);
  mkdirSync(folder, { recursive: true });
  const files: string[] = [];
  for (const [approver, taken] of await takenOf(service, parted)) {
    const cose = issueAcknowledgement(signer, {
      issuedS: nowS(),
      approver: fromHex(approver),
      currency: Number(request['currency']),
      throughSequence: taken.throughSequence,
      count: taken.count,
      sumMicro: amountMicro(taken.sumMicro),
    });
    const path = join(folder, `${approver}.ack.cbor`);
    writeFileSync(path, cose);
    files.push(path);
  }
  return { files };
}

/** By approver id in hex. */
async function exposureOf({ sites, documents }: Clearing): Promise<Record<string, Exposure>> {
  const { registry } = documents;
  const told = await Promise.all(sites.map((url) => pullTotals(url, registry, nodeVerifier())));
  return Object.fromEntries(told.flatMap((one) => [...one]));
}

/** Beside what was read: logs that are stopped, and evidence files that are none. */
interface Told {
  readonly evidenceFaults: readonly string[];
  readonly stopped: readonly SpokenStop[];
}

/** Pays merchants of every configured acquirer, or of the one that the request names. */
async function payOut({ service, payouts }: Clearing, request: Request): Promise<Request> {
  const atS = nowS();
  const day = request['transferDay'] ?? nextWeekday(atS);
  if (typeof day !== 'string' || !/^\d{4}$/.test(day)) {
    throw new KiriError('REQUEST_INVALID', 'transferDay is not a day MMDD');
  }
  const asked = request['acquirer'];
  const chosen = [...payouts.values()].filter(
    ({ acquirer }) => asked === undefined || acquirer === asked,
  );
  if (chosen.length === 0) {
    throw new KiriError('REQUEST_INVALID', 'payouts of the configuration names no such acquirer');
  }
  const results: Request[] = [];
  for (const terms of chosen) {
    const { acquirer } = terms;
    results.push({ acquirer, ...(await service.payout(terms, day, atS)) });
  }
  return { payouts: results };
}

/** `sealAfterDays` of the configuration: the hand-in horizon, or longer. */
const seal = ({ config, service }: Clearing): Promise<Segment[]> =>
  service.seal(config.count('sealAfterDays', SEAL_AFTER_DAYS), nowS());

/** A transfer that the bank gave back, as its advice says it. */
function transferOf(request: Request): TransferReturn {
  const { file, number, amountYen, reason, retry } = request;
  const yen = typeof amountYen === 'number' ? String(amountYen) : amountYen;
  const isWhole = typeof number === 'number' && Number.isSafeInteger(number) && number > 0;
  const isYen = typeof yen === 'string' && /^[1-9]\d{0,9}$/.test(yen);
  if (wordOf(file) === '' || wordOf(reason) === '' || !isWhole || !isYen) {
    throw new KiriError(
      'REQUEST_INVALID',
      'payout-returned wants file, number (from 1), amountYen and reason',
    );
  }
  return {
    file: wordOf(file),
    number,
    amountYen: BigInt(yen),
    reason: wordOf(reason),
    mayRetry: retry === true,
  };
}

const wordOf = (value: unknown): string => (typeof value === 'string' ? value : '');

async function answer(clearing: Clearing, request: Request): Promise<Request> {
  const { service, pullers, evidence, inbox, changes } = clearing;
  if (await changes.waits()) changes.take();
  const pull = async (): Promise<PullRound & Told> => {
    // Evidence first: nothing above a last common head is read, or paid by the cut that follows.
    const evidenceFaults = await evidence.take(service, nowS());
    const round = await pullLogs(pullers(), service, nowS());
    return { ...round, evidenceFaults, stopped: await evidence.keep(service) };
  };
  switch (request['do']) {
    case 'pull': {
      // Spent totals first: the exposure is known before the receipts are.
      const exposure = await exposureOf(clearing);
      const back = await readBack(service, inbox, nowS());
      return { ...(await spokenPull(clearing, await pull())), exposure, ...back };
    }
    case 'acknowledge':
      await pull();
      return acknowledge(clearing, request);
    case 'cut': {
      // What the issuer sent comes first: a refused line may leave again with this very cut.
      const back = await readBack(service, inbox, nowS());
      // A log that is out of reach is cleared as far as it was read: the window does not wait for it.
      const { logs, stopped } = await pull();
      const anchors = logs
        .filter(({ size }) => size > 0)
        .map(({ origin, size, rootHex }) => ({ origin, size, root: rootHex }));
      const cut = await service.cut(nowS(), anchors, request['closeOut'] === true);
      // Once a month there is something to put away; a cut is made every day.
      return { ...cut, stopped, ...back, ...(await spokenSealing(() => seal(clearing))) };
    }
    case 'read-back':
      return readBack(service, inbox, nowS());
    case 'payout':
      return payOut(clearing, request);
    case 'payout-returned':
      return {
        ...(await service.within((session) => bookReturn(session, transferOf(request), nowS()))),
      };
    case 'reconcile':
      return {
        ...(await service.reconcile()),
        ...(await openMatters(service, clearing, nowS())),
      };
    case 'seal':
      return { sealed: (await seal(clearing)).map(spokenSegment) };
    case 'vault-statement': {
      const cose = readBytes(String(request['file']));
      return { ...(await service.takeVaultStatement(cose, nowS())) };
    }
    case 'lift-stop':
      return { lifted: await service.liftStop(String(request['origin']), nowS()) };
    default: {
      const answered =
        (await answerDispute(service, request, nowS())) ??
        (await answerRetention(clearing, request, nowS()));
      if (answered) return answered;
      throw new KiriError(
        'REQUEST_INVALID',
        `do is none of pull, acknowledge, cut, payout, payout-returned, reconcile, seal, ${RETENTION_COMMANDS}, vault-statement, lift-stop, ${DISPUTE_COMMANDS}`,
      );
    }
  }
}

/** `kiri sync clearing --config FILE`: reads logs, verifies once, nets and writes settlement files. */
export async function runClearing(argv: readonly string[]): Promise<number> {
  const clearing = await openClearing(configFromArgs(argv));
  // One request after the other: a cut and a pull never run into each other.
  let queue: Promise<unknown> = Promise.resolve();
  const inTurn = (request: Request): Promise<Request> => {
    const next = queue.then(() => answer(clearing, request));
    queue = next.catch(() => {});
    return next;
  };
  return serve({}, inTurn, clearing.close);
}
