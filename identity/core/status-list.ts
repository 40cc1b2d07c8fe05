import type { StatusReference } from './documents/standard.ts';

/** A status list after inflation: what an approver keeps beside its journal. */
export interface StatusList {
  readonly uri: string;
  /** Counts up; stands in every Receipt. */
  readonly version: number;
  readonly issuedS: number;
  readonly expiresS: number;
  /** Bits per entry. */
  readonly bits: 1 | 2 | 4 | 8;
  readonly bytes: Uint8Array;
}

/** Values of an entry (draft-ietf-oauth-status-list, section 7.1). Everything but 0 refuses. */
export const STATUS_VALID = 0;
export const STATUS_INVALID = 1;

/** Entry `index`, least significant bits first; undefined beyond the end of the list. */
export function statusAt(list: StatusList, index: number): number | undefined {
  const perByte = 8 / list.bits;
  const byte = list.bytes[Math.floor(index / perByte)];
  if (byte === undefined) return undefined;
  return (byte >> ((index % perByte) * list.bits)) & ((1 << list.bits) - 1);
}

/**
 * What the list says of a chain: `revoked` where an entry is not valid, `unknown` where the list
 * is another one or too short to know of the document.
 */
export function chainStatus(
  list: StatusList,
  references: readonly StatusReference[],
): 'valid' | 'revoked' | 'unknown' {
  let known = true;
  for (const { uri, index } of references) {
    const status = uri === list.uri ? statusAt(list, index) : undefined;
    if (status === undefined) known = false;
    else if (status !== STATUS_VALID) return 'revoked';
  }
  return known ? 'valid' : 'unknown';
}

/** Seconds since the list was issued; never below 0, for clocks differ. */
export function listAgeS(list: StatusList, nowS: number): number {
  return Math.max(0, nowS - list.issuedS);
}
