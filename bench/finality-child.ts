import { generateKeyPairSync } from 'node:crypto';
import { join } from 'node:path';
import { nodeSigner, nodeVerifier } from '../identity/edge/node-signatures.ts';
import { systemClock } from '../platform/system-clock.ts';
import { encodeVerifierKey, parseVerifierKey } from '../sync/ledger/core/note-key.ts';
import { noteVerify, witnessSigner } from '../sync/ledger/core/note-ports.ts';
import { startHubService, type HubService } from '../sync/ledger/hub-service.ts';
import { httpSource } from '../sync/ledger/log-source.ts';
import { startMirrorService, type MirrorService } from '../sync/ledger/mirror-service.ts';
import { startWitnessService, type WitnessService } from '../sync/ledger/witness-service.ts';
import { answering } from './child.ts';

export type WitnessQuestion =
  | {
      readonly do: 'start';
      readonly folder: string;
      readonly origin: string;
      readonly logVkey: string;
      readonly logUrl: string;
      readonly delaysMs: readonly number[];
    }
  | { readonly do: 'kill'; readonly name: string };

/** Names, verifier keys and addresses; the last witness is the mirror. */
export interface WitnessesStarted {
  readonly witnesses: readonly {
    readonly name: string;
    readonly vkey: string;
    readonly url: string;
  }[];
  readonly hubUrl: string;
}

const running = new Map<string, WitnessService | MirrorService>();
let hub: HubService | undefined;

const portsOf = (name: string): Parameters<typeof startWitnessService>[0]['ports'] => {
  const signer = nodeSigner(generateKeyPairSync('ed25519').privateKey);
  return { signer: witnessSigner(name, signer), verify: noteVerify(nodeVerifier()) };
};

async function start({
  folder,
  origin,
  logVkey,
  logUrl,
  delaysMs,
}: Extract<WitnessQuestion, { do: 'start' }>): Promise<WitnessesStarted> {
  const logKey = parseVerifierKey(logVkey);
  if (!logKey.ok) throw new Error(logKey.reason);
  const keys = [logKey.value];
  const clock = systemClock();
  const witnesses: { name: string; vkey: string; url: string }[] = [];
  for (const [at, delayMs] of delaysMs.entries()) {
    const name = `w${at + 1}`;
    const ports = portsOf(`${name}.bench`);
    const service = await startWitnessService({
      root: join(folder, name),
      ports,
      logs: new Map([[origin, keys]]),
      port: 0,
      clock,
      // The way there and back.
      admit: async () => {
        await new Promise((resolve) => setTimeout(resolve, delayMs));
        return undefined;
      },
    });
    running.set(name, service);
    witnesses.push({ name, vkey: encodeVerifierKey(ports.signer.key), url: service.url });
  }
  const ports = portsOf('m1.bench');
  const mirror = await startMirrorService({
    root: join(folder, 'm1'),
    ports,
    logs: new Map([[origin, { keys, source: httpSource(logUrl) }]]),
    port: 0,
    clock,
  });
  running.set('m1', mirror);
  witnesses.push({ name: 'm1', vkey: encodeVerifierKey(ports.signer.key), url: mirror.url });
  hub = await startHubService({
    witnesses: new Map(witnesses.map(({ name, url }) => [name, url])),
    port: 0,
  });
  return { witnesses, hubUrl: hub.url };
}

answering(async (question: WitnessQuestion) => {
  if (question.do === 'start') return start(question);
  await running.get(question.name)?.close();
  running.delete(question.name);
  return {};
});

process.on('disconnect', () => process.exit(0));
