/**
 * What stands in an erased content key's place: `erased/<kid>`, the issuer's signed request, and beside it one signed
 * confirmation per holder, `erased/<kid>.<id of the holder's key>`. Entries and payload records stay; the log verifies as
 * before, and what the key opened is gone.
 */
import {
  ERASURE_REQUEST,
  openConfirmation,
  type ErasureRequest,
} from '../../identity/core/documents/erasure.ts';
import { openDocument, type Opened } from '../../identity/core/document.ts';
import type { Trust } from '../../identity/core/chain.ts';
import { fromHex, toHex } from '../../protocol/bytes.ts';
import { type Outcome, bad, ok } from './core/text.ts';
import type { LogSource } from './log-source.ts';

/** The issuer's request that a key be erased, where the key would be missed. */
export const tombstonePath = (kid: string): string => `erased/${kid}`;

export const confirmationPath = (kid: string, holder: string): string => `erased/${kid}.${holder}`;

/** Reads a request for one content key of one log. */
export const openTombstone = (
  trust: Trust,
  origin: string,
  kid: string,
  cose: Uint8Array,
): Outcome<Opened<ErasureRequest>> => {
  const opened = openDocument(trust.verifier, trust.issuerKey, ERASURE_REQUEST, cose);
  if (!opened.ok) return bad(opened.reason);
  const { value } = opened.value;
  if (value.origin !== origin) return bad('orders the erasure of a key of another log');
  return value.kids.some((one) => toHex(one) === kid)
    ? ok(opened.value)
    : bad('orders the erasure of another key');
};

/** A key's erasure as its files show it. */
export interface ErasureState {
  readonly request: ErasureRequest;
  /** Names of holders whose confirmation is not there. */
  readonly unconfirmed: readonly string[];
  /** Confirmations that do not hold. */
  readonly problems: readonly { readonly path: string; readonly reason: string }[];
}

/** Checks an erased key's request and all its holders' confirmations. */
export const readErasure = async (
  source: LogSource,
  trust: Trust,
  origin: string,
  kid: string,
): Promise<Outcome<ErasureState> | undefined> => {
  const cose = await source.read(tombstonePath(kid));
  if (cose === undefined) return undefined;
  const opened = openTombstone(trust, origin, kid, cose);
  if (!opened.ok) return opened;
  const unconfirmed: string[] = [];
  const problems: { path: string; reason: string }[] = [];
  for (const holder of opened.value.value.holders) {
    const path = confirmationPath(kid, holder.key.hex);
    const bytes = await source.read(path);
    if (bytes === undefined) {
      unconfirmed.push(holder.name);
      continue;
    }
    const answer = openConfirmation(trust.verifier, opened.value, fromHex(kid), holder, bytes);
    if (!answer.ok) problems.push({ path, reason: answer.reason });
  }
  return ok({ request: opened.value.value, unconfirmed, problems });
};
