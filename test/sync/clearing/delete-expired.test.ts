import t from 'tap';
import type { Test } from 'tap';
import { nobleVerifier } from '../../../identity/core/noble-signatures.ts';
import { toHex } from '../../../protocol/bytes.ts';
import { decodeSign1, verifySign1 } from '../../../protocol/cose.ts';
import { ClearingService } from '../../../sync/clearing/clearing-service.ts';
import type { ClearingOptions } from '../../../sync/clearing/clearing-service.ts';
import { JST } from '../../../sync/clearing/core/civil-time.ts';
import { verifyEvidence } from '../../../sync/clearing/core/evidence.ts';
import {
  CLOSED_BOOKS,
  accountingHorizonS,
  parseClosed,
} from '../../../sync/clearing/core/closed-books.ts';
import type { PayoutTerms } from '../../../sync/clearing/core/payout-terms.ts';
import { ZENGIN_PROFILE } from '../../../sync/clearing/core/zengin-file.ts';
import { checkSegment } from '../../../sync/clearing/seal-segments.ts';
import { liftHold, setHold } from '../../../sync/clearing/retention.ts';
import { numberOf } from '../../../sync/clearing/sql.ts';
import type { SqlDatabase } from '../../../sync/clearing/sql.ts';
import { IssuerSide, chargeback, outcomes, someFee } from './issuer-side.ts';
import {
  DAY_S,
  LineOfReceipts,
  NOON_S,
  anchors,
  directoryOf,
  inMemory,
  keyWith,
  policyHash,
  signer,
} from './sample.ts';

const YEN = 1_000_000n;
const tokyo = (year: number, month: number, day: number): number =>
  Date.UTC(year, month - 1, day) / 1000 - 9 * 3600;

t.test('books stay for the years after the day on which a fiscal year’s return is due', (t) => {
  const at = (nowS: number, years: number, yearEndMonth: number): string =>
    new Date((accountingHorizonS(nowS, { years, yearEndMonth, zone: JST }) + 9 * 3600) * 1000)
      .toISOString()
      .slice(0, 10);
  // April 2026 to March 2027: due at the end of May 2027, kept through May 2037.
  t.equal(at(tokyo(2037, 6, 1) - 1, 10, 3), '2026-04-01');
  t.equal(at(tokyo(2037, 6, 1), 10, 3), '2027-04-01');
  t.equal(at(tokyo(2034, 6, 1), 7, 3), '2027-04-01');
  // The calendar year 2026: due at the end of February 2027.
  t.equal(at(tokyo(2037, 3, 1) - 1, 10, 12), '2026-01-01');
  t.equal(at(tokyo(2037, 3, 1), 10, 12), '2027-01-01');
  t.equal(at(tokyo(2036, 2, 29), 7, 1), '2028-02-01', 'a year that ends with January');
  t.end();
});

/** In the first fiscal year after {@link NOON_S}. */
const NEXT_YEAR_S = NOON_S + 200 * DAY_S;
/** When the first fiscal year may go, and the next one not yet. */
const END_S = tokyo(2037, 6, 1);

const account = { bank: '0005', bankName: '', branch: '007', branchName: '', kind: '1' } as const;
const terms: PayoutTerms = {
  acquirer: 'acquirer-1',
  profile: ZENGIN_PROFILE,
  clientCode: '0000012345',
  clientName: 'KIRI',
  account: { ...account, number: '1234567' },
  minimumYen: 1n,
  payees: new Map([
    ['merchant-1', { account: { ...account, number: '0000001' }, name: 'MISE', reference: '' }],
  ]),
};

/**
 * Two fiscal years: in the first a car and a drone pay, a file is rejected and resubmitted, a part charged back, a payout
 * made; in the second the car pays on, and is given back a part of what it paid first.
 */
const twoYears = async (more: Partial<ClearingOptions> = {}) => {
  const removed: string[] = [];
  const world = await inMemory({
    removeFile: async (path) => {
      if (world.files.delete(path)) removed.push(path);
    },
    ...more,
  });
  const { service, files } = world;
  const issuer = new IssuerSide(service, files);
  const [car, drone] = [new LineOfReceipts('car'), new LineOfReceipts('drone')];
  const of = (name: string) => ({ key: keyWith({ account: name }) });
  const first = [
    car.next(500_400_000n, of('A')),
    car.next(70n * YEN, of('A')),
    drone.next(90n * YEN, { ...of('B'), sequence: 3 }),
  ];
  await service.ingestBatch(first, NOON_S);
  const cut = async (atS: number): Promise<string> =>
    (await service.cut(atS, anchors, true)).files[0]?.fileName ?? '';
  const bad = await cut(NOON_S);
  await issuer.acknowledge(issuer.got(bad), 'rejected', NOON_S + 60);
  await service.resubmit(bad.replace('.ipm', ''), NOON_S + 120);
  const good =
    [...files.keys()]
      .filter((path) => path.endsWith('.ipm'))
      .toSorted()
      .at(-1) ?? '';
  const file = issuer.got(good.split('/').at(-1) ?? '');
  await issuer.acknowledge(file, 'accepted', NOON_S + 180);
  const line = file.lines.find((one) => one.amountMinor === 570n);
  if (!line) throw new Error('no line of 570');
  const sent = [chargeback(line, 100n), someFee({ arn: line.arn }), someFee({ reference: 'FEE2' })];
  t.same(outcomes(await issuer.send(sent, NOON_S + 200)), ['moved', 'moved', 'moved']);
  await service.decideLine(line.arn, 'accept', NOON_S + 240);
  await service.payout(terms, '1124', NOON_S + 300);
  const on = car.next(40_700_000n, { ...of('A'), businessTimeS: NEXT_YEAR_S, sequence: 4 });
  await service.ingestBatch([on], NEXT_YEAR_S);
  const second = await cut(NEXT_YEAR_S);
  await issuer.acknowledge(issuer.got(second), 'accepted', NEXT_YEAR_S + 60);
  await service.payout(terms, '1124', NEXT_YEAR_S + 300);
  return { ...world, issuer, car, drone, first, removed, old: [bad, file.fileName], second };
};

const countOf = async (database: SqlDatabase, table: string): Promise<number> =>
  database.transaction(async (session) => {
    const [row] = await session.all(`SELECT count(*) AS n FROM ${table}`);
    return numberOf(row ?? {}, 'n');
  });

const fiscalYear = async (t: Test, isSealed: boolean): Promise<void> => {
  const world = await twoYears();
  if (isSealed) {
    const sealed = await world.service.seal(30, NEXT_YEAR_S + 90 * DAY_S);
    t.same(
      sealed.map(({ name, receipts }) => `${name} ${receipts}`),
      ['202611 3'],
    );
  }
  const { service, database, files, issuer, first, removed, old, second } = world;
  const before = await service.reconcile();
  t.same(before.differences, []);
  t.match(await service.deleteExpired({}, END_S - 1), { files: 0, entries: 0 }, 'a day early');
  t.equal(removed.length, 0);
  const run = await service.deleteExpired({}, END_S);
  const closed = { files: 3, receipts: 1, fees: 2, documents: 3 };
  t.match(run, { ...closed, kept: {}, throughS: tokyo(2027, 4, 1) });
  const after = await service.reconcile();
  t.same(after.differences, []);
  t.same(after.books, before.books);
  t.same(after.merchants, before.merchants);
  t.same(after.fees, before.fees);
  t.equal(after.fees[0]?.owedMicro, 240n * YEN);
  t.equal(after.receipts, before.receipts - 1, 'the drone’s, whose line has ended');
  t.same(after.atRisk, before.atRisk, 'no row of the approver is missed');

  for (const name of old) {
    const base = name.replace('.ipm', '');
    t.notOk(
      [...files.keys()].some((path) => path.includes(base)),
      base,
    );
    await t.rejects(service.rebuild(base), { code: 'UNKNOWN_FILE' });
  }
  t.equal([...files.keys()].filter((path) => path.startsWith('out/payouts/')).length, 3);
  t.equal([...files.keys()].filter((path) => path.startsWith('out/evidence/')).length, 1);
  for (const { path, bytes } of await service.rebuild(second.replace('.ipm', ''))) {
    t.equal(Buffer.from(bytes).toString('hex'), files.get(`out/${path}`), path);
  }
  t.equal(await countOf(database, 'file_lines'), 1);
  t.equal(await countOf(database, 'disputes'), 0);
  t.equal(
    await countOf(database, "merchant_entries WHERE reference LIKE 'KIRI.kiri-ipm%S00002%'"),
    0,
  );

  // What is gone is listed and signed; the evidence that is left goes on from an aggregate of the list.
  const list = Buffer.from(files.get('out/closed/closed-books.txt') ?? '', 'hex').toString();
  const entries = parseClosed(list) ?? [];
  t.equal(entries.filter(({ kind }) => kind === 'file').length, 3);
  const ends = entries.flatMap((one) => (one.kind === 'aggregate' ? [one.id] : []));
  t.equal(ends.length, 2, 'of the car’s lane and of the drone’s');
  const left = [...files.keys()].find((path) => path.startsWith('out/evidence/')) ?? '';
  const evidence = verifyEvidence(Buffer.from(files.get(left) ?? '', 'hex'));
  t.ok(evidence.ok && ends.includes(evidence.value.previous ?? ''), 'its chain began in the list');
  const sign1 = decodeSign1(
    Buffer.from(files.get('out/closed/closed-books.statement') ?? '', 'hex'),
  );
  t.ok(sign1.ok && verifySign1(nobleVerifier(), signer.key, sign1.value));
  t.match(sign1.ok && CLOSED_BOOKS.decode(sign1.value.payload), { value: { files: 3 } });

  t.match(await service.ingestBatch(first, END_S), { first: 0, duplicate: 2, refused: 1 });
  t.match((await service.reconcile()).findings, [{ kind: 'LINE_CLOSED' }]);
  const back = await issuer.acknowledge(issuer.got(second), 'accepted', END_S);
  t.same(outcomes(back), ['repeated']);
  const again = await service.deleteExpired({}, END_S + DAY_S);
  t.match(again, { files: 0, receipts: 0, entries: 0 }, 'once');

  if (isSealed) {
    const segment = await database.transaction((session) => checkSegment(session, '202611'));
    t.match(segment, { isIntact: true, receipts: 2 }, 'the drone’s is out, the chain made anew');
  }

  // The car pays on: the next file has the next number and the chain goes on.
  const more = world.car.next(60n * YEN, {
    key: keyWith({ account: 'A' }),
    businessTimeS: END_S,
  });
  await service.ingestBatch([more], END_S + DAY_S);
  const { files: cut } = await service.cut(END_S + DAY_S, anchors, true);
  t.match(cut[0]?.fileName, /S00004/);
  const rest = await service.deleteExpired({}, tokyo(2038, 6, 1));
  t.match(rest, { files: 2, receipts: 0 }, 'the second year, whose line still pays');
  t.same((await service.reconcile()).differences, []);
  const late = tokyo(2060, 6, 1);
  const bike = new LineOfReceipts('bike').next(YEN, { businessTimeS: late });
  await service.ingestBatch([bike], late);
  t.match(await service.deleteExpired({}, late), { files: 1, receipts: 4 });
  t.same((await service.reconcile()).differences, []);
  t.equal(await countOf(database, 'all_receipts'), 1);
  t.equal(await countOf(database, 'segments'), 0, 'an empty one is dropped');
  await service.close();
};

t.test('a fiscal year goes whole, the books stand as they stood, and nothing comes back', (t) =>
  fiscalYear(t, false),
);
t.test('and so it does out of sealed months', (t) => fiscalYear(t, true));

t.test('nothing is deleted out of a sealed month that is not what was sealed', async (t) => {
  const { service, database } = await twoYears();
  await service.seal(30, NEXT_YEAR_S + 90 * DAY_S);
  await database.transaction((session) =>
    session.run("UPDATE receipts_202611 SET origin = 'another.example' WHERE id = 1"),
  );
  await t.rejects(service.deleteExpired({}, END_S), { code: 'SEGMENT_BROKEN' });
  t.equal(await countOf(database, "receipts_202611 WHERE state = 'aggregated'"), 3);
  t.equal(await countOf(database, "segments WHERE state = 'sealed'"), 1);
  await service.close();
});

t.test('a legal hold wins, and what is open stays', async (t) => {
  for (const [kind, reference] of [
    ['file', (name: string) => name.replace('.ipm', '')],
    ['party', () => 'party-1'],
    ['line', (_name: string, line: Uint8Array) => toHex(line)],
  ] as const) {
    const { service, database, old, first } = await twoYears();
    const hold = { kind, reference: reference(old[1] ?? '', first[2]!.line), reason: 'court' };
    await service.within((session) => setHold(session, hold, NOON_S));
    const journal = await countOf(database, 'books_journal');
    const run = await service.deleteExpired({}, END_S);
    // The fee of no line goes; the one on a line that is held stays, with the document that brought it.
    t.match(run, { files: 0, kept: { held: 2 }, receipts: 0, fees: 1, documents: 0 }, kind);
    const isWhole = (await countOf(database, 'books_journal')) === journal;
    t.equal(
      isWhole,
      kind !== 'line',
      'the moves behind it stay too; those of the other key may go',
    );
    t.same((await service.reconcile()).differences, []);
    await service.within((session) => liftHold(session, hold, END_S + 1));
    const rest = await service.deleteExpired({}, END_S + 2);
    t.match(rest, { files: 3, kept: {}, receipts: 1 }, 'until it is lifted');
    t.same((await service.reconcile()).differences, []);
    await service.close();
  }
  const { service, database } = await twoYears();
  await database.transaction((session) =>
    session.run("UPDATE presentments SET state = 'parked' WHERE state = 'chargedBack'"),
  );
  t.match(await service.deleteExpired({}, END_S), { kept: { open: 2 }, files: 1 });
  await t.rejects(service.deleteExpired({ years: 6 }, END_S), { code: 'RETENTION_TOO_SHORT' });
  await t.rejects(service.deleteExpired({ yearEndMonth: 13 }, END_S), {
    code: 'RETENTION_TOO_SHORT',
  });
  await service.close();
});

t.test('a run that crashes at any step is ended by the next one', async (t) => {
  const { database, files, service: origin } = await twoYears();
  const { books, merchants, fees } = await origin.reconcile();
  for (let failAt = 0; ; failAt++) {
    let left = failAt;
    const step = (): void => {
      if (left-- === 0) throw new Error('crash');
    };
    const service = await ClearingService.open(
      {
        database: {
          ...database,
          transaction: async (work) => {
            const result = await database.transaction(work);
            step();
            return result;
          },
          close: async () => {},
        },
        signer,
        outFolder: 'out',
        directory: directoryOf(),
        policyHash,
        mode: 'T',
        writeFile: async (path, bytes) => {
          step();
          files.set(path, Buffer.from(bytes).toString('hex'));
        },
        removeFile: async (path) => {
          step();
          files.delete(path);
        },
      },
      NOON_S,
    ).catch(() => undefined);
    const run = await service?.deleteExpired({}, END_S).catch(() => undefined);
    const report = await origin.reconcile();
    if (report.differences.length > 0) t.fail(`step ${failAt}: ${report.differences.join()}`);
    if (run) break;
  }
  const report = await origin.reconcile();
  t.same(report.books, books);
  t.same(report.merchants, merchants);
  t.same(report.fees, fees);
  t.equal([...files.keys()].filter((path) => path.endsWith('.ipm')).length, 1);
  t.equal([...files.keys()].filter((path) => path.startsWith('out/evidence/')).length, 1);
  t.ok(files.has('out/closed/closed-books.statement'));
  await origin.close();
});
