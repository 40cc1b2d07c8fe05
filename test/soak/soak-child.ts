/**
 * Writer, witnesses or mirror as a process of its own, to be killed: prints the addresses of what it holds as one line of
 * JSON, and works until its end.
 */
import { join } from 'node:path';
import { journalReader } from '../../platform/journal-reader.ts';
import { systemClock } from '../../platform/system-clock.ts';
import { ALG_ES256, publicKey } from '../../protocol/public-key.ts';
import { parsePolicy } from '../../sync/ledger/core/policy.ts';
import {
  HELD,
  LOG,
  MIRROR_NAME,
  ORIGIN,
  type SoakTask,
  policyOf,
  source,
  verifyNow,
  witnessOf,
} from './soak-keys.ts';

/** How often the writer looks whether it was stopped. */
const LOOK_MS = 50;

const task = JSON.parse(process.argv[2] ?? '{}') as SoakTask;
const clock = systemClock();

type Urls = Record<string, string>;

async function runWitnesses(): Promise<Urls> {
  const { startWitnessService } = await import('../../sync/ledger/witness-service.ts');
  const urls: Urls = {};
  for (const name of HELD[task.shape][task.role] ?? []) {
    const service = await startWitnessService({
      root: join(task.base, name),
      ports: { signer: witnessOf(name), verify: verifyNow },
      logs: new Map([[ORIGIN, [LOG.key]]]),
      port: 0,
      clock,
    });
    urls[name] = service.url;
  }
  return urls;
}

async function runMirror(): Promise<Urls> {
  const { startMirrorService } = await import('../../sync/ledger/mirror-service.ts');
  const { httpSource } = await import('../../sync/ledger/log-source.ts');
  const service = await startMirrorService({
    root: join(task.base, 'mirror'),
    ports: { signer: witnessOf(MIRROR_NAME), verify: verifyNow },
    logs: new Map([[ORIGIN, { keys: [LOG.key], source: httpSource(task.logUrl) }]]),
    port: 0,
    clock,
  });
  return { [MIRROR_NAME]: service.url };
}

/** Ends with 1 where the log stopped: every stop is a failure of the soak. */
async function runWriter(): Promise<Urls> {
  const { startLedgerService } = await import('../../sync/ledger/ledger-service.ts');
  const { openContentKeys } = await import('../../sync/ledger/content-keys.ts');
  const root = join(task.base, 'log');
  const policy = parsePolicy(new TextEncoder().encode(policyOf(task.shape)));
  const issuer = publicKey(ALG_ES256, new Uint8Array(Buffer.from(task.issuer, 'hex')));
  if (!policy.ok || issuer === undefined) throw new Error('not a task');
  const service = await startLedgerService({
    root,
    ports: { origin: ORIGIN, signer: LOG, verify: verifyNow, policy: policy.value },
    reader: journalReader(join(task.base, 'journal')),
    source,
    keys: openContentKeys(root, issuer),
    witnessUrls: new Map(Object.entries(task.urls)),
    clock,
  });
  setInterval(() => {
    const { phase } = service.status();
    if (phase.kind !== 'stopped') return;
    process.stderr.write(`the log stopped: ${JSON.stringify(phase)}\n`);
    process.exit(1);
  }, LOOK_MS);
  return {};
}

// Without its parent it ends: nothing of a broken run stays behind.
process.stdin.resume().once('end', () => process.exit(0));

const RUN = {
  writer: runWriter,
  witness: runWitnesses,
  witnesses: runWitnesses,
  mirror: runMirror,
};

RUN[task.role]().then(
  (urls) => process.stdout.write(`${JSON.stringify(urls)}\n`),
  (error: unknown) => {
    process.stderr.write(`${error instanceof Error ? (error.stack ?? '') : String(error)}\n`);
    process.exit(1);
  },
);
