import t from 'tap';
import { DEFAULT_IPM_PROFILE } from '../../../sync/clearing/core/ipm-profile.ts';
import { verifyIpm } from '../../../sync/clearing/core/verify-ipm.ts';
import { liftDecline, readDeclined } from '../../../sync/clearing/declined.ts';
import {
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
import { DAY_S, LineOfReceipts, NOON_S, anchors, keyWith } from './sample.ts';
import { toHex } from '../../../protocol/bytes.ts';

t.test('a chargeback that does not fit our books moves nothing and is listed', async (t) => {
  const { service, issuer, file } = await cutThree();
  const at = NOON_S + DAY_S;
  const line = lineOf(file, 200n);
  const bodies = [
    chargeback(line, 201n, { originalMinor: 400n }),
    chargeback(lineOf(file, 1000n), 10n, { originalMinor: 999n }),
    chargeback(lineOf(file, 30n), 30n, { fundingReference: 'ACC-9' }),
  ];
  t.same(outcomes(await issuer.send(bodies, at)), [
    'ABOVE_ORIGINAL',
    'ORIGINAL_MISMATCH',
    'ACCOUNT_MISMATCH',
  ]);
  t.same(outcomes(await issuer.send([chargeback(line, 200n, { currency: '840' })], at)), [
    'CURRENCY_MISMATCH',
  ]);
  const unknown = '01234566325000000000996';
  t.same(outcomes(await issuer.send([chargeback({ ...line, arn: unknown })], at)), ['UNKNOWN_ARN']);
  t.same(outcomes(await issuer.send([chargeback(line)], NOON_S + 121 * DAY_S)), [
    'DISPUTE_WINDOW_CLOSED',
  ]);
  t.same(outcomes(await issuer.send([chargeback(line, 200n, { cycle: 'arbitration' })], at)), [
    'NOT_REPRESENTED',
  ]);
  t.same(await standing(service), { presentedOpen: 1230n });
  t.equal((await service.alerts(at)).counts.MESSAGE_REFUSED, 7);
  await service.close();
});

t.test('a chargeback after the evidence is gone is refused', async (t) => {
  const disputes = {
    windowS: 90 * DAY_S,
    answerS: DAY_S,
    arbitrationS: DAY_S,
    evidenceS: 30 * DAY_S,
  };
  const { service, issuer, file } = await cutThree({ disputes });
  const [line] = file.lines;
  if (!line) throw new Error('no line');
  const late = NOON_S + 31 * DAY_S;
  t.same(outcomes(await issuer.send([chargeback(line)], late)), ['EVIDENCE_EXPIRED']);
  const retrieval = { kind: 'retrieval', arn: line.arn, reason: '6323' } as const;
  t.same(outcomes(await issuer.send([retrieval], late)), ['EVIDENCE_EXPIRED']);
  await service.close();
});

t.test('an aggregate with one bad receipt: disputed, 282 without it, arbitration', async (t) => {
  const { service, issuer, file, files } = await cutThree();
  const line = lineOf(file, 1000n);
  let at = NOON_S + 3600;
  t.same(outcomes(await issuer.send([chargeback(line)], at)), ['moved']);
  t.same(outcomes(await issuer.send([chargeback(line, 5n)], at)), ['ALREADY_DISPUTED'], 'twice');
  t.same(await standing(service), { presentedOpen: 230n, presentedDisputed: 1000n });
  t.match((await service.alerts(at)).listed, [
    { kind: 'MESSAGE_REFUSED' },
    { kind: 'DISPUTE_OPEN', reference: line.arn, detail: /answer by/ },
  ]);
  const bad = toHex(new LineOfReceipts('car 0').next(1n).receiptHash);
  const answer = { arn: line.arn, reason: '4853', withoutReceipts: [bad] };
  t.match(await service.represent({ ...answer, withoutReceipts: ['00'.repeat(32)] }, at), {
    code: 'UNKNOWN_RECEIPT',
  });
  t.match(await service.represent({ ...answer, amountMinor: 1001n }, at), {
    code: 'ABOVE_DISPUTED',
  });
  t.match(await service.represent(answer, at + 46 * DAY_S), { code: 'ANSWER_WINDOW_CLOSED' });
  t.same(await service.represent(answer, at), { kind: 'moved', state: 'secondQueued' });
  t.same(await standing(service), {
    presentedOpen: 230n,
    presentedDisputed: 500n,
    presentedChargedBack: 500n,
  });
  at += 60;
  const cut = await service.cut(at, anchors, true);
  const second = issuer.got(cut.files[0]?.fileName ?? '');
  t.match(second.lines, [
    { arn: line.arn, amountMinor: 500n, second: { originalMinor: 1000n, reason: '4853' } },
  ]);
  t.same(verifyIpm(second.bytes, DEFAULT_IPM_PROFILE).findings, []);
  for (const { path, bytes } of await service.rebuild(second.fileName.replace('.ipm', ''))) {
    t.equal(files.get(`out/${path}`), Buffer.from(bytes).toString('hex'), path);
  }
  t.same(await standing(service), { presentedOpen: 730n, presentedChargedBack: 500n });
  const above = chargeback(line, 501n, { cycle: 'arbitration' });
  t.same(outcomes(await issuer.send([above], at)), ['ABOVE_SECOND']);
  t.same(outcomes(await issuer.send([chargeback(line, 300n, { cycle: 'arbitration' })], at)), [
    'moved',
  ]);
  t.same(await standing(service), { presentedOpen: 430n, presentedChargedBack: 800n });
  t.same(outcomes(await issuer.send([chargeback(line, 300n, { cycle: 'arbitration' })], at)), [
    'FINAL',
  ]);
  await service.close();
});

t.test(
  'a partial chargeback splits the line; a refused second presentment is disputed again',
  async (t) => {
    const { service, issuer, file } = await cutThree();
    const line = lineOf(file, 200n);
    const at = NOON_S + DAY_S;
    t.same(outcomes(await issuer.send([chargeback(line, 50n, { reason: '4837' })], at)), ['moved']);
    t.match(await service.within(readDeclined), [{ account: 'ACC-1', code: '4837', sinceS: at }]);
    t.same(await standing(service), { presentedOpen: 1180n, presentedDisputed: 50n });
    await service.represent({ arn: line.arn, reason: '4853' }, at);
    const cut = await service.cut(at, anchors, true);
    const second = issuer.got(cut.files[0]?.fileName ?? '');
    t.same(outcomes(await issuer.send([messageReject(second, 2)], at)), ['moved']);
    t.same(await standing(service), { presentedOpen: 1180n, presentedDisputed: 50n });
    await service.represent({ arn: line.arn, reason: '4853', amountMinor: 20n }, at);
    const third = issuer.got((await service.cut(at, anchors, true)).files[0]?.fileName ?? '');
    t.match(third.lines, [{ amountMinor: 20n, second: { originalMinor: 200n } }]);
    t.same(outcomes(await issuer.send([fileReject(third)], at)), ['moved']);
    t.same(await standing(service), {
      presentedOpen: 1180n,
      presentedDisputed: 20n,
      presentedChargedBack: 30n,
    });
    t.match(await service.resubmit(third.fileName.replace('.ipm', ''), at), { kind: 'moved' });
    t.same(await standing(service), { presentedOpen: 1200n, presentedChargedBack: 30n });
    t.same(outcomes(await issuer.send([chargeback(lineOf(file, 30n))], at)), ['moved']);
    t.same(await service.decideLine(lineOf(file, 30n).arn, 'accept', at), {
      kind: 'moved',
      state: 'chargedBack',
    });
    t.same(await standing(service), { presentedOpen: 1170n, presentedChargedBack: 60n });
    await service.close();
  },
);

t.test(
  'an account that is declined: nothing new of it is presented until a person lifts it',
  async (t) => {
    const { service, issuer, file } = await cutThree();
    const at = NOON_S + DAY_S;
    const line = lineOf(file, 200n);
    await issuer.send([chargeback(line, 200n, { reason: '4812' })], at);
    const own = keyWith({ account: 'ACC-1', party: 'party-1' });
    const other = keyWith({ account: 'ACC-2', party: 'party-2' });
    const [declined, good] = [new LineOfReceipts('late car'), new LineOfReceipts('other car')];
    await service.ingestBatch(
      [
        declined.next(70_000_000n, { key: own, businessTimeS: at }),
        declined.next(400_000n, { key: own, businessTimeS: at }),
        good.next(40_000_000n, { key: other, businessTimeS: at }),
      ],
      at,
    );
    const before = await service.cut(at, anchors, true);
    t.match(before, { files: [{ sumMinor: 40n }], blocked: [] }, 'others go on');
    const held = [{ currency: 392, micro: 70_400_000n }];
    t.match(await service.within(readDeclined), [{ account: 'ACC-1', code: '4812', held }]);
    t.match(
      await standing(service),
      { carried: 70n },
      'it stands in its lane, and is lost nowhere',
    );
    // What a person sends again about a line that was presented is no new presentment.
    await service.represent({ arn: line.arn, reason: '4853' }, at);
    t.match(await service.cut(at + 60, anchors, true), { files: [{ sumMinor: 200n }] });
    t.equal(
      await service.within((session) => liftDecline(session, 'ACC-1', 'party-1', at + 90)),
      true,
    );
    t.match(await service.cut(at + 120, anchors, true), { files: [{ sumMinor: 70n }] });
    t.same(await service.within(readDeclined), []);
    t.ok((await service.reconcile()).reconciles);
    await service.close();
  },
);

t.test(
  'a 699 after a dispute of one of its lines is a contradiction, and moves no line',
  async (t) => {
    const { service, issuer, file } = await cutThree();
    const at = NOON_S + DAY_S;
    await issuer.send([chargeback(lineOf(file, 30n))], at);
    t.same(outcomes(await issuer.send([fileReject(file)], at)), ['LINES_MOVED_ON']);
    t.same(await standing(service), { presentedOpen: 1200n, presentedDisputed: 30n });
    await service.close();
  },
);

t.test('a retrieval request is answered with the evidence of the line, once', async (t) => {
  const { service, issuer, file, files } = await cutThree();
  const at = NOON_S + 3600;
  const { arn } = lineOf(file, 30n);
  await issuer.send([{ kind: 'retrieval', arn, reason: '6323' }], at);
  t.same(await kinds(service, at), ['RETRIEVAL_UNANSWERED']);
  t.match(await service.answerRetrievals(at), [{ arn, path: `retrieval/${arn}.cbor` }]);
  t.same(await service.answerRetrievals(at), []);
  t.ok(files.has(`out/retrieval/${arn}.html`));
  t.ok(
    [...files].some(
      ([path, hex]) => path.includes('evidence/') && hex === files.get(`out/retrieval/${arn}.cbor`),
    ),
  );
  await service.close();
});

t.test('merchants: acknowledged, taken back by a 691, charged back, presented again', async (t) => {
  const { service, issuer, file } = await cutThree();
  const at = NOON_S + 60;
  const account = async (): Promise<unknown> =>
    service.within(async (session) => {
      const [row] = await session.all('SELECT * FROM merchant_accounts ORDER BY merchant');
      return row && { ...row };
    });
  t.same(await account(), undefined, 'nothing before the acknowledgement');
  await issuer.send([messageReject(file, recordOf(file, 30n))], at);
  await issuer.acknowledge(file, 'partly', at);
  t.match(await account(), { acknowledged_micro: '1200000000', payable_micro: '1200000000' });
  await issuer.send([messageReject(file, recordOf(file, 200n))], at);
  t.match(await account(), { payable_micro: '1000000000' }, 'refused after the acknowledgement');
  const line = lineOf(file, 1000n);
  await issuer.send([chargeback(line, 400n)], at);
  t.match(await account(), { charged_back_micro: '400000000', payable_micro: '600000000' });
  await service.represent({ arn: line.arn, reason: '4853', amountMinor: 300n }, at);
  const second = issuer.got((await service.cut(at, anchors, true)).files[0]?.fileName ?? '');
  t.match(await account(), { payable_micro: '600000000' }, 'not before it is acknowledged');
  await issuer.acknowledge(second, 'accepted', at);
  await issuer.acknowledge(second, 'accepted', at);
  t.match(await account(), { charged_back_micro: '100000000', payable_micro: '900000000' });
  await issuer.send([chargeback(line, 300n, { cycle: 'arbitration' })], at);
  t.match(await account(), { charged_back_micro: '400000000', payable_micro: '600000000' });
  await service.close();
});

t.test('what was presented again and never arbitrated stands when its time is over', async (t) => {
  const { service, issuer, file } = await cutThree();
  await issuer.acknowledge(file, 'accepted', NOON_S);
  const [line, unheard] = [lineOf(file, 1000n), lineOf(file, 200n)];
  const again = async ({ arn }: { readonly arn: string }, at: number, amountMinor: bigint) => {
    await service.represent({ arn, reason: '4853', amountMinor }, at);
    return issuer.got((await service.cut(at, anchors, true)).files[0]?.fileName ?? '');
  };
  const first = NOON_S + 60;
  t.same(outcomes(await issuer.send([chargeback(line), chargeback(unheard)], first)), [
    'moved',
    'moved',
  ]);
  const second = await again(line, first, 600n);
  await issuer.acknowledge(second, 'accepted', first + 60);
  await again(unheard, first, 200n);
  const before = await standing(service);
  t.same(before, { presentedOpen: 830n, presentedChargedBack: 400n });

  const seal = async (at: number) =>
    (await service.seal(30, at)).map(({ name, receipts }) => `${name} ${receipts}`);
  const last = first + 45 * DAY_S;
  t.same(await seal(last), ['202611 1'], 'of the third line, whose other receipt is the newest');
  const above = chargeback(line, 601n, { cycle: 'arbitration' });
  t.same(outcomes(await issuer.send([above], last)), ['ABOVE_SECOND'], 'not yet over');
  const arbitration = chargeback(line, 600n, { cycle: 'arbitration' });
  t.same(outcomes(await issuer.send([arbitration], last + 1)), ['ARBITRATION_WINDOW_CLOSED']);
  t.same(outcomes(await issuer.send([messageReject(second, 2)], last + 1)), ['FINAL']);
  t.same(outcomes(await issuer.send([chargeback(line)], last + 1)), ['ALREADY_DISPUTED']);
  t.same(await service.represent({ arn: line.arn, reason: '4853' }, last + 1), {
    kind: 'repeated',
    state: 'secondFinal',
  });
  t.same(await standing(service), before, 'no money moves');
  const disputed = await service.within((session) =>
    session.all('SELECT closed_s FROM disputes ORDER BY closed_s IS NULL, aggregate_id'),
  );
  t.same(disputed, [{ closed_s: BigInt(last + 1) }, { closed_s: null }]);
  t.same(await seal(last + 40 * DAY_S), ['202612 2'], 'a file that nobody took ends nothing');
  const late = chargeback(unheard, 200n, { cycle: 'arbitration' });
  t.same(outcomes(await issuer.send([late], last + 41 * DAY_S)), ['moved']);
  t.same(await standing(service), { presentedOpen: 630n, presentedChargedBack: 600n });
  await service.close();
});
