import { generateKeyPairSync } from 'node:crypto';
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import t from 'tap';
import { Program } from '../../../cli/demo/processes.ts';
import { createKeyFile, loadSigner } from '../../../identity/edge/key-file.ts';
import { nodeSigner, nodeVerifier } from '../../../identity/edge/node-signatures.ts';
import { fetchBytes } from '../../../platform/http-client.ts';
import { systemClock } from '../../../platform/system-clock.ts';
import { toHex } from '../../../protocol/bytes.ts';
import { encodeCanonical } from '../../../protocol/cbor/encode.ts';
import { amountMicro } from '../../../protocol/amount.ts';
import { signSign1 } from '../../../protocol/cose.ts';
import { CLOSE, CREDIT } from '../../../protocol/messages/after-payment.ts';
import { HAND_IN } from '../../../protocol/messages/envelopes.ts';
import { EVIDENCE } from '../../../protocol/messages/evidence.ts';
import { coseKeyOf } from '../../../protocol/public-key.ts';
import { judgeHandIn, partsOf } from '../../../sync/clearing/core/judge-hand-in.ts';
import { buildRegistry } from '../../../sync/clearing/core/registry.ts';
import { logSigner } from '../../../sync/ledger/core/note-ports.ts';
import { type IntakeService, startIntakeService } from '../../../sync/ledger/intake-service.ts';
import { unwrapContentKey } from '../../../sync/ledger/key-wrap.ts';
import { readPayloads } from '../../../sync/ledger/log-folder.ts';
import { httpSource } from '../../../sync/ledger/log-source.ts';
import { openPayload, parsePayloadRecord } from '../../../sync/ledger/payload-record.ts';
import { startWitnessService } from '../../../sync/ledger/witness-service.ts';
import { hashOf, newPayer, signOffer } from '../../approval/kit.ts';
import { NOW_S, newWorld, type World, yen } from '../../identity/fixture.ts';
import {
  challenge,
  documentsOf,
  handInOf,
  purchase,
  voidOf,
  worldPayer,
} from '../clearing/purchases.ts';
import { policyText, realVerify, realWitness } from './keys.ts';
import { temporaryFolder, until, WITNESS } from './rig.ts';
import '../../plain-children.ts';

const INTAKE_ORIGIN = 'intake.example/2026q4';

interface Said {
  readonly status: number;
  readonly taken?: boolean;
  readonly known?: boolean;
  readonly code?: string;
}

const give = async (url: string, body: Uint8Array): Promise<Said> => {
  const answer = await fetchBytes(`${url}/hand-in`, { timeoutMs: 5_000, maxBytes: 4_096, body });
  const text = Buffer.from(answer.body).toString();
  return { status: answer.status, ...(text.startsWith('{') ? (JSON.parse(text) as object) : {}) };
};

/** The door alone, over the real judge. */
const openDoor = async (
  folder: string,
  world: World,
  more: Partial<Parameters<typeof startIntakeService>[0]> = {},
): Promise<IntakeService> => {
  const registry = buildRegistry(world.trust, documentsOf(world));
  const judge = { registry, verifier: nodeVerifier(), clearing: world.signers.clearing.key.id };
  return startIntakeService({
    folder,
    ports: { judge: (handIn, nowS) => judgeHandIn(judge, handIn, nowS) },
    partsOf,
    port: 0,
    clock: systemClock(),
    ...more,
  });
};

t.test('either side hands in, late, twice, and what contradicts is kept beside it', async (t) => {
  const world = newWorld();
  const payer = worldPayer(world);
  const folder = await temporaryFolder(t);
  const door = await openDoor(folder, world);
  const one = purchase(world, payer);
  t.same(await give(door.url, handInOf(one)), { status: 200, taken: true, known: false });
  t.same(await give(door.url, handInOf(one)), { status: 200, taken: true, known: true });
  const theVoid = { ...one, outcome: voidOf(world, one.payment) };
  t.match(await give(door.url, handInOf(theVoid)), { known: false }, 'Receipt and Void, both kept');
  const clone = purchase(world, payer, {}, { payment: { counter: 1 } });
  t.match(await give(door.url, handInOf(clone)), { known: false }, 'two payloads on one counter');
  const { payee, device } = world.signers;
  const paymentHash = hashOf(one.payment);
  const creditFacts = { refundedMicro: yen(10), reason: 'half a wash', timeS: NOW_S };
  const credit = signSign1(payee, CREDIT.encode({ paymentHash, ...creditFacts }));
  const closeFacts = { allowanceHash: new Uint8Array(32), lastCounter: 2, timeS: NOW_S };
  const totalMicro = amountMicro(payer.totalMicro);
  const close = signSign1(device, CLOSE.encode({ line: world.line, ...closeFacts, totalMicro }));
  const after = HAND_IN.encode({ ...one, credit, close });
  t.match(await give(door.url, after), { known: false }, 'a credit and a close are new');
  t.match(await give(door.url, after), { known: true });
  const others = { credit: signSign1(device, CREDIT.encode({ paymentHash, ...creditFacts })) };
  t.match(await give(door.url, HAND_IN.encode({ ...one, ...others })), {
    status: 400,
    code: 'BAD_SIGNATURE',
  });
  const otherCredit = CREDIT.encode({ paymentHash: new Uint8Array(32), ...creditFacts });
  t.match(await give(door.url, HAND_IN.encode({ ...one, credit: signSign1(payee, otherCredit) })), {
    code: 'MALFORMED',
  });
  const otherClose = CLOSE.encode({ line: new Uint8Array(16), ...closeFacts, totalMicro });
  t.match(await give(door.url, HAND_IN.encode({ ...one, close: signSign1(device, otherClose) })), {
    code: 'MALFORMED',
  });
  t.match(door.status(), { records: 4, refused: 3 });
  await door.close();
  const again = await openDoor(folder, world);
  t.match(await give(again.url, after), { known: true }, 'known after a restart');
  t.match(again.status(), { records: 4 });
  await again.close();
});

t.test(
  'direct mode: a device of the paid merchant approves, within the direct limit',
  async (t) => {
    const world = newWorld();
    const payer = worldPayer(world);
    const door = await openDoor(await temporaryFolder(t), world);
    const { payee, stranger } = world.signers;
    const direct = (yenPaid: number, signer = payee): Uint8Array => {
      const facts = { approver: payee.key.id, amountMicro: yen(yenPaid) };
      const offer = signOffer(world, challenge, facts);
      return handInOf(purchase(world, payer, {}, { offer, signer }));
    };
    t.match(await give(door.url, direct(500)), { status: 200, known: false });
    t.match(await give(door.url, direct(501)), { status: 422, code: 'PAYMENT_LIMIT' });
    t.match(await give(door.url, direct(100, stranger)), { status: 400, code: 'BAD_SIGNATURE' });
    const offer = signOffer(world, challenge, { approver: stranger.key.id });
    const byStranger = purchase(world, payer, {}, { offer, signer: stranger });
    t.match(await give(door.url, handInOf(byStranger)), { status: 400, code: 'GATEWAY_UNTRUSTED' });
    await door.close();
  },
);

t.test('hostile hand-ins: a code each, nothing stored', async (t) => {
  const world = newWorld();
  const payer = worldPayer(world);
  const door = await openDoor(await temporaryFolder(t), world);
  const good = purchase(world, payer);
  const other = purchase(world, payer);
  const { stranger, gateway } = world.signers;
  const cases: [string, Uint8Array, number, string][] = [
    ['nothing', new Uint8Array(0), 400, 'NON_CANONICAL'],
    ['cut off', handInOf(good).subarray(0, 300), 400, 'NON_CANONICAL'],
    ['another message', EVIDENCE.encode(good), 400, 'UNKNOWN_MESSAGE'],
    [
      'parts that are no COSE',
      handInOf({ ...good, payment: new Uint8Array(80) }),
      400,
      'MALFORMED',
    ],
    [
      'an answer for another Payment',
      handInOf({ ...good, outcome: other.outcome }),
      400,
      'MALFORMED',
    ],
    [
      'another Offer',
      handInOf({ ...good, offer: signOffer(world, challenge, { amountMicro: yen(7) }) }),
      422,
      'OFFER_MISMATCH',
    ],
    ['a line nobody enrolled', handInOf(purchase(world, newPayer(world))), 422, 'UNKNOWN_LINE'],
    [
      'a forged Payment',
      handInOf(purchase(world, payer, {}, { payment: { signer: stranger } })),
      400,
      'BAD_SIGNATURE',
    ],
    [
      'a forged Receipt',
      handInOf(purchase(world, payer, {}, { signer: stranger })),
      400,
      'BAD_SIGNATURE',
    ],
    [
      'before the documents',
      handInOf(purchase(world, payer, { timeS: NOW_S - 90_000 })),
      422,
      'CREDENTIAL_INVALID',
    ],
    [
      'signed as a Receipt, no Receipt',
      handInOf({ ...good, outcome: signSign1(gateway, new Uint8Array(64)) }),
      400,
      '',
    ],
  ];
  for (const [name, body, status, code] of cases) {
    t.match(await give(door.url, body), { status, ...(code === '' ? {} : { code }) }, name);
  }
  for (let at = 0; at < handInOf(good).length; at += 37) {
    const bent = handInOf(good);
    bent[at] = (bent[at] ?? 0) ^ 0x10;
    t.not((await give(door.url, bent)).status, 200, `byte ${at} changed`);
  }
  t.equal((await give(door.url, new Uint8Array(6_000))).status, 413);
  const get = { timeoutMs: 5_000, maxBytes: 4_096 };
  t.equal((await fetchBytes(`${door.url}/hand-in`, get)).status, 405);
  t.equal((await fetchBytes(`${door.url}/other`, get)).status, 404);
  t.match(door.status(), { records: 0 });
  await door.close();
});

/** The configuration of a whole `kiri sync intake`, with a witness of its own. */
const writeProgram = async (
  folder: string,
  world: World,
  witnessUrl: string,
): Promise<{ file: string; contentKey: ReturnType<typeof generateKeyPairSync>['privateKey'] }> => {
  await mkdir(join(folder, 'documents'), { recursive: true });
  const { signer } = createKeyFile(join(folder, 'key.json'));
  const pair = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  const log = logSigner(INTAKE_ORIGIN, signer);
  const cose = (key: Parameters<typeof coseKeyOf>[0]): Uint8Array =>
    encodeCanonical(coseKeyOf(key));
  await writeFile(join(folder, 'policy.txt'), policyText(log, [realWitness(WITNESS)], 'quorum w1'));
  await writeFile(join(folder, 'content.cosekey'), cose(nodeSigner(pair.privateKey).key));
  await writeFile(join(folder, 'issuer.cosekey'), cose(world.trust.issuerKey));
  await writeFile(join(folder, 'clearing.cbor'), world.clearing);
  const documents = await Promise.all(
    documentsOf(world).map(async (bytes, at) => {
      await writeFile(join(folder, 'documents', `${at}.cbor`), bytes);
      return `documents/${at}.cbor`;
    }),
  );
  const file = join(folder, 'intake.json');
  const config = {
    folder: 'log',
    journalFolder: 'journal',
    origin: INTAKE_ORIGIN,
    keyFile: 'key.json',
    contentKey: 'content.cosekey',
    policy: 'policy.txt',
    issuerKey: 'issuer.cosekey',
    clearing: 'clearing.cbor',
    documents,
    witnesses: [{ name: 'w1', url: witnessUrl }],
  };
  await writeFile(file, JSON.stringify(config));
  return { file, contentKey: pair.privateKey };
};

t.test('killed between acknowledgement and log, nothing acknowledged is lost', async (t) => {
  const world = newWorld();
  const payer = worldPayer(world);
  const folder = await temporaryFolder(t);
  const home = join(folder, 'intake');
  await mkdir(home);
  // The witness must know the log's key, which is made with the configuration.
  const { file, contentKey } = await writeProgram(home, world, 'http://127.0.0.1:1');
  const logKey = logSigner(INTAKE_ORIGIN, loadSigner(join(home, 'key.json'))).key;
  const witness = await startWitnessService({
    root: join(folder, 'witness'),
    ports: { signer: realWitness(WITNESS), verify: realVerify },
    logs: new Map([[INTAKE_ORIGIN, [logKey]]]),
    port: 0,
    clock: systemClock(),
  });
  t.teardown(() => witness.close());
  const config = JSON.parse(await readFile(file, 'utf8')) as object;
  await writeFile(
    file,
    JSON.stringify({ ...config, witnesses: [{ name: 'w1', url: witness.url }] }),
  );

  const programs = new Set<Program>();
  t.teardown(() => Promise.all([...programs].map((program) => program.stop())));
  const taken = new Set<string>();
  const all = Array.from({ length: 240 }, () => purchase(world, payer));
  let next = 0;
  for (let life = 0; life < 4; life += 1) {
    const program = await Program.start('intake', ['sync', 'intake', '--config', file], programs);
    const url = `http://127.0.0.1:${String(program.ready['port'])}`;
    const quota = next + 40;
    const worker = async (): Promise<void> => {
      for (let mine = all[next++]; mine && next <= quota + 8; mine = all[next++]) {
        const said = await give(url, handInOf(mine)).catch(() => ({ taken: false }));
        if (said.taken) taken.add(toHex(hashOf(mine.outcome)));
        if (taken.size >= quota) program.kill();
      }
    };
    await Promise.all(Array.from({ length: 4 }, worker));
    program.kill();
    await program.exited;
    programs.delete(program);
  }
  t.ok(taken.size > 100, 'most were acknowledged');

  const last = await Program.start('intake', ['sync', 'intake', '--config', file], programs);
  const { door } = (await last.request({})) as unknown as { door: { records: number } };
  await until('everything in the journal is final', async () => {
    const { log } = (await last.request({})) as unknown as { log: { finalSize: number } };
    return log.finalSize === door.records;
  });
  const source = httpSource(`http://127.0.0.1:${String(last.ready['logPort'])}`);
  const logged = new Set<string>();
  const records = await readPayloads(source, 0, door.records);
  for (const record of records) {
    const parsed = parsePayloadRecord(record)!;
    const wrapped = (await source.read(`keys/${toHex(parsed.kid)}`))!;
    const plain = openPayload(parsed, unwrapContentKey(wrapped, contentKey).contentKey)!;
    const evidence = EVIDENCE.decode(plain);
    if (!evidence.ok) throw new Error(evidence.reason);
    logged.add(toHex(hashOf(evidence.value.outcome)));
  }
  t.equal(logged.size, records.length, 'none is there twice');
  t.same(
    [...taken].filter((hash) => !logged.has(hash)),
    [],
    'what was acknowledged is in the log',
  );
});
