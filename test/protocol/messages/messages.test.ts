import { readFileSync, writeFileSync } from 'node:fs';
import { createHash } from 'node:crypto';
import { Encoder } from 'cbor-x';
import fc from 'fast-check';
import t from 'tap';
import { amountMicro, MAX_AMOUNT_MICRO } from '../../../protocol/amount.ts';
import { CLOSE, CREDIT } from '../../../protocol/messages/after-payment.ts';
import * as envelopes from '../../../protocol/messages/envelopes.ts';
import { EVIDENCE, MISBEHAVIOUR_PROOF } from '../../../protocol/messages/evidence.ts';
import { FINAL_THROUGH } from '../../../protocol/messages/final-through.ts';
import { OFFER } from '../../../protocol/messages/offer.ts';
import { PAYMENT } from '../../../protocol/messages/payment.ts';
import { RECEIPT } from '../../../protocol/messages/receipt.ts';
import { SPENT_TOTALS, packSpentRows, spentRows } from '../../../protocol/messages/spent-totals.ts';
import { REFUSAL } from '../../../protocol/messages/refusal.ts';
import { signSign1, verifySign1, decodeSign1 } from '../../../protocol/cose.ts';
import { offerHash, payloadHash } from '../../../protocol/ids.ts';
import type { Codec } from '../../../protocol/schema.ts';
import { fill, hex, testSigner, testVerifier, unhex } from '../helpers.ts';
import * as samples from '../samples.ts';

interface Vector {
  readonly name: string;
  readonly payload: string;
  readonly cose: string;
}

const VECTORS = new URL('../../../../test/vectors/messages.json', import.meta.url);
const signer = testSigner(1);

const signed: readonly (readonly [string, Codec<any>, unknown])[] = [
  ['offer', OFFER, samples.OFFER_SAMPLE],
  ['payment', PAYMENT, samples.PAYMENT_SAMPLE],
  ['payment-largest', PAYMENT, samples.PAYMENT_LARGEST],
  ['receipt', RECEIPT, samples.RECEIPT_SAMPLE],
  ['receipt-largest', RECEIPT, samples.RECEIPT_LARGEST],
  ['void', REFUSAL, samples.VOID_SAMPLE],
  ['credit', CREDIT, samples.CREDIT_SAMPLE],
  ['close', CLOSE, samples.CLOSE_SAMPLE],
  ['final-through', FINAL_THROUGH, samples.FINAL_SAMPLE],
  ['spent-totals', SPENT_TOTALS, samples.SPENT_SAMPLE],
];

const some = fill(100, 0xcc);
const bare: readonly (readonly [string, Codec<any>, unknown])[] = [
  ['query', envelopes.QUERY, { payment: some, offer: some }],
  ['hand-in', envelopes.HAND_IN, { payment: some, offer: some, outcome: some, credit: some }],
  [
    'hand-in-with-close',
    envelopes.HAND_IN,
    { payment: some, offer: some, outcome: some, close: some },
  ],
  ['handed-in', envelopes.HANDED_IN, { handInHash: fill(32, 7) }],
  ['offer-stock', envelopes.OFFER_STOCK, { offers: [some, some] }],
  ['present', envelopes.PRESENT, { documents: [some] }],
  ['presented', envelopes.PRESENTED, { code: 9, reason: 'no party signature' }],
  ['challenge-request', envelopes.CHALLENGE_REQUEST, { count: 32 }],
  [
    'challenge-grant',
    envelopes.CHALLENGE_GRANT,
    { epoch: fill(8, 1), nowMs: 5, expiresMs: 2 ** 40, challenges: [fill(24, 2)] },
  ],
  ['ask', envelopes.ASK, { payer: fill(16, 1), item: 'lane 1', quantity: 1 }],
  ['paid', envelopes.PAID, { payment: some, receipt: some }],
  ['evidence', EVIDENCE, { payment: some, outcome: some, offer: some, answeredAtMs: 2 ** 41 }],
  ['proof', MISBEHAVIOUR_PROOF, { earlier: some, later: some, binding: some }],
];

function made(): Vector[] {
  return [...signed, ...bare].map(([name, codec, value], i) => {
    const payload = codec.encode(value);
    return {
      name,
      payload: hex(payload),
      cose: i < signed.length ? hex(signSign1(signer, payload)) : '',
    };
  });
}

t.test('every message still has the bytes of its golden vector', async (t) => {
  if (process.env['KIRI_NEW_VECTORS'])
    writeFileSync(VECTORS, JSON.stringify(made(), null, 2) + '\n');
  const golden = JSON.parse(readFileSync(VECTORS, 'utf8')) as Vector[];
  t.same(made(), golden);
  for (const [i, [name, codec, value]] of [...signed, ...bare].entries()) {
    const decoded = codec.decode(unhex(golden[i]!.payload));
    t.ok(decoded.ok, name);
    if (decoded.ok) t.same(decoded.value, value, name);
  }
});

t.test('a Payment built by hand with cbor-x and node:crypto has our bytes', async (t) => {
  const other = new Encoder({
    useRecords: false,
    mapsAsObjects: false,
    tagUint8Array: false,
    variableMapSize: true,
  });
  const p = samples.PAYMENT_SAMPLE;
  const small = (value: bigint): number => Number(value);
  const payload = other.encode(
    new Map<number, unknown>([
      [0, 2],
      [1, p.line],
      [2, p.approver],
      [3, p.payee],
      [4, 5],
      [5, small(p.amountMicro)],
      [6, small(p.totalMicro)],
      [8, 392],
      [9, p.offerHash],
      [10, p.timeS],
      [11, 2],
    ]),
  );
  t.equal(hex(PAYMENT.encode(p)), hex(payload));
  const protectedHeader = Buffer.from('a10127', 'hex');
  const toSign = other.encode(['Signature1', protectedHeader, Buffer.alloc(0), payload]);
  const cose = Buffer.concat([
    Buffer.from('d28443a10127a058', 'hex'),
    Buffer.from([payload.length]),
    payload,
    Buffer.from('5840', 'hex'),
    signer.sign(toSign),
  ]);
  t.equal(hex(signSign1(signer, PAYMENT.encode(p))), hex(cose));
});

t.test(
  'Payment is at most 202 bytes, Receipt 161 to 171, the pair at most 375 (DESIGN §3)',
  async (t) => {
    const size = (payload: Uint8Array): number => signSign1(signer, payload).length;
    t.equal(size(PAYMENT.encode(samples.PAYMENT_LARGEST)), 202);
    t.equal(size(RECEIPT.encode(samples.RECEIPT_SAMPLE)), 161);
    t.equal(size(RECEIPT.encode(samples.RECEIPT_LARGEST)), 171);
    t.ok(
      size(PAYMENT.encode(samples.PAYMENT_LARGEST)) +
        size(RECEIPT.encode(samples.RECEIPT_LARGEST)) <=
        375,
    );
    t.ok(size(PAYMENT.encode(samples.PAYMENT_SAMPLE)) <= 182);
  },
);

t.test('any changed byte of a signed message is refused or breaks its signature', async (t) => {
  const cose = signSign1(signer, PAYMENT.encode(samples.PAYMENT_SAMPLE));
  let parsed = 0;
  for (let at = 0; at < cose.length; at += 1) {
    for (const flip of [1, 0x80, 0xff]) {
      const changed = cose.slice();
      changed[at]! ^= flip;
      const sign1 = decodeSign1(changed);
      if (!sign1.ok) continue;
      parsed += 1;
      t.notOk(verifySign1(testVerifier, signer.key, sign1.value), `byte ${at} ^ ${flip}`);
    }
  }
  t.ok(parsed > 400, 'most changes reach the signature');
});

t.test('a decoder names the field that is missing, unknown or out of range', async (t) => {
  const { encodeCanonical } = await import('../../../protocol/cbor/encode.ts');
  const fields = (): Map<number, never> => {
    const map = new Map<number, unknown>([
      [0, 3],
      [1, fill(32, 1)],
      [2, fill(8, 1)],
      [3, 1],
      [4, 1],
      [5, 1],
      [6, 1],
      [7, fill(16, 1)],
    ]);
    return map as Map<number, never>;
  };
  const cases: readonly (readonly [string, (map: Map<number, unknown>) => void, RegExp, string])[] =
    [
      ['missing', (m) => m.delete(3), /field 3 \(sequence\) is missing/, 'MALFORMED'],
      ['unknown', (m) => m.set(20, 1), /unknown key/, 'MALFORMED'],
      ['too long', (m) => m.set(7, fill(17, 1)), /field 7 \(nonce\)/, 'MALFORMED'],
      ['above u32', (m) => m.set(3, 2 ** 32), /field 3 \(sequence\)/, 'MALFORMED'],
      ['negative', (m) => m.set(4, -1), /field 4 \(timeS\)/, 'MALFORMED'],
      ['text for bytes', (m) => m.set(2, 'epoch'), /field 2 \(epoch\)/, 'MALFORMED'],
      ['other type', (m) => m.set(0, 9), /type is not 3/, 'UNKNOWN_MESSAGE'],
    ];
  for (const [name, change, reason, code] of cases) {
    const map = fields();
    change(map);
    const decoded = RECEIPT.decode(encodeCanonical(map));
    t.match(decoded, { ok: false, code, reason }, name);
  }
  t.match(RECEIPT.decode(encodeCanonical(fields())), { ok: true });
  t.match(RECEIPT.decode(encodeCanonical([1])), { ok: false, reason: 'not a map' });
});

t.test('numbers that no honest device signs are refused', async (t) => {
  const good = samples.PAYMENT_SAMPLE;
  const wrong = [
    { counter: 0 },
    { amountMicro: 0n },
    { totalMicro: 1n },
    { releasedMicro: 0n },
    { releasedMicro: good.totalMicro },
  ];
  for (const change of wrong) {
    const payload = PAYMENT.encode({ ...good, ...change } as never);
    t.match(PAYMENT.decode(payload), { ok: false, code: 'MALFORMED' }, Object.keys(change)[0]!);
  }
});

t.test('encoding a value out of its range is a caller bug, never a wrong message', async (t) => {
  t.throws(() => RECEIPT.encode({ ...samples.RECEIPT_SAMPLE, sequence: 2 ** 32 }), {
    code: 'FIELD_OUT_OF_RANGE',
  });
  t.throws(() => RECEIPT.encode({ ...samples.RECEIPT_SAMPLE, sequence: 1.5 }), {
    code: 'FIELD_OUT_OF_RANGE',
  });
  t.throws(() => RECEIPT.encode({ ...samples.RECEIPT_SAMPLE, nonce: fill(15, 0) }), {
    code: 'FIELD_OUT_OF_RANGE',
  });
  t.throws(() => OFFER.encode({ ...samples.OFFER_SAMPLE, payee: undefined } as never), {
    code: 'FIELD_MISSING',
  });
  t.throws(() => OFFER.encode({ ...samples.OFFER_SAMPLE, item: 'x'.repeat(65) }), {
    code: 'FIELD_OUT_OF_RANGE',
  });
});

t.test('ids are hashes of payloads: a second valid signature does not change them', async (t) => {
  const payload = PAYMENT.encode(samples.PAYMENT_SAMPLE);
  const sha = createHash('sha256').update(payload).digest();
  t.equal(hex(payloadHash(payload)), sha.toString('hex'));
  t.equal(hex(offerHash(payload)), sha.subarray(0, 20).toString('hex'));
});

t.test('random bytes and random COSE frames are refused, never thrown on', async (t) => {
  const codecs = [...signed, ...bare].map(([, codec]) => codec);
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 300 }), (input) => {
      for (const codec of codecs) if (codec.decode(input).ok) return false;
      return !decodeSign1(input).ok;
    }),
    { numRuns: 3000 },
  );
  t.pass('none was taken');
});

t.test('rows of spent totals come back, and half a row is none', async (t) => {
  const rows = [1, 2].map((at) => ({
    line: fill(16, at),
    counter: 0xffff_ffff,
    totalMicro: amountMicro(MAX_AMOUNT_MICRO),
    unacknowledgedMicro: amountMicro(BigInt(at)),
  }));
  const packed = packSpentRows(rows);
  t.equal(packed.length, 72);
  t.same(spentRows({ ...samples.SPENT_SAMPLE, rows: packed }), rows);
  t.equal(spentRows({ ...samples.SPENT_SAMPLE, rows: packed.subarray(1) }), undefined);
});
