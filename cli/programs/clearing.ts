import { policyAt } from '../../sync/ledger/core/policy-book.ts';
import { createPrivateKey } from 'node:crypto';
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { issueAcknowledgement } from '../../identity/core/issue.ts';
import { loadSigner } from '../../identity/edge/key-file.ts';
import { nodeVerifier } from '../../identity/edge/node-signatures.ts';
import { makeFolder } from '../../platform/make-folder.ts';
import { fromHex } from '../../protocol/bytes.ts';
import { KiriError } from '../../protocol/kiri-error.ts';
import { amountMicro } from '../../protocol/amount.ts';
import { ClearingService } from '../../sync/clearing/clearing-service.ts';
import { directoryOf } from '../../sync/clearing/core/directory.ts';
import { buildRegistry } from '../../sync/clearing/core/registry.ts';
import { LogPuller, type PullResult } from '../../sync/clearing/pull-log.ts';
import { openSqlite } from '../../sync/clearing/sql.ts';
import { httpSource } from '../../sync/ledger/log-source.ts';
import { serve, type Request } from '../serve.ts';
import { configFromArgs, readBytes, type Config } from './config.ts';
import { policyOf } from './ledger.ts';

const nowS = (): number => Math.floor(Date.now() / 1000);

interface Clearing {
  readonly config: Config;
  readonly service: ClearingService;
  readonly puller: LogPuller;
  readonly origin: string;
}

async function openClearing(config: Config): Promise<Clearing> {
  const folder = config.path('folder');
  makeFolder(folder);
  const verifier = nodeVerifier();
  const trust = { issuerKey: config.publicKey('issuerKey'), verifier };
  const registry = buildRegistry(trust, config.files('documents'));
  if (registry.faults.length > 0) {
    throw new KiriError('DOCUMENT_INVALID', registry.faults.slice(0, 5).join('; '));
  }
  const policy = policyOf(config);
  const signer = loadSigner(config.path('keyFile'));
  const service = await ClearingService.open(
    {
      database: openSqlite(join(folder, 'clearing.sqlite')),
      signer,
      outFolder: config.path('outFolder'),
      directory: directoryOf(registry),
      policyHash: (atS) => policyAt(policy, atS).hash,
      mode: 'T',
    },
    nowS(),
  );
  const origin = config.text('origin');
  const puller = await LogPuller.open({
    source: httpSource(config.text('logUrl')),
    origin,
    policy,
    registry,
    verifier,
    clearing: signer.key.id,
    erasure: trust,
    contentKey: createPrivateKey(Buffer.from(readBytes(config.path('contentKeyFile')))),
    headFile: join(folder, 'head.json'),
  });
  return { config, service, puller, origin };
}

function spokenPull(result: PullResult): Request {
  const taken = Object.fromEntries(result.taken);
  return { ...result, taken };
}

/** Signs what the centre holds of each approver and writes it where the operator fetches it. */
function acknowledge({ config }: Clearing, result: PullResult, request: Request): Request {
  const signer = loadSigner(config.path('keyFile'));
  const folder = String(request['folder']);
  mkdirSync(folder, { recursive: true });
  const files: string[] = [];
  for (const [approver, taken] of result.taken) {
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

async function answer(clearing: Clearing, request: Request): Promise<Request> {
  const { service, puller, origin } = clearing;
  switch (request['do']) {
    case 'pull':
      return spokenPull(await puller.pull(service, nowS()));
    case 'acknowledge':
      return acknowledge(clearing, await puller.pull(service, nowS()), request);
    case 'cut': {
      const { size, rootHex } = await puller.pull(service, nowS());
      const anchors = [{ origin, size, root: rootHex }];
      return { ...(await service.cut(nowS(), anchors, request['closeOut'] === true)) };
    }
    case 'reconcile':
      return { ...(await service.reconcile()) };
    default:
      throw new KiriError('REQUEST_INVALID', 'do is none of pull, acknowledge, cut, reconcile');
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
  return serve({}, inTurn, () => clearing.service.close());
}
