import { spawnSync } from 'node:child_process';
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import t from 'tap';
import { PanScanner } from '../../../../sync/clearing/core/pan-scan.ts';
import type { PanHit } from '../../../../sync/clearing/core/pan-scan.ts';
import { openSqlite } from '../../../../sync/clearing/sql.ts';
import { ClearingService } from '../../../../sync/clearing/clearing-service.ts';
import { NOON_S, anchors, directoryOf, history, policyHash, signer } from '../sample.ts';

// Published test numbers of the card networks, 13 to 19 digits.
const TEST_NUMBERS = [
  '4222222222222',
  '30569309025904',
  '378282246310005',
  '4111111111111111',
  '5555555555554444',
  '6011000990139424',
  '3566002020360505',
  '6304000000000000000',
];

const scan = (bytes: Uint8Array, chunk = bytes.length || 1): PanHit[] => {
  const scanner = new PanScanner();
  const hits: PanHit[] = [];
  for (let at = 0; at < bytes.length; at += chunk) {
    hits.push(...scanner.push(bytes.subarray(at, at + chunk)));
  }
  return [...hits, ...scanner.end()];
};
const ascii = (text: string): Uint8Array => Buffer.from(text, 'latin1');
const ebcdic = (digits: string): Uint8Array => Uint8Array.from(digits, (one) => 0xf0 + Number(one));

t.test('published test numbers are found wherever they stand, whatever the chunks', async (t) => {
  for (const number of TEST_NUMBERS) {
    const places: readonly (readonly [Uint8Array, number, PanHit['charset']])[] = [
      [ascii(number), 0, 'ASCII'],
      [ascii(`{"pan":"${number}"}`), 8, 'ASCII'],
      [ascii(`\0\xFFPAN${number}\0`), 5, 'ASCII'],
      [
        Buffer.concat([Uint8Array.of(0x40, 0xc1), ebcdic(number), Uint8Array.of(0x40)]),
        2,
        'EBCDIC',
      ],
      // DE2 of an ISO 8583 record: its length before it, DE3 and DE4 right behind it.
      [ascii(`\x80${number.length}${number}000000000000003850`), 3, 'ASCII'],
    ];
    for (const [bytes, offset, charset] of places) {
      for (const chunk of [1, 7, 4096]) {
        t.same(scan(bytes, chunk), [{ offset, digits: number.length, charset }], number);
      }
    }
  }
});

t.test('what is no card number is not reported', async (t) => {
  const texts = [
    '',
    '4111111111111112',
    '411111111111',
    '41111111111111111111',
    '0000000000000000',
    // Milliseconds since 1970 with a right check digit.
    '1795000000001',
    // An ARN: 23 digits, also with its length before it.
    '"arn":"11234566325000000000012"',
    '2311234566325000000000012',
    // A hash with a test number in it, cut off by letters.
    `${'ab'.repeat(20)}4111111111111111${'cd'.repeat(4)}`,
    `a4111111111111111b${'0c'.repeat(23)}`,
  ];
  for (const text of texts) t.same(scan(ascii(text), 5), [], text);
});

const kiri = resolve(import.meta.dirname, '../../../../cli/kiri.js');
const run = (...paths: string[]): { status: number | null; stdout: string; stderr: string } =>
  spawnSync(process.execPath, [kiri, 'scan-pan', ...paths], { encoding: 'utf8', timeout: 60_000 });

t.test(
  "a clearing's store and files hold no card number; a planted one is named, not shown",
  async (t) => {
    const out = await mkdtemp(join(tmpdir(), 'kiri-scan-'));
    t.teardown(() => rm(out, { recursive: true, force: true }));
    const service = await ClearingService.open(
      {
        database: openSqlite(join(out, 'clearing.sqlite')),
        signer,
        outFolder: out,
        directory: directoryOf(),
        policyHash,
        mode: 'T',
      },
      NOON_S,
    );
    await service.ingestBatch(history(), NOON_S);
    const { files } = await service.cut(NOON_S, anchors, true);
    t.ok(files.length > 0);
    await service.close();
    const clean = run(out);
    t.equal(clean.status, 0, clean.stdout + clean.stderr);
    t.match(clean.stdout, /^\d+ files, 0 finds\n$/);

    await mkdir(join(out, 'deep'));
    const planted = join(out, 'deep', 'log.txt');
    await writeFile(planted, `${'x'.repeat(70_000)} 4111111111111111 \n`);
    const found = run(out);
    t.equal(found.status, 1);
    t.ok(found.stdout.startsWith(`${planted}:70001: **************** (ASCII)\n`));
    t.notMatch(found.stdout + found.stderr, /4111/);
    await rm(planted);
    const store = openSqlite(join(out, 'clearing.sqlite'));
    await store.transaction((session) =>
      session.run("UPDATE keys SET account = '5555555555554444' WHERE account = 'ACC-1'"),
    );
    await store.close();
    const stored = run(out);
    t.equal(stored.status, 1);
    t.match(stored.stdout, /clearing\.sqlite:keys\/\d+\/account:0: \*{16} \(ASCII\)/);
    t.equal(run(join(out, 'absent')).status, 1);
    t.match(run(join(out, 'absent')).stderr, /FILE_UNREADABLE/);
    t.equal(run().status, 2);
  },
);
