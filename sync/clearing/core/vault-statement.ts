import { bytesEqual } from '../../../protocol/bytes.ts';
import { decodeSign1, signSign1, verifySign1 } from '../../../protocol/cose.ts';
import type { PublicKey, Signer, Verifier } from '../../../protocol/public-key.ts';
import { refused } from '../../../protocol/refusal.ts';
import type { Checked } from '../../../protocol/refusal.ts';
import { U32, U53, bytes, listOf, message, text } from '../../../protocol/schema.ts';
import type { Codec, Field } from '../../../protocol/schema.ts';
import { MANIFEST_TOTAL, MANIFEST_TOTALS_MAX } from './manifest.ts';
import type { ManifestTotal } from './manifest.ts';

/** `outward`: DE2 filled in on the way to the issuer. `inward`: taken out of what the issuer sent. */
export type VaultDirection = 'outward' | 'inward';

/**
 * What the partner's vault signs about one file. "Pre" is always the form without card numbers, the one that Kiri
 * sees; "final" the one with them, which never leaves the partner's zone but to the issuer. Times are UTC seconds.
 */
export type VaultStatement = {
  readonly direction: VaultDirection;
  /** PDS0105 of both forms. */
  readonly fileId: string;
  readonly preSha256: Uint8Array;
  readonly preBytes: number;
  readonly finalSha256: Uint8Array;
  readonly finalBytes: number;
  /** Records of either form, header and trailer counted. */
  readonly records: number;
  /** Records that carry DE2 in the final form. */
  readonly cardNumbers: number;
  /** Of every record with an amount, per currency and sign. */
  readonly totals: readonly ManifestTotal[];
  /** Every record is the same byte for byte once DE2 is taken out. A vault that cannot say so says nothing. */
  readonly differsOnlyInDe2: true;
  readonly createdS: number;
};

const VAULT_STATEMENT_TYPE = 66;
/** The `typ` header of the signed statement. */
const VAULT_STATEMENT_TYP = 'kiri-vault-statement';

const DIRECTION: Field<VaultDirection> = {
  name: 'outward or inward',
  write: (value) => value,
  read: (value) => (value === 'outward' || value === 'inward' ? value : undefined),
};
const TRUE: Field<true> = {
  name: 'true',
  write: (value) => value,
  read: (value) => (value === true ? value : undefined),
};

const VAULT_STATEMENT: Codec<VaultStatement> = message<VaultStatement>(VAULT_STATEMENT_TYPE, {
  direction: [1, DIRECTION],
  fileId: [2, text(25)],
  preSha256: [3, bytes(32)],
  preBytes: [4, U53],
  finalSha256: [5, bytes(32)],
  finalBytes: [6, U53],
  records: [7, U32],
  cardNumbers: [8, U32],
  totals: [9, listOf(MANIFEST_TOTAL, MANIFEST_TOTALS_MAX)],
  differsOnlyInDe2: [10, TRUE],
  createdS: [11, U53],
});

/** COSE_Sign1 by the vault's key. */
export const signVaultStatement = (signer: Signer, statement: VaultStatement): Uint8Array =>
  signSign1(signer, VAULT_STATEMENT.encode(statement), {
    kid: signer.key.id,
    typ: VAULT_STATEMENT_TYP,
  });

/** The statement, if one of these vaults signed it. Whether it is of this or that file is the caller's to compare. */
export const openVaultStatement = (
  cose: Uint8Array,
  trust: { readonly verifier: Verifier; readonly vaults: readonly PublicKey[] },
): Checked<VaultStatement> => {
  const sign1 = decodeSign1(cose);
  if (!sign1.ok) return sign1;
  const { kid, typ } = sign1.value.header;
  if (typ !== VAULT_STATEMENT_TYP) {
    return refused('MALFORMED', `typ is not ${VAULT_STATEMENT_TYP}`);
  }
  const key = trust.vaults.find((known) => kid && bytesEqual(known.id, kid));
  if (!key) return refused('CREDENTIAL_INVALID', 'not signed by a vault that is known here');
  if (!verifySign1(trust.verifier, key, sign1.value)) {
    return refused('BAD_SIGNATURE', 'the signature of the vault does not hold');
  }
  return VAULT_STATEMENT.decode(sign1.value.payload);
};
