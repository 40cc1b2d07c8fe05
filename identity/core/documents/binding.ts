import { CLAIM_SUBJECT, claims, HEX_ID, type ClaimsCodec } from '../../../protocol/claims.ts';
import type { AmountMicro } from '../../../protocol/amount.ts';
import { bytesEqual } from '../../../protocol/bytes.ts';
import { HASH_BYTES, ID_BYTES, lineId } from '../../../protocol/ids.ts';
import { ISSUED, type Issued } from '../../../protocol/claims.ts';
import { AMOUNT, bytes, listOf, U32, U8, uint } from '../../../protocol/schema.ts';
import {
  CLAIM_BINDING,
  CLAIM_CLOSING,
  CREDENTIAL,
  credentialFault,
  CURRENCY,
  type Credential,
} from './standard.ts';

/** Roles of signers, in each one's protected header. */
export const ROLE_DEVICE = 'device';
export const ROLE_PARTY = 'party';
export const ROLE_REGISTRAR = 'registrar';

/** Bits of `roles`. */
export const MAY_PAY = 1;
export const MAY_BE_PAID = 2;

/**
 * Ties a device key to its liable party (DESIGN §2). Signed by device, party and registrar; the
 * `issuer` is the registrar, the `subject` and `key` are the device's.
 */
export interface Binding extends Credential {
  /** Id of the liable party's key. */
  readonly party: Uint8Array;
  readonly line: Uint8Array;
  readonly currency: number;
  /** MAY_PAY and MAY_BE_PAID, added. */
  readonly roles: number;
  /** How thoroughly the registrar checked, 0 (not at all) … 255. */
  readonly checkLevel: number;
  /** Where the device keeps its key (identity/core/key-store.ts); caps its limits. */
  readonly keyStoreLevel: number;
  /** Payload hash of the binding that this one follows: rotation keeps the line. */
  readonly previous?: Uint8Array;
}

export const BINDING: ClaimsCodec<Binding> = claims<Credential, Binding>(
  'kiri/binding',
  CLAIM_BINDING,
  CREDENTIAL,
  {
    party: [1, bytes(ID_BYTES)],
    line: [2, bytes(ID_BYTES)],
    currency: [3, CURRENCY],
    roles: [4, uint(3)],
    checkLevel: [5, U8],
    keyStoreLevel: [6, U8],
    previous: [7, bytes(HASH_BYTES), 'optional'],
  },
  (value) => {
    if (value.roles === 0) return 'binding without a role';
    // A first binding makes its line; later ones inherit it under three signatures.
    if (!value.previous) {
      const expected = lineId(value.subject, value.party, value.currency);
      if (!bytesEqual(expected, value.line)) return 'line does not belong to device and party';
    }
    return credentialFault(value);
  },
);

/** Payments that may still be open when a binding ends. */
export const MAX_OPEN_PAYMENTS = 64;

interface Registered extends Issued {
  /** Id of the device's key. */
  readonly subject: Uint8Array;
}

/** Ends a binding. Signed by party and registrar, by the device too if it is at hand. */
export interface Closing extends Registered {
  readonly party: Uint8Array;
  readonly line: Uint8Array;
  readonly bindingHash: Uint8Array;
  /** High-water marks: what is above them is disputed, not charged. */
  readonly lastCounter: number;
  readonly totalMicro: AmountMicro;
  /** Payment hashes whose outcome is unknown; what is not listed and comes late is disputed. */
  readonly open: readonly Uint8Array[];
}

export const CLOSING: ClaimsCodec<Closing> = claims<Registered, Closing>(
  'kiri/closing',
  CLAIM_CLOSING,
  { ...ISSUED, subject: [CLAIM_SUBJECT, HEX_ID] },
  {
    party: [1, bytes(ID_BYTES)],
    line: [2, bytes(ID_BYTES)],
    bindingHash: [3, bytes(HASH_BYTES)],
    lastCounter: [4, U32],
    totalMicro: [5, AMOUNT],
    open: [6, listOf(bytes(HASH_BYTES), MAX_OPEN_PAYMENTS)],
  },
);
