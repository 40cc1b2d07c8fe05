import { LOSS_BY_ISSUER } from '../../../identity/core/documents/allowance.ts';
import type { Registry } from './registry.ts';

/** Who bears a loss by the rule of an allowance. */
type LossBearer = 'party' | 'issuer';

/** Who bears what is not paid for an account of a party, by the loss rules of the allowances under it. */
export const lossBearersOf = (
  { payers }: Pick<Registry, 'payers'>,
  { account, party }: { readonly account: string; readonly party: string },
): readonly LossBearer[] => {
  const found = new Set<LossBearer>();
  for (const chains of payers.values()) {
    for (const chain of chains) {
      if (chain.partyHex !== party || chain.party.fundingAccount !== account) continue;
      found.add(chain.allowance.lossRule === LOSS_BY_ISSUER ? 'issuer' : 'party');
    }
  }
  return [...found].toSorted();
};
