import t from 'tap';
import { currencyOf } from '../../../../protocol/currency.ts';
import { ipmProfile } from '../../../../sync/clearing/core/ipm-profile.ts';
import { lineRecord } from '../../../../sync/clearing/core/line-record.ts';
import { directoryOf, keyWith } from '../sample.ts';

const referenceOf = (account: string): string => {
  const key = { ...keyWith({ account }), sign: 'debit' } as const;
  const line = { arn: '0'.repeat(23), amountMinor: 1n, firstPaidAt: '', aggregateShortId: '' };
  const [details, currency] = [directoryOf().details(key)!, currencyOf(392)!];
  return lineRecord({ key, details, currency, ...line }, ipmProfile('kiri-ipm-onus')!)
    .fundingReference;
};

t.test('no two accounts stand in a file under one reference', (t) => {
  t.equal(referenceOf('KIRI-ACC-001'), 'KIRI-ACC-001');
  t.equal(referenceOf('acct-7'), 'X616363742D37');
  t.equal(referenceOf('X616363742D37'), `X${Buffer.from('X616363742D37').toString('hex')}`);
  t.equal(referenceOf('X'), 'X58');
  t.equal(referenceOf('XY-1'), 'XY-1');
  t.end();
});
