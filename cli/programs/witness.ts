import { nodeVerifier } from '../../identity/edge/node-signatures.ts';
import { loadSigner } from '../../identity/edge/key-file.ts';
import { systemClock } from '../../platform/system-clock.ts';
import { noteVerify, witnessSigner } from '../../sync/ledger/core/note-ports.ts';
import type { VerifierKey } from '../../sync/ledger/core/note-key.ts';
import { startWitnessService } from '../../sync/ledger/witness-service.ts';
import { serve } from '../serve.ts';
import { configFromArgs, type Config } from './config.ts';
import { configuredLogs, enrolmentRules } from './enrolment.ts';

function logsOf(config: Config): Map<string, VerifierKey[]> {
  const logs = new Map<string, VerifierKey[]>();
  for (const part of configuredLogs(config)) {
    const origin = part.text('origin');
    logs.set(origin, [...(logs.get(origin) ?? []), part.vkey('vkey')]);
  }
  return logs;
}

/** `kiri witness --config FILE`: cosigns checkpoints of the logs it knows or enrols (c2sp.org/tlog-witness). */
export async function runWitness(argv: readonly string[]): Promise<number> {
  const config = configFromArgs(argv);
  const rules = enrolmentRules(config);
  const service = await startWitnessService({
    root: config.path('folder'),
    ports: {
      signer: witnessSigner(config.text('name'), loadSigner(config.path('keyFile'))),
      verify: noteVerify(nodeVerifier()),
    },
    logs: logsOf(config),
    ...(rules === undefined ? {} : { enrolment: { ...rules, needsUrl: false } }),
    port: config.port('port'),
    clock: systemClock(),
    keyMark: `${config.path('keyFile')}.used`,
  });
  return serve(
    { port: service.port },
    async () => ({ sizes: Object.fromEntries(service.sizes()) }),
    () => service.close(),
  );
}
