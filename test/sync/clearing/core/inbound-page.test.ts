import { readFileSync } from 'node:fs';
import t from 'tap';
import { fromHex, toHex } from '../../../../protocol/bytes.ts';
import { openAcknowledgement } from '../../../../sync/clearing/core/inbound-documents.ts';
import { DEFAULT_IPM_PROFILE } from '../../../../sync/clearing/core/ipm-profile.ts';
import { decodeMessage } from '../../../../sync/clearing/core/iso8583.ts';
import { readInboundBody } from '../../../../sync/clearing/core/read-inbound-record.ts';
import { ACKNOWLEDGEMENT, BODIES, issuer, trust, written } from './inbound-sample.ts';

const page = readFileSync('docs/clearing.md', 'utf8');
const between = (from: string, to: string): string =>
  page.slice(page.indexOf(from), page.indexOf(to));
const section = between('## What you send us', '## Manifest');

/** The bytes of the annotated blocks of a section, each row's text held against its bytes. */
const blocksOf = (words: string): string[] =>
  [...words.matchAll(/```hex\n([\s\S]*?)```/g)].map(([, block = '']) => {
    let hex = '';
    for (const row of block.split('\n').filter((one) => one !== '')) {
      const [, bytes = '', text] = /^([0-9a-f]+) {2,}(?:"([^"]*)"|-)(?: {2,}.+)?$/.exec(row) ?? [];
      t.ok(bytes.length > 0 && bytes.length % 2 === 0, `a row of the page reads: ${row}`);
      if (text !== undefined) t.equal(Buffer.from(bytes, 'hex').toString('latin1'), text);
      hex += bytes;
    }
    return hex;
  });
const blocks = blocksOf(section);

t.test('the answer of docs/clearing.md to a document is the golden one', async (t) => {
  const vectors = JSON.parse(readFileSync('test/vectors/clearing.json', 'utf8')) as Readonly<
    Record<string, string>
  >;
  const told = between(
    '**What the issuer is told.**',
    'Numbers run per issuer without gaps. The same',
  );
  t.same(blocksOf(told), [vectors['inbound-answer']]);
});

t.test('the acknowledgement of docs/clearing.md opens as what the page says', async (t) => {
  t.equal(blocks.length, 3);
  const opened = openAcknowledgement(fromHex(blocks[0]!), trust);
  t.same(opened.ok && opened.value.value, ACKNOWLEDGEMENT);
  t.match(blocks[0], toHex(issuer.key.id), 'the kid of its second part');
});

t.test('the 691 of docs/clearing.md reads as what the page says', async (t) => {
  const record = fromHex(blocks[1]!);
  t.equal(new DataView(record.buffer).getUint32(0), record.length - 4);
  const message = decodeMessage(record.subarray(4), DEFAULT_IPM_PROFILE, 0);
  if (!message.ok) throw new Error(message.fault.detail);
  const place = { recordNumber: 2, member: '00000099990' };
  const body = readInboundBody(message.value, place, DEFAULT_IPM_PROFILE);
  t.same(body.ok && body.value, BODIES['message-reject']);
  t.match(toHex(written([BODIES['message-reject']]).file), blocks[1], 'and stands so in a file');
});

t.test('the 1740 of docs/clearing.md reads as what the page says', async (t) => {
  const record = fromHex(blocks[2]!);
  const message = decodeMessage(record.subarray(4), DEFAULT_IPM_PROFILE, 0);
  if (!message.ok) throw new Error(message.fault.detail);
  const place = { recordNumber: 2, member: '00000099990' };
  const body = readInboundBody(message.value, place, DEFAULT_IPM_PROFILE);
  t.same(body.ok && body.value, BODIES.fee);
  t.match(toHex(written([BODIES.fee]).file), blocks[2], 'and stands so in a file');
});

const CARRIER = { chargeback: '1442', retrieval: '603', fee: '1740' } as const;

t.test(
  'docs/clearing.md lists every reject code and reason of the profile, and no other',
  async (t) => {
    const rows = section
      .split('\n')
      .filter((line) => /^\| \d{4} \|/.test(line))
      .map((line) => line.split('|').map((cell) => cell.trim()));
    const { rejects, reasons } = DEFAULT_IPM_PROFILE.inbound;
    const follows = (one: (typeof rejects)[0]): string =>
      one.isResubmittable
        ? one.scope === 'file'
          ? 'again'
          : 'may come again'
        : one.declines
          ? 'parked; the account'
          : 'parked';
    const expected = [
      ...rejects.map((one) => [one.code, one.scope === 'file' ? '699' : '691', one.meaning]),
      ...reasons.map((one) => [one.code, CARRIER[one.use], one.meaning]),
    ];
    t.same(
      rows.map((cells) => cells.slice(1, 4)),
      expected,
    );
    for (const [at, one] of rejects.entries()) {
      const cell = rows[at]![4]!;
      if (cell !== 'the same') t.match(cell, follows(one), one.code);
      else t.equal(one.isResubmittable && one.scope === 'file', true, one.code);
    }
    for (const [at, one] of reasons.entries())
      t.equal(rows[rejects.length + at]![4], one.declines ? 'yes' : '', one.code);
  },
);
