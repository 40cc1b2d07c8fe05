import { join } from 'node:path';
import { nodeVerifier } from '../../identity/edge/node-signatures.ts';
import { loadSigner } from '../../identity/edge/key-file.ts';
import { fetchBytes } from '../../platform/http-client.ts';
import type { JournalReader } from '../../platform/ports.ts';
import { systemRandom } from '../../platform/system-random.ts';
import { systemClock } from '../../platform/system-clock.ts';
import { KiriError } from '../../protocol/kiri-error.ts';
import { followAnchored } from '../../sync/ledger/anchored-follower.ts';
import { approverSource } from '../../sync/ledger/approver-source.ts';
import { openContentKeys } from '../../sync/ledger/content-keys.ts';
import { logSigner, noteVerify } from '../../sync/ledger/core/note-ports.ts';
import type { FinalityRules } from '../../sync/ledger/core/policy-book.ts';
import { checkRetention, type Retention } from '../../sync/ledger/core/retention.ts';
import { parseShard } from '../../sync/ledger/core/shard.ts';
import { startLedgerService } from '../../sync/ledger/ledger-service.ts';
import type { EntrySource, LedgerService } from '../../sync/ledger/ledger-types.ts';
import { startShardedLedger } from '../../sync/ledger/shard-service.ts';
import { logHandler, serveLog } from '../../sync/ledger/log-server.ts';
import { openSiteTunnel, type SiteTunnel } from '../../sync/ledger/site-tunnel.ts';
import { serve } from '../serve.ts';
import { configFromArgs, type Config } from './config.ts';
import { enrolmentRequest } from './enrolment.ts';
import { readRules } from './policy-file.ts';
import { readToken, siteName } from './relay.ts';

/** `policy`: a policy's text, or the issuer's book of versions, which wants `issuerKey` beside it. */
export function policyOf(config: Config): FinalityRules {
  return readRules(config.path('policy'), () => config.publicKey('issuerKey'));
}

/** 64 Ki lines of 36 bytes in hex fit. */
const TOTALS_LIMITS = { timeoutMs: 5_000, maxBytes: 8 * 1024 * 1024 };

/** What the gateway at hand says of spent totals goes to whoever follows its log: first after an outage. */
function totalsOf(config: Config): { totals?: () => Promise<Uint8Array> } {
  if (!config.has('gatewayUrl')) return {};
  const url = `${config.text('gatewayUrl')}/totals`;
  return { totals: async () => (await fetchBytes(url, TOTALS_LIMITS)).body };
}

/** `rollUp`: where the roll-up log answers that these logs are in. */
function followRollUp(config: Config): { close(): Promise<void> } | undefined {
  if (!config.has('rollUp')) return undefined;
  const [root, origin] = [config.path('folder'), config.text('origin')];
  return followAnchored(config.text('rollUp'), (of) => {
    if (!config.flag('shards')) return of === origin ? root : undefined;
    return parseShard(of)?.prefix === origin ? join(root, of.slice(origin.length + 1)) : undefined;
  });
}

/** `retention`: payloadDays, treeYears. Only a shard has an end to count from. */
function retentionOf(config: Config): { retention?: Retention } {
  if (!config.has('retention')) return {};
  const part = config.part('retention');
  const [payloadDays, treeYears] = [part.count('payloadDays', 0), part.count('treeYears', 0)];
  const retention = checkRetention({ payloadDays, treeYears });
  const reason = retention.ok ? 'wants "shards": true' : retention.reason;
  if (retention.ok && config.flag('shards')) return { retention: retention.value };
  throw new KiriError('CONFIG_INVALID', `retention: ${reason}`);
}

type LogHandler = ReturnType<typeof logHandler>;
const notYet: LogHandler = () => Promise.resolve({ status: 503, body: 'STARTING\n' });

/** `relay`: host, port, site, tokenFile. Witnesses and hub behind it have addresses `relay:<name>`. */
function tunnelOf(config: Config, handler: LogHandler): SiteTunnel | undefined {
  if (!config.has('relay')) return undefined;
  const relay = config.part('relay');
  return openSiteTunnel({
    host: relay.text('host'),
    port: relay.port('port'),
    site: siteName(relay, 'site'),
    token: readToken(relay.path('tokenFile')),
    handler,
    clock: systemClock(),
    random: systemRandom(),
  });
}

/** A log writer with its static files, over whatever journal `entries` follows. */
export async function startLog(
  config: Config,
  entries: { readonly reader: JournalReader; readonly source: EntrySource },
  port: number,
): Promise<{ readonly service: LedgerService; readonly port: number; close(): Promise<void> }> {
  const root = config.path('folder');
  const origin = config.text('origin');
  const signer = loadSigner(config.path('keyFile'));
  const contentKey = config.publicKey('contentKey');
  const ports = { verify: noteVerify(nodeVerifier()), policy: policyOf(config) };
  const retention = retentionOf(config);
  let answer: LogHandler = notYet;
  const tunnel = tunnelOf(config, (request) => answer(request));
  const enrolment = enrolmentRequest(config);
  const options = {
    root,
    ...entries,
    witnessUrls: new Map(
      config.parts('witnesses').map((part) => [part.text('name'), part.text('url')]),
    ),
    ...(config.has('hub') ? { hubUrl: config.text('hub') } : {}),
    ...(tunnel === undefined ? {} : { fetch: tunnel.fetch }),
    ...(enrolment === undefined ? {} : { enrolment }),
    clock: systemClock(),
  };
  // With "shards" the origin is a prefix, and the folder holds a log per quarter.
  const starting = config.flag('shards')
    ? startShardedLedger({
        ...options,
        prefix: origin,
        ...retention,
        ports,
        signerFor: (shard) => logSigner(shard, signer),
        keysFor: (folder) => openContentKeys(folder, contentKey),
      })
    : startLedgerService({
        ...options,
        ports: { ...ports, origin, signer: logSigner(origin, signer) },
        keys: openContentKeys(root, contentKey),
      });
  let service: LedgerService | undefined;
  try {
    const running = await starting;
    service = running;
    const facts = { status: () => running.status(), ...totalsOf(config) };
    answer = logHandler(root, facts);
    const server = await serveLog(root, port, facts);
    const follower = followRollUp(config);
    return {
      service: running,
      port: server.port,
      close: async () => {
        await follower?.close();
        await running.close();
        await tunnel?.close();
        await server.close();
      },
    };
  } catch (error) {
    await tunnel?.close();
    await service?.close();
    throw error;
  }
}

/**
 * `kiri sync ledger --config FILE`: stands beside a gateway, writes its journal into its log,
 * collects cosignatures over the uplink and serves the log as static files.
 */
export async function runLedger(argv: readonly string[]): Promise<number> {
  const config = configFromArgs(argv);
  const { alg } = config.publicKey('approverKey');
  const entries = approverSource(config.path('gatewayFolder'), alg);
  const log = await startLog(config, entries, config.port('port'));
  return serve(
    { port: log.port },
    async () => ({ ...log.service.status() }),
    () => log.close(),
  );
}
