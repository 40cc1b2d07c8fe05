import { readFileSync, writeFileSync } from 'node:fs';
import fc from 'fast-check';
import t from 'tap';
import { fromHex, toHex } from '../../../../protocol/bytes.ts';
import { decodeCanonical } from '../../../../protocol/cbor/decode.ts';
import { decodeSign1, signSign1 } from '../../../../protocol/cose.ts';
import type { Coded } from '../../../../sync/clearing/core/fault.ts';
import {
  ACKNOWLEDGEMENT_TYP,
  CLOCK_SKEW_S,
  FILE_ACKNOWLEDGEMENT,
  INBOUND_MANIFEST_TYP,
  openAcknowledgement,
  openInboundManifest,
  signAcknowledgement,
} from '../../../../sync/clearing/core/inbound-documents.ts';
import type { FileAcknowledgement } from '../../../../sync/clearing/core/inbound-documents.ts';
import {
  INBOUND_RECORDS_MAX,
  readInbound,
  writeInbound,
} from '../../../../sync/clearing/core/inbound.ts';
import type { FeeCollection, InboundBody } from '../../../../sync/clearing/core/inbound-message.ts';
import {
  DEFAULT_IPM_PROFILE,
  ipmProfile,
  preProfile,
} from '../../../../sync/clearing/core/ipm-profile.ts';
import { testSigner } from '../../../protocol/helpers.ts';
import { parseCddl } from '../../../protocol/mini-cddl.ts';
import {
  ACKNOWLEDGEMENT,
  BODIES,
  CREATED_S,
  draftOf,
  issuer,
  trust,
  written,
} from './inbound-sample.ts';

const KINDS = Object.values(BODIES);
const LATIN1 = DEFAULT_IPM_PROFILE;
const faultOf = (result: Coded<unknown>): string =>
  result.ok ? 'accepted' : `${result.fault.code} ${result.fault.field}`;

t.test('a file of every kind of message reads as what was written, in both profiles', async (t) => {
  for (const profile of ['kiri-ipm-onus', 'kiri-ipm-onus-cp500']) {
    const { fileName, file, manifest } = written(KINDS, { profile: ipmProfile(profile)! });
    t.equal(fileName, `ISSUER.${profile}.00000099990.D261122.S00001.T.ipm`);
    const read = readInbound(file, manifest, trust);
    if (!read.ok) throw new Error(JSON.stringify(read.fault));
    const numbered = KINDS.map((body, at) => ({ ...body, recordNumber: at + 2 }));
    t.same(read.value.messages, numbered);
    t.equal(read.value.issuer.hex, issuer.key.hex);
    t.match(read.value.manifest, { number: 2, fileName, records: 8, fileBytes: file.length });
  }
});

// A 691 laid out by hand: bitmaps from the element numbers, lengths counted, text looked up in ASCII.
const REJECT_RECORD: readonly string[] = [
  '31363434', // 1644
  '80000102000100000200000000000000', // 1, 24, 31, 48, 71
  '363931', // DE24 691
  '3233', // DE31: 23 characters
  '3031323334353636333235303030303030303030303132', // the ARN of our line
  '303638', // DE48: 68 characters
  '30303035303134', // PDS 0005, 14 characters
  '5039353031', // element P9501
  '3038', // severity 08
  '32303031', // code 2001
  '303030', // subfield 000
  '30313338303038', // PDS 0138, 8 characters
  '3030303030303032', // record 2 of our file
  '30323830303235', // PDS 0280, 25 characters
  '30303232363131323130303030303033323831353032323031', // 002 261121 00000032815 02201
  '3030303030303032', // DE71
];
// A 1740 laid out by hand in the same way.
const FEE_RECORD: readonly string[] = [
  '31373430', // 1740
  'b0000182000180000380000400000000', // 1, 3, 4, 24, 25, 31, 48, 49, 71, 72, 73, 94
  '313930303030', // DE3: charged to whom it is sent
  '303030303030303030313230', // DE4: 120 yen
  '373030', // DE24 700
  '37363032', // DE25 7602
  '3233', // DE31: 23 characters
  '3031323334353636333235303030303030303030303132', // the ARN of our line
  '303331', // DE48: 31 characters
  '30313337303133', // PDS 0137, 13 characters
  '46454532303236313132324131', // the fee’s reference
  '30313438303034', // PDS 0148, 4 characters
  '33393230', // yen, no decimals
  '333932', // DE49
  '3030303030303032', // DE71
  '303138', // DE72: 18 characters
  '4348415247454241434b2048414e444c4544', // text
  '323631313232', // DE73
  '3131', // DE94: 11 characters
  '3030303030303939393930', // the issuer’s member id
];
const HEADER_RECORD: readonly string[] = [
  '31363434', // 1644
  '80000100000100000200000000000000', // 1, 24, 48, 71
  '363937', // DE24 697
  '303430', // DE48: 40 characters
  '30313035303235', // PDS 0105, 25 characters
  '30303132363131323230303030303039393939303030303031', // 001 261122 00000099990 00001
  '3031323230303154', // PDS 0122: T
  '3030303030303031', // DE71
];
const TRAILER_RECORD: readonly string[] = [
  '31363434', // 1644
  '80000100000100000200000000000000',
  '363935', // DE24 695
  '303730', // DE48: 70 characters
  '30313035303235',
  '30303132363131323230303030303039393939303030303031', // PDS 0105 again
  '3033303130313630303030303030303030303030303030', // PDS 0301: 0
  '303330363030383030303030303033', // PDS 0306: 3
  '3030303030303033', // DE71
];

t.test('a 691 laid out by hand reads, and writes exactly those bytes', async (t) => {
  const stream = [HEADER_RECORD, REJECT_RECORD, TRAILER_RECORD]
    .map((parts) => parts.join(''))
    .map((hex) => (hex.length / 2).toString(16).padStart(8, '0') + hex)
    .join('');
  const block = new Uint8Array(1014).fill(0x40);
  block.set(fromHex(`${stream}00000000`));
  const { file, manifest } = written([BODIES['message-reject']]);
  t.equal(toHex(file), toHex(block));
  const read = readInbound(block, manifest, trust);
  t.same(read.ok && read.value.messages, [{ ...BODIES['message-reject'], recordNumber: 2 }]);
});

t.test('a 1740 laid out by hand stands so in a file, and the trailer sums it', async (t) => {
  const { file } = written([BODIES.fee]);
  const record = FEE_RECORD.join('');
  const length = (record.length / 2).toString(16).padStart(8, '0');
  t.match(toHex(file), `${length}${record}`);
  t.match(Buffer.from(file).toString('latin1'), '0301016' + '120'.padStart(16, '0'));
  const own = (part: Partial<FeeCollection>): string => {
    const { file: bytes, manifest } = written([{ ...(BODIES.fee as FeeCollection), ...part }]);
    return faultOf(readInbound(bytes, manifest, trust));
  };
  t.equal(own({ direction: 'paid', use: 'return' }), 'accepted');
  const member = written([{ ...(BODIES.fee as FeeCollection), use: 'system' }], {
    profile: preProfile(ipmProfile('kiri-ipm-member')!),
  });
  t.match(Buffer.from(member.file).toString('latin1'), '783', 'of a card system');
});

const VECTORS = new URL('../../../../../test/vectors/inbound.json', import.meta.url);

/** Both documents and one file of each kind of message; only the bytes up to the fill of the block. */
const made = (): Record<string, string> => {
  const vectors: Record<string, string> = {
    'file-acknowledgement': toHex(signAcknowledgement(issuer, ACKNOWLEDGEMENT)),
  };
  for (const [kind, body] of Object.entries(BODIES)) {
    const { file, manifest } = written([body]);
    vectors[`${kind}.ipm`] = toHex(file);
    vectors[`${kind}.manifest`] = toHex(manifest);
  }
  return vectors;
};

t.test(
  'both documents and a file of each kind have the bytes of their golden vectors',
  async (t) => {
    if (process.env['KIRI_NEW_VECTORS'])
      writeFileSync(VECTORS, `${JSON.stringify(made(), undefined, 2)}\n`);
    const golden = JSON.parse(readFileSync(VECTORS, 'utf8')) as Record<string, string>;
    t.same(made(), golden);
    for (const kind of Object.keys(BODIES)) {
      const [file, manifest] = [golden[`${kind}.ipm`]!, golden[`${kind}.manifest`]!];
      t.equal(faultOf(readInbound(fromHex(file), fromHex(manifest), trust)), 'accepted', kind);
    }
  },
);

t.test('kiri.cddl describes both documents, and each field is needed', async (t) => {
  const cddl = new URL('../../../../../protocol/kiri.cddl', import.meta.url);
  const rules = parseCddl(readFileSync(cddl, 'utf8'));
  const { manifest } = written([BODIES.retrieval]);
  const documents = {
    'file-acknowledgement': signAcknowledgement(issuer, ACKNOWLEDGEMENT),
    'inbound-manifest': manifest,
  };
  for (const [name, cose] of Object.entries(documents)) {
    const rule = rules.get(name)!;
    const sign1 = decodeSign1(cose);
    if (!sign1.ok) throw new Error(sign1.reason);
    const fields = (): Map<unknown, unknown> => {
      const decoded = decodeCanonical(sign1.value.payload, { maxBytes: 4096 });
      if (!decoded.ok || !(decoded.value instanceof Map)) throw new Error('not a map');
      return decoded.value;
    };
    t.equal(rule(fields()), undefined, name);
    for (const key of fields().keys()) {
      const less = fields();
      less.delete(key);
      t.ok(rule(less), `${name} without ${String(key)}`);
    }
    t.match(rule(fields().set(9, 'perhaps')), /key 9/);
  }
});

const acknowledged = (part: Partial<FileAcknowledgement>, who = issuer): string =>
  faultOf(openAcknowledgement(signAcknowledgement(who, { ...ACKNOWLEDGEMENT, ...part }), trust));

t.test('an acknowledgement counts only from the issuer, for us, in time and in form', async (t) => {
  const opened = openAcknowledgement(signAcknowledgement(issuer, ACKNOWLEDGEMENT), trust);
  t.same(opened.ok && opened.value, { value: ACKNOWLEDGEMENT, issuer: issuer.key });
  t.equal(acknowledged({}, testSigner(42)), `BAD_SIGNATURE ${ACKNOWLEDGEMENT_TYP}`);
  t.equal(acknowledged({ clearing: new Uint8Array(16) }), 'BAD_SIGNATURE clearing');
  t.equal(acknowledged({ number: 0 }), 'WRONG_VALUE number');
  t.equal(acknowledged({ receivedS: CREATED_S + CLOCK_SKEW_S }), 'accepted');
  t.equal(acknowledged({ receivedS: CREATED_S + CLOCK_SKEW_S + 1 }), 'IN_FUTURE time');
  for (const fileName of ['../a.ipm', 'a/b.ipm', '.ipm', 'a.manifest', '\u0000.ipm', ''])
    t.equal(acknowledged({ fileName }), 'WRONG_VALUE fileName', JSON.stringify(fileName));
  t.equal(acknowledged({ fileId: '9'.repeat(25) }), 'WRONG_VALUE fileId');
  const [total] = ACKNOWLEDGEMENT.totals as [FileAcknowledgement['totals'][0]];
  const totals: readonly Partial<typeof total>[] = [
    { amountMinor: '-1' },
    { amountMinor: '0' },
    { amountMinor: '01' },
    { amountMinor: '1.5' },
    { sign: 'both' },
    { currency: 999 },
    { lines: 0 },
  ];
  for (const part of totals)
    t.equal(acknowledged({ totals: [{ ...total, ...part }] }), 'WRONG_VALUE totals');
  t.equal(acknowledged({ totals: [total, total] }), 'WRONG_VALUE totals', 'one sign twice');
  const wrongType = signSign1(issuer, FILE_ACKNOWLEDGEMENT.encode(ACKNOWLEDGEMENT), {
    kid: issuer.key.id,
    typ: INBOUND_MANIFEST_TYP,
  });
  t.match(faultOf(openAcknowledgement(wrongType, trust)), /BAD_SIGNATURE/);
  t.match(faultOf(openInboundManifest(wrongType, trust)), /WRONG_VALUE/, 'type inside differs');
});

t.test('what cannot be read is not written', async (t) => {
  const write = (body: InboundBody): string => faultOf(writeInbound(draftOf([body]), issuer));
  const { chargeback, retrieval } = BODIES;
  t.equal(faultOf(writeInbound(draftOf([]), issuer)), 'MISSING_FIELD record');
  t.equal(write({ ...chargeback, amountMinor: 9999n } as InboundBody), 'WRONG_VALUE DE4');
  t.equal(write({ ...chargeback, originalMinor: 10n ** 12n } as InboundBody), 'TOO_LONG DE30');
  t.equal(write({ ...chargeback, text: 'lower' } as InboundBody), 'WRONG_CHARACTER DE72');
  t.equal(write({ ...retrieval, reason: '0000' } as InboundBody), 'WRONG_VALUE DE25');
  const many = Array.from({ length: INBOUND_RECORDS_MAX }, () => retrieval);
  t.equal(faultOf(writeInbound(draftOf(many), issuer)), 'TOO_MANY record');
  const badHeader = { ...draftOf([]).header, sequence: 0 };
  t.equal(
    faultOf(writeInbound(draftOf([retrieval], { header: badHeader }), issuer)),
    'WRONG_VALUE PDS0105',
  );
});

t.test('random files read back as they were written', async (t) => {
  const code = (scope: 'file' | 'record') =>
    fc.constantFrom(
      ...LATIN1.inbound.rejects.filter((one) => one.scope === scope).map((one) => one.code),
    );
  const errors = (scope: 'file' | 'record') => {
    const error = (...severities: string[]) =>
      fc.record({
        element: fc.constantFrom('D0004', 'D0031', 'P9501'),
        severity: fc.constantFrom(...severities),
        code: code(scope),
        subfield: fc.constantFrom('000', '017'),
      });
    // One error that refuses what the message is about, and others beside it.
    const [refusing, others] = scope === 'file' ? ['12', ['04', '08', '12']] : ['08', ['04', '08']];
    return fc
      .tuple(error(refusing), fc.array(error(...others), { maxLength: 9 }))
      .map(([one, more]) => [...more, one]);
  };
  const sourceFileId = fc
    .integer({ min: 1, max: 99_999 })
    .map((n) => `00226112100000032815${String(n).padStart(5, '0')}`);
  const total = fc.record({
    count: fc.integer({ min: 0, max: 99_999_999 }),
    amountMinor: fc.bigInt(0n, 10n ** 16n - 1n),
  });
  const bodies = fc.tuple(
    fc.record({ kind: fc.constant('file-reject' as const), sourceFileId, errors: errors('file') }),
    fc.record({
      kind: fc.constant('message-reject' as const),
      sourceFileId,
      sourceRecordNumber: fc.integer({ min: 2, max: 99_999_999 }),
      errors: errors('record'),
    }),
    fc.record({
      kind: fc.constant('reconciliation' as const),
      position: fc.constantFrom('financial' as const, 'settlement' as const),
      sourceFileId,
      currency: fc.constant('414'),
      debit: total,
      credit: total,
    }),
    fc
      .tuple(fc.bigInt(1n, 10n ** 12n - 1n), fc.bigInt(1n, 10n ** 12n - 1n))
      .map(([a, b]): InboundBody => {
        const [amountMinor, originalMinor] = a < b ? [a, b] : [b, a];
        const isPartial = amountMinor < originalMinor;
        return {
          ...BODIES.chargeback,
          currency: '414',
          isPartial,
          amountMinor,
          originalMinor,
        } as InboundBody;
      }),
  );
  fc.assert(
    fc.property(
      fc.shuffledSubarray([0, 1, 2, 3], { minLength: 1 }),
      bodies,
      fc.constantFrom('kiri-ipm-onus', 'kiri-ipm-onus-cp500'),
      (order, all, profile) => {
        const chosen = order.map((at) => all[at] as InboundBody);
        const { file, manifest } = written(chosen, { profile: ipmProfile(profile)! });
        const read = readInbound(file, manifest, trust);
        const expected = chosen.map((body, at) => ({ ...body, recordNumber: at + 2 }));
        t.same(read.ok ? read.value.messages : read.fault, expected);
      },
    ),
    { numRuns: 100 },
  );
});
