/** One log under the full policy: four witnesses, three of which must sign, and one mirror; all in this process. */
import { generateKeyPairSync, type KeyObject } from 'node:crypto';
import { join } from 'node:path';
import { nodeSigner } from '../../../identity/edge/node-signatures.ts';
import { journalReader } from '../../../platform/journal-reader.ts';
import { openJournal } from '../../../platform/journal.ts';
import type { Journal } from '../../../platform/ports.ts';
import { systemClock } from '../../../platform/system-clock.ts';
import { utf8ToBytes } from '../../../protocol/bytes.ts';
import type { PublicKey } from '../../../protocol/public-key.ts';
import { openContentKeys } from '../../../sync/ledger/content-keys.ts';
import { encodeVerifierKey } from '../../../sync/ledger/core/note-key.ts';
import { type Policy, parsePolicy } from '../../../sync/ledger/core/policy.ts';
import { startLedgerService } from '../../../sync/ledger/ledger-service.ts';
import type { LedgerService } from '../../../sync/ledger/ledger-types.ts';
import { serveLog } from '../../../sync/ledger/log-server.ts';
import { httpSource } from '../../../sync/ledger/log-source.ts';
import { type MirrorService, startMirrorService } from '../../../sync/ledger/mirror-service.ts';
import { type WitnessService, startWitnessService } from '../../../sync/ledger/witness-service.ts';
import { ORIGIN, realLog, realVerify, realWitness } from './keys.ts';
import { MIRROR, source, temporaryFolder } from './rig.ts';

const WITNESSES = ['w1', 'w2', 'w3', 'w4'];

/** The policy text of DESIGN section 5: 3 of 4 witnesses and one mirror. */
const FULL_POLICY: string = [
  `log ${encodeVerifierKey(realLog().key)}`,
  ...WITNESSES.map((name) => `witness ${name} ${encodeVerifierKey(realWitness(name).key)}`),
  `witness m1 ${encodeVerifierKey(realWitness(MIRROR).key)}`,
  'group W 3 w1 w2 w3 w4',
  'group M any m1',
  'group Q all W M',
  'quorum Q',
  '',
].join('\n');

export interface FullRig {
  readonly base: string;
  readonly root: string;
  readonly mirrorRoot: string;
  readonly journalFolder: string;
  readonly policyText: string;
  readonly policy: Policy;
  readonly witnesses: Map<string, WitnessService>;
  /** Content keys are wrapped to it. */
  readonly contentKey: PublicKey;
  /** The private half: the issuer's. */
  readonly contentSecret: KeyObject;
  mirror: MirrorService;
  /** Starts the mirror again, at the address that it had. */
  startMirror(): Promise<void>;
  ledger(): Promise<LedgerService>;
  pay(count: number): Promise<void>;
}

const parsedPolicy = (): Policy => {
  const policy = parsePolicy(utf8ToBytes(FULL_POLICY));
  if (!policy.ok) throw new Error(policy.reason);
  return policy.value;
};

const payInto = (journal: Journal): ((count: number) => Promise<void>) => {
  let paid = 0;
  return async (count) => {
    for (let at = 0; at < count; at += 1) {
      journal.append(utf8ToBytes(`pay party${paid % 3} ${paid}`));
      paid += 1;
    }
    journal.append(utf8ToBytes('void'));
    await journal.commit();
  };
};

export const makeFullRig = async (t: {
  teardown(end: () => Promise<void>): void;
}): Promise<FullRig> => {
  const base = await temporaryFolder(t);
  const [root, mirrorRoot] = [join(base, 'log'), join(base, 'mirror')];
  const journalFolder = join(base, 'journal');
  const { journal } = await openJournal(journalFolder);
  const clock = systemClock();
  const logServer = await serveLog(root, 0);
  const contentSecret = generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey;
  const issuer = nodeSigner(contentSecret).key;
  const keys = [realLog().key];
  const witnesses = new Map<string, WitnessService>();
  for (const name of WITNESSES) {
    const ports = { signer: realWitness(name), verify: realVerify };
    const options = { root: join(base, name), ports, logs: new Map([[ORIGIN, keys]]), clock };
    witnesses.set(name, await startWitnessService({ ...options, port: 0 }));
  }
  const mirrorAt = (port: number): Promise<MirrorService> =>
    startMirrorService({
      root: mirrorRoot,
      ports: { signer: realWitness(MIRROR), verify: realVerify },
      logs: new Map([[ORIGIN, { keys, source: httpSource(logServer.url) }]]),
      port,
      clock,
    });
  const policy = parsedPolicy();
  const rig: FullRig = {
    base,
    root,
    mirrorRoot,
    journalFolder,
    policyText: FULL_POLICY,
    policy,
    witnesses,
    contentKey: issuer,
    contentSecret,
    mirror: await mirrorAt(0),
    startMirror: async () => {
      rig.mirror = await mirrorAt(rig.mirror.port);
    },
    ledger: () =>
      startLedgerService({
        root,
        ports: { origin: ORIGIN, signer: realLog(), verify: realVerify, policy },
        reader: journalReader(journalFolder),
        source,
        keys: openContentKeys(root, issuer),
        witnessUrls: new Map([
          ...Array.from(witnesses, ([name, one]) => [name, one.url] as const),
          ['m1', rig.mirror.url],
        ]),
        clock,
      }),
    pay: payInto(journal),
  };
  t.teardown(async () => {
    await Promise.all(Array.from(witnesses.values(), (one) => one.close()));
    await rig.mirror.close();
    await logServer.close();
    await journal.close();
  });
  return rig;
};
