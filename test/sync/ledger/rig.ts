/** Real folders, a real journal and real HTTP for the tests of the ledger's shells. */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { generateKeyPairSync, type KeyObject } from 'node:crypto';
import { sha256 } from '@noble/hashes/sha2.js';
import { nodeSigner } from '../../../identity/edge/node-signatures.ts';
import { type FetchBytes, fetchBytes } from '../../../platform/http-client.ts';
import { journalReader } from '../../../platform/journal-reader.ts';
import { openJournal } from '../../../platform/journal.ts';
import type { Journal } from '../../../platform/ports.ts';
import { systemClock } from '../../../platform/system-clock.ts';
import { utf8ToBytes } from '../../../protocol/bytes.ts';
import type { PublicKey } from '../../../protocol/public-key.ts';
import { openContentKeys } from '../../../sync/ledger/content-keys.ts';
import type { Policy } from '../../../sync/ledger/core/policy.ts';
import { startLedgerService } from '../../../sync/ledger/ledger-service.ts';
import type { EntrySource, LedgerService } from '../../../sync/ledger/ledger-types.ts';
import { type WitnessService, startWitnessService } from '../../../sync/ledger/witness-service.ts';
import { ORIGIN, policyOf, realLog, realVerify, realWitness } from './keys.ts';

export const WITNESS = 'witness.example/w1';
export const MIRROR = 'mirror.example/m1';

/** A folder that is gone when the test ends. */
export const temporaryFolder = async (t: {
  teardown(end: () => Promise<void>): void;
}): Promise<string> => {
  const folder = await mkdtemp(join(tmpdir(), 'kiri-ledger-'));
  t.teardown(() => rm(folder, { recursive: true, force: true }));
  return folder;
};

/** Waits until `holds`, by looking again and again; gives up after 20 s. */
export const until = async (
  what: string,
  holds: () => boolean | Promise<boolean>,
): Promise<void> => {
  for (let tries = 0; tries < 2_000; tries += 1) {
    if (await holds()) return;
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
  throw new Error(`never: ${what}`);
};

/** As a writer asks: a mirror that is still copying is asked again. Its first answer that is one. */
export const askPatiently: FetchBytes = async (url, options) => {
  for (;;) {
    const answer = await fetchBytes(url, options);
    const isCopying = answer.status === 503 && Buffer.from(answer.body).includes('COPYING');
    if (!isCopying) return answer;
  }
};

/** When whatever the rigs log was accepted: one month, also where a test runs over the end of one. */
export const ACCEPTED_AT_MS: number = Date.now();

/** Records "pay <party> <text>" become entries, everything else is skipped. */
export const source: EntrySource = (record) => {
  const text = Buffer.from(record).toString('utf8');
  const [kind, party] = text.split(' ');
  if (kind !== 'pay') return [];
  const entry = {
    receiptPayloadHash: sha256(record),
    payloadPlain: record,
    partyRef: utf8ToBytes(party ?? ''),
    acceptedAtMs: ACCEPTED_AT_MS,
  };
  return [entry];
};

export interface Rig {
  readonly root: string;
  readonly journalFolder: string;
  readonly journal: Journal;
  readonly policy: Policy;
  /** The issuer's decryption key. */
  readonly issuer: { readonly key: PublicKey; readonly privateKey: KeyObject };
  witness(port?: number): Promise<WitnessService>;
  ledger(witnessUrl: string, root?: string): Promise<LedgerService>;
  pay(count: number, party?: string): Promise<void>;
}

/** One log with one witness under a policy that needs it. */
export const makeRig = async (t: { teardown(end: () => Promise<void>): void }): Promise<Rig> => {
  const base = await temporaryFolder(t);
  const root = join(base, 'log');
  const journalFolder = join(base, 'journal');
  const { journal } = await openJournal(journalFolder);
  t.teardown(() => journal.close());
  const policy = policyOf(realLog(), [realWitness(WITNESS)], 'quorum w1');
  const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  const key = nodeSigner(privateKey).key;
  const clock = systemClock();
  let paid = 0;
  return {
    root,
    journalFolder,
    journal,
    policy,
    issuer: { key, privateKey },
    witness: (port = 0) =>
      startWitnessService({
        root: join(base, 'witness'),
        ports: { signer: realWitness(WITNESS), verify: realVerify },
        logs: new Map([[ORIGIN, [realLog().key]]]),
        port,
        clock,
      }),
    ledger: (witnessUrl, folder = root) =>
      startLedgerService({
        root: folder,
        ports: { origin: ORIGIN, signer: realLog(), verify: realVerify, policy },
        reader: journalReader(journalFolder),
        source,
        keys: openContentKeys(folder, key),
        witnessUrls: new Map([['w1', witnessUrl]]),
        clock,
      }),
    pay: async (count, party = 'alice') => {
      for (let at = 0; at < count; at += 1) journal.append(utf8ToBytes(`pay ${party} ${paid++}`));
      journal.append(utf8ToBytes('void'));
      await journal.commit();
    },
  };
};
