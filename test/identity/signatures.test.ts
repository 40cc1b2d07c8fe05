import { generateKeyPairSync } from 'node:crypto';
import { inspect } from 'node:util';
import { ed25519 } from '@noble/curves/ed25519.js';
import { p256 } from '@noble/curves/nist.js';
import { sha512 } from '@noble/hashes/sha2.js';
import fc from 'fast-check';
import t, { type Test } from 'tap';
import { keyFault } from '../../identity/core/key-check.ts';
import { nobleSigner, nobleVerifier } from '../../identity/core/noble-signatures.ts';
import { nodeSigner, nodeVerifier } from '../../identity/edge/node-signatures.ts';
import { concatBytes, fromHex, toHex, utf8ToBytes } from '../../protocol/bytes.ts';
import {
  ALG_EDDSA,
  ALG_ES256,
  publicKey,
  type CoseAlg,
  type PublicKey,
} from '../../protocol/public-key.ts';
import { newSigner } from './fixture.ts';

const node = nodeVerifier();
const noble = nobleVerifier();
const { Point } = ed25519;
const ORDER = Point.Fn.ORDER;
const P = (1n << 255n) - 19n;
const MESSAGE = utf8ToBytes('one passage, 300 JPY');

function key(alg: CoseAlg, point: Uint8Array): PublicKey {
  const made = publicKey(alg, point);
  if (!made) throw new Error('wrong length');
  return made;
}

function le32(value: bigint): Uint8Array {
  return fromHex(value.toString(16).padStart(64, '0')).toReversed();
}

function be32(value: bigint): Uint8Array {
  return fromHex(value.toString(16).padStart(64, '0'));
}

function leValue(bytes: Uint8Array): bigint {
  return BigInt(`0x${toHex(bytes.toReversed())}`);
}

/** Both implementations on one input; a difference fails whatever the test expects. */
function verdict(tap: Test, k: PublicKey, message: Uint8Array, signature: Uint8Array): boolean {
  const [a, b] = [node.verify(k, message, signature), noble.verify(k, message, signature)];
  tap.equal(a, b, 'node:crypto and noble give one verdict');
  return a;
}

/** Secret scalar a and public point A = a·B of a fresh key, for signatures made by hand. */
function scalarKey(seed: number): { a: bigint; A: typeof Point.BASE } {
  const a = leValue(sha512(Uint8Array.of(seed))) % ORDER;
  return { a, A: Point.BASE.multiply(a) };
}

function challenge(R: Uint8Array, A: Uint8Array, message: Uint8Array): bigint {
  return leValue(sha512(concatBytes(R, A, message))) % ORDER;
}

/** The eight points of small order, made from one of order 8. */
function torsion(): (typeof Point.BASE)[] {
  const generator = Point.fromBytes(
    fromHex('26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05'),
    true,
  );
  const points = [Point.ZERO];
  for (let i = 1; i < 8; i += 1) points.push(points[i - 1]!.add(generator));
  return points;
}

void t.test('both verify RFC 8032 and refuse what differs in one bit', async (t) => {
  const vectors = [
    // RFC 8032 §7.1, tests 1 to 3
    [
      'd75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a',
      '',
      'e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b',
    ],
    [
      '3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c',
      '72',
      '92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00',
    ],
    [
      'fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025',
      'af82',
      '6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac18ff9b538d16f290ae67f760984dc6594a7c15e9716ed28dc027beceea1ec40a',
    ],
  ] as const;
  for (const [pub, message, signature] of vectors) {
    const k = key(ALG_EDDSA, fromHex(pub));
    t.equal(keyFault(k), undefined);
    t.ok(verdict(t, k, fromHex(message), fromHex(signature)));
    const changed = fromHex(signature);
    changed[5]! ^= 1;
    t.notOk(verdict(t, k, fromHex(message), changed));
    t.notOk(verdict(t, k, concatBytes(fromHex(message), Uint8Array.of(0)), fromHex(signature)));
  }
});

void t.test('no small-order key verifies anything, in any encoding', async (t) => {
  const points = torsion();
  t.equal(new Set(points.map((point) => toHex(point.toBytes()))).size, 8, 'all eight');
  const encodings = points.flatMap((point) => {
    const canonical = point.toBytes();
    const flipped = canonical.slice();
    flipped[31]! ^= 0x80;
    return [canonical, flipped];
  });
  for (const encoding of encodings) {
    const k = key(ALG_EDDSA, encoding);
    t.match(keyFault(k), /small order/);
    for (const R of points) {
      const signature = concatBytes(R.toBytes(), new Uint8Array(32));
      for (let i = 0; i < 4; i += 1) t.notOk(verdict(t, k, Uint8Array.of(i), signature));
    }
  }
});

void t.test('no non-canonical key verifies anything', async (t) => {
  for (let y = P; y < 1n << 255n; y += 1n) {
    for (const sign of [0, 0x80]) {
      const encoding = le32(y);
      encoding[31]! |= sign;
      const k = key(ALG_EDDSA, encoding);
      t.match(keyFault(k), /not canonical/);
      t.notOk(verdict(t, k, MESSAGE, concatBytes(encoding, new Uint8Array(32))));
      t.notOk(verdict(t, k, MESSAGE, concatBytes(Point.ZERO.toBytes(), new Uint8Array(32))));
    }
  }
});

void t.test('S must be below the group order', async (t) => {
  const signer = newSigner();
  const signature = signer.sign(MESSAGE);
  const s = leValue(signature.subarray(32));
  t.ok(verdict(t, signer.key, MESSAGE, signature));
  for (const bad of [s + ORDER, s + 2n * ORDER, ORDER, (1n << 256n) - 1n, ORDER - 1n, 0n]) {
    t.notOk(
      verdict(t, signer.key, MESSAGE, concatBytes(signature.subarray(0, 32), le32(bad))),
      `S = ${bad}`,
    );
  }
});

void t.test('R is compared as bytes, without the cofactor', async (t) => {
  const { a, A } = scalarKey(1);
  const k = key(ALG_EDDSA, A.toBytes());
  const forge = (encodedR: Uint8Array, r: bigint): Uint8Array => {
    const s = (r + challenge(encodedR, k.point, MESSAGE) * a) % ORDER;
    return concatBytes(encodedR, le32(s));
  };
  t.ok(verdict(t, k, MESSAGE, forge(Point.ZERO.toBytes(), 0n)), 'R = identity, canonical');
  t.notOk(verdict(t, k, MESSAGE, forge(le32(P + 1n), 0n)), 'R = identity, not canonical');
  const nonceR = Point.BASE.multiply(77n);
  t.ok(verdict(t, k, MESSAGE, forge(nonceR.toBytes(), 77n)));
  for (const point of torsion().slice(1)) {
    const signature = forge(nonceR.add(point).toBytes(), 77n);
    t.notOk(verdict(t, k, MESSAGE, signature), 'R with a torsion part');
    t.ok(
      ed25519.verify(signature, MESSAGE, k.point, { zip215: false }),
      'which noble alone would accept',
    );
  }
});

void t.test('keys of mixed order: one verdict for each message', async (t) => {
  const { a, A } = scalarKey(2);
  let yes = 0;
  for (const point of torsion().slice(1)) {
    const k = key(ALG_EDDSA, A.add(point).toBytes());
    for (let i = 0; i < 12; i += 1) {
      const R = Point.BASE.multiply(BigInt(1000 + i));
      const message = Uint8Array.of(i);
      const s = (BigInt(1000 + i) + challenge(R.toBytes(), k.point, message) * a) % ORDER;
      if (verdict(t, k, message, concatBytes(R.toBytes(), le32(s)))) yes += 1;
    }
  }
  t.ok(yes > 0 && yes < 84, 'some hold and some do not, so the comparison means something');
});

void t.test('P-256: high S holds, zero and out-of-range values do not', async (t) => {
  const signer = newSigner('p256');
  const order = p256.Point.Fn.ORDER;
  for (let i = 0; i < 8; i += 1) {
    const message = Uint8Array.of(i);
    const signature = signer.sign(message);
    const [r, s] = [signature.subarray(0, 32), signature.subarray(32)];
    const twin = be32(order - BigInt(`0x${toHex(s)}`));
    t.ok(verdict(t, signer.key, message, signature));
    t.ok(verdict(t, signer.key, message, concatBytes(r, twin)), 'the other S too');
    for (const bad of [0n, order, (1n << 256n) - 1n]) {
      t.notOk(verdict(t, signer.key, message, concatBytes(be32(bad), s)), `r = ${bad}`);
      t.notOk(verdict(t, signer.key, message, concatBytes(r, be32(bad))), `s = ${bad}`);
    }
  }
});

void t.test('P-256: keys off the curve, zero or too large verify nothing', async (t) => {
  const { point } = newSigner('p256').key;
  const off = point.slice();
  off[63]! ^= 1;
  const p = 2n ** 256n - 2n ** 224n + 2n ** 192n + 2n ** 96n - 1n;
  const large = concatBytes(be32(p), point.subarray(32));
  const signature = newSigner('p256').sign(MESSAGE);
  for (const [bad, words] of [
    [off, /not on the curve/],
    [new Uint8Array(64), /not on the curve/],
    [large, /not canonical/],
    [new Uint8Array(64).fill(0xff), /not canonical/],
  ] as const) {
    t.match(keyFault(key(ALG_ES256, bad)), words);
    t.notOk(verdict(t, key(ALG_ES256, bad), MESSAGE, signature));
    t.notOk(verdict(t, key(ALG_ES256, bad), MESSAGE, new Uint8Array(64)));
  }
  t.equal(keyFault(newSigner('p256').key), undefined);
});

void t.test('wrong lengths and the other algorithm: false, never an exception', async (t) => {
  for (const kind of ['ed25519', 'p256'] as const) {
    const signer = newSigner(kind);
    const signature = signer.sign(MESSAGE);
    for (const length of [0, 1, 32, 63, 65, 72, 128]) {
      const other = new Uint8Array(length);
      other.set(signature.subarray(0, Math.min(length, 64)));
      t.notOk(verdict(t, signer.key, MESSAGE, other));
    }
    const crossed = newSigner(kind === 'p256' ? 'ed25519' : 'p256').key;
    t.notOk(verdict(t, crossed, MESSAGE, signature));
  }
  t.notOk(verdict(t, key(ALG_EDDSA, new Uint8Array(32).fill(2)), MESSAGE, new Uint8Array(64)));
  t.match(keyFault(key(ALG_EDDSA, le32(2n))), /not on the curve/);
  const short: PublicKey = { ...newSigner().key, point: new Uint8Array(5), hex: 'short' };
  t.notOk(verdict(t, short, MESSAGE, new Uint8Array(64)));
  t.notOk(verdict(t, { ...short, alg: ALG_ES256, hex: 'short2' }, MESSAGE, new Uint8Array(64)));
});

void t.test('property: one signs, the other verifies; any change gives one verdict', async (t) => {
  const change = fc.record({
    part: fc.constantFrom('key', 'message', 'signature'),
    at: fc.nat(63),
    mask: fc.integer({ min: 1, max: 255 }),
  });
  const alg = fc.constantFrom<CoseAlg>(ALG_EDDSA, ALG_ES256);
  const seed = fc.uint8Array({ minLength: 32, maxLength: 32 });
  const message = fc.uint8Array({ minLength: 1, maxLength: 64 });
  fc.assert(
    fc.property(alg, seed, message, change, (kind, secret, text, { part, at, mask }) => {
      secret[0] = 1; // inside the order of P-256, whatever follows
      const signer = nobleSigner(kind, secret);
      const signature = signer.sign(text);
      if (!node.verify(signer.key, text, signature)) return false;
      const parts = { key: signer.key.point.slice(), message: text.slice(), signature };
      const target = parts[part];
      target[at % target.length]! ^= mask;
      const k = key(kind, parts.key);
      const verdicts = [node, noble].map((v) => v.verify(k, parts.message, parts.signature));
      return verdicts[0] === verdicts[1] && verdicts[0] === false;
    }),
    { numRuns: 150 },
  );
  for (const kind of ['ed25519', 'p256'] as const) {
    const signer = newSigner(kind);
    t.ok(noble.verify(signer.key, MESSAGE, signer.sign(MESSAGE)), 'node signs, noble verifies');
  }
});

void t.test('half of all points are no keys, and both key checks agree with noble', async (t) => {
  for (let y = 2n; y < 60n; y += 1n) {
    const encoding = le32(y);
    let onCurve = true;
    try {
      Point.fromBytes(encoding, false);
    } catch {
      onCurve = false;
    }
    t.equal(keyFault(key(ALG_EDDSA, encoding)) === undefined, onCurve, `y = ${y}`);
  }
});

void t.test('the key cache is bounded and changes no verdict', async (t) => {
  const small = nodeVerifier({ maxCachedKeys: 4 });
  const signers = Array.from({ length: 12 }, () => newSigner());
  const signatures = signers.map((signer) => signer.sign(MESSAGE));
  for (let round = 0; round < 3; round += 1) {
    for (const [i, signer] of signers.entries()) {
      t.ok(small.verify(signer.key, MESSAGE, signatures[i]!));
      t.notOk(small.verify(signer.key, MESSAGE, signatures[(i + 1) % signers.length]!));
    }
  }
});

void t.test('a signer shows its secret nowhere (R-017)', async (t) => {
  for (const alg of [ALG_EDDSA, ALG_ES256] as const) {
    const pair =
      alg === ALG_EDDSA
        ? generateKeyPairSync('ed25519')
        : generateKeyPairSync('ec', { namedCurve: 'P-256' });
    const d = Buffer.from(pair.privateKey.export({ format: 'jwk' }).d ?? '', 'base64url');
    t.equal(d.length, 32);
    for (const signer of [nodeSigner(pair.privateKey), nobleSigner(alg, d)]) {
      const shown = [
        JSON.stringify(signer),
        inspect(signer, { depth: null, showHidden: true, maxArrayLength: null }),
      ].join('\n');
      for (const form of [d.toString('hex'), d.toString('base64'), d.toString('base64url')]) {
        t.notMatch(shown.toLowerCase(), form.toLowerCase());
      }
      t.notMatch(shown, d.subarray(0, 8).join(', '), 'nor as a list of bytes');
      t.notMatch(shown, d.subarray(0, 8).join(','));
    }
  }
  const rsa = generateKeyPairSync('rsa', { modulusLength: 2048 });
  t.throws(() => nodeSigner(rsa.privateKey), { code: 'KEY_UNSUPPORTED' });
});
