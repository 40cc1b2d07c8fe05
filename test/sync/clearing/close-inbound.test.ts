import { readdir, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import t from 'tap';
import type { Test } from 'tap';
import type { FeeCollection } from '../../../sync/clearing/core/inbound-message.ts';
import { closeAnswers } from '../../../sync/clearing/close-inbound.ts';
import { InboxFolder } from '../../../sync/clearing/inbox-folder.ts';
import { liftHold, setHold } from '../../../sync/clearing/retention.ts';
import { INBOUND_BY_HASH } from '../../../sync/clearing/schema-additions.ts';
import { cutThree, lineOf, someFee } from './issuer-side.ts';
import { DAY_S, NOON_S, inMemory } from './sample.ts';

const YEN = 1_000_000n;
const tokyo = (year: number, month: number, day: number): number =>
  Date.UTC(year, month - 1, day) / 1000 - 9 * 3600;

/** In the fiscal year after that of {@link NOON_S}. */
const NEXT_YEAR_S = NOON_S + 200 * DAY_S;
/** When the first fiscal year may go, and the next one not yet. */
const END_S = tokyo(2037, 6, 1);

/** Three fees and an acknowledgement in an inbox on the disk; the fourth number never came. */
const inboxOfTwoYears = async (t: Test) => {
  const { service, files, issuer, file } = await cutThree({
    removeFile: async (path) => void files.delete(path),
  });
  const folder = t.testdir({});
  const inbox = new InboxFolder(folder, (nowS) => issuer.trust(nowS));
  const kept = new Map<string, Uint8Array>();
  const put = async (name: string, bytes: Uint8Array): Promise<void> => {
    kept.set(name, bytes);
    await writeFile(join(folder, name), bytes);
  };
  const send = async (body: FeeCollection, nowS: number, number?: number): Promise<void> => {
    const written = issuer.file([body], nowS, number);
    await put(written.fileName, written.file);
    await put(written.fileName.replace('.ipm', '.manifest'), written.manifest);
  };
  const take = async (nowS: number) => {
    const answers = await inbox.take(service, nowS);
    await service.writeAnswers(nowS);
    return answers;
  };
  const { arn } = lineOf(file, 200n);
  await put('first.1.ack', issuer.acknowledgement(file, 'accepted', NOON_S));
  await send(someFee({ arn }), NOON_S);
  await send(someFee({ reference: 'FEE2', direction: 'paid', amountMinor: 50n }), NOON_S);
  await take(NOON_S);
  await send(someFee({ reference: 'FEE3', date: '270609' }), NEXT_YEAR_S, 5);
  await take(NEXT_YEAR_S);
  const told = (): string[] =>
    [...files.keys()].filter((path) => path.endsWith('.answer')).map((path) => path.slice(-17, -7));
  const taken = async (): Promise<string[]> => readdir(join(folder, 'taken'));
  return { service, issuer, file, inbox, folder, kept, send, take, told, taken };
};

t.test('what an issuer sent goes with its year, and is never read as new again', async (t) => {
  const world = await inboxOfTwoYears(t);
  const { service, inbox, folder, kept, send, take, told, taken } = world;
  const before = await service.reconcile();
  t.same(before.fees[0]?.owedMicro, 190n * YEN);
  t.match(await service.deleteExpired({}, END_S - 1), { fees: 0, documents: 0 });
  t.match(await service.deleteExpired({}, END_S), { fees: 2, documents: 3 });
  t.same((await service.reconcile()).fees, before.fees);
  t.same((await service.reconcile()).differences, []);
  t.same(told(), ['0000000004'], 'the answers go with the documents');
  t.equal((await taken()).length, 7, 'and then what lies in the inbox');
  const [first] = (await taken()).filter((name) => name.endsWith('.ipm'));
  await rm(join(folder, 'taken', first ?? ''));
  t.equal(await inbox.removeClosed(service), 3, 'a run that was cut short is ended');
  t.equal((await taken()).length, 2);
  t.equal(await inbox.removeClosed(service), 0);
  t.same(
    (await service.alerts(END_S)).listed.map(({ kind, reference }) => `${kind} ${reference}`),
    ['NUMBER_GAP 4-4'],
  );

  for (const [name, bytes] of kept) await writeFile(join(folder, name), bytes);
  const again = (await take(END_S)).map((one) =>
    one.kind === 'quarantined' ? one.code : one.kind,
  );
  t.same(again.toSorted(), ['BOOKS_CLOSED', 'BOOKS_CLOSED', 'BOOKS_CLOSED', 'repeated']);
  // Signed anew, under a number that is free, it is as old as it was.
  await send(someFee({ arn: lineOf(world.file, 200n).arn }), END_S, 4);
  t.match(await take(END_S), [{ messages: [{ code: 'BOOKS_CLOSED' }] }]);
  await send(someFee({ use: 'return', direction: 'paid', date: '370601' }), END_S, 6);
  t.match(await take(END_S), [{ messages: [{ code: 'UNKNOWN_FEE' }] }]);
  t.same((await service.reconcile()).fees, before.fees);
  await send(someFee({ date: '370601' }), END_S, 7);
  t.match(
    await take(END_S),
    [{ messages: [{ kind: 'moved' }] }],
    'a new fee under an old reference',
  );
  t.same((await service.reconcile()).differences, []);

  // Of a year on, the documents that came late stay, and keep the one before them.
  t.match(await service.deleteExpired({}, tokyo(2038, 6, 1)), { fees: 1, documents: 0 });
  t.match(await service.deleteExpired({}, tokyo(2048, 6, 1)), { fees: 1, documents: 4 });
  t.same(told(), []);
  t.equal((await service.reconcile()).fees[0]?.owedMicro, 310n * YEN);
  await service.close();
});

t.test('documents and fees that somebody holds stay, and so does what brought them', async (t) => {
  const { service, issuer, file, inbox, kept, folder, take, told } = await inboxOfTwoYears(t);
  const party = { kind: 'party', reference: 'party-1', reason: 'court' };
  await service.within((session) => setHold(session, party, NOON_S));
  t.match(await service.deleteExpired({}, END_S), { kept: { held: 1 }, fees: 1, documents: 1 });
  t.equal(await inbox.removeClosed(service), 1);
  t.equal(told().length, 4, 'the oldest answer is about a document that stays');
  for (const [name, bytes] of kept) await writeFile(join(folder, name), bytes);
  const kinds = (await take(END_S)).map((one) => one.kind);
  t.same(kinds.toSorted(), ['quarantined', 'repeated', 'repeated', 'repeated']);
  await service.within((session) => liftHold(session, party, END_S));
  // As an allowance names it; here the key of the documents is another.
  const payers = { kind: 'issuer', reference: 'issuer-1', reason: 'audit' };
  await service.within((session) => setHold(session, payers, END_S));
  t.match(await service.deleteExpired({}, END_S), { kept: { held: 1 }, files: 0 });
  await service.within((session) => liftHold(session, payers, END_S));
  const id = issuer.trust(NOON_S).issuers[0]?.hex ?? '';
  const all = { kind: 'issuer', reference: id, reason: 'audit' };
  await service.within((session) => setHold(session, all, END_S));
  t.match(await service.deleteExpired({}, END_S + 1), { files: 1, fees: 0, documents: 0 });
  t.equal(told().length > 0, true);
  await service.within((session) => liftHold(session, all, END_S + 2));
  t.match(await service.deleteExpired({}, END_S + 3), { files: 0, fees: 1, documents: 2 });
  t.same((await service.reconcile()).differences, []);
  const ack = issuer.acknowledgement(file, 'accepted', END_S, { number: 2 });
  t.match(await service.readBack(issuer.opened(ack, END_S), END_S), { code: 'BOOKS_CLOSED' });
  await service.close();
});

t.test('answers of a busy year go without asking each document for each of them', async (t) => {
  const [old, young] = [300, 3_000];
  const { database, service } = await inMemory();
  await database.transaction(async (session) => {
    for (let at = 1; at <= old + young; at++) {
      const [number, atS, sha256] = [BigInt(at), BigInt(at <= old ? 1 : NOON_S), `${at}`];
      await session.run(
        "INSERT INTO inbound_answers VALUES ('issuer', ?, ?, 'taken', ?, ?)",
        number,
        sha256,
        new Uint8Array(1),
        atS,
      );
      if (at <= old) continue;
      await session.run(
        "INSERT INTO inbound VALUES ('issuer', ?, 'file', ?, 'name', ?)",
        number,
        sha256,
        atS,
      );
    }
  });
  const gone: string[] = [];
  await closeAnswers(database, NOON_S, async (path) => void gone.push(path));
  t.equal(gone.length, old, 'within the time of a test');
  t.match(gone.at(-1), /0000000300/);
  await service.close();
});

t.test(
  'a store whose books were closed before issuers had marks looks at what they sent',
  async (t) => {
    const { database, service } = await inMemory();
    await service.deleteExpired({}, END_S);
    await database.transaction((session) =>
      session.run("INSERT INTO inbound VALUES ('issuer', 1, 'file', 'hash', 'name', 1)"),
    );
    t.match(await service.deleteExpired({}, END_S), { documents: 0 }, 'closed through that day');
    await database.transaction(async (session) => {
      await session.run('DROP INDEX inbound_by_hash');
      for (const sql of INBOUND_BY_HASH) await session.run(sql);
    });
    t.match(await service.deleteExpired({}, END_S), { documents: 1 });
    await service.close();
  },
);
