import { toHex } from '../../../protocol/bytes.ts';
import { decodeSign, decodeSign1 } from '../../../protocol/cose.ts';
import {
  verifyMandate,
  verifyPayee,
  verifyPayer,
  type Trust,
  type VerifiedMandate,
  type VerifiedPayee,
  type VerifiedPayer,
} from '../../../identity/core/chain.ts';
import { verifyApproverClosing } from '../../../identity/core/centre.ts';
import { ALLOWANCE } from '../../../identity/core/documents/allowance.ts';
import type { ApproverClosing } from '../../../identity/core/documents/approver-closing.ts';
import { BINDING } from '../../../identity/core/documents/binding.ts';
import type { NamedPeriod } from '../../../identity/core/period.ts';
import { sortDocuments, type SortedDocuments } from '../../../identity/core/sort-documents.ts';

/**
 * What the centre knows of lines, payees and approvers, each chain verified once when it is taken
 * in. Times are not judged here: a receipt is checked against the period at its acceptance.
 */
export interface Registry {
  /** By line id in hex; the newest allowance (highest generation) first. */
  readonly payers: ReadonlyMap<string, readonly VerifiedPayer[]>;
  /** By payee key id in hex; the latest to begin first, as for approvers. */
  readonly payees: ReadonlyMap<string, readonly VerifiedPayee[]>;
  /** By approver key id in hex. */
  readonly approvers: ReadonlyMap<string, readonly VerifiedMandate[]>;
  /** Approvers that the issuer has closed, by id in hex: the closing issued last. */
  readonly closings: ReadonlyMap<string, ApproverClosing>;
  /** Documents that could not be used, in words: they hold up nothing else. */
  readonly faults: readonly string[];
}

type Kind = keyof SortedDocuments;

function groupByKind(documents: readonly Uint8Array[], faults: string[]): Map<Kind, Uint8Array[]> {
  const groups = new Map<Kind, Uint8Array[]>();
  for (const [i, cose] of documents.entries()) {
    const sorted = sortDocuments([cose]);
    if (!sorted.ok) {
      faults.push(`document ${i}: ${sorted.reason}`);
      continue;
    }
    const kind = Object.keys(sorted.value)[0] as Kind;
    groups.set(kind, [...(groups.get(kind) ?? []), cose]);
  }
  return groups;
}

/** Hex of the key that a credential is about or was signed by, read without trust, to pair documents. */
function subjectOf(
  cose: Uint8Array,
  read: (payload: Uint8Array) => Uint8Array | undefined,
): string {
  const single = decodeSign1(cose);
  const several = single.ok ? undefined : decodeSign(cose);
  const payload = single.ok
    ? single.value.payload
    : several?.ok
      ? several.value.payload
      : undefined;
  const id = payload && read(payload);
  return id ? toHex(id) : '';
}

function lineOfBinding(payload: Uint8Array): Uint8Array | undefined {
  const binding = BINDING.decode(payload);
  return binding.ok ? binding.value.line : undefined;
}

function lineOfAllowance(payload: Uint8Array): Uint8Array | undefined {
  const allowance = ALLOWANCE.decode(payload);
  return allowance.ok ? allowance.value.line : undefined;
}

/** Tries each candidate pair until one chain holds: a registry has few parties and registrars. */
function firstChain(
  trust: Trust,
  candidates: {
    readonly parties: readonly Uint8Array[];
    readonly registrars: readonly Uint8Array[];
  },
  binding: Uint8Array,
  allowance: Uint8Array,
): VerifiedPayer | string {
  let reason = 'no party or registrar credential';
  for (const party of candidates.parties) {
    for (const registrar of candidates.registrars) {
      const chain = verifyPayer(trust, { party, registrar, binding, allowance }, undefined);
      if (chain.ok) return chain.value;
      reason = chain.reason;
    }
  }
  return reason;
}

const push = <T>(chains: Map<string, T[]>, id: string, chain: T): void => {
  const list = chains.get(id);
  if (list) list.push(chain);
  else chains.set(id, [chain]);
};

const latestFirst = (
  a: { readonly period: NamedPeriod },
  b: { readonly period: NamedPeriod },
): number => b.period.notBeforeS - a.period.notBeforeS;

function keepLatest(closings: Map<string, ApproverClosing>, closing: ApproverClosing): void {
  const id = toHex(closing.approver);
  const held = closings.get(id);
  if (!held || held.issuedS < closing.issuedS) closings.set(id, closing);
}

/**
 * Takes documents in any order. Renewals stand beside what they renew: a receipt accepted under an earlier allowance,
 * credential or mandate stays payable after the next one is issued (DESIGN §2).
 */
export function buildRegistry(trust: Trust, documents: readonly Uint8Array[]): Registry {
  const faults: string[] = [];
  const groups = groupByKind(documents, faults);
  const of = (kind: Kind): readonly Uint8Array[] => groups.get(kind) ?? [];
  const allowances = new Map<string, Uint8Array[]>();
  for (const cose of of('allowance')) {
    const line = subjectOf(cose, lineOfAllowance);
    allowances.set(line, [...(allowances.get(line) ?? []), cose]);
  }
  const payers = new Map<string, VerifiedPayer[]>();
  const candidates = { parties: of('party'), registrars: of('registrar') };
  for (const binding of of('binding')) {
    for (const allowance of allowances.get(subjectOf(binding, lineOfBinding)) ?? []) {
      const chain = firstChain(trust, candidates, binding, allowance);
      if (typeof chain === 'string') faults.push(`binding: ${chain}`);
      else push(payers, chain.lineHex, chain);
    }
  }
  const payees = new Map<string, VerifiedPayee[]>();
  for (const merchant of of('merchant')) {
    const chains = of('acquirer').map((acquirer) =>
      verifyPayee(trust, { acquirer, merchant }, undefined),
    );
    const chain = chains.find((checked) => checked.ok) ?? chains[0];
    if (chain?.ok) for (const hex of chain.value.payeeKeys.keys()) push(payees, hex, chain.value);
    else faults.push(`merchant: ${chain?.reason ?? 'no acquirer credential'}`);
  }
  const approvers = new Map<string, VerifiedMandate[]>();
  for (const cose of of('mandate')) {
    const mandate = verifyMandate(trust, cose, undefined);
    if (mandate.ok) push(approvers, mandate.value.gatewayKey.hex, mandate.value);
    else faults.push(`mandate: ${mandate.reason}`);
  }
  const closings = new Map<string, ApproverClosing>();
  for (const cose of of('approver-closing')) {
    const closing = verifyApproverClosing(trust, cose);
    if (!closing.ok) faults.push(`approver closing: ${closing.reason}`);
    else keepLatest(closings, closing.value.value);
  }
  for (const list of payers.values()) {
    list.sort((a, b) => b.allowance.generation - a.allowance.generation);
  }
  for (const list of [...payees.values(), ...approvers.values()]) list.sort(latestFirst);
  return { payers, payees, approvers, closings, faults };
}
