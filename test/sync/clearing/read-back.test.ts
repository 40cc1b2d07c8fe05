import t from 'tap';
import { DEFAULT_IPM_PROFILE } from '../../../sync/clearing/core/ipm-profile.ts';
import { verifyIpm } from '../../../sync/clearing/core/verify-ipm.ts';
import { readDeclined } from '../../../sync/clearing/declined.ts';
import {
  IssuerSide,
  chargeback,
  cutThree,
  fileReject,
  kinds,
  lineOf,
  messageReject,
  outcomes,
  recordOf,
  standing,
} from './issuer-side.ts';
import type { GotFile } from './issuer-side.ts';
import { DAY_S, NOON_S, anchors } from './sample.ts';

t.test('an acknowledgement counts once, for our very bytes and totals', async (t) => {
  const { service, issuer, file } = await cutThree();
  const at = NOON_S + 60;
  const cose = issuer.acknowledgement(file, 'accepted', at);
  t.same(outcomes(await service.readBack(issuer.opened(cose, at), at)), ['moved']);
  t.same(outcomes(await service.readBack(issuer.opened(cose, at), at)), ['repeated'], 'twice');
  t.same(outcomes(await issuer.acknowledge(file, 'accepted', at)), ['repeated'], 'anew');
  const other = issuer.acknowledgement(file, 'accepted', at, { number: 1, fileId: file.fileId });
  t.same(outcomes(await service.readBack(issuer.opened(other, at), at)), ['repeated']);
  const forged = issuer.acknowledgement(file, 'rejected', at, { number: 1 });
  t.match(await service.readBack(issuer.opened(forged, at), at), {
    kind: 'quarantined',
    code: 'NUMBER_REUSED',
  });
  t.same(await standing(service), { presentedOpen: 1230n });
  t.same(await kinds(service, at + 9 * DAY_S), [], 'not silent any more');
  await service.close();
});

t.test(
  'an acknowledgement of an unknown file, of other bytes or totals moves nothing',
  async (t) => {
    const { service, issuer, file } = await cutThree();
    const at = NOON_S + 60;
    const bad: readonly [GotFile, Parameters<IssuerSide['acknowledgement']>[3], string][] = [
      [file, { fileId: `${file.fileId.slice(0, -1)}9` }, 'UNKNOWN_FILE'],
      [file, { fileSha256: new Uint8Array(32) }, 'HASH_MISMATCH'],
      [{ ...file, lines: file.lines.slice(1) }, {}, 'TOTALS_MISMATCH'],
      [{ ...file, fileName: 'KIRI.x.ipm' }, {}, 'FILE_NAME_MISMATCH'],
    ];
    for (const [of, part, code] of bad) {
      const cose = issuer.acknowledgement(of, 'accepted', at, part);
      t.same(outcomes(await service.readBack(issuer.opened(cose, at), at)), [code]);
    }
    t.same(await kinds(service, at), [
      'MESSAGE_REFUSED',
      'MESSAGE_REFUSED',
      'MESSAGE_REFUSED',
      'MESSAGE_REFUSED',
    ]);
    const [alert] = (await service.alerts(at + 5)).listed;
    t.match(alert, { ageS: 5, detail: /UNKNOWN_FILE/ });
    t.equal(await service.closeAlert(alert?.reference ?? '', at), true);
    t.equal(await service.closeAlert(alert?.reference ?? '', at), false);
    t.equal((await kinds(service, at)).length, 3);
    t.match(await service.alerts(at + 2 * DAY_S), { counts: { FILE_SILENT: 1 } });
    await service.close();
  },
);

t.test('silence raises an alert, sends nothing, and ends with the acknowledgement', async (t) => {
  const { service, issuer, file, files } = await cutThree({ ackWithinS: 3600 });
  const before = files.size;
  t.same(await kinds(service, NOON_S + 3599), []);
  t.match((await service.alerts(NOON_S + 3600)).listed, [{ kind: 'FILE_SILENT', ageS: 3600 }]);
  t.match((await service.cut(NOON_S + 3600, anchors, true)).files, []);
  t.equal(files.size, before);
  t.same(await service.resubmit(file.fileName.replace('.ipm', ''), NOON_S + 3600), {
    kind: 'refused',
    code: 'NOT_REJECTED',
  });
  await issuer.acknowledge(file, 'accepted', NOON_S + 4000);
  t.same(await kinds(service, NOON_S + DAY_S), []);
  await service.close();
});

t.test('a gap in the numbers is listed, later documents are taken, and it closes', async (t) => {
  const { service, issuer, file } = await cutThree();
  const at = NOON_S + 60;
  const first = issuer.acknowledgement(file, 'partly', at);
  const second = issuer.file([messageReject(file, 2)], at);
  t.same(outcomes(await service.readBack(issuer.openedFile(second, at), at)), ['moved']);
  t.match((await service.alerts(at)).listed, [
    { kind: 'NUMBER_GAP', reference: '1-1' },
    { kind: 'LINE_PARKED' },
  ]);
  t.same(outcomes(await service.readBack(issuer.opened(first, at), at)), ['moved']);
  t.match((await service.alerts(at)).counts, { LINE_PARKED: 1 });
  t.notOk((await service.alerts(at)).counts.NUMBER_GAP);
  await service.close();
});

t.test('a rejected file goes again under a new id with the same ARNs, and rebuilds', async (t) => {
  const { service, issuer, file, files } = await cutThree();
  const at = NOON_S + 60;
  t.same(outcomes(await issuer.send([fileReject(file)], at)), ['moved']);
  t.same(
    outcomes(await issuer.acknowledge(file, 'rejected', at)),
    ['repeated'],
    'verdict after 699',
  );
  t.same(outcomes(await issuer.acknowledge(file, 'accepted', at)), ['ALREADY_REJECTED']);
  t.same(await standing(service), { queued: 1230n });
  t.match((await service.cut(at, anchors, true)).files, [], 'no cut takes them along');
  const name = file.fileName.replace('.ipm', '');
  const again = await service.resubmit(name, at);
  t.same(again, { kind: 'moved', fileName: name.replace('S00001', 'S00002') });
  t.same(await service.resubmit(name, at), { ...again, kind: 'repeated' });
  if (again.kind === 'refused') throw new Error(again.code);
  const next = issuer.got(`${again.fileName}.ipm`);
  t.same(new Set(next.lines.map((line) => line.arn)), new Set(file.lines.map((line) => line.arn)));
  t.not(next.fileId, file.fileId);
  t.same(verifyIpm(next.bytes, DEFAULT_IPM_PROFILE).findings, []);
  for (const one of [name, again.fileName]) {
    for (const { path, bytes } of await service.rebuild(one)) {
      t.equal(files.get(`out/${path}`), Buffer.from(bytes).toString('hex'), path);
    }
  }
  t.same(outcomes(await issuer.send([messageReject(file, 2)], at)), ['ALREADY_REJECTED']);
  t.same(outcomes(await issuer.acknowledge(next, 'accepted', at)), ['moved']);
  t.same(await standing(service), { presentedOpen: 1230n });
  await service.close();
});

t.test('a 691 parks one line; requeued it comes with the next cut under its ARN', async (t) => {
  const { service, issuer, file } = await cutThree();
  const at = NOON_S + 60;
  const record = recordOf(file, 200n);
  const { arn } = lineOf(file, 200n);
  const otherFile = `${file.fileId.slice(0, -1)}9`;
  const bodies = [
    messageReject(file, record, '2001'),
    messageReject(file, 99),
    { ...messageReject(file, recordOf(file, 30n)), arn },
    { ...messageReject(file, 2), sourceFileId: otherFile },
    messageReject(file, file.lines.length + 2),
  ];
  t.same(outcomes(await issuer.send(bodies, at)), [
    'moved',
    'UNKNOWN_RECORD',
    'ARN_MISMATCH',
    'UNKNOWN_FILE',
    'UNKNOWN_RECORD',
  ]);
  t.match(await service.within(readDeclined), [
    { account: 'ACC-1', party: 'party-1', code: '2001', arn },
  ]);
  t.same(await service.decideLine(arn, 'requeue', at), { kind: 'moved', state: 'queued' });
  t.same(await service.decideLine(arn, 'requeue', at), { kind: 'repeated', state: 'queued' });
  const cut = await service.cut(at, anchors, true);
  const next = issuer.got(cut.files[0]?.fileName ?? '');
  t.same(
    next.lines.map((line) => line.arn),
    [arn],
  );
  t.same(outcomes(await issuer.send([messageReject(file, record)], at)), ['LINE_MOVED_ON']);
  t.same(outcomes(await issuer.send([messageReject(next, 2)], at)), ['moved'], 'again refused');
  t.same(await service.decideLine(arn, 'release', at), { kind: 'moved', state: 'released' });
  t.same(await service.decideLine(arn, 'requeue', at), { kind: 'refused', code: 'RELEASED' });
  t.match(await standing(service), { reversed: 200n });
  await service.close();
});

t.test(
  'a 691 says nothing of the other lines: the file is silent until it is answered',
  async (t) => {
    const { service, issuer, file } = await cutThree({ ackWithinS: 3600 });
    const at = NOON_S + 60;
    await issuer.send([messageReject(file, recordOf(file, 200n))], at);
    t.same(await kinds(service, at), ['LINE_PARKED']);
    const [silent] = (await service.alerts(NOON_S + 3600)).listed;
    t.match(silent, {
      kind: 'FILE_SILENT',
      reference: file.fileName.replace('.ipm', ''),
      ageS: 3600,
    });
    t.same((await service.reconcile()).merchants, [], 'nobody is paid for the others by silence');
    await issuer.send([messageReject(file, recordOf(file, 30n))], NOON_S + 4000);
    t.ok((await kinds(service, NOON_S + 4000)).includes('FILE_SILENT'), 'another 691 is no answer');
    t.same(outcomes(await issuer.acknowledge(file, 'accepted', NOON_S + 5000)), ['moved']);
    t.same(await kinds(service, NOON_S + DAY_S), ['LINE_PARKED', 'LINE_PARKED']);
    t.match((await service.reconcile()).merchants, [{ payableMicro: 1_000_000_000n }]);
    t.same(outcomes(await issuer.send([fileReject(file)], NOON_S + DAY_S)), ['ALREADY_ACCEPTED']);
    await service.close();
  },
);

t.test('a 699 after a 691 rejects the lines that are left, each exactly once', async (t) => {
  for (const verdict of [undefined, 'rejected'] as const) {
    const { service, issuer, file } = await cutThree();
    const at = NOON_S + 60;
    const { arn } = lineOf(file, 200n);
    await issuer.send([messageReject(file, recordOf(file, 200n))], at);
    // One that was refused and is to come again stays with its file, and leaves with the others.
    await service.decideLine(lineOf(file, 200n).arn, 'requeue', at);
    await issuer.send([messageReject(file, recordOf(file, 30n))], at);
    const told = verdict
      ? await issuer.acknowledge(file, verdict, at)
      : await issuer.send([fileReject(file)], at);
    t.same(outcomes(told), ['moved']);
    t.same(await standing(service), { queued: 1200n, parked: 30n });
    t.same(outcomes(await issuer.send([fileReject(file)], at)), ['repeated']);
    t.match((await service.cut(at, anchors, true)).files, [], 'they wait for the new file');
    const again = await service.resubmit(file.fileName.replace('.ipm', ''), at);
    if (again.kind !== 'moved') throw new Error(again.kind);
    const next = issuer.got(`${again.fileName}.ipm`);
    t.same(
      next.lines.map((line) => line.arn).toSorted(),
      [arn, lineOf(file, 1000n).arn].toSorted(),
    );
    await service.decideLine(lineOf(file, 30n).arn, 'requeue', at);
    t.match((await service.cut(at, anchors, true)).files, [{ presentments: 1, sumMinor: 30n }]);
    t.same(await standing(service), { presentedOpen: 1230n });
    await service.close();
  }
});

t.test('a 699 leaves a second presentment alone that a 691 refused before', async (t) => {
  const { service, issuer, file } = await cutThree();
  const at = NOON_S + 60;
  for (const sum of [1000n, 200n]) {
    const line = lineOf(file, sum);
    await issuer.send([chargeback(line)], at);
    await service.represent({ arn: line.arn, reason: '4853' }, at);
  }
  const second = issuer.got((await service.cut(at, anchors, true)).files[0]?.fileName ?? '');
  await issuer.send([messageReject(second, recordOf(second, 1000n))], at);
  t.same(outcomes(await issuer.send([fileReject(second)], at)), ['moved']);
  t.same(await standing(service), { presentedOpen: 30n, presentedDisputed: 1200n });
  t.match(await service.resubmit(second.fileName.replace('.ipm', ''), at), { kind: 'moved' });
  t.same(await standing(service), { presentedOpen: 230n, presentedDisputed: 1000n });
  await service.close();
});

t.test('a declining code that is only to know declines nobody', async (t) => {
  const { service, issuer, file } = await cutThree();
  const reject = messageReject(file, recordOf(file, 1000n));
  const toKnow = { element: 'P9501', severity: '04', code: '2001', subfield: '000' };
  const errors = [toKnow, ...reject.errors];
  t.same(outcomes(await issuer.send([{ ...reject, errors }], NOON_S)), ['moved']);
  t.same(await service.within(readDeclined), []);
  await service.close();
});

t.test('a 691 that names the header is no message of ours', async (t) => {
  const { service, issuer, file } = await cutThree();
  // The writer would not write it; a reader before us that lets it through meets the same answer.
  t.throws(() => issuer.file([messageReject(file, 1)], NOON_S), /PDS0138/);
  const opened = issuer.openedFile(issuer.file([messageReject(file, 2)], NOON_S, 1), NOON_S);
  if (opened.kind !== 'file') throw new Error('no file');
  const [message] = opened.file.messages;
  const bent = { ...message, sourceRecordNumber: 1 } as typeof message;
  const messages = bent ? [bent] : [];
  const taken = await service.readBack({ ...opened, file: { ...opened.file, messages } }, NOON_S);
  t.same(outcomes(taken), ['HEADER_NAMED']);
  t.same(await standing(service), { presentedOpen: 1230n });
  await service.close();
});

t.test('positions are held against the lines, whatever order they come in', async (t) => {
  const { service, issuer, file } = await cutThree();
  const at = NOON_S + 3600;
  const position = (count: number, amountMinor: bigint) =>
    ({
      kind: 'reconciliation',
      position: 'settlement',
      sourceFileId: file.fileId,
      currency: '392',
      debit: { count, amountMinor },
      credit: { count: 0, amountMinor: 0n },
    }) as const;
  await issuer.send([position(2, 1030n)], at);
  t.match((await service.alerts(at)).listed, [
    { kind: 'POSITION_DIFFERS', detail: /issuer 2 lines 1030, ours 3 lines 1230/ },
  ]);
  await issuer.send([messageReject(file, recordOf(file, 200n))], at);
  t.same(await kinds(service, at), ['LINE_PARKED'], 'the 691 explains it');
  await service.decideLine(lineOf(file, 200n).arn, 'requeue', at);
  await service.cut(at, anchors, true);
  await issuer.send([{ ...position(2, 1030n), position: 'financial' }], at);
  t.same(await kinds(service, at), [], 'the line counts for the file in which it stands now');
  await issuer.send([{ ...position(3, 1230n), position: 'financial' }], at);
  t.match((await service.alerts(at)).counts, { POSITION_DIFFERS: 1 });
  await service.close();
});
