import { parseArgs } from 'node:util';
import { nodeVerifier } from '../../identity/edge/node-signatures.ts';
import { loadSigner } from '../../identity/edge/key-file.ts';
import { systemClock } from '../../platform/system-clock.ts';
import { KiriError } from '../../protocol/kiri-error.ts';
import { countersignTrust, timeStampTrust } from '../../sync/ledger/anchor/anchor-trust.ts';
import { type AnchorService, startAnchorService } from '../../sync/ledger/anchor/anchor-service.ts';
import { deployHeadAnchor, openEvmAnchor } from '../../sync/ledger/anchor/evm-anchor.ts';
import { fileAnchor } from '../../sync/ledger/anchor/file-anchor.ts';
import { timeStampAnchor } from '../../sync/ledger/anchor/timestamp-anchor.ts';
import { isAnchorName } from '../../sync/ledger/core/anchor-file.ts';
import type { Anchor } from '../../sync/ledger/core/anchor-port.ts';
import { verifyFinalCheckpoint } from '../../sync/ledger/core/final-checkpoint.ts';
import type { Verify } from '../../sync/ledger/core/note-key.ts';
import { logSigner, noteVerify } from '../../sync/ledger/core/note-ports.ts';
import type { FinalityRules } from '../../sync/ledger/core/policy-book.ts';
import { decodeUtf8, type Outcome } from '../../sync/ledger/core/text.ts';
import { serveLog } from '../../sync/ledger/log-server.ts';
import { readCheckpoint } from '../../sync/ledger/log-folder.ts';
import { folderSource, httpSource } from '../../sync/ledger/log-source.ts';
import { startRollUp } from '../../sync/ledger/roll-up-service.ts';
import { EXIT_OK, UsageError } from '../command.ts';
import { serve } from '../serve.ts';
import { configFromArgs, type Config } from './config.ts';
import { policyOf } from './ledger.ts';

const DEFAULT_PERIOD_S = 3_600;
const DEFAULT_COLLECT_S = 60;
const DEFAULT_TIMEOUT_S = 15;
/** One block of a quick chain; an inbox is looked into as often. */
const DEFAULT_POLL_S = 10;
const DEFAULT_CONFIRMATIONS = 12;

function taken<T>(part: string, outcome: Outcome<T>): T {
  if (outcome.ok) return outcome.value;
  throw new KiriError('CONFIG_INVALID', `${part}: ${outcome.reason}`);
}

/** One of `anchors`: `kind`, `name`, and what its kind needs. */
async function anchorOf(config: Config, verify: Verify): Promise<Anchor> {
  const kind = config.text('kind');
  const timeoutMs = 1_000 * config.count('timeoutS', DEFAULT_TIMEOUT_S);
  if (kind === 'evm') {
    return openEvmAnchor({
      rpcUrl: config.text('rpcUrl'),
      keyFile: config.path('keyFile'),
      contract: config.text('contract'),
      chainId: config.count('chainId', 0),
      confirmations: config.count('confirmations', DEFAULT_CONFIRMATIONS),
      timeoutMs,
      ...(config.has('maxFeePerGasWei')
        ? { maxFeePerGasWei: config.bigint('maxFeePerGasWei') }
        : {}),
    });
  }
  if (kind === 'rfc3161') {
    const roots = config.files('roots').map((pem) => Buffer.from(pem).toString('latin1'));
    const policies = config.has('policies') ? config.texts('policies') : [];
    const trust = taken('anchors', timeStampTrust({ roots, policies }));
    return timeStampAnchor({ url: config.text('url'), timeoutMs, trust });
  }
  if (kind === 'file') {
    const countersigned = countersignTrust({ keys: config.texts('keys') }, verify);
    return fileAnchor({
      outbox: config.path('outbox'),
      inbox: config.path('inbox'),
      verify: taken('anchors', countersigned),
    });
  }
  throw new KiriError('CONFIG_INVALID', `anchors: kind ${kind} is not evm, rfc3161 or file`);
}

/** The roll-up log's own published checkpoint, once it is final. */
function newestOf(root: string, policy: FinalityRules, verify: Verify) {
  const source = folderSource(root);
  return async (): Promise<{ size: number; note: string } | undefined> => {
    const bytes = await readCheckpoint(source);
    const head = bytes && verifyFinalCheckpoint(bytes, policy, verify);
    const note = bytes && decodeUtf8(bytes);
    return head?.ok === true && note !== undefined && head.value.size > 0
      ? { size: head.value.size, note }
      : undefined;
  };
}

async function startAnchors(
  config: Config,
  options: { root: string; policy: FinalityRules; verify: Verify },
): Promise<readonly AnchorService[]> {
  const { root, policy, verify } = options;
  const periodMs = 1_000 * config.count('periodS', DEFAULT_PERIOD_S);
  const services: AnchorService[] = [];
  for (const part of config.parts('anchors')) {
    const name = part.text('name');
    if (!isAnchorName(name) || services.some((one) => one.status().name === name)) {
      throw new KiriError('CONFIG_INVALID', `anchors: ${name} is used twice, or no name`);
    }
    services.push(
      await startAnchorService({
        root,
        name,
        anchor: await anchorOf(part, verify),
        times: { periodMs, pollMs: 1_000 * part.count('pollS', DEFAULT_POLL_S) },
        clock: systemClock(),
        newest: newestOf(root, policy, verify),
      }),
    );
  }
  return services;
}

/** `--deploy NAME`: the address and the key's file stand in the configuration, not on the command line. */
async function runDeploy(config: Config, name: string): Promise<number> {
  const part = config.parts('anchors').find((one) => one.text('name') === name);
  if (part?.text('kind') !== 'evm')
    throw new UsageError(`${name} is no EVM anchor of the configuration`);
  const timeoutMs = 1_000 * part.count('timeoutS', DEFAULT_TIMEOUT_S);
  const deployed = await deployHeadAnchor({
    rpcUrl: part.text('rpcUrl'),
    keyFile: part.path('keyFile'),
    timeoutMs,
  });
  process.stdout.write(`${JSON.stringify(deployed)}\n`);
  return EXIT_OK;
}

/**
 * `kiri sync rollup --config FILE`: collects final checkpoints of gateways' logs into a log of its own and anchors that
 * log's checkpoints, once a period, at every configured place.
 */
export async function runRollUp(argv: readonly string[]): Promise<number> {
  const config = configFromArgs(argv);
  const { values } = parseArgs({
    args: [...argv],
    options: { deploy: { type: 'string' } },
    strict: false,
  });
  if (typeof values.deploy === 'string') return runDeploy(config, values.deploy);
  const root = config.path('folder');
  const origin = config.text('origin');
  const verify = noteVerify(nodeVerifier());
  const policy = policyOf(config);
  const rollUp = await startRollUp({
    root,
    ports: {
      origin,
      signer: logSigner(origin, loadSigner(config.path('keyFile'))),
      verify,
      policy,
    },
    logs: config.parts('logs').map((part) => ({
      origin: part.text('origin'),
      policy: part.has('policy') ? policyOf(part) : policy,
      source: httpSource(part.text('url')),
    })),
    witnessUrls: new Map(
      config.parts('witnesses').map((part) => [part.text('name'), part.text('url')]),
    ),
    collectMs: 1_000 * config.count('collectS', DEFAULT_COLLECT_S),
    clock: systemClock(),
  });
  const anchors = await startAnchors(config, { root, policy, verify });
  const status = () => {
    const places = anchors.map((anchor) => anchor.status());
    return { ...rollUp.status(places), anchors: places };
  };
  const server = await serveLog(root, config.port('port'), { status });
  return serve(
    { port: server.port },
    async () => status(),
    async () => {
      await Promise.all(anchors.map((anchor) => anchor.close()));
      await rollUp.close();
      await server.close();
    },
  );
}
