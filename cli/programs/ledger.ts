import { nodeVerifier } from '../../identity/edge/node-signatures.ts';
import { loadSigner } from '../../identity/edge/key-file.ts';
import { systemClock } from '../../platform/system-clock.ts';
import { approverSource } from '../../sync/ledger/approver-source.ts';
import { openContentKeys } from '../../sync/ledger/content-keys.ts';
import { logSigner, noteVerify } from '../../sync/ledger/core/note-ports.ts';
import type { FinalityRules } from '../../sync/ledger/core/policy-book.ts';
import { startLedgerService } from '../../sync/ledger/ledger-service.ts';
import { serveLog } from '../../sync/ledger/log-server.ts';
import { serve } from '../serve.ts';
import { configFromArgs, type Config } from './config.ts';
import { readRules } from './policy-file.ts';

/** `policy`: a policy's text, or the issuer's book of versions, which wants `issuerKey` beside it. */
export function policyOf(config: Config): FinalityRules {
  return readRules(config.path('policy'), () => config.publicKey('issuerKey'));
}

/**
 * `kiri sync ledger --config FILE`: stands beside a gateway, writes its journal into its log,
 * collects cosignatures over the uplink and serves the log as static files.
 */
export async function runLedger(argv: readonly string[]): Promise<number> {
  const config = configFromArgs(argv);
  const root = config.path('folder');
  const origin = config.text('origin');
  const { reader, source } = approverSource(
    config.path('gatewayFolder'),
    config.publicKey('approverKey').alg,
  );
  const service = await startLedgerService({
    root,
    ports: {
      origin,
      signer: logSigner(origin, loadSigner(config.path('keyFile'))),
      verify: noteVerify(nodeVerifier()),
      policy: policyOf(config),
    },
    reader,
    source,
    keys: openContentKeys(root, config.publicKey('contentKey')),
    witnessUrls: new Map(
      config.parts('witnesses').map((part) => [part.text('name'), part.text('url')]),
    ),
    ...(config.has('hub') ? { hubUrl: config.text('hub') } : {}),
    clock: systemClock(),
  });
  const server = await serveLog(root, config.port('port'), () => service.status());
  return serve(
    { port: server.port },
    async () => ({ ...service.status() }),
    async () => {
      await service.close();
      await server.close();
    },
  );
}
