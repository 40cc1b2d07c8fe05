import fc from 'fast-check';
import t from 'tap';
import { encodeCanonical } from '../../protocol/cbor/encode.ts';
import {
  decodeSign,
  decodeSign1,
  encodeSign,
  signShare,
  signSign1,
  verifyShare,
  verifySign1,
} from '../../protocol/cose.ts';
import { ALG_ES256, coseKeyOf, publicKey, publicKeyFromCose } from '../../protocol/public-key.ts';
import { decodeCanonical } from '../../protocol/cbor/decode.ts';
import { lineId } from '../../protocol/ids.ts';
import { createHash } from 'node:crypto';
import { fill, hex, testSigner, testVerifier, unhex } from './helpers.ts';

const signer = testSigner(7);

t.test('a COSE_Sign1 comes back whole, with and without kid, typ and role', async (t) => {
  for (const header of [{}, { kid: signer.key.id, typ: 'kiri/allowance', role: 'issuer' }]) {
    const payload = fill(300, 5);
    const decoded = decodeSign1(signSign1(signer, payload, header));
    if (!decoded.ok) return t.fail(decoded.reason);
    t.same(decoded.value.payload, payload);
    t.same(decoded.value.header, { alg: -8, ...header });
    t.ok(verifySign1(testVerifier, signer.key, decoded.value));
    t.notOk(verifySign1(testVerifier, testSigner(8).key, decoded.value), 'foreign key');
  }
});

t.test('the signed bytes are the Sig_structure of RFC 9052 section 4.4', async (t) => {
  // Sig_structure by hand: ["Signature1", h'A10127', h'', h'01'].
  let seen = '';
  const spy = { key: signer.key, sign: (m: Uint8Array) => ((seen = hex(m)), signer.sign(m)) };
  signSign1(spy, Uint8Array.of(1));
  t.equal(seen, '846a5369676e61747572653143a10127404101');
  signShare(spy, Uint8Array.of(1), 'party');
  // ["Signature", h'', sign_protected, h'', h'01']; role label -65537 = 3a00010000.
  t.equal(
    seen,
    `85695369676e61747572654058 20a30127 0450${signer.key.hex}3a00010000657061727479404101`.replaceAll(
      ' ',
      '',
    ),
  );
});

t.test('every other framing of the same content is refused', async (t) => {
  const good = signSign1(signer, fill(30, 1));
  const frames: readonly (readonly [string, Uint8Array])[] = [
    ['untagged', good.subarray(1)],
    ['tag 98', Uint8Array.of(0xd8, 98, ...good.subarray(1))],
    ['trailing byte', Uint8Array.of(...good, 0)],
    ['truncated', good.subarray(0, -1)],
    ['five parts', Uint8Array.of(good[0]!, 0x85, ...good.subarray(2), 0)],
    ['unprotected header', unhex(hex(good).replace('a0581e', 'a10101581e'))],
    ['long form of a short length', unhex(hex(good).replace('a0581e', 'a059001e'))],
    ['non-minimal header length', unhex(hex(good).replace('43a10127', '5803a10127'))],
    ['63-byte signature', unhex(hex(good).replace('5840', '583f').slice(0, -2))],
    ['empty', new Uint8Array(0)],
  ];
  for (const [name, frame] of frames) t.match(decodeSign1(frame), { ok: false }, name);
  t.match(decodeSign1(new Uint8Array(20_000)), { ok: false, code: 'TOO_LARGE' });
});

t.test('a protected header with an unknown label, algorithm or type is refused', async (t) => {
  const frame = (header: Uint8Array): Uint8Array =>
    Uint8Array.of(0xd2, ...encodeCanonical([header, new Map(), fill(3, 1), fill(64, 2)]));
  const map = (...rows: [number, never][]): Uint8Array =>
    frame(encodeCanonical(new Map<number, never>(rows)));
  t.match(decodeSign1(frame(encodeCanonical([1]))), { ok: false, reason: /not a map/ });
  t.match(decodeSign1(map([1, -8 as never], [99, 1 as never])), {
    ok: false,
    reason: /unknown label/,
  });
  t.match(decodeSign1(map([1, -257 as never])), { ok: false, reason: /algorithm/ });
  t.match(decodeSign1(map([1, -8 as never], [4, 1 as never])), { ok: false, reason: /kid/ });
  t.match(decodeSign1(map([1, -8 as never], [16, 1 as never])), { ok: false, reason: /typ/ });
  t.match(decodeSign1(map([1, -8 as never], [-65_537, 1 as never])), { ok: false, reason: /role/ });
  t.match(decodeSign1(frame(unhex('a201270127'))), { ok: false, code: 'NON_CANONICAL' });
});

t.test('a COSE_Sign keeps each signer with its role, and a moved role breaks it', async (t) => {
  const payload = fill(40, 9);
  const roles = ['device', 'party', 'registrar'];
  const signers = roles.map((_, i) => testSigner(20 + i));
  const shares = signers.map((one, i) => signShare(one, payload, roles[i]!));
  const decoded = decodeSign(encodeSign(payload, shares));
  if (!decoded.ok) return t.fail(decoded.reason);
  t.same(decoded.value.payload, payload);
  t.same(
    decoded.value.signatures.map((s) => s.header.role),
    roles,
  );
  for (const [i, share] of decoded.value.signatures.entries()) {
    t.ok(verifyShare(testVerifier, signers[i]!.key, payload, share));
    t.notOk(verifyShare(testVerifier, signers[(i + 1) % 3]!.key, payload, share));
    const moved = {
      ...share,
      protectedBytes: decoded.value.signatures[(i + 1) % 3]!.protectedBytes,
    };
    t.notOk(verifyShare(testVerifier, signers[i]!.key, payload, moved));
  }
});

t.test('misshapen COSE_Sign is refused with words', async (t) => {
  const wrap = (value: Parameters<typeof encodeCanonical>[0]): Uint8Array =>
    Uint8Array.of(0xd8, 98, ...encodeCanonical(value));
  const none = new Uint8Array(0);
  const header = unhex('a10127');
  const row = [header, new Map(), fill(64, 1)];
  t.match(decodeSign(unhex('d2')), { ok: false, reason: /not a COSE_Sign/ });
  t.match(decodeSign(wrap([none, new Map(), fill(3, 1)])), { ok: false, reason: /four parts/ });
  t.match(decodeSign(wrap([header, new Map(), fill(3, 1), [row]])), {
    ok: false,
    reason: /headers/,
  });
  t.match(decodeSign(wrap([none, new Map(), fill(3, 1), []])), { ok: false, reason: /signers/ });
  t.match(decodeSign(wrap([none, new Map(), fill(3, 1), Array.from({ length: 9 }, () => row)])), {
    ok: false,
    reason: /signers/,
  });
  t.match(decodeSign(wrap([none, new Map(), fill(3, 1), [[header, new Map()]]])), {
    ok: false,
    reason: /bad signer/,
  });
  t.match(
    decodeSign(wrap([none, new Map(), fill(3, 1), [[header, new Map([[1, 1]]), fill(64, 1)]]])),
    { ok: false, reason: /shape/ },
  );
  t.match(decodeSign(wrap([none, new Map(), fill(3, 1), [[1, new Map(), fill(64, 1)]]])), {
    ok: false,
    reason: /header or signature/,
  });
  fc.assert(
    fc.property(
      fc.uint8Array({ maxLength: 200 }),
      (input) => !decodeSign(Uint8Array.of(0xd8, 98, ...input)).ok,
    ),
  );
});

t.test(
  'a key id is the RFC 9679 thumbprint cut to 16 bytes, and the COSE_Key comes back',
  async (t) => {
    const key = signer.key;
    const byHand = Buffer.concat([
      Buffer.from('a3010120062158 20'.replace(' ', ''), 'hex'),
      key.point,
    ]);
    t.equal(key.hex, createHash('sha256').update(byHand).digest('hex').slice(0, 32));
    const p256 = publicKey(ALG_ES256, fill(64, 3))!;
    const p256ByHand = Buffer.concat([
      Buffer.from('a401022001215820', 'hex'),
      fill(32, 3),
      Buffer.from('225820', 'hex'),
      fill(32, 3),
    ]);
    t.equal(p256.hex, createHash('sha256').update(p256ByHand).digest('hex').slice(0, 32));
    for (const one of [key, p256]) {
      const decoded = decodeCanonical(encodeCanonical(coseKeyOf(one)), { maxBytes: 200 });
      t.same(decoded.ok && publicKeyFromCose(decoded.value), one);
    }
  },
);

t.test('a COSE_Key that is not exactly one of the two kinds is no key', async (t) => {
  const x = fill(32, 1);
  const cases: [number, unknown][][] = [
    [],
    [
      [1, 1n],
      [-1, 6n],
    ],
    [
      [1, 1n],
      [-1, 6n],
      [-2, fill(31, 1)],
    ],
    [
      [1, 1n],
      [-1, 6n],
      [-2, x],
      [3, -8n],
    ],
    [
      [1, 2n],
      [-1, 1n],
      [-2, x],
    ],
    [
      [1, 2n],
      [-1, 1n],
      [-2, x],
      [-3, true],
    ],
    [
      [1, 2n],
      [-1, 2n],
      [-2, x],
      [-3, x],
    ],
  ];
  for (const rows of cases) t.equal(publicKeyFromCose(new Map(rows) as never), undefined);
  t.equal(publicKeyFromCose(5n), undefined);
  t.equal(publicKey(-8, fill(33, 1)), undefined);
});

t.test('a line id depends on device, party and currency', async (t) => {
  const ids = new Set([
    hex(lineId(fill(16, 1), fill(16, 2), 392)),
    hex(lineId(fill(16, 1), fill(16, 2), 840)),
    hex(lineId(fill(16, 1), fill(16, 3), 392)),
    hex(lineId(fill(16, 2), fill(16, 2), 392)),
  ]);
  t.equal(ids.size, 4);
  for (const id of ids) t.equal(id.length, 32);
});
