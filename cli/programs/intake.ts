import { verifyClearing } from '../../identity/core/centre.ts';
import { nodeVerifier } from '../../identity/edge/node-signatures.ts';
import { systemClock } from '../../platform/system-clock.ts';
import { KiriError } from '../../protocol/kiri-error.ts';
import { judgeHandIn, partsOf } from '../../sync/clearing/core/judge-hand-in.ts';
import { startIntakeService } from '../../sync/ledger/intake-service.ts';
import { intakeSource } from '../../sync/ledger/intake-source.ts';
import { serve } from '../serve.ts';
import { documentsOf } from './clearing-documents.ts';
import { configFromArgs } from './config.ts';
import { startLog } from './ledger.ts';

/** How often it is asked whether it is time to look for new documents. */
const LOOK_MS = 1_000;

/**
 * `kiri sync intake --config FILE`: takes in receipts that no gateway's log brings (direct mode, dead gateways, stopped
 * origins) and writes them into the intake log, which is witnessed, mirrored and cleared like any other.
 */
export async function runIntake(argv: readonly string[]): Promise<number> {
  const config = configFromArgs(argv);
  const verifier = nodeVerifier();
  const trust = { issuerKey: config.publicKey('issuerKey'), verifier };
  const documents = await documentsOf(config, trust);
  const clearing = verifyClearing(trust, config.bytes('clearing'), undefined);
  if (!clearing.ok) throw new KiriError('CLEARING_INVALID', `${clearing.code}: ${clearing.reason}`);
  const { id } = clearing.value.value.key;
  const folder = config.path('journalFolder');
  const door = await startIntakeService({
    folder,
    ports: {
      judge: (handIn, nowS) => {
        const { registry } = documents;
        return judgeHandIn({ registry, verifier, clearing: id }, handIn, nowS);
      },
    },
    partsOf,
    port: config.port('port'),
    clock: systemClock(),
  });
  const log = await startLog(config, intakeSource(folder), config.port('logPort')).catch(
    async (error: unknown) => {
      await door.close();
      throw error;
    },
  );
  const looking = setInterval(() => {
    void documents.look().then((waits) => waits && documents.take());
  }, LOOK_MS).unref();
  return serve(
    { port: door.port, logPort: log.port },
    async () => ({
      door: door.status(),
      log: log.service.status(),
      documents: documents.alerts(Math.floor(Date.now() / 1000)),
    }),
    async () => {
      clearInterval(looking);
      await door.close();
      await log.close();
    },
  );
}
