import { spawnSync } from 'node:child_process';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import t from 'tap';
import { toHex } from '../../../../protocol/bytes.ts';
import { aggregateIdOf, encodeEvidence } from '../../../../sync/clearing/core/evidence.ts';
import type { Evidence } from '../../../../sync/clearing/core/evidence.ts';
import { evidenceHtml } from '../../../../sync/clearing/core/evidence-html.ts';
import { sumTreeRoot } from '../../../../sync/clearing/core/sum-tree.ts';
import { hashOf, keyWith } from '../sample.ts';

const leaves = [3_850_000n, 150_001n].map((amountMicro, at) => ({
  receiptHash: hashOf(`receipt ${at}`),
  paymentHash: hashOf(`payment ${at}`),
  amountMicro,
  origin: at,
  leafIndex: 2 ** 40 + at,
}));
const evidence: Evidence = {
  key: {
    ...keyWith({ merchant: 'M"1<script>alert(1)</script>', party: '0a'.repeat(16) }),
    sign: 'debit',
  },
  lane: 'conflict',
  number: 2,
  previous: 'ab'.repeat(32),
  openingMicro: 999_999n,
  amountMinor: 4n,
  closingMicro: 1_000_000n,
  // 2026-11-18 18:06:40 UTC is the next day in Japan.
  firstPaidS: Date.UTC(2026, 10, 18, 18, 6, 40) / 1000,
  lastPaidS: Date.UTC(2026, 10, 18, 18, 8, 20) / 1000,
  root: sumTreeRoot(leaves).hash,
  sumMicro: 4_000_001n,
  origins: ['gateway.example/2026q4', 'in\u202Etake&<b>'],
  leaves,
  entries: [],
  conflicts: [{ paymentHash: hashOf('payment 0'), otherHash: hashOf('b'), rule: 'SAME_COUNTER' }],
};
const id = aggregateIdOf(encodeEvidence(evidence));

t.test('the page shows every fact of the evidence, exactly', async (t) => {
  const page = evidenceHtml(evidence, id);
  const facts = [
    id,
    'ab'.repeat(32),
    '0a'.repeat(16),
    toHex(evidence.root),
    ...leaves.flatMap((leaf) => [toHex(leaf.receiptHash), toHex(leaf.paymentHash)]),
    toHex(hashOf('b')),
    'SAME_COUNTER',
    'gateway.example/2026q4',
    '>1099511627776<',
    '>1099511627777<',
    '>3.85 JPY<',
    '>0.150001 JPY<',
    '>0.999999 JPY<',
    '>4.000001 JPY<',
    '>5 JPY<',
    '>4 JPY<',
    '>1 JPY<',
    '2026-11-19 03:06:40 +09:00',
    '2026-11-19 03:08:20 +09:00',
    'KIRI-ACC-001',
    '4784',
  ];
  for (const fact of facts) t.ok(page.includes(fact), fact);
  t.ok(page.includes(`href="#p${toHex(hashOf('payment 0'))}"`));
  const dollars = evidenceHtml({ ...evidence, key: { ...evidence.key, currency: 840 } }, id);
  t.ok(dollars.includes('Evidence of 0.04 USD'), 'minor units are cents');
  const first = evidenceHtml({ ...evidence, previous: undefined, conflicts: [] }, id);
  t.ok(first.includes('<td>none</td>'));
  t.notOk(first.includes('Conflicts'));
});

t.test('nothing in the page runs, is fetched, or shows another text than it holds', async (t) => {
  const page = evidenceHtml(evidence, id);
  t.notMatch(page, /<script|<img|<link|<iframe|src=|url\(|https?:|@import|\son\w+=/i);
  t.ok(page.includes('M&quot;1&lt;script&gt;alert(1)&lt;/script&gt;'));
  t.ok(page.includes('in\uFFFDtake&amp;&lt;b&gt;'), 'no change of writing direction');
  t.match(page, /default-src 'none'/);
  // Every element that is opened is closed, in order.
  const open: string[] = [];
  for (const [, close, name = ''] of page.matchAll(/<(\/?)([a-z]\w*)[^>]*>/g)) {
    if (name === 'meta' || name === 'br') continue;
    if (close) t.equal(open.pop(), name);
    else open.push(name);
  }
  t.same(open, []);
});

const kiri = resolve(import.meta.dirname, '../../../../cli/kiri.js');

t.test('the command writes a page for evidence and refuses anything else', async (t) => {
  const folder = await mkdtemp(join(tmpdir(), 'kiri-evidence-'));
  t.teardown(() => rm(folder, { recursive: true, force: true }));
  const run = (...words: string[]) =>
    spawnSync(process.execPath, [kiri, 'clearing', 'evidence-html', ...words], {
      cwd: folder,
      encoding: 'utf8',
      timeout: 60_000,
    });
  const bytes = encodeEvidence(evidence);
  await writeFile(join(folder, 'a.cbor'), bytes);
  await writeFile(join(folder, 'b.cbor'), bytes.subarray(1));
  const good = run('a.cbor', '--out', 'pages');
  t.equal(good.status, 0, good.stderr);
  t.equal(good.stdout, join('pages', `${id}.html`) + '\n');
  t.equal(await readFile(join(folder, 'pages', `${id}.html`), 'utf8'), evidenceHtml(evidence, id));
  const bad = run('b.cbor');
  t.equal(bad.status, 1);
  t.match(bad.stderr, /EVIDENCE_INVALID: b\.cbor: NOT_EVIDENCE/);
  t.equal(run('absent').status, 1);
  t.equal(run().status, 2);
});
