import { execFile } from 'node:child_process';
import { copyFile, mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { sha256 } from '@noble/hashes/sha2.js';
import t from 'tap';
import { journalReader } from '../../platform/journal-reader.ts';
import type { Clock } from '../../platform/ports.ts';
import { encodeCanonical } from '../../protocol/cbor/encode.ts';
import { signSign1 } from '../../protocol/cose.ts';
import { RECEIPT } from '../../protocol/messages/receipt.ts';
import { coseKeyOf } from '../../protocol/public-key.ts';
import { openContentKeys } from '../../sync/ledger/content-keys.ts';
import { LONGEST_OUTAGE_S, judgeMissing } from '../../sync/ledger/core/merge-delay.ts';
import { startLedgerService } from '../../sync/ledger/ledger-service.ts';
import type { LedgerService } from '../../sync/ledger/ledger-types.ts';
import { serveLog } from '../../sync/ledger/log-server.ts';
import { startWitnessService } from '../../sync/ledger/witness-service.ts';
import { testSigner } from '../protocol/helpers.ts';
import { RECEIPT_SAMPLE } from '../protocol/samples.ts';
import { ORIGIN, policyText, realLog, realVerify, realWitness } from '../sync/ledger/keys.ts';
import { makeRig, until, WITNESS, type Rig } from '../sync/ledger/rig.ts';

const KIRI = fileURLToPath(new URL('../../cli/kiri.js', import.meta.url));
const approver = testSigner(9);
const T0_S = 1_800_000_000;
const HOUR_S = 3_600;
/** Of every receipt: five minutes before the test began. */
const acceptedAtMs = Date.now() - 300_000;

const receipt = (sequence: number, timeS: number): { payload: Uint8Array; cose: Uint8Array } => {
  const payload = RECEIPT.encode({ ...RECEIPT_SAMPLE, sequence, timeS });
  return { payload, cose: signSign1(approver, payload) };
};

const kiri = (...args: string[]): Promise<{ code: number; out: string; err: string }> =>
  new Promise((resolve) => {
    execFile(process.execPath, [KIRI, 'status', ...args], (error, out, err) => {
      resolve({ code: error === null ? 0 : Number(error.code), out, err });
    });
  });

/** A log of Receipts whose witness has a clock of its own. */
const receiptLog = (rig: Rig, witnessUrl: string): Promise<LedgerService> =>
  startLedgerService({
    root: rig.root,
    ports: { origin: ORIGIN, signer: realLog(), verify: realVerify, policy: rig.policy },
    reader: journalReader(rig.journalFolder),
    source: (record, index) => [
      {
        receiptPayloadHash: sha256(record),
        payloadPlain: record,
        partyRef: new Uint8Array(16),
        acceptedAtMs,
        sequence: index + 1,
      },
    ],
    keys: openContentKeys(rig.root, rig.issuer.key),
    witnessUrls: new Map([['w1', witnessUrl]]),
    clock: { now: () => ({ unixMs: Date.now(), monotonicMs: performance.now(), timeQuality: 1 }) },
  });

t.test('kiri status: levels of a running log, its folder, and one receipt in it', async (t) => {
  const rig = await makeRig(t);
  let witnessS = T0_S;
  const clock: Clock = {
    now: () => ({ unixMs: witnessS * 1_000, monotonicMs: performance.now(), timeQuality: 2 }),
  };
  const witness = await startWitnessService({
    root: join(rig.root, '../late-witness'),
    ports: { signer: realWitness(WITNESS), verify: realVerify },
    logs: new Map([[ORIGIN, [realLog().key]]]),
    port: 0,
    clock,
  });
  const ledger = await receiptLog(rig, witness.url);
  const server = await serveLog(rig.root, 0, { status: () => ledger.status() });
  const inLog = receipt(1, T0_S - 10);
  const left = receipt(2, T0_S - 10);
  rig.journal.append(inLog.payload);
  await rig.journal.commit();
  await until('1 final', () => ledger.status().finalSize === 1);
  const files = join(rig.root, '../files');
  await mkdir(files);
  const file = (name: string): string => join(files, name);
  await writeFile(file('policy'), policyText(realLog(), [realWitness(WITNESS)], 'quorum w1'));
  await writeFile(file('in'), inLog.cose);
  await writeFile(file('left'), left.cose);
  await writeFile(file('key'), encodeCanonical(coseKeyOf(approver.key)));
  await copyFile(join(rig.root, 'tlog/checkpoint'), file('earlier'));

  const policyHash = Buffer.from(rig.policy.hash).toString('hex');
  const running = await kiri('--ledger', server.url, '--sequence', '1', '--json');
  t.equal(running.code, 0, running.err);
  t.match(JSON.parse(running.out), {
    logs: [
      {
        levels: {
          origin: ORIGIN,
          recorded: { size: 1, throughSequence: 1 },
          final: { size: 1, throughSequence: 1 },
          policyHash,
          backlog: 0,
        },
        phase: { kind: 'running' },
        witnesses: [{ name: 'w1', cosignedSize: 1 }],
        uplink: { checkpoints: 2 },
      },
    ],
    receipts: [{ sequence: 1, level: 'L2', policyHash }],
  });

  await witness.close();
  rig.journal.append(receipt(3, T0_S).payload);
  await rig.journal.commit();
  await until('2 recorded', () => ledger.status().recordedSize === 2);
  const minutes = (): number => Math.round((Date.now() - acceptedAtMs) / 60_000);
  const atLeast = minutes();
  const cut = await kiri('--ledger', server.url);
  t.match(cut.out, /L1 +2 recorded through sequence 2\n/);
  t.match(cut.out, new RegExp(`L2 +1 final through sequence 1, policy ${policyHash}\n`));
  const [, oldest] = /backlog +1\n +drain .*\n +oldest +(\d+) min without L2\n/.exec(cut.out) ?? [];
  t.ok(Number(oldest) >= atLeast && Number(oldest) <= minutes(), `${oldest} min`);
  // Before it listens: the log asks again at once.
  witnessS = T0_S + 25 * HOUR_S;
  const again = await startWitnessService({
    root: join(rig.root, '../late-witness'),
    ports: { signer: realWitness(WITNESS), verify: realVerify },
    logs: new Map([[ORIGIN, [realLog().key]]]),
    port: witness.port,
    clock,
  });
  await until('2 final', () => ledger.status().finalSize === 2);
  await writeFile(join(rig.root, 'state/anchored'), JSON.stringify({ size: 1, ref: 'block 9' }));
  await ledger.close();
  await server.close();
  await again.close();

  const folder = await kiri('--folder', rig.root, '--json');
  t.match(JSON.parse(folder.out), { logs: [{ levels: { final: { size: 2 }, backlog: 0 } }] });

  const where = ['--log', rig.root, '--policy', file('policy'), '--json'];
  const found = await kiri('--receipt', file('in'), ...where);
  t.match(JSON.parse(found.out), { receipts: [{ level: 'L3', policyHash, index: 0 }] });
  t.equal(found.code, 0);

  const key = ['--approver-key', file('key')];
  const unknown = await kiri('--receipt', file('left'), ...where, ...key);
  t.match(JSON.parse(unknown.out), { receipts: [{ missing: 'NOT_IN_LOG', isSigned: true }] });
  const late = await kiri(
    '--receipt',
    file('left'),
    ...where,
    ...key,
    '--earlier',
    file('earlier'),
  );
  t.match(JSON.parse(late.out), { receipts: [{ missing: 'MERGE_DELAY_PASSED', origin: ORIGIN }] });
  t.equal(late.code, 1);
  const unsigned = await kiri('--receipt', file('left'), ...where, '--earlier', file('earlier'));
  t.match(JSON.parse(unsigned.out), { receipts: [{ missing: 'NOT_IN_LOG', isSigned: false }] });

  const offline = await kiri('--ledger', server.url);
  t.equal(offline.code, 4);
  t.match(offline.out, /no answer: /);
  for (const wrong of [[], ['--hash', 'ab'], ['--receipt', file('in')]]) {
    t.equal((await kiri(...wrong)).code, 2, wrong.join(' '));
  }
  const noReceipt = await kiri('--receipt', file('policy'), ...where);
  t.match(noReceipt, { code: 1, err: /FILE_INVALID/ });
});

t.test('the merge delay runs only while the line is shown to be up', async (t) => {
  const acceptedS = T0_S;
  const day = 24 * HOUR_S;
  for (const [missing, verdict] of [
    [{ checkpointS: T0_S + 5 * day }, 'waiting'],
    [{ checkpointS: T0_S + LONGEST_OUTAGE_S + day }, 'waiting'],
    [{ checkpointS: T0_S + LONGEST_OUTAGE_S + day + 1 }, 'passed'],
    [{ checkpointS: T0_S + day, lineUpS: T0_S }, 'waiting'],
    [{ checkpointS: T0_S + day + 1, lineUpS: T0_S }, 'passed'],
    [{ checkpointS: T0_S + 5 * day, lineUpS: T0_S + 4 * day }, 'waiting'],
    [{ checkpointS: T0_S + 5 * day, lineUpS: T0_S - 1 }, 'waiting'],
  ] as const) {
    t.equal(judgeMissing({ acceptedS, ...missing }), verdict, JSON.stringify(missing));
  }
});
