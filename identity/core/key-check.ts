import { ALG_EDDSA, type PublicKey } from '../../protocol/public-key.ts';

/** Ed25519 (RFC 8032 §5.1). */
const P25519 = (1n << 255n) - 19n;
const D25519 = 37095705934669439343138083508754565189542113879843219016388785533085940283555n;
/** The y of the eight points whose order divides 8; each serves both signs of x. */
const SMALL_ORDER_Y: ReadonlySet<bigint> = new Set([
  0n,
  1n,
  P25519 - 1n,
  0x05fc536d880238b13933c6d305acdfd5f098eff289f4c345b027b2c28f95e826n,
  0x7a03ac9277fdc74ec6cc392cfa53202a0f67100d760b3cba4fd84d3d706a17c7n,
]);

/** P-256 (SEC 2 §2.4.2). */
const P256 = 0xffffffff00000001000000000000000000000000ffffffffffffffffffffffffn;
const B256 = 0x5ac635d8aa3a93e7b3ebbd55769886bc651d06b0cc53b0f63bce3c3e27d2604bn;

function bigEndian(bytes: Uint8Array): bigint {
  let value = 0n;
  for (const byte of bytes) value = (value << 8n) | BigInt(byte);
  return value;
}

/** y without the sign bit, as encoded: may be p or more. */
function edwardsY(point: Uint8Array): bigint {
  const y = point.toReversed();
  y[0]! &= 0x7f;
  return bigEndian(y);
}

/**
 * What is wrong with how an Ed25519 key is written: non-canonical, or of small order (such a key
 * signs every message at once). Cheap; OpenSSL lets some of these pass.
 */
export function edwardsEncodingFault(point: Uint8Array): string | undefined {
  const y = edwardsY(point);
  if (y >= P25519) return 'Ed25519 key is not canonical';
  return SMALL_ORDER_Y.has(y) ? 'Ed25519 key has small order' : undefined;
}

/**
 * x² = u / v with u = y² − 1, v = d·y² + 1 has a root (RFC 8032 §5.1.3) where z = u·v is a square:
 * z^((p−1)/2) = 1 by Euler. As (p−1)/2 = 2²⁵⁴ − 10, that is z^(2²⁵⁴) = z¹⁰, which is squarings only.
 * z is not 0, for y = ±1 has small order.
 */
function onEdwards(point: Uint8Array): boolean {
  const y2 = edwardsY(point) ** 2n % P25519;
  const z = ((y2 - 1n + P25519) * (D25519 * y2 + 1n)) % P25519;
  let square = z;
  for (let i = 0; i < 254; i += 1) square = (square * square) % P25519;
  return square === z ** 10n % P25519;
}

function p256Fault(point: Uint8Array): string | undefined {
  const x = bigEndian(point.subarray(0, 32));
  const y = bigEndian(point.subarray(32));
  if (x >= P256 || y >= P256) return 'P-256 key is not canonical';
  const right = (x ** 3n - 3n * x + B256) % P256;
  return (y ** 2n - right) % P256 === 0n ? undefined : 'P-256 key is not on the curve';
}

/**
 * What is wrong with a public key, undefined for a sound one; asked once, where a key is enrolled
 * (DESIGN §3). Costs less than one verification.
 */
export function keyFault(key: PublicKey): string | undefined {
  if (key.alg !== ALG_EDDSA) return p256Fault(key.point);
  const fault = edwardsEncodingFault(key.point);
  if (fault !== undefined) return fault;
  return onEdwards(key.point) ? undefined : 'Ed25519 key is not on the curve';
}
