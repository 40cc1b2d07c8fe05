import t from 'tap';
import { REFUSALS, refusalCodeOf, type RefusalCode } from '../../protocol/refusal.ts';
import {
  downTopic,
  inboxFilter,
  parseDownTopic,
  parseUpTopic,
  upTopic,
  UP_VERBS,
} from '../../protocol/topics.ts';
import { fill } from './helpers.ts';

const gateway = fill(16, 0xab);
const device = fill(16, 0x01);
const g = 'ab'.repeat(16);
const d = '01'.repeat(16);

t.test('an up topic comes back as what it was made from', async (t) => {
  for (const verb of UP_VERBS) {
    const relayed = verb === 'ask' || verb === 'offer';
    const topic = relayed
      ? upTopic(gateway, device, verb, gateway)
      : upTopic(gateway, device, verb);
    t.match(parseUpTopic(topic), { approverHex: g, deviceHex: d, verb });
  }
});

t.test('whatever is not exactly an up topic is nothing', async (t) => {
  const bad = [
    '',
    '/',
    'kiri/1',
    `kiri/2/${g}/up/${d}/pay`,
    `kiri/1/${g}/to/${d}/pay`,
    `kiri/1/${g}/up/${d}/steal`,
    `kiri/1/${g}/up/${d}/pay/${g}`,
    `kiri/1/${g}/up/${d}/ask`,
    `kiri/1/${g}/up/${d}/ask/+`,
    `kiri/1/${g}/up/+/pay`,
    `kiri/1/${g}/up/#`,
    `kiri/1/${g.toUpperCase()}/up/${d}/pay`,
    `kiri/1/${g}/up/${d}/pay/`,
    `$SYS/${g}/up/${d}/pay`,
    `kiri/1/${g}/up/${d}/ask/${g}/x`,
    `kiri/1/${g}/up/${d}/pay`.padEnd(5000, '/'),
    `kiri/1/${g}/up/__proto__/pay`,
  ];
  for (const topic of bad) t.equal(parseUpTopic(topic), undefined, topic.slice(0, 60));
});

t.test('a device reads its own inbox and no other', async (t) => {
  t.equal(inboxFilter(g, d), `kiri/1/${g}/to/${d}/#`);
  t.equal(parseDownTopic(downTopic(g, d, 'receipt'), g, d), 'receipt');
  t.equal(parseDownTopic(downTopic(g, g, 'receipt'), g, d), undefined);
});

t.test('refusal numbers are unique, so a code and its number name each other', async (t) => {
  const codes = Object.keys(REFUSALS) as RefusalCode[];
  t.equal(new Set(codes.map((code) => REFUSALS[code].number)).size, codes.length);
  for (const code of codes) t.equal(refusalCodeOf(REFUSALS[code].number), code);
  t.equal(refusalCodeOf(0), undefined);
  t.equal(refusalCodeOf(9999), undefined);
});
