import fc from 'fast-check';
import t from 'tap';
import type { Coded } from '../../../../sync/clearing/core/fault.ts';
import {
  INBOUND_MANIFEST,
  INBOUND_MANIFEST_TYP,
  openAcknowledgement,
  openInboundManifest,
} from '../../../../sync/clearing/core/inbound-documents.ts';
import {
  INBOUND_BYTES_MAX,
  INBOUND_RECORDS_MAX,
  readInbound,
  writeInbound,
} from '../../../../sync/clearing/core/inbound.ts';
import type { InboundBody } from '../../../../sync/clearing/core/inbound-message.ts';
import { DEFAULT_IPM_PROFILE } from '../../../../sync/clearing/core/ipm-profile.ts';
import type { FieldValue, IsoMessage } from '../../../../sync/clearing/core/iso8583.ts';
import { encodeMessage } from '../../../../sync/clearing/core/message-writer.ts';
import { readIpmMessages } from '../../../../sync/clearing/core/ipm-file.ts';
import { testSigner } from '../../../protocol/helpers.ts';
import { fileOfRecords } from './hand-made.ts';
import {
  ARN,
  BODIES,
  CREATED_S,
  SOURCE_FILE_ID,
  draftOf,
  signedOver,
  trust,
  written,
} from './inbound-sample.ts';

const KINDS = Object.values(BODIES);
const LATIN1 = DEFAULT_IPM_PROFILE;
const faultOf = (result: Coded<unknown>): string =>
  result.ok ? 'accepted' : `${result.fault.code} ${result.fault.field}`;

t.test('one flipped byte anywhere in file or manifest, and nothing is accepted', async (t) => {
  const { file, manifest } = written([BODIES.chargeback]);
  for (const [name, bytes] of Object.entries({ file, manifest })) {
    let accepted = 0;
    for (let at = 0; at < bytes.length; at++) {
      for (const mask of [0x01, 0x80]) {
        const bad = bytes.slice();
        bad[at] = (bad[at] as number) ^ mask;
        const isFile = name === 'file';
        const read = readInbound(isFile ? bad : file, isFile ? manifest : bad, trust);
        if (read.ok) accepted++;
      }
    }
    t.equal(accepted, 0, `${name}: ${bytes.length} bytes, each changed two ways`);
  }
  for (let length = 0; length < manifest.length; length++) {
    if (openInboundManifest(manifest.subarray(0, length), trust).ok) t.fail(`cut at ${length}`);
  }
});

t.test(
  'a damaged file that its issuer signed all the same is refused or reads exactly',
  async (t) => {
    const like = written([BODIES.chargeback]);
    let refusals = 0;
    for (let at = 0; at < like.file.length; at++) {
      const file = like.file.slice();
      file[at] = (file[at] as number) ^ 0x01;
      const read = readInbound(file, signedOver(file, like), trust);
      if (!read.ok) {
        refusals++;
        continue;
      }
      const { header, messages } = read.value;
      const again = written(messages, { header });
      t.same(again.file, file, `byte ${at} is another value, written so`);
    }
    t.ok(refusals > 900, `${refusals} of 1014 changes refused`);
  },
);

/** Records packed as they are, whatever they mean, under a manifest that fits their bytes. */
const packed = (records: readonly Uint8Array[]): string => {
  const file = fileOfRecords(records);
  const manifest = signedOver(file, written([BODIES.chargeback]), { records: records.length });
  return faultOf(readInbound(file, manifest, trust));
};

const recordsOf = (bodies: readonly InboundBody[]): IsoMessage[] => {
  const read = readIpmMessages(written(bodies).file, LATIN1);
  if (!read.ok) throw new Error(read.fault.detail);
  return read.value.map((one) => one.message);
};

const encoded = (message: IsoMessage): Uint8Array => {
  const bytes = encodeMessage(message, LATIN1);
  if (!bytes.ok) throw new Error(bytes.fault.detail);
  return bytes.value;
};

t.test('a record cut at every byte of it is refused', async (t) => {
  for (const body of KINDS) {
    const [header, record, trailer] = recordsOf([body]).map(encoded);
    t.equal(packed([header!, record!, trailer!]), 'accepted', body.kind);
    for (let length = 1; length < record!.length; length++) {
      const result = packed([header!, record!.subarray(0, length), trailer!]);
      if (result === 'accepted') t.fail(`${body.kind} cut to ${length}`);
    }
  }
});

/** A file of one message of this kind, with elements of one record changed; records count from 1. */
const changed = (
  kind: InboundBody['kind'],
  fields: Record<number, FieldValue | undefined>,
  pds: Record<string, string | undefined> = {},
  record = 2,
  mti?: string,
): string => {
  const messages = recordsOf([BODIES[kind]]).map((message, at) => {
    if (at !== record - 1) return message;
    const own = { fields: new Map(message.fields), pds: new Map(message.pds) };
    for (const [de, value] of Object.entries(fields)) {
      if (value === undefined) own.fields.delete(Number(de));
      else own.fields.set(Number(de), value);
    }
    for (const [tag, value] of Object.entries(pds)) {
      if (value === undefined) own.pds.delete(tag);
      else own.pds.set(tag, value);
    }
    return { mti: mti ?? message.mti, ...own };
  });
  return packed(messages.map(encoded));
};

t.test(
  'each message with an element missing, too many or out of the profile is refused',
  async (t) => {
    for (const [kind, body] of Object.entries(BODIES) as [InboundBody['kind'], InboundBody][]) {
      const [, message] = recordsOf([body]);
      for (const de of message!.fields.keys()) {
        if (de === 72 || (de === 31 && ['message-reject', 'fee'].includes(kind))) continue; // may be absent
        const field =
          kind === 'chargeback' && de === 24 ? /WRONG_VALUE/ : new RegExp(`DE${de}$|DE24`);
        t.match(changed(kind, { [de]: undefined }), field, `${kind} without DE${de}`);
      }
      for (const tag of message!.pds.keys())
        t.equal(changed(kind, {}, { [tag]: undefined }), `MISSING_FIELD PDS${tag}`, kind);
      t.equal(changed(kind, { 38: '123456' }), 'UNEXPECTED_FIELD DE38');
      t.equal(changed(kind, {}, { '0023': 'CT6' }), 'UNEXPECTED_FIELD PDS0023');
      t.equal(changed(kind, { 24: '640' }), 'WRONG_VALUE DE24', 'a function nobody knows');
      t.match(changed(kind, {}, {}, 2, '1240'), /WRONG_VALUE DE24/, 'a presentment is not theirs');
    }
  },
);

/** A fee with another reference; what cannot be encoded at all is said by the encoder. */
const changedFee = (reference: string): string => {
  try {
    return changed('fee', {}, { '0137': reference });
  } catch (error) {
    return `WRONG_VALUE ${String(error)}`;
  }
};

t.test('meaning: amounts, reasons, codes, ids', async (t) => {
  t.equal(changed('chargeback', { 4: 3851n }), 'WRONG_VALUE DE4', 'above the original');
  t.equal(changed('chargeback', { 4: 0n }), 'WRONG_VALUE DE4');
  t.equal(changed('chargeback', { 4: 3850n }), 'WRONG_VALUE DE24', 'a partial of all');
  t.equal(changed('chargeback', { 24: '450' }), 'WRONG_VALUE DE24', 'a full one of a part');
  t.equal(changed('chargeback', { 24: '454' }), 'accepted', 'partial arbitration');
  t.equal(changed('chargeback', { 4: 849n }), 'WRONG_VALUE PDS0301', 'trailer counts DE4');
  t.equal(changed('chargeback', { 25: '6323' }), 'WRONG_VALUE DE25', 'a reason of a retrieval');
  t.equal(changed('chargeback', { 25: '9999' }), 'WRONG_VALUE DE25');
  t.equal(changed('chargeback', { 3: '200000' }), 'WRONG_VALUE DE3');
  t.equal(changed('chargeback', { 30: '000000003850000000000001' }), 'WRONG_VALUE DE30');
  t.equal(changed('chargeback', { 49: '999' }), 'WRONG_VALUE DE49');
  t.equal(changed('chargeback', {}, { '0148': '3922' }), 'WRONG_VALUE PDS0148', 'yen, no decimals');
  t.equal(changed('chargeback', { 31: `${ARN.slice(0, -1)}3` }), 'WRONG_VALUE DE31', 'check digit');
  t.equal(changed('chargeback', { 94: '00000000001' }), 'WRONG_VALUE DE94', 'another member');
  t.equal(changed('chargeback', { 72: 'X'.repeat(101) }), 'WRONG_VALUE DE72');
  t.equal(
    changed('chargeback', { 72: 'SEE 4111111111111111' }),
    'WRONG_VALUE record',
    'card number',
  );
  t.equal(changed('retrieval', { 25: '4837' }), 'WRONG_VALUE DE25');
  t.equal(changed('fee', { 4: 0n }), 'WRONG_VALUE DE4');
  t.equal(changed('fee', { 4: 121n }), 'WRONG_VALUE PDS0301', 'the trailer counts fees');
  t.equal(changed('fee', { 3: '200000' }), 'WRONG_VALUE DE3');
  t.equal(changed('fee', { 3: '290000' }), 'accepted', 'paid to us');
  t.equal(changed('fee', { 24: '780' }), 'accepted', 'a return');
  t.equal(changed('fee', { 24: '783' }), 'WRONG_VALUE DE24', 'no card system stands on us');
  t.equal(changed('fee', { 25: '4853' }), 'WRONG_VALUE DE25', 'a reason of a chargeback');
  for (const day of ['261131', '260229', '261301', '260100']) {
    t.equal(changed('fee', { 73: day }), 'WRONG_VALUE DE73', day);
  }
  t.equal(changed('fee', { 73: '240229' }), 'accepted', 'a leap day');
  t.equal(changed('fee', { 73: '261123' }), 'accepted', 'a day that has begun somewhere');
  t.equal(changed('fee', { 73: '261124' }), 'WRONG_VALUE DE73', 'not due yet');
  t.equal(changed('fee', { 31: `${ARN.slice(0, -1)}3` }), 'WRONG_VALUE DE31');
  for (const reference of ['', 'a', 'A B', 'A'.repeat(21)]) {
    t.match(changedFee(reference), /WRONG_(VALUE|CHARACTER|LENGTH)|TOO_LONG/, reference);
  }
  t.equal(changedFee('4111111111111111'), 'WRONG_VALUE record', 'a card number');

  t.equal(changed('message-reject', {}, { '0138': '00000001' }), 'WRONG_VALUE PDS0138', 'header');
  t.equal(changed('message-reject', {}, { '0138': '2' }), 'WRONG_VALUE PDS0138');
  t.equal(changed('message-reject', {}, { '0280': '9'.repeat(25) }), 'WRONG_VALUE PDS0280');
  const errors = (text: string): string => changed('message-reject', {}, { '0005': text });
  t.equal(errors('P9501082001000'.repeat(10)), 'accepted');
  t.equal(errors('P9501082001000'.repeat(11)), 'WRONG_VALUE PDS0005');
  t.equal(errors('P950108200100'), 'WRONG_VALUE PDS0005');
  t.equal(errors('P9501082001000P'), 'WRONG_VALUE PDS0005');
  t.equal(errors('X9501082001000'), 'WRONG_VALUE PDS0005');
  t.equal(errors('P9501072001000'), 'WRONG_VALUE PDS0005', 'severity 07');
  t.equal(errors('P9501089999000'), 'WRONG_VALUE PDS0005', 'a code outside the profile');
  t.equal(errors('P9501080519000'), 'WRONG_VALUE PDS0005', 'a code of whole files');
  t.equal(errors('P9501042001000'), 'WRONG_VALUE PDS0005', 'to know refuses nothing');
  t.equal(errors('P9501122001000'), 'WRONG_VALUE PDS0005', 'one record is not the file');
  t.equal(errors('D0031042003000P9501082001000'), 'accepted', 'to know beside what refuses');
  const ofFile = (text: string): string => changed('file-reject', {}, { '0005': text });
  t.equal(ofFile('P0301040519000'), 'WRONG_VALUE PDS0005', 'to know refuses no file');
  t.equal(ofFile('P0301080519000'), 'WRONG_VALUE PDS0005', 'nor does what refuses a record');
  t.equal(ofFile('P0306040520000P0301120519000'), 'accepted');
  t.equal(changed('reconciliation', { 49: undefined }), 'MISSING_FIELD DE49');
  t.equal(changed('reconciliation', {}, { '0390': '1'.repeat(23) }), 'WRONG_VALUE PDS0390');
  const noNumber = `${'0'.repeat(20)}%385`;
  t.equal(changed('reconciliation', {}, { '0391': noNumber }), 'WRONG_VALUE PDS0391');
});

t.test('frame: ends, order, sums, dates, duplicates', async (t) => {
  t.equal(changed('retrieval', { 71: '00000003' }), 'WRONG_VALUE DE71');
  t.equal(changed('retrieval', { 24: '695' }, {}, 1), 'MISSING_FIELD header');
  t.equal(changed('retrieval', {}, { '0122': 'X' }, 1), 'WRONG_VALUE PDS0105');
  t.equal(changed('retrieval', { 24: '697' }, {}, 3), 'MISSING_FIELD trailer');
  t.equal(changed('retrieval', {}, { '0306': '00000004' }, 3), 'WRONG_VALUE PDS0306');
  t.equal(changed('retrieval', {}, { '0301': `${'0'.repeat(15)}1` }, 3), 'WRONG_VALUE PDS0301');
  t.equal(changed('retrieval', {}, { '0105': SOURCE_FILE_ID }, 3), 'WRONG_VALUE PDS0105');
  t.equal(changed('retrieval', {}, { '0105': SOURCE_FILE_ID }, 1), 'WRONG_VALUE PDS0105');
  const [header, record, trailer] = recordsOf([BODIES.retrieval]).map(encoded);
  t.equal(packed([header!, trailer!]), 'MISSING_FIELD record', 'an empty file');
  t.equal(packed([header!, record!]), 'MISSING_FIELD trailer');
  const day = (date: string): string => {
    const { header: own } = draftOf([]);
    const one = written([BODIES.retrieval], { header: { ...own, date } });
    return faultOf(readInbound(one.file, one.manifest, trust));
  };
  t.same(['261121', '261122', '261123'].map(day), ['accepted', 'accepted', 'accepted']);
  for (const date of ['261120', '261124', '271122', '000000', '261199'])
    t.equal(day(date), 'WRONG_VALUE PDS0105', date);
  for (const body of KINDS) {
    const twice = written([body, body]);
    const result = readInbound(twice.file, twice.manifest, trust);
    t.equal(faultOf(result), 'DUPLICATE_FIELD record', `${body.kind} twice`);
  }
  const mixed = written([
    BODIES.reconciliation,
    { ...BODIES.chargeback, currency: '840' } as InboundBody,
  ]);
  t.equal(faultOf(readInbound(mixed.file, mixed.manifest, trust)), 'WRONG_VALUE DE49');
  t.equal(changed('retrieval', { 24: '640' }), 'WRONG_VALUE DE24');
  const many = written([
    ...KINDS,
    { ...BODIES.retrieval, arn: '01234566325000000000020' } as InboundBody,
  ]);
  many.file[many.file.lastIndexOf(0x36)] = 0x37;
  const located = readInbound(many.file, signedOver(many.file, many), trust);
  t.ok(!located.ok && located.fault.offset > 400, 'a fault names its place in the file');
});

t.test(
  'unsigned, by somebody else, of another file, for others, of tomorrow, oversized',
  async (t) => {
    const good = written([BODIES.retrieval]);
    const other = written([BODIES.reconciliation], { number: 3 });
    const read = (
      file: Uint8Array,
      manifest: Uint8Array,
      part: Partial<typeof trust> = {},
    ): string => faultOf(readInbound(file, manifest, { ...trust, ...part }));
    t.equal(read(good.file, new Uint8Array()), `BAD_SIGNATURE ${INBOUND_MANIFEST_TYP}`);
    t.equal(read(good.file, other.manifest), 'WRONG_FILE file');
    const stranger = writeInbound(draftOf([BODIES.retrieval]), testSigner(42));
    t.equal(
      stranger.ok && read(good.file, stranger.value.manifest),
      `BAD_SIGNATURE ${INBOUND_MANIFEST_TYP}`,
    );
    t.equal(
      read(good.file, good.manifest, { clearing: new Uint8Array(16) }),
      'BAD_SIGNATURE clearing',
    );
    t.equal(
      read(good.file, good.manifest, { issuers: [] }),
      `BAD_SIGNATURE ${INBOUND_MANIFEST_TYP}`,
    );
    t.equal(read(good.file, good.manifest, { nowS: CREATED_S - 301 }), 'IN_FUTURE time');
    t.equal(
      read(good.file, good.manifest, { nowS: CREATED_S + 31_536_000 }),
      'accepted',
      'late is no fault',
    );
    t.equal(read(good.file, good.manifest, { mode: 'T' }), 'accepted');
    t.equal(read(good.file, good.manifest, { mode: 'P' }), 'WRONG_VALUE PDS0122', 'a test file');
    const manifest = signedOver(good.file, good, { records: INBOUND_RECORDS_MAX + 1 });
    t.equal(read(good.file, manifest), 'TOO_MANY file');
    const huge = new Uint8Array(INBOUND_BYTES_MAX + 1);
    t.equal(read(huge, good.manifest), 'TOO_MANY file', 'before it is hashed');
    t.equal(
      read(good.file, signedOver(good.file, good, { profile: 'other' })),
      'WRONG_VALUE profile',
    );
    t.equal(
      read(good.file, signedOver(good.file, good, { profileVersion: 9 })),
      'WRONG_VALUE profile',
    );
    const ebcdic = signedOver(good.file, good, { profile: 'kiri-ipm-onus-cp500' });
    t.equal(read(good.file, ebcdic), 'BAD_MTI MTI', 'latin1 read as cp500');
    t.equal(read(good.file, signedOver(good.file, good, { records: 4 })), 'WRONG_FILE file');
    const renamed = signedOver(good.file, good, { fileName: 'OTHER.ipm' });
    t.equal(read(good.file, renamed), 'WRONG_FILE PDS0105');
  },
);

t.test('hostile bytes never throw', async () => {
  const good = written(KINDS);
  fc.assert(
    fc.property(
      fc.uint8Array({ maxLength: 400 }),
      fc.nat(1013),
      fc.nat(255),
      (noise, at, value) => {
        openAcknowledgement(noise, trust);
        readInbound(noise, signedOver(noise, good), trust);
        const file = good.file.slice();
        file[at] = value;
        readInbound(file, signedOver(file, good), trust);
        INBOUND_MANIFEST.decode(noise);
      },
    ),
    { numRuns: 150 },
  );
});
