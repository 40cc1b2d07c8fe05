import { chainStatus, type StatusList } from '../../../identity/core/status-list.ts';
import type { RegisteredPayer, Registry } from './registry.ts';

/** What one registry has beside the one before it; nothing that was known is ever missing from the later one. */
export interface RegistryChange {
  /** Lines with other chains than before, all chains of each. */
  readonly payers: readonly (readonly [line: string, chains: readonly RegisteredPayer[]])[];
  /** Whole, where anything of it is new. */
  readonly payees?: Registry['payees'];
  readonly approvers?: Registry['approvers'];
  readonly closings?: Registry['closings'];
}

/** The registry after a change. What was handed out before stays as it is. */
export const changedRegistry = (
  before: Registry,
  { payers, ...others }: RegistryChange,
): Registry => ({
  ...before,
  ...others,
  ...(payers.length === 0 ? {} : { payers: new Map([...before.payers, ...payers]) }),
});

/**
 * With the moment from which the lists have it revoked: of each list the version that began the run of those that revoke it
 * and that the newest one ends. What the newest one gives back is not revoked.
 * @param lists of each address in the order of their times
 */
export function withRevocation(
  payer: RegisteredPayer,
  lists: readonly StatusList[],
): RegisteredPayer {
  const { revokedS, ...chain } = payer;
  const since = new Map<string, number>();
  for (const list of lists) {
    if (chainStatus(list, chain.statuses) !== 'revoked') since.delete(list.uri);
    else if (!since.has(list.uri)) since.set(list.uri, list.issuedS);
  }
  if (since.size === 0) return revokedS === undefined ? payer : chain;
  const now = Math.min(...since.values());
  return now === revokedS ? payer : { ...chain, revokedS: now };
}
