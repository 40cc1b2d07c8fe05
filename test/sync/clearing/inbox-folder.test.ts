import { createHash } from 'node:crypto';
import { mkdtemp, readdir, rename, rm, utimes, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t from 'tap';
import type { Test } from 'tap';
import { nodeVerifier } from '../../../identity/edge/node-signatures.ts';
import { fromHex } from '../../../protocol/bytes.ts';
import {
  openInboundAnswer,
  type InboundAnswer,
} from '../../../sync/clearing/core/inbound-answer.ts';
import { InboxFolder } from '../../../sync/clearing/inbox-folder.ts';
import { ipmProfile } from '../../../sync/clearing/core/ipm-profile.ts';
import type { IpmProfile } from '../../../sync/clearing/core/ipm-profile.ts';
import { vaultOver } from '../../../sync/clearing/core/vault.ts';
import { testSigner } from '../../protocol/helpers.ts';
import { cutThree, fileReject, lineOf, messageReject, standing } from './issuer-side.ts';
import type { IssuerSide } from './issuer-side.ts';
import { NOON_S, signer } from './sample.ts';

const inboxFor = async (
  test: Test,
  issuer: IssuerSide,
): Promise<{ readonly folder: string; readonly inbox: InboxFolder }> => {
  const folder = await mkdtemp(join(tmpdir(), 'kiri-inbox-'));
  test.teardown(() => rm(folder, { recursive: true, force: true }));
  return { folder, inbox: new InboxFolder(folder, (nowS) => issuer.trust(nowS)) };
};

const put = async (
  folder: string,
  { fileName, file, manifest }: ReturnType<IssuerSide['file']>,
): Promise<void> => {
  await writeFile(join(folder, fileName), file);
  await writeFile(join(folder, fileName.replace('.ipm', '.manifest')), manifest);
};

t.test('documents are taken in the order of their numbers and then moved', async (t) => {
  const { service, issuer, file } = await cutThree();
  const { folder, inbox } = await inboxFor(t, issuer);
  const at = NOON_S + 60;
  // By name the later one comes first.
  await writeFile(join(folder, 'z.ack'), issuer.acknowledgement(file, 'partly', at));
  await put(folder, issuer.file([messageReject(file, 2)], at));
  await writeFile(join(folder, 'a.ack'), issuer.acknowledgement(file, 'accepted', at));
  const answers = await inbox.take(service, at);
  t.match(answers, [
    { name: 'z.ack', kind: 'taken', number: 1 },
    { kind: 'taken', number: 2, messages: [{ kind: 'moved' }] },
    { name: 'a.ack', kind: 'taken', number: 3, messages: [{ kind: 'repeated' }] },
  ]);
  t.equal((await readdir(join(folder, 'taken'))).length, 4);
  t.same((await readdir(folder)).toSorted(), ['quarantine', 'taken']);
  t.same(await inbox.take(service, at), []);
  await service.close();
});

t.test('after a crash between commit and move the same file moves nothing', async (t) => {
  const { service, issuer, file } = await cutThree();
  const { folder, inbox } = await inboxFor(t, issuer);
  const written = issuer.file([fileReject(file)], NOON_S);
  await put(folder, written);
  await inbox.take(service, NOON_S);
  const before = await standing(service);
  for (const name of await readdir(join(folder, 'taken'))) {
    await rename(join(folder, 'taken', name), join(folder, name));
  }
  t.match(await inbox.take(service, NOON_S), [{ kind: 'repeated', number: 1 }]);
  t.same(await standing(service), before);
  t.equal((await readdir(join(folder, 'taken'))).length, 2);
  await service.close();
});

t.test('the issuer is told of each document, once, in signed answers without a gap', async (t) => {
  const { service, issuer, file, files } = await cutThree();
  const { folder, inbox } = await inboxFor(t, issuer);
  const told = (): InboundAnswer[] =>
    [...files]
      .filter(([path]) => path.startsWith('out/inbound-answers/'))
      .toSorted(([a], [b]) => (a < b ? -1 : 1))
      .map(([path, hex], at) => {
        const name = `${issuer.trust(NOON_S).issuers[0]!.hex}.${String(at + 1).padStart(10, '0')}`;
        t.equal(path, `out/inbound-answers/${name}.answer`);
        const trust = { verifier: nodeVerifier(), clearing: signer.key };
        const opened = openInboundAnswer(fromHex(hex), trust);
        if (!opened.ok) throw new Error(opened.reason);
        const damaged = fromHex(hex);
        damaged[damaged.length - 1]! ^= 1;
        t.notOk(openInboundAnswer(damaged, trust).ok);
        return opened.value;
      });
  const forged = issuer.acknowledgement(file, 'accepted', NOON_S, { number: 9 }).slice();
  forged[forged.length - 1]! ^= 1;
  await writeFile(join(folder, 'b.ack'), forged);
  // Of 259 refused messages the first 256 stand in one answer, the rest in the next.
  const unknown = Array.from({ length: 259 }, (_, at) => messageReject(file, at + 10));
  const many = issuer.file([...unknown, messageReject(file, 2)], NOON_S);
  await put(folder, many);
  await writeFile(join(folder, 'a.ack'), issuer.acknowledgement(file, 'partly', NOON_S));
  await inbox.take(service, NOON_S);
  t.equal((await service.writeAnswers(NOON_S + 5)).length, 4);
  t.same(await service.writeAnswers(NOON_S + 5), [], 'once');
  const manifest = many.fileName.replace('.ipm', '.manifest');
  const sha256 = (bytes: Uint8Array): Uint8Array =>
    new Uint8Array(createHash('sha256').update(bytes).digest());
  const whole = { part: 1, parts: 1, answeredS: NOON_S };
  t.match(told(), [
    { number: 1, name: 'b.ack', verdict: 'refused', code: 'UNTRUSTED', refusals: [], ...whole },
    { number: 2, name: manifest, verdict: 'partly', code: '', part: 1, parts: 2 },
    { number: 3, name: manifest, verdict: 'partly', code: '', part: 2, parts: 2 },
    { number: 4, name: 'a.ack', verdict: 'taken', code: '', refusals: [], ...whole },
  ]);
  t.same(
    told()
      .slice(0, 3)
      .map((one) => one.sha256),
    [forged, many.manifest, many.manifest].map(sha256),
  );
  t.same(
    told().map(({ refusals }) => refusals.length),
    [0, 256, 3, 0],
  );
  t.same(told()[2]?.refusals.at(-1), { record: 260, code: 'UNKNOWN_RECORD' });
  t.ok(told()[1]?.refusals.every(({ code }) => code === 'UNKNOWN_RECORD'));
  const before = new Map(files);
  files.clear();
  for (const name of await readdir(join(folder, 'taken'))) {
    await rename(join(folder, 'taken', name), join(folder, name));
  }
  await inbox.take(service, NOON_S + 60);
  t.equal(
    (await service.writeAnswers(NOON_S + 65)).length,
    3,
    'a repeated document: the same again',
  );
  for (const [path, hex] of files) t.equal(hex, before.get(path), path);
  await service.close();
});

t.test(
  'unsigned, wrongly signed, changed, oversized: kept apart with the reason, nothing moved',
  async (t) => {
    const { service, issuer, file } = await cutThree();
    const { folder, inbox } = await inboxFor(t, issuer);
    const at = Math.floor(Date.now() / 1000);
    const written = issuer.file([messageReject(file, 2)], at);
    const changed = { ...written, file: Buffer.from(written.file).fill(0x30, 40, 44) };
    await put(folder, changed);
    await writeFile(join(folder, 'junk.ack'), 'not a document');
    await writeFile(join(folder, 'long.ack'), Buffer.alloc(70_000));
    const cose = Buffer.from(issuer.acknowledgement(file, 'accepted', at));
    cose[cose.length - 1] = (cose.at(-1) ?? 0) ^ 1;
    await writeFile(join(folder, 'forged.ack'), cose);
    await writeFile(join(folder, 'ISSUER.alone.ipm'), written.file);
    await writeFile(join(folder, 'half.ack.0011.tmp'), 'being written');
    const answers = await inbox.take(service, at);
    t.same(
      answers.map((one) => one.kind),
      ['quarantined', 'quarantined', 'quarantined', 'quarantined'],
    );
    t.ok((await readdir(folder)).includes('ISSUER.alone.ipm'), 'its manifest may be on the way');
    const old = new Date((at - 700) * 1000);
    await utimes(join(folder, 'ISSUER.alone.ipm'), old, old);
    t.match(await inbox.take(service, at), [{ kind: 'quarantined', detail: /no signed manifest/ }]);
    t.equal(
      (await readdir(join(folder, 'quarantine'))).length,
      6,
      'a manifest lies beside its file',
    );
    const { counts, listed } = await service.alerts(at);
    t.match(counts, { QUARANTINED: 5 });
    const alert = listed.find((one) => one.detail.startsWith('junk.ack'));
    t.equal(await service.closeAlert(alert?.reference ?? '', at), true);
    t.match((await service.alerts(at)).counts, { QUARANTINED: 4 });
    t.same(await standing(service), { presentedOpen: 1230n });
    // The true file under the same number is taken: a number is used up by what was read only.
    await put(folder, written);
    t.match(await inbox.take(service, at), [{ kind: 'taken', number: 1 }]);
    await service.close();
  },
);

t.test(
  'a manifest whose file is not there yet waits; after ten minutes it is an alert',
  async (t) => {
    const { service, issuer, file } = await cutThree();
    const { folder, inbox } = await inboxFor(t, issuer);
    const written = issuer.file([messageReject(file, 2)], NOON_S);
    const name = written.fileName.replace('.ipm', '.manifest');
    await writeFile(join(folder, name), written.manifest);
    await utimes(join(folder, name), NOON_S, NOON_S);
    t.match(await inbox.take(service, NOON_S), [{ kind: 'waiting' }]);
    t.same(inbox.alerts(NOON_S + 599), []);
    t.match(inbox.alerts(NOON_S + 600), [{ kind: 'FILE_MISSING', reference: name, ageS: 600 }]);
    await put(folder, written);
    t.match(await inbox.take(service, NOON_S), [{ kind: 'taken' }]);
    t.same(inbox.alerts(NOON_S + 600), []);
    t.ok(lineOf(file, 30n));
    await service.close();
  },
);

t.test(
  'a file with card numbers is read as the vault’s form of it, with its statement',
  async (t) => {
    const { service, issuer, file } = await cutThree();
    const { folder } = await inboxFor(t, issuer);
    const vaultKey = testSigner(77);
    const inbox = new InboxFolder(folder, (nowS) => ({
      ...issuer.trust(nowS),
      vaults: [vaultKey.key],
    }));
    const at = NOON_S + 60;
    const member = ipmProfile('kiri-ipm-member') as IpmProfile;
    const sent = issuer.file([messageReject(file, 2)], at, undefined, member);
    const vault = vaultOver(member, { cardNumbers: async () => new Map() }, vaultKey);
    const taken = await vault.tokenise(sent.file, at);
    if (!taken.ok) throw new Error(JSON.stringify(taken.fault));
    const stem = sent.fileName.slice(0, -'.ipm'.length);
    await writeFile(join(folder, `${stem}.manifest`), sent.manifest);
    await writeFile(join(folder, `${stem}.pre.ipm`), taken.value.bytes);
    await utimes(join(folder, `${stem}.pre.ipm`), at, at);
    t.match(await inbox.take(service, at), [{ kind: 'waiting' }], 'the vault has not spoken yet');
    await writeFile(join(folder, `${stem}.vault`), taken.value.signed);
    t.match(await inbox.take(service, at), [{ kind: 'taken', messages: [{ kind: 'moved' }] }]);
    t.equal((await readdir(join(folder, 'taken'))).length, 3);
    await service.close();
  },
);

t.test('what is still being uploaded is left alone, whatever the tool calls it', async (t) => {
  const { service, issuer, file } = await cutThree();
  const { folder, inbox } = await inboxFor(t, issuer);
  const at = Math.floor(Date.now() / 1000);
  const names = ['.a.ack.Xk2f1a', 'a.ack.filepart', 'a.ack.part', 'a.ack.tmp'];
  for (const name of names) await writeFile(join(folder, name), 'half');
  t.same(await inbox.take(service, at), []);
  await rename(join(folder, 'a.ack.part'), join(folder, 'a.ack'));
  await writeFile(join(folder, 'a.ack'), issuer.acknowledgement(file, 'accepted', at));
  t.match(await inbox.take(service, at), [{ name: 'a.ack', kind: 'taken' }]);
  const old = new Date((at - 700) * 1000);
  for (const name of ['.a.ack.Xk2f1a', 'a.ack.filepart', 'a.ack.tmp'])
    await utimes(join(folder, name), old, old);
  t.match(await inbox.take(service, at), [
    { name: 'a.ack.filepart', kind: 'quarantined', detail: /ends in none of \.ack, \.ipm/ },
  ]);
  await service.close();
});

t.test('a signed document with a wrong element is told from one that nobody signed', async (t) => {
  const { service, issuer, file } = await cutThree();
  const { folder, inbox } = await inboxFor(t, issuer);
  const at = Math.floor(Date.now() / 1000);
  const ahead = issuer.acknowledgement(file, 'accepted', at + 3600);
  await writeFile(join(folder, 'a.ack'), ahead);
  await writeFile(join(folder, 'b.ack'), 'hello');
  t.match(await inbox.take(service, at), [
    { name: 'a.ack', kind: 'quarantined', code: 'INVALID', detail: /^IN_FUTURE time/ },
    { name: 'b.ack', kind: 'quarantined', code: 'UNTRUSTED', detail: /^BAD_SIGNATURE/ },
  ]);
  await service.close();
});
