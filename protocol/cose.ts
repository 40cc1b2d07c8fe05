import { concatBytes } from './bytes.ts';
import { decodeCanonical } from './cbor/decode.ts';
import { encodeCanonical } from './cbor/encode.ts';
import type { CborValue } from './cbor/value.ts';
import {
  ALG_EDDSA,
  ALG_ES256,
  type CoseAlg,
  type PublicKey,
  type Signer,
  type Verifier,
} from './public-key.ts';
import { accepted, refused, type Checked } from './refusal.ts';
import { MAX_MESSAGE_BYTES } from './schema.ts';

/** COSE header labels (RFC 9052 §3.1, RFC 9596 for typ). `ROLE` is Kiri's own (private use). */
const HEADER_ALG = 1;
const HEADER_KID = 4;
const HEADER_TYP = 16;
const HEADER_ROLE = -65_537;

const SIGNATURE_BYTES = 64;
const TAG_SIGN1 = 0xd2;
const EMPTY = new Uint8Array(0);

/** Protected header of a signature. Messages carry `alg` alone, documents also kid and typ. */
export interface ProtectedHeader {
  readonly alg: CoseAlg;
  readonly kid?: Uint8Array;
  readonly typ?: string;
  readonly role?: string;
}

/** One COSE_Sign1 (tag 18) taken apart; `payload` and `signature` are views on the input. */
export interface Sign1 {
  readonly header: ProtectedHeader;
  readonly protectedBytes: Uint8Array;
  readonly payload: Uint8Array;
  readonly signature: Uint8Array;
}

function headerMap(header: ProtectedHeader): Map<number, CborValue> {
  const map = new Map<number, CborValue>([[HEADER_ALG, header.alg]]);
  if (header.kid) map.set(HEADER_KID, header.kid);
  if (header.typ !== undefined) map.set(HEADER_TYP, header.typ);
  if (header.role !== undefined) map.set(HEADER_ROLE, header.role);
  return map;
}

// The two headers of every message, so that the hot path neither encodes nor decodes them.
const PLAIN_EDDSA = encodeCanonical(headerMap({ alg: ALG_EDDSA }));
const PLAIN_ES256 = encodeCanonical(headerMap({ alg: ALG_ES256 }));

function encodeHeader(header: ProtectedHeader): Uint8Array {
  if (header.kid || header.typ !== undefined || header.role !== undefined) {
    return encodeCanonical(headerMap(header));
  }
  return header.alg === ALG_EDDSA ? PLAIN_EDDSA : PLAIN_ES256;
}

function readHeader(bytes: Uint8Array): Checked<ProtectedHeader> {
  if (bytes.length === 3 && bytes[0] === 0xa1 && bytes[1] === 0x01) {
    if (bytes[2] === PLAIN_EDDSA[2]) return accepted({ alg: ALG_EDDSA });
    if (bytes[2] === PLAIN_ES256[2]) return accepted({ alg: ALG_ES256 });
  }
  const decoded = decodeCanonical(bytes, { maxBytes: 512 });
  if (!decoded.ok) return refused(decoded.code, `protected header: ${decoded.reason}`);
  const map = decoded.value;
  if (!(map instanceof Map)) return refused('MALFORMED', 'protected header is not a map');
  const alg = map.get(HEADER_ALG);
  const kid = map.get(HEADER_KID);
  const typ = map.get(HEADER_TYP);
  const role = map.get(HEADER_ROLE);
  const known = [alg, kid, typ, role].filter((value) => value !== undefined).length;
  if (known !== map.size) return refused('MALFORMED', 'protected header has an unknown label');
  if (alg !== BigInt(ALG_EDDSA) && alg !== BigInt(ALG_ES256)) {
    return refused('MALFORMED', 'signature algorithm is neither EdDSA nor ES256');
  }
  if (kid !== undefined && !(kid instanceof Uint8Array))
    return refused('MALFORMED', 'kid is not bytes');
  if (typ !== undefined && typeof typ !== 'string') return refused('MALFORMED', 'typ is not text');
  if (role !== undefined && typeof role !== 'string')
    return refused('MALFORMED', 'role is not text');
  return accepted({
    alg: Number(alg) as CoseAlg,
    ...(kid ? { kid: new Uint8Array(kid) } : {}),
    ...(typ === undefined ? {} : { typ }),
    ...(role === undefined ? {} : { role }),
  });
}

/** A byte string at `offset` with a minimal head; undefined where there is none. */
function byteStringAt(
  input: Uint8Array,
  offset: number,
): { start: number; end: number } | undefined {
  const head = input[offset];
  if (head === undefined || head >> 5 !== 2) return undefined;
  const info = head & 31;
  let length = info;
  let start = offset + 1;
  if (info === 24) {
    length = input[offset + 1] ?? 0;
    start = offset + 2;
    if (length < 24) return undefined;
  } else if (info === 25) {
    length = ((input[offset + 1] ?? 0) << 8) | (input[offset + 2] ?? 0);
    start = offset + 3;
    if (length < 256) return undefined;
  } else if (info > 25) {
    return undefined;
  }
  const end = start + length;
  return end <= input.length ? { start, end } : undefined;
}

/**
 * Splits a tagged COSE_Sign1 whose unprotected header is empty. The outer bytes are held to the
 * one canonical form; the payload is not looked at.
 */
export function decodeSign1(input: Uint8Array): Checked<Sign1> {
  if (input.length > MAX_MESSAGE_BYTES) {
    return refused('TOO_LARGE', `${input.length} bytes, at most ${MAX_MESSAGE_BYTES}`);
  }
  if (input[0] !== TAG_SIGN1 || input[1] !== 0x84) return refused('MALFORMED', 'not a COSE_Sign1');
  const head = byteStringAt(input, 2);
  if (!head) return refused('MALFORMED', 'COSE_Sign1: no protected header');
  if (input[head.end] !== 0xa0)
    return refused('MALFORMED', 'COSE_Sign1: unprotected header is not empty');
  const body = byteStringAt(input, head.end + 1);
  if (!body) return refused('MALFORMED', 'COSE_Sign1: no payload');
  const tail = byteStringAt(input, body.end);
  if (!tail || tail.end - tail.start !== SIGNATURE_BYTES || tail.end !== input.length) {
    return refused('MALFORMED', 'COSE_Sign1: signature is not 64 bytes at the end');
  }
  const protectedBytes = input.subarray(head.start, head.end);
  const header = readHeader(protectedBytes);
  if (!header.ok) return header;
  return accepted({
    header: header.value,
    protectedBytes,
    payload: input.subarray(body.start, body.end),
    signature: input.subarray(tail.start, tail.end),
  });
}

/** Sig_structure of a COSE_Sign1 (RFC 9052 §4.4). */
function sign1Input(protectedBytes: Uint8Array, payload: Uint8Array): Uint8Array {
  return encodeCanonical(['Signature1', protectedBytes, EMPTY, payload]);
}

function assembleSign1(
  protectedBytes: Uint8Array,
  payload: Uint8Array,
  signature: Uint8Array,
): Uint8Array {
  const array = encodeCanonical([protectedBytes, new Map(), payload, signature]);
  return concatBytes(Uint8Array.of(TAG_SIGN1), array);
}

/** Signs `payload` as a tagged COSE_Sign1. */
export function signSign1(
  signer: Signer,
  payload: Uint8Array,
  header: Omit<ProtectedHeader, 'alg'> = {},
): Uint8Array {
  const protectedBytes = encodeHeader({ ...header, alg: signer.key.alg });
  return assembleSign1(protectedBytes, payload, signer.sign(sign1Input(protectedBytes, payload)));
}

/** A message put together again from its payload and the signature that was made over it. */
export function joinSign1(alg: CoseAlg, payload: Uint8Array, signature: Uint8Array): Uint8Array {
  return assembleSign1(encodeHeader({ alg }), payload, signature);
}

/** Checks the signature over the received bytes, never over a re-encoding. */
export function verifySign1(verifier: Verifier, key: PublicKey, message: Sign1): boolean {
  if (message.header.alg !== key.alg) return false;
  return verifier.verify(
    key,
    sign1Input(message.protectedBytes, message.payload),
    message.signature,
  );
}

/** One signature of a COSE_Sign. */
export interface CoseSignature {
  readonly header: ProtectedHeader;
  readonly protectedBytes: Uint8Array;
  readonly signature: Uint8Array;
}

/** A COSE_Sign (tag 98) taken apart: several signers over one payload, each with its role. */
export interface CoseSign {
  readonly payload: Uint8Array;
  readonly signatures: readonly CoseSignature[];
}

/** Sig_structure of one signer of a COSE_Sign (RFC 9052 §4.4); the body header is empty. */
function signInput(protectedBytes: Uint8Array, payload: Uint8Array): Uint8Array {
  return encodeCanonical(['Signature', EMPTY, protectedBytes, EMPTY, payload]);
}

/** One signer's share; signers may work on different machines and be put together later. */
export function signShare(signer: Signer, payload: Uint8Array, role: string): CoseSignature {
  const header: ProtectedHeader = { alg: signer.key.alg, kid: signer.key.id, role };
  const protectedBytes = encodeHeader(header);
  return { header, protectedBytes, signature: signer.sign(signInput(protectedBytes, payload)) };
}

export function encodeSign(payload: Uint8Array, shares: readonly CoseSignature[]): Uint8Array {
  const rows = shares.map((share) => [share.protectedBytes, new Map(), share.signature]);
  return concatBytes(Uint8Array.of(0xd8, 98), encodeCanonical([EMPTY, new Map(), payload, rows]));
}

/** Signers of one COSE_Sign at most. */
const MAX_SIGNERS = 8;

function readShare(row: CborValue): Checked<CoseSignature> {
  if (!Array.isArray(row) || row.length !== 3) return refused('MALFORMED', 'COSE_Sign: bad signer');
  const [protectedBytes, unprotected, signature] = row;
  if (!(protectedBytes instanceof Uint8Array) || !(signature instanceof Uint8Array)) {
    return refused('MALFORMED', 'COSE_Sign: signer without header or signature');
  }
  if (
    !(unprotected instanceof Map) ||
    unprotected.size > 0 ||
    signature.length !== SIGNATURE_BYTES
  ) {
    return refused('MALFORMED', 'COSE_Sign: signer of a wrong shape');
  }
  const header = readHeader(protectedBytes);
  return header.ok ? accepted({ header: header.value, protectedBytes, signature }) : header;
}

export function decodeSign(input: Uint8Array): Checked<CoseSign> {
  if (input[0] !== 0xd8 || input[1] !== 98) return refused('MALFORMED', 'not a COSE_Sign');
  const decoded = decodeCanonical(input.subarray(2), { maxBytes: MAX_MESSAGE_BYTES });
  if (!decoded.ok) return refused(decoded.code, `COSE_Sign: ${decoded.reason}`);
  if (!Array.isArray(decoded.value) || decoded.value.length !== 4) {
    return refused('MALFORMED', 'COSE_Sign: not four parts');
  }
  const [body, unprotected, payload, rows] = decoded.value;
  const emptyHeaders =
    body instanceof Uint8Array &&
    body.length === 0 &&
    unprotected instanceof Map &&
    unprotected.size === 0;
  if (!emptyHeaders || !(payload instanceof Uint8Array)) {
    return refused('MALFORMED', 'COSE_Sign: headers not empty or no payload');
  }
  if (!Array.isArray(rows) || rows.length === 0 || rows.length > MAX_SIGNERS) {
    return refused('MALFORMED', `COSE_Sign: not 1 to ${MAX_SIGNERS} signers`);
  }
  const signatures: CoseSignature[] = [];
  for (const row of rows) {
    const share = readShare(row);
    if (!share.ok) return share;
    signatures.push(share.value);
  }
  return accepted({ payload: new Uint8Array(payload), signatures });
}

export function verifyShare(
  verifier: Verifier,
  key: PublicKey,
  payload: Uint8Array,
  share: CoseSignature,
): boolean {
  if (share.header.alg !== key.alg) return false;
  return verifier.verify(key, signInput(share.protectedBytes, payload), share.signature);
}
