import { sha256 } from '@noble/hashes/sha2.js';
import t from 'tap';
import { nodeVerifier } from '../../../identity/edge/node-signatures.ts';
import { openAcknowledgement } from '../../../sync/clearing/core/inbound-documents.ts';
import { readInbound } from '../../../sync/clearing/core/inbound.ts';
import { vaultOver, type CardStore } from '../../../sync/clearing/core/vault.ts';
import {
  signVaultStatement,
  type VaultStatement,
} from '../../../sync/clearing/core/vault-statement.ts';
import { inMemory } from '../clearing/sample.ts';
import type { Chargeback, InboundBody } from '../../../sync/clearing/core/inbound-message.ts';
import { readSettlementFile } from '../../../sync/clearing/core/ipm-file.ts';
import { DEFAULT_IPM_PROFILE, ipmProfile } from '../../../sync/clearing/core/ipm-profile.ts';
import type { FeeRequest } from '../../../sync/issuer/core/fee.ts';
import { openTestStore } from '../clearing/store.ts';
import { testSigner } from '../../protocol/helpers.ts';
import {
  NOON_S,
  answered,
  clearing,
  cutFile,
  cutOf,
  deskOn,
  manifestOf,
  readBack,
  signedAnew,
  trust,
} from './desk-sample.ts';

const arrival = await cutFile();
const manifest = manifestOf(arrival);
const read = readSettlementFile(arrival.file, DEFAULT_IPM_PROFILE);
if (!read.ok) throw new Error(read.fault.detail);
const records = read.value.presentments;
const total = records.reduce((sum, one) => sum + one.amountMinor, 0n);
const codes = (body: InboundBody | undefined): string[] =>
  body && 'errors' in body ? body.errors.map((one) => one.element + one.code) : [];

t.test(
  'a right file is accepted: acknowledgement 1, and a 688 with its totals as number 2',
  async (t) => {
    const { desk, out } = await deskOn(await openTestStore());
    const answer = await answered(desk, arrival);
    t.match(answer, { isRepeated: false, remarks: [], missingSequences: [] });
    const { acknowledgement, file } = readBack(out, answer.written);
    t.match(acknowledgement, { number: 1, verdict: 'accepted', fileId: manifest.fileId });
    t.same(acknowledgement?.fileSha256, sha256(arrival.file));
    t.same(acknowledgement?.totals, manifest.totals, 'what the clearing stated was counted');
    t.match(file?.manifest, { number: 2, createdS: NOON_S });
    t.match(file?.messages, [
      {
        kind: 'reconciliation',
        position: 'settlement',
        sourceFileId: manifest.fileId,
        debit: { count: records.length, amountMinor: total },
        credit: { count: 0, amountMinor: 0n },
      },
    ]);
    t.equal(file?.messages.length, 1);
  },
);

t.test('the same file again has the same answer and books nothing', async (t) => {
  const { desk, out } = await deskOn(await openTestStore());
  const first = await answered(desk, arrival);
  const before = new Map(out);
  out.clear();
  const again = await answered(desk, arrival, NOON_S + 86_400);
  t.match(again, { isRepeated: true, written: first.written });
  t.same(out, before, 'the same bytes with the same numbers, a day later');
  const { number } = await answered(desk, arrival).then(({ file }) => file);
  t.equal(number, 1);
});

t.test(
  'unknown and closed accounts refuse their lines by a 691 each; the rest is taken',
  async (t) => {
    const states = { 'ACC-1': 'closed', 'ACC-2': 'open' } as const;
    const account = (reference: string): 'open' | 'closed' | 'unknown' =>
      states[reference as keyof typeof states] ?? 'unknown';
    const { desk, out } = await deskOn(await openTestStore(), { account });
    const { written, file: answer } = await answered(desk, arrival);
    const { acknowledgement, file } = readBack(out, written);
    t.equal(acknowledgement?.verdict, 'partly');
    const open = records.filter((one) => one.fundingReference === 'ACC-2');
    t.equal(answer.linesTaken, open.length);
    const rejects = file?.messages.filter((one) => one.kind === 'message-reject') ?? [];
    t.equal(rejects.length, records.length - open.length);
    for (const one of rejects) {
      const record = records[one.sourceRecordNumber - 2]!;
      t.equal(one.arn, record.arn);
      const expected = record.fundingReference === 'ACC-1' ? 'P95012002' : 'P95012001';
      t.same(codes(one), [expected]);
    }
    const sum = open.reduce((all, one) => all + one.amountMinor, 0n);
    t.match(file?.messages.at(-1), { debit: { count: open.length, amountMinor: sum } });
  },
);

t.test(
  'a line without its evidence, or with another, is refused; without any, all is said unproven',
  async (t) => {
    const ids = arrival.lines
      .match(/"aggregateId":"([0-9a-f]{64})"/g)!
      .map((one) => one.slice(15, -1));
    const evidence = (id: string): Uint8Array | undefined =>
      id === ids[0] ? undefined : arrival.evidence(id === ids[1] ? ids[2]! : id);
    const first = await deskOn(await openTestStore());
    const answer = await answered(first.desk, { ...arrival, evidence });
    const { file } = readBack(first.out, answer.written);
    t.same(file?.messages.slice(0, -1).map(codes), [['D00372003'], ['D00372004']]);
    const second = await deskOn(await openTestStore());
    const without = { ...arrival, hasEvidence: false, evidence: () => undefined };
    const unproven = await answered(second.desk, without);
    t.match(unproven, { file: { verdict: 'accepted' }, remarks: [/no line was proven/] });
  },
);

t.test(
  'a file that its clearing signed and that is wrong is rejected by a 699 and books nothing',
  async (t) => {
    const file = arrival.file.slice();
    const at = Buffer.from(file).lastIndexOf('0301016') + 7 + 15;
    file[at] = file[at] === 0x30 ? 0x31 : 0x30;
    const { desk, out } = await deskOn(await openTestStore());
    const answer = await answered(desk, signedAnew(arrival, { file }));
    const { acknowledgement, file: messages } = readBack(out, answer.written);
    t.equal(acknowledgement?.verdict, 'rejected');
    t.same(acknowledgement?.fileSha256, sha256(file));
    t.match(messages?.messages, [{ kind: 'file-reject', sourceFileId: manifest.fileId }]);
    t.same(codes(messages?.messages[0]), ['P03010519']);
    t.equal(answer.file.linesTaken, 0);

    const good = await answered(desk, arrival);
    t.equal(good.file.verdict, 'rejected', 'the file id is used up by the other bytes');
    t.same(codes(readBack(out, good.written).file?.messages[0]), ['P01050504']);
    t.equal(good.file.number, 3, 'numbers go on without a gap');

    const lies = await deskOn(await openTestStore());
    const totals = manifest.totals.map((one) => ({ ...one, lines: one.lines + 1 }));
    const lied = await answered(lies.desk, signedAnew(arrival, {}, { totals }));
    t.same(codes(readBack(lies.out, lied.written).file?.messages[0]), ['D00000540']);
    const cut = await deskOn(await openTestStore());
    const short = signedAnew(arrival, { file: arrival.file.subarray(0, 1014) });
    const broken = await answered(cut.desk, short);
    t.same(codes(readBack(cut.out, broken.written).file?.messages[0]), ['D00000501']);
    t.match(readBack(cut.out, broken.written).acknowledgement, { records: 0, totals: [] });
    const early = await deskOn(await openTestStore());
    const future = await answered(early.desk, arrival, NOON_S - 3 * 86_400);
    t.equal(future.file.verdict, 'rejected', 'a file from a day that has not begun');
  },
);

t.test('what did not arrive as it was signed is not answered, and comes again', async (t) => {
  const { desk, out } = await deskOn(await openTestStore());
  const refused = async (part: Partial<typeof arrival>, key = clearing.key): Promise<string> => {
    const answer = await desk.ingest({ ...arrival, ...part }, key, NOON_S);
    return answer.ok ? 'answered' : answer.reason;
  };
  const flipped = arrival.file.slice();
  flipped[1500] = (flipped[1500] as number) ^ 1;
  t.match(await refused({ file: flipped }), /not the one that was signed/);
  t.match(await refused({ file: arrival.file.subarray(0, 1014) }), /not the one/);
  t.match(await refused({ lines: `${arrival.lines} ` }), /lines file is not the one/);
  t.match(await refused({ manifest: new Uint8Array(0) }), /COSE/);
  t.match(await refused({ fileName: 'other.ipm' }), /manifest is of KIRI/);
  t.match(await refused({}, testSigner(9).key), /known clearing/);
  t.equal(out.size, 0);
  t.match(await answered(desk, arrival), { isRepeated: false, file: { number: 1 } });
});

t.test('a member file after its vault: tied by the statement, answered as it came', async (t) => {
  const profile = ipmProfile('kiri-ipm-member')!;
  const [vaultKey, other] = [testSigner(77), testSigner(78)];
  const cards: CardStore = {
    cardNumbers: async (references) => new Map(references.map((one) => [one, '4111111111111111'])),
  };
  const vaults = { verifier: nodeVerifier(), vaults: [vaultKey.key] };
  const { service } = await inMemory({ profile, vaults });
  t.teardown(() => service.close());
  const pre = await cutOf(service);
  const vault = vaultOver(profile, cards, vaultKey);
  const filled = await vault.fill(pre.file, NOON_S + 60);
  if (!filled.ok) throw new Error(filled.fault.detail);
  const { bytes: file, statement, signed: vaultStatement } = filled.value;
  const fileName = pre.fileName.replace('.pre.ipm', '.ipm');
  const final = { ...pre, fileName, file, vaultStatement };
  const desk = await deskOn(await openTestStore(), { vaults: [vaultKey.key] });
  const reasonOf = async (part: Partial<typeof final>): Promise<string> => {
    const answer = await desk.desk.ingest({ ...final, ...part }, clearing.key, NOON_S + 90);
    return answer.ok ? 'answered' : answer.reason;
  };
  const { vaultStatement: _, ...bare } = final;
  const unstated = await desk.desk.ingest(bare, clearing.key, NOON_S + 90);
  t.match(unstated, { ok: false, reason: /wants the statement of its vault/ });
  const strange = signVaultStatement(other, statement);
  t.match(await reasonOf({ vaultStatement: strange }), /not signed by a vault that is known here/);
  t.match(await reasonOf({ file: pre.file }), /not the one that the vault states/);
  const flipped = file.slice();
  flipped[700] = (flipped[700] as number) ^ 1;
  t.match(await reasonOf({ file: flipped }), /not the one that the vault states/);
  const liesOf = (part: Partial<VaultStatement>): Uint8Array =>
    signVaultStatement(vaultKey, { ...statement, ...part });
  t.match(
    await reasonOf({
      file: flipped,
      vaultStatement: liesOf({ finalSha256: sha256(flipped), finalBytes: flipped.length }),
    }),
    /without card numbers the file is not the one that the clearing signed|does not read/,
    'a vault that changed more is not believed',
  );
  for (const lie of [
    { direction: 'inward' as const },
    { preSha256: sha256(file) },
    { records: statement.records + 1 },
    { totals: [] },
  ]) {
    t.match(await reasonOf({ vaultStatement: liesOf(lie) }), /states another file/);
  }
  t.match(await reasonOf({ fileName: pre.fileName }), /the manifest is of/);
  t.equal(desk.out.size, 0, 'nothing of these was answered');

  const answer = await answered(desk.desk, final, NOON_S + 90);
  t.match(answer, { remarks: [], file: { verdict: 'accepted', mode: 'T' } });
  const name = answer.written.find((one) => one.endsWith('.ack')) ?? '';
  t.match(name, /^KIRI\.kiri-ipm-member\.\d{11}\.D\d{6}\.S\d{5}\.T\.\d{10}\.ack$/);
  const at = { ...trust, nowS: NOON_S + 120 };
  const document = openAcknowledgement(desk.out.get(name)!, at);
  if (!document.ok) throw new Error(document.fault.detail);
  const { value } = document.value;
  t.match(value, { verdict: 'accepted', fileName, fileBytes: file.length });
  t.same(value.fileSha256, sha256(file), 'the final SHA-256');
  const inbound = { kind: 'acknowledgement', document: document.value, sha256: 'aa' } as const;
  t.match(await service.takeVaultStatement(vaultStatement, NOON_S + 100), { kind: 'taken' });
  t.match(await service.readBack(inbound, NOON_S + 120), { messages: [{ kind: 'moved' }] });
  // Its messages go back through the vault.
  const messages = answer.written.find((one) => one.startsWith('ISSUER') && one.endsWith('.ipm'));
  const back = await vault.tokenise(desk.out.get(messages ?? '')!, NOON_S + 100);
  if (!back.ok) throw new Error(back.fault.detail);
  const manifestOut = desk.out.get(messages!.replace('.ipm', '.manifest'))!;
  const trusted = { ...at, vaults: [vaultKey.key] };
  const inward = readInbound(back.value.bytes, manifestOut, trusted, back.value.signed);
  t.match(inward, { ok: true, value: { messages: [{ kind: 'reconciliation' }] } });
  t.match(await answered(desk.desk, final, NOON_S + 99), { isRepeated: true });
  const { arn } = JSON.parse(
    final.lines.split('\n').find((one) => one.includes('"arn"')) ?? '{}',
  ) as { arn: string };
  const dispute = await desk.desk.chargeback({ arn, reason: '4834', cycle: 'first' }, NOON_S + 99);
  t.match(dispute, { ok: false, reason: /card number, which this desk never keeps/ });
  const asked = await desk.desk.retrieval({ arn, reason: '6321' }, NOON_S + 99);
  t.match(asked, { ok: true }, 'a retrieval request needs none');
});

t.test('after a crash between commit and writing the same answer comes out', async (t) => {
  const database = await openTestStore();
  const whole = await deskOn(await openTestStore());
  await answered(whole.desk, arrival);
  for (let kept = 0; kept < 3; kept++) {
    const own = await openTestStore();
    let left = kept;
    const out = new Map<string, Uint8Array>();
    const writeFile = async (name: string, bytes: Uint8Array): Promise<void> => {
      if (left-- === 0) throw new Error('power cut');
      out.set(name, bytes);
    };
    const { desk } = await deskOn(own, { writeFile });
    await t.rejects(desk.ingest(arrival, clearing.key, NOON_S), /power cut/);
    t.equal(out.size, kept);
    const manifests = [...out.keys()].filter((name) => name.endsWith('.manifest'));
    t.same(manifests, [], 'no file is ready before all of it is there');
    const after = await deskOn(own);
    t.ok(after.out.size > 0, 'the next start writes what was kept back');
    const names = new Map([...out, ...after.out]);
    t.same(Object.fromEntries(names), Object.fromEntries(whole.out));
    t.match(await answered(after.desk, arrival, NOON_S + 60), { isRepeated: true });
  }
  await database.close();
});

t.test('chargebacks and retrievals: only of lines taken, never above the original', async (t) => {
  const { desk, out } = await deskOn(await openTestStore());
  const line = records.toSorted((a, b) => Number(b.amountMinor - a.amountMinor))[0]!;
  const { arn } = line;
  const send = async (part: object): Promise<string> => {
    const request = { arn, reason: '4837', cycle: 'first' as const, ...part };
    const sent = await desk.chargeback(request, NOON_S);
    if (!sent.ok) return sent.reason;
    const body = readBack(out, sent.value.written).file?.messages[0] as Chargeback;
    t.equal(body.kind, 'chargeback');
    const again = sent.value.isRepeated ? ' again' : '';
    return `${sent.value.number}: ${body.amountMinor} of ${body.originalMinor} ${body.isPartial}${again}`;
  };
  t.match(await send({}), /no line .* was taken/);
  await answered(desk, arrival);
  const most = line.amountMinor;
  t.match(await send({ reason: '6323' }), /no reason of a chargeback; there are: 4808/);
  t.match(await send({ amountMinor: most + 1n }), /is not 1 to/);
  t.match(await send({ amountMinor: 0n }), /is not 1 to/);
  t.match(await send({ cycle: 'arbitration' }), /was not presented again/);
  t.equal(await send({ amountMinor: 3n }), `3: 3 of ${most} true`);
  t.equal(
    await send({ amountMinor: 3n }),
    `3: 3 of ${most} true again`,
    'a repeat is no second one',
  );
  t.match(await send({ amountMinor: most }), /is charged back already/);
  t.match(await send({ amountMinor: 3n, reason: '4808' }), /is charged back already/);
  const whole = records.find((one) => one.arn !== arn)!;
  const all = await send({ arn: whole.arn, reason: '4808' });
  t.equal(all, `4: ${whole.amountMinor} of ${whole.amountMinor} false`, 'without an amount: all');
  const retrieval = await desk.retrieval({ arn, reason: '6323' }, NOON_S);
  t.ok(retrieval.ok);
  if (!retrieval.ok) return;
  const { file } = readBack(out, retrieval.value.written);
  t.match(file?.messages, [{ kind: 'retrieval', arn, reason: '6323' }]);
  t.equal(file?.manifest.number, 5);
  const other = await desk.retrieval({ arn, reason: '4837' }, NOON_S);
  t.match(other, { ok: false, reason: /no reason of a retrieval/ });
});

t.test(
  'a desk keeps test and production apart, and tells which sequence has not come',
  async (t) => {
    const { desk } = await deskOn(await openTestStore());
    await answered(desk, arrival);
    // The same length, so that only ids change: sequence 00001 → 00004 in header, trailer and name.
    const renumbered = (from: string, to: string): typeof arrival => {
      const file = new Uint8Array(
        Buffer.from(Buffer.from(arrival.file).toString('latin1').replaceAll(from, to), 'latin1'),
      );
      const fileName = arrival.fileName.replace('S00001', 'S00004');
      return signedAnew(arrival, { file, fileName }, { fileName, fileId: to });
    };
    const next = renumbered(manifest.fileId, `${manifest.fileId.slice(0, -1)}4`);
    const answer = await answered(desk, next);
    t.same(answer.missingSequences, [2, 3]);
    t.equal(answer.file.verdict, 'partly', 'every ARN was taken with the first file');
    t.equal(answer.file.linesTaken, 0);
    t.match(answer.remarks, [/record 2: arnPresented/]);
    const production = next.fileName.replace('.T.ipm', '.P.ipm');
    const other = { ...next, file: arrival.file, fileName: production };
    const stated = { fileName: production, fileId: `${manifest.fileId.slice(0, -1)}9` };
    const mixed = await desk.ingest(signedAnew(other, {}, stated), clearing.key, NOON_S);
    t.match(mixed, { ok: false, reason: /takes files of mode T, not P/ });
  },
);

t.test('fees: one document each, the same request the same one, returned once', async (t) => {
  const { desk, out } = await deskOn(await openTestStore());
  const request: FeeRequest = {
    reference: 'FEE1',
    direction: 'charged',
    amountMinor: 120n,
    currency: '392',
    reason: '7602',
    arn: records[0]!.arn,
  };
  const send = async (part: Partial<FeeRequest> = {}): Promise<unknown> => {
    const sent = await desk.fee({ ...request, ...part }, NOON_S);
    return sent.ok ? sent.value : sent.reason;
  };
  t.match(await send(), /no file of such a clearing/);
  await answered(desk, arrival);
  t.match(await send({ arn: `${request.arn?.slice(0, -1)}x` }), /no line/);
  t.match(await send({ reason: '4853' }), /no reason of a fee; there are: 7601/);
  t.match(await send({ clearing: '00'.repeat(16) }), /no file of such a clearing/);
  t.match(await send(), { number: 3, isRepeated: false, amountMinor: 120n });
  const sent = await desk.fee(request, NOON_S + 86_400);
  t.match(sent, { ok: true, value: { number: 3, isRepeated: true } });
  t.match(await send({ amountMinor: 121n }), /another fee/);
  t.match(await send({ clearing: '00'.repeat(16) }), /another fee/);
  t.match(readBack(out, sent.ok ? sent.value.written : []).file?.messages, [
    { kind: 'fee', use: 'collection', direction: 'charged', amountMinor: 120n, date: '261121' },
  ]);
  t.match(await desk.returnFee('FEE9', NOON_S), { ok: false, reason: /no fee FEE9/ });
  const back = await desk.returnFee('FEE1', NOON_S);
  t.match(readBack(out, back.ok ? back.value.written : []).file?.messages, [
    { kind: 'fee', use: 'return', direction: 'paid', amountMinor: 120n, reference: 'FEE1' },
  ]);
  t.match(await desk.returnFee('FEE1', NOON_S), {
    ok: true,
    value: { number: 4, isRepeated: true },
  });
});
