/** The part of a registry that checking a record needs: a thread has no more of it. */
import type { RegisteredPayer, Registry } from './registry.ts';

/** What the checks ask of a payer's chain. */
export interface PayerFacts extends Pick<
  RegisteredPayer,
  'period' | 'line' | 'lineHex' | 'deviceKey' | 'partyId' | 'partyHex' | 'revokedS'
> {
  readonly binding: Pick<RegisteredPayer['binding'], 'currency'>;
  readonly party: Pick<RegisteredPayer['party'], 'fundingAccount'>;
  readonly allowance: Pick<
    RegisteredPayer['allowance'],
    'issuer' | 'clearing' | 'directLimitMicro' | 'handInDelayS' | 'lossRule'
  >;
}

/** What the checks ask of a registry. */
export interface CheckRegistry extends Pick<Registry, 'payees' | 'approvers' | 'closings'> {
  readonly payers: { get(lineHex: string): readonly PayerFacts[] | undefined };
}
