import { nodeVerifier } from '../../identity/edge/node-signatures.ts';
import { KiriError } from '../../protocol/kiri-error.ts';
import type { PublicKey } from '../../protocol/public-key.ts';
import { parsePolicy } from '../../sync/ledger/core/policy.ts';
import {
  isPolicyBook,
  openPolicyBook,
  type FinalityRules,
} from '../../sync/ledger/core/policy-book.ts';
import { readBytes } from './config.ts';

/**
 * Reads what decides about "final": a policy's text, or the issuer's book of its versions.
 * @param issuerKey asked for a book only
 * @throws KiriError CONFIG_INVALID, FILE_UNREADABLE
 */
export function readRules(path: string, issuerKey: () => PublicKey): FinalityRules {
  const bytes = readBytes(path);
  const rules = isPolicyBook(bytes)
    ? openPolicyBook(bytes, issuerKey(), nodeVerifier())
    : parsePolicy(bytes);
  if (!rules.ok) throw new KiriError('CONFIG_INVALID', `${path}: ${rules.reason}`);
  return rules.value;
}
