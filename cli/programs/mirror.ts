import { nodeVerifier } from '../../identity/edge/node-signatures.ts';
import { loadSigner } from '../../identity/edge/key-file.ts';
import { systemClock } from '../../platform/system-clock.ts';
import { noteVerify, witnessSigner } from '../../sync/ledger/core/note-ports.ts';
import type { VerifierKey } from '../../sync/ledger/core/note-key.ts';
import { httpSource, type LogSource } from '../../sync/ledger/log-source.ts';
import { startMirrorService } from '../../sync/ledger/mirror-service.ts';
import { serve } from '../serve.ts';
import { configFromArgs, type Config } from './config.ts';
import { configuredLogs, enrolmentRules } from './enrolment.ts';

/** `logs: [{ origin, vkey, url }]`; a log with several keys stands there once per key. */
function logsOf(config: Config): Map<string, { keys: VerifierKey[]; source: LogSource }> {
  const logs = new Map<string, { keys: VerifierKey[]; source: LogSource }>();
  for (const part of configuredLogs(config)) {
    const origin = part.text('origin');
    const log = logs.get(origin) ?? { keys: [], source: httpSource(part.text('url')) };
    log.keys.push(part.vkey('vkey'));
    logs.set(origin, log);
  }
  return logs;
}

/** `kiri mirror --config FILE`: copies logs, checks every payload, and cosigns what it holds. */
export async function runMirror(argv: readonly string[]): Promise<number> {
  const config = configFromArgs(argv);
  const enrolment = enrolmentRules(config);
  const service = await startMirrorService({
    root: config.path('folder'),
    ports: {
      signer: witnessSigner(config.text('name'), loadSigner(config.path('keyFile'))),
      verify: noteVerify(nodeVerifier()),
    },
    ...(enrolment === undefined ? {} : { erasure: enrolment.trust, enrolment }),
    logs: logsOf(config),
    port: config.port('port'),
    clock: systemClock(),
    keyMark: `${config.path('keyFile')}.used`,
  });
  return serve(
    { port: service.port },
    async () => ({ logs: Object.fromEntries(service.status()) }),
    () => service.close(),
  );
}
