/** docs/clearing.md is enough: a reader and a writer made from the page alone, without a line of Kiri's own code. */
import { createPrivateKey, createPublicKey, sign } from 'node:crypto';
import { mkdtemp, readFile, readdir, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t from 'tap';
import type { Test } from 'tap';
import { acknowledge, chargeBack, messageFile, rejectLine } from './answers.ts';
import type { IssuerSide, Outgoing } from './answers.ts';
import { decodeCbor, encodeCbor, textAt } from './cbor.ts';
import { keyId, openSigned, readCoseKey, signDocument } from './cose.ts';
import { checkFile, element, filesOf } from './settlement.ts';
import type { CheckedFile } from './settlement.ts';
import { block, luhnHolds, readMessage, readRecords, unblock, writeMessage } from './ipm.ts';
import { nodeVerifier } from '../../identity/edge/node-signatures.ts';
import { ClearingService } from '../../sync/clearing/clearing-service.ts';
import { InboxFolder } from '../../sync/clearing/inbox-folder.ts';
import { openSqlite } from '../../sync/clearing/sql.ts';
import { buildOut, newOutWorld } from '../cli/verify/out.ts';
import { MERCHANT_FACTS, NOW_S } from '../identity/fixture.ts';
import { directoryOf, programme } from '../sync/clearing/sample.ts';

/** The bytes of the page's annotated examples, in the order of the page. */
const examples = async (): Promise<readonly Buffer[]> => {
  const page = await readFile('docs/clearing.md', 'utf8');
  return [...page.matchAll(/```hex\n(.*?)```/gs)].map(([, text]) =>
    Buffer.from(
      (text as string)
        .split('\n')
        .map((line) => line.split(' ')[0])
        .join(''),
      'hex',
    ),
  );
};

t.test('the annotated file reads, adds up and is written again byte for byte', async (t) => {
  const [file] = await examples();
  const records = readRecords(file as Buffer);
  const messages = records.map(readMessage);
  t.same(
    messages.map((one) => `${one.mti}/${element(one, 24)}`),
    ['1644/697', '1240/200', '1240/200', '1644/695'],
  );
  const [, charge, refund, trailer] = messages;
  t.equal(Number(element(charge!, 4)) + Number(element(refund!, 4)), 4000);
  t.equal(trailer?.pds.get('0301'), '0000000000004000');
  t.equal(Number(trailer?.pds.get('0306')), 4);
  t.ok(messages.slice(1, 3).every((one) => luhnHolds(element(one, 31))));
  t.same(messages.map(writeMessage), records);
  t.same(unblock(block(file as Buffer)).subarray(0, (file as Buffer).length), file);
});

t.test(
  'the annotated acknowledgement verifies, and signing it again gives its bytes',
  async (t) => {
    const cose = (await examples())[1] as Buffer;
    const secret = createPrivateKey({
      key: Buffer.from(`302e020100300506032b657004220420${'29'.repeat(32)}`, 'hex'),
      format: 'der',
      type: 'pkcs8',
    });
    const spki = createPublicKey(secret).export({ type: 'spki', format: 'der' });
    const publicKey = new Uint8Array(spki.subarray(-32));
    const payload = openSigned(cose, publicKey, 'kiri-file-acknowledgement');
    t.equal(textAt(payload, 9), 'accepted');
    const own = signDocument(
      (bytes) => sign(null, bytes, secret),
      publicKey,
      'kiri-file-acknowledgement',
      payload,
    );
    t.same(own, cose);
    for (let at = 0; at < cose.length; at += 1) {
      const changed = Buffer.from(cose);
      changed[at] = (changed[at] as number) ^ 1;
      t.throws(() => openSigned(changed, publicKey, 'kiri-file-acknowledgement'), `byte ${at}`);
    }
  },
);

t.test('the annotated 691 is what this side writes', async (t) => {
  const record = (await examples())[2] as Buffer;
  t.same(writeMessage(readMessage(record.subarray(4))), record.subarray(4));
});

t.test('CBOR that is not in its one form is refused', (t) => {
  const bad = [
    '1800',
    '190018',
    'a201000100',
    'a202000100',
    '5f4100ff',
    'f6',
    '0000',
    '41',
    '61ff',
  ];
  for (const hex of bad) t.throws(() => decodeCbor(Buffer.from(hex, 'hex')), hex);
  const good = ['1818', '3b0000000100000000', 'a2010020f5', 'd28440a04040'];
  for (const hex of good) {
    const bytes = Buffer.from(hex, 'hex');
    t.same(encodeCbor(decodeCbor(bytes)), bytes, hex);
  }
  t.end();
});

const newFolder = async (test: Test): Promise<string> => {
  const folder = await mkdtemp(join(tmpdir(), 'kiri-issuer-'));
  test.teardown(() => rm(folder, { recursive: true, force: true }));
  return folder;
};

const clearingKeyOf = async (folder: string): Promise<Uint8Array> =>
  readCoseKey(await readFile(join(folder, 'trust/keys/clearing.cosekey')));

t.test('an output folder holds: totals, hashes, accounts, sum trees, residuals', async (t) => {
  const folder = await newFolder(t);
  const { paid } = await buildOut(folder, [5, 3, 5]);
  const key = await clearingKeyOf(folder);
  const files = filesOf(folder).map((name) => checkFile(folder, name, key));
  t.equal(files.length, 2);
  const charged = paid.reduce((sum, one) => sum + one.amountMicro, 0n);
  const lines = files.flatMap((file) => file.lines);
  const presented = lines.reduce((sum, line) => sum + line.minor, 0n) * 1_000_000n;
  // The two lines are of two lanes: the second half came after its day was closed.
  const [one, two] = lines.map((line) => line.evidence);
  t.same([one!.lane, two!.lane], ['normal', 'late']);
  t.same([one!.openingMicro, two!.openingMicro], [0n, 0n]);
  t.equal(presented + one!.closingMicro + two!.closingMicro, charged);
  t.equal(one!.receipts.length + two!.receipts.length, paid.length);
  const base = join(folder, 'clearing', files[0]!.name);
  const evidence = join(folder, 'evidence');
  const id = (await readdir(evidence)).find((name) => /^[0-9a-f]{64}/.test(name)) as string;
  for (const path of [
    `${base}.ipm`,
    `${base}.lines.jsonl`,
    `${base}.manifest`,
    join(evidence, id),
  ]) {
    const bytes = await readFile(path);
    const changed = Buffer.from(bytes);
    changed[200] = (changed[200] as number) ^ 1;
    await writeFile(path, changed);
    t.throws(() => filesOf(folder).map((name) => checkFile(folder, name, key)), path);
    await writeFile(path, bytes);
  }
});

const day = (nowS: number): string =>
  new Date(nowS * 1000).toISOString().slice(2, 10).replaceAll('-', '');

t.test('answers written from the page are taken, and wrong ones are refused by name', async (t) => {
  const folder = await newFolder(t);
  const out = newOutWorld();
  const { signers } = out.world;
  const options = {
    signer: signers.clearing,
    outFolder: folder,
    directory: directoryOf({ ...programme, name: MERCHANT_FACTS.programme }),
    policyHash: new Uint8Array(32),
    mode: 'T',
  } as const;
  const store = join(folder, 'clearing.sqlite');
  await buildOut(folder, [4, 4], out, { database: openSqlite(store) });
  const key = await clearingKeyOf(folder);
  const files = filesOf(folder).map((name) => checkFile(folder, name, key));
  const nowS = NOW_S + 8000;
  const side: IssuerSide = {
    sign: (bytes) => signers.issuer.sign(bytes),
    publicKey: readCoseKey(await readFile(join(folder, 'trust/issuer.cosekey'))),
    clearing: keyId(key),
    member: '00000000392',
    day: day(nowS),
    nowS,
  };
  const service = await ClearingService.open({ ...options, database: openSqlite(store) }, nowS);
  t.teardown(() => service.close());
  const inbox = new InboxFolder(join(folder, 'inbox'), (atS) => ({
    verifier: nodeVerifier(),
    issuers: [signers.issuer.key],
    clearing: signers.clearing.key.id,
    nowS: atS,
  }));
  const give = async (documents: readonly Outgoing[]): ReturnType<InboxFolder['take']> => {
    for (const { name, bytes } of documents) await writeFile(join(folder, 'inbox', name), bytes);
    return inbox.take(service, nowS);
  };
  const [first, second] = files as [CheckedFile, CheckedFile];
  const [one, two] = [first.lines[0]!, second.lines[0]!];
  t.match(await give([acknowledge(side, first, 1, 'accepted')]), [
    { kind: 'taken', number: 1, messages: [{ kind: 'moved' }] },
  ]);
  t.match(await give(messageFile(side, 1, 2, [rejectLine(second, two, 'P9501082001000')])), [
    { kind: 'taken', number: 2, messages: [{ kind: 'moved' }] },
  ]);
  t.match(await give(messageFile(side, 2, 3, [chargeBack(side, one, '4834', one.minor - 1n)])), [
    { kind: 'taken', number: 3, messages: [{ kind: 'moved' }] },
  ]);
  const again = messageFile(side, 3, 4, [chargeBack(side, one, '4834', one.minor)]);
  t.match(await give(again), [
    { kind: 'taken', number: 4, messages: [{ kind: 'refused', code: 'ALREADY_DISPUTED' }] },
  ]);
  const above = messageFile(side, 4, 5, [chargeBack(side, one, '4834', one.minor + 1n)]);
  t.match(await give(above), [{ kind: 'quarantined', detail: /DE4: record 2: \d+ is above \d+/ }]);
  const corrected = messageFile(side, 4, 5, [rejectLine(first, one, 'D0000082003000')]);
  t.match(
    await give(corrected),
    [{ kind: 'taken', number: 5, messages: [{ kind: 'refused', code: 'DISPUTED' }] }],
    'what was kept apart used up neither its number nor its name',
  );
});
