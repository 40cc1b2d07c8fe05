import fsp from 'node:fs/promises';
import { syncBuiltinESMExports } from 'node:module';
import { join } from 'node:path';
import t from 'tap';
import { journalReader } from '../../../platform/journal-reader.ts';
import type { Clock } from '../../../platform/ports.ts';
import { systemClock } from '../../../platform/system-clock.ts';
import { nobleSigner } from '../../../identity/core/noble-signatures.ts';
import { ALG_EDDSA } from '../../../protocol/public-key.ts';
import { openContentKeys } from '../../../sync/ledger/content-keys.ts';
import { logSigner } from '../../../sync/ledger/core/note-ports.ts';
import { type ShardedLedger, startShardedLedger } from '../../../sync/ledger/shard-service.ts';
import { startWitnessService } from '../../../sync/ledger/witness-service.ts';
import { policyOf, realVerify, realWitness } from './keys.ts';
import { WITNESS, makeRig, source, until, type Rig } from './rig.ts';

const PREFIX = 'kiri.example/gw1';
const IN_Q3 = Date.UTC(2026, 8, 30, 23, 59);
const IN_Q4 = Date.UTC(2026, 9, 1);

const signerFor = (origin: string) =>
  logSigner(origin, nobleSigner(ALG_EDDSA, new Uint8Array(32).fill(9)));

type SetClock = Clock & { unixMs: number };
const setClock = (unixMs: number): SetClock => {
  const real = systemClock();
  const clock = { unixMs, now: () => ({ ...real.now(), unixMs: clock.unixMs }) };
  return clock;
};

/** A chain of shards with one payment, final in 2026q3; its writer and its witness have a clock each. */
const startedChain = async (t: {
  teardown(end: () => Promise<void>): void;
}): Promise<{ rig: Rig; ledger: ShardedLedger; own: SetClock; right: SetClock }> => {
  const rig = await makeRig(t);
  const [own, right] = [setClock(IN_Q3), setClock(IN_Q3)];
  const witness = await startWitnessService({
    root: join(rig.root, '../witness'),
    ports: { signer: realWitness(WITNESS), verify: realVerify },
    logs: new Map([[PREFIX, [signerFor(PREFIX).key]]]),
    port: 0,
    clock: right,
  });
  const ledger = await startShardedLedger({
    root: rig.root,
    prefix: PREFIX,
    ports: {
      verify: realVerify,
      policy: policyOf(signerFor(PREFIX), [realWitness(WITNESS)], 'quorum w1'),
    },
    signerFor,
    keysFor: (folder) => openContentKeys(folder, rig.issuer.key),
    reader: journalReader(rig.journalFolder),
    source,
    witnessUrls: new Map([['w1', witness.url]]),
    clock: own,
    checkIntervalMs: 20,
  });
  t.teardown(async () => {
    await ledger.close();
    await witness.close();
  });
  await rig.pay(1);
  await until('1 final', () => ledger.status().finalSize === 1);
  return { rig, ledger, own, right };
};

t.test('a clock that leaps years ahead opens no shard that no witness takes', async (t) => {
  const { rig, ledger, own, right } = await startedChain(t);
  own.unixMs = Date.UTC(2090, 0, 1);
  await new Promise((resolve) => setTimeout(resolve, 200));
  t.equal(ledger.origin(), `${PREFIX}/2026q3`, 'the witnesses say another time');
  await rig.pay(1);
  await until('the old shard goes on', () => ledger.status().finalSize === 2);
  [own.unixMs, right.unixMs] = [IN_Q4, IN_Q4];
  await until('the clock is right again', () => ledger.origin() === `${PREFIX}/2026q4`);
  await rig.pay(1);
  await until('final there', () => ledger.status().finalSize === 2);
});

t.test('a full disk at the turn is waited for, and the chain goes on by itself', async (t) => {
  const { rig, ledger, own, right } = await startedChain(t);
  const real = fsp.open;
  let isFull = true;
  const open: typeof fsp.open = async (path, flags, mode) => {
    if (isFull && flags !== 'r' && String(path).includes('2026q4')) {
      throw Object.assign(new Error('ENOSPC'), { code: 'ENOSPC' });
    }
    return real(path, flags, mode);
  };
  Object.assign(fsp, { open });
  syncBuiltinESMExports();
  t.teardown(() => {
    Object.assign(fsp, { open: real });
    syncBuiltinESMExports();
  });
  [own.unixMs, right.unixMs] = [IN_Q4, IN_Q4];
  await until('the trouble is shown', () => ledger.status().storageTrouble !== undefined);
  t.equal(ledger.origin(), `${PREFIX}/2026q3`);
  isFull = false;
  await until('turned', () => ledger.origin() === `${PREFIX}/2026q4`);
  await rig.pay(1);
  await until('final there', () => ledger.status().finalSize === 2);
  t.equal(ledger.status().storageTrouble, undefined);
});
