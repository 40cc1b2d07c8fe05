import {
  createPrivateKey,
  createPublicKey,
  hash,
  randomBytes,
  sign,
  verify,
  type KeyObject,
} from 'node:crypto';
import { closeSync, fdatasync, openSync, unlinkSync, write } from 'node:fs';
import { checkCanonical } from '../protocol/cbor/check.ts';
import { CborReader } from '../protocol/cbor/reader.ts';
import { CborWriter } from '../protocol/cbor/writer.ts';
import { decodeSign1 } from '../protocol/cose.ts';

const EMPTY = new Uint8Array();
const ALG_EDDSA_HEADER = Uint8Array.of(0xa1, 0x01, 0x27);
const CHECK = { maxBytes: 16_384 };
const GROUP_BYTES = 65_536;

const reader = new CborReader();
const writer = new CborWriter();

/** The parts of one approval, each written as tightly as the project's building blocks allow. */
export class Floor {
  readonly #path: string;
  readonly #fd: number;
  readonly #privateKey: KeyObject;
  readonly #group = new Uint8Array(GROUP_BYTES);
  #groupEnd = 0;
  #fileEnd = 0;
  #sequence = 0;

  constructor(path: string, pem: string) {
    this.#path = path;
    this.#fd = openSync(path, 'w');
    this.#privateKey = createPrivateKey(pem);
  }

  close(): void {
    closeSync(this.#fd);
    unlinkSync(this.#path);
  }

  /** decode + one verify + hash + encode + sign + append; returns the Receipt's COSE bytes. */
  approve(payment: Uint8Array, key: KeyObject, nonce: Uint8Array): Uint8Array {
    const sign1 = decodeSign1(payment);
    if (!sign1.ok) throw new Error(sign1.reason);
    const { payload, protectedBytes, signature } = sign1.value;
    decodePayment(payload);
    if (!verify(null, signedBytes(protectedBytes, payload), key, signature)) throw new Error('bad');
    const paymentHash = hash('sha256', payload, 'buffer');
    this.#sequence += 1;
    const receipt = writer
      .start()
      .map(8)
      .key(0)
      .int(3)
      .key(1)
      .bytes(paymentHash)
      .key(2)
      .bytes(paymentHash.subarray(0, 8))
      .key(3)
      .int(this.#sequence)
      .key(4)
      .int(1_790_000_000)
      .key(5)
      .int(2)
      .key(6)
      .int(7)
      .key(7)
      .bytes(nonce)
      .finish();
    const made = sign(null, signedBytes(ALG_EDDSA_HEADER, receipt), this.#privateKey);
    this.append(payment, receipt);
    return writer
      .start()
      .tag(18)
      .array(4)
      .bytes(ALG_EDDSA_HEADER)
      .map(0)
      .bytes(receipt)
      .bytes(made)
      .finish();
  }

  append(...parts: readonly Uint8Array[]): void {
    for (const part of parts) {
      this.#group.set(part, this.#groupEnd);
      this.#groupEnd += part.length;
    }
  }

  /** One write and one fdatasync for what was gathered. */
  commit(): Promise<void> {
    const size = this.#groupEnd;
    const position = this.#fileEnd;
    this.#groupEnd = 0;
    this.#fileEnd += size;
    return new Promise((resolve, reject) => {
      const done = (error: Error | null): void => (error ? reject(error) : resolve());
      write(this.#fd, this.#group, 0, size, position, (error) => {
        if (error) reject(error);
        else fdatasync(this.#fd, done);
      });
    });
  }
}

function decodePayment(payload: Uint8Array): bigint {
  if (!checkCanonical(payload, CHECK).ok) throw new Error('not canonical');
  const r = reader.start(payload);
  r.map();
  r.key(0);
  r.uint(255);
  for (let key = 1; key <= 3; key += 1) {
    r.key(key);
    r.bytes(16);
  }
  r.key(4);
  r.uint(0xffff_ffff);
  r.key(5);
  const amount = r.u64();
  r.key(6);
  const total = r.u64();
  if (r.hasKey(7)) r.u64();
  r.key(8);
  r.uint(0xffff);
  r.key(9);
  r.bytes(20);
  r.key(10);
  r.uint(0xffff_ffff);
  r.key(11);
  r.uint(3);
  if (!r.complete) throw new Error('not a Payment');
  return total - amount;
}

function signedBytes(header: Uint8Array, payload: Uint8Array): Uint8Array {
  return writer
    .start()
    .array(4)
    .text('Signature1')
    .bytes(header)
    .bytes(EMPTY)
    .bytes(payload)
    .finish();
}

/** Imported once, as a gateway does it. */
export function importKey(point: Uint8Array): KeyObject {
  const x = Buffer.from(point).toString('base64url');
  return createPublicKey({ key: { kty: 'OKP', crv: 'Ed25519', x }, format: 'jwk' });
}

export function nonces(count: number): readonly Uint8Array[] {
  return Array.from({ length: count }, () => randomBytes(16));
}
