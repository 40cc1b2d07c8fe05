import type {
  VerifiedMandate,
  VerifiedPayee,
  VerifiedPayer,
  Trust,
} from '../../../identity/core/chain.ts';
import type { ApproverClosing } from '../../../identity/core/documents/approver-closing.ts';
import type { StatusList } from '../../../identity/core/status-list.ts';
import { RegistryBook } from './registry-book.ts';

/** A payer's chain; `revokedS`: since when the status lists have it revoked without a break. */
export interface RegisteredPayer extends VerifiedPayer {
  readonly revokedS?: number;
}

/**
 * What the centre knows of lines, payees and approvers, each chain verified once when it is taken
 * in. Times are not judged here: a receipt is checked against the period at its acceptance.
 */
export interface Registry {
  /** By line id in hex; the newest allowance (highest generation) first, then the party's newest credential. */
  readonly payers: ReadonlyMap<string, readonly RegisteredPayer[]>;
  /** By payee key id in hex; the latest to begin first, as for approvers. */
  readonly payees: ReadonlyMap<string, readonly VerifiedPayee[]>;
  /** By approver key id in hex. */
  readonly approvers: ReadonlyMap<string, readonly VerifiedMandate[]>;
  /** Approvers that the issuer has closed, by id in hex: the closing issued last. */
  readonly closings: ReadonlyMap<string, ApproverClosing>;
  /** Documents that could not be used, in words: they hold up nothing else. */
  readonly faults: readonly string[];
}

/**
 * Takes documents in any order. Renewals stand beside what they renew: a receipt accepted under an earlier allowance,
 * credential or mandate stays payable after the next one is issued (DESIGN §2).
 * @param statusLists whose signatures were checked; old ones too, for they say since when something is revoked
 */
export const buildRegistry = (
  trust: Trust,
  documents: readonly Uint8Array[],
  statusLists: readonly StatusList[] = [],
): Registry => new RegistryBook(trust).take(documents, statusLists).registry;
