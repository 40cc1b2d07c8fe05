import { bytesEqual } from '../../protocol/bytes.ts';
import { verifyShare, type CoseSign, type CoseSignature } from '../../protocol/cose.ts';
import type { PublicKey, Verifier } from '../../protocol/public-key.ts';
import { accepted, type Checked } from '../../protocol/refusal.ts';
import { invalid } from './document.ts';

/** Who has to sign, and as what. */
export interface ExpectedSigner {
  readonly role: string;
  readonly key: PublicKey;
  readonly optional?: boolean;
}

function shareFault(
  verifier: Verifier,
  payload: Uint8Array,
  share: CoseSignature,
  { role, key }: ExpectedSigner,
): string | undefined {
  if (!share.header.kid || !bytesEqual(share.header.kid, key.id)) {
    return `the ${role}'s signature names another key than ${key.hex}`;
  }
  return verifyShare(verifier, key, payload, share)
    ? undefined
    : `the ${role}'s signature does not fit key ${key.hex}`;
}

/**
 * Exactly the expected signers, each once, in its role and with its own key. The role
 * stands in the signed header, so no signature can serve in another role.
 */
export function checkShares(
  verifier: Verifier,
  typ: string,
  { payload, signatures }: CoseSign,
  expected: readonly ExpectedSigner[],
): Checked<true> {
  if (new Set(expected.map(({ key }) => key.hex)).size !== expected.length) {
    return invalid(typ, `${expected.map(({ role }) => role).join(', ')} do not all have own keys`);
  }
  const open = new Map(expected.map((signer) => [signer.role, signer]));
  for (const share of signatures) {
    const role = share.header.role ?? '';
    const signer = open.get(role);
    if (!signer) return invalid(typ, `a signature too many, with the role "${role}"`);
    open.delete(role);
    const fault = shareFault(verifier, payload, share, signer);
    if (fault !== undefined) return invalid(typ, fault);
  }
  for (const { role, optional } of open.values()) {
    if (!optional) return invalid(typ, `the ${role}'s signature is missing`);
  }
  return accepted(true);
}
