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
import { PARTY_CREDENTIAL } from '../../../identity/core/documents/credentials.ts';
import type { NamedPeriod } from '../../../identity/core/period.ts';
import { sortDocuments, type SortedDocuments } from '../../../identity/core/sort-documents.ts';
import { chainStatus, type StatusList } from '../../../identity/core/status-list.ts';

/** A payer's chain; `revokedS`: when the first status list was issued that has it revoked. */
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

function subjectOfParty(payload: Uint8Array): Uint8Array | undefined {
  const party = PARTY_CREDENTIAL.decode(payload);
  return party.ok ? party.value.subject : undefined;
}

function partyOfBinding(payload: Uint8Array): Uint8Array | undefined {
  const binding = BINDING.decode(payload);
  return binding.ok ? binding.value.party : undefined;
}

function lineOfBinding(payload: Uint8Array): Uint8Array | undefined {
  const binding = BINDING.decode(payload);
  return binding.ok ? binding.value.line : undefined;
}

function lineOfAllowance(payload: Uint8Array): Uint8Array | undefined {
  const allowance = ALLOWANCE.decode(payload);
  return allowance.ok ? allowance.value.line : undefined;
}

/**
 * The chains of a binding and an allowance, one for each credential of the party that they hold under: a credential that was
 * issued anew, with another funding account, stands beside the one before.
 */
function chainsOf(
  trust: Trust,
  candidates: {
    readonly parties: readonly Uint8Array[];
    readonly registrars: readonly Uint8Array[];
  },
  binding: Uint8Array,
  allowance: Uint8Array,
): VerifiedPayer[] | string {
  let reason = 'no party or registrar credential';
  const chains: VerifiedPayer[] = [];
  for (const party of candidates.parties) {
    for (const registrar of candidates.registrars) {
      const chain = verifyPayer(trust, { party, registrar, binding, allowance }, undefined);
      if (chain.ok) {
        chains.push(chain.value);
        break;
      }
      reason = chain.reason;
    }
  }
  return chains.length > 0 ? chains : reason;
}

/** With the moment from which a list says that it is revoked: the earliest such list's. */
function withRevocation(chain: VerifiedPayer, lists: readonly StatusList[]): RegisteredPayer {
  const since = lists
    .filter((list) => chainStatus(list, chain.statuses) === 'revoked')
    .map((list) => list.issuedS);
  return since.length === 0 ? chain : { ...chain, revokedS: Math.min(...since) };
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
 * @param statusLists whose signatures were checked; old ones too, for the earliest that revokes says since when
 */
export function buildRegistry(
  trust: Trust,
  documents: readonly Uint8Array[],
  statusLists: readonly StatusList[] = [],
): Registry {
  const faults: string[] = [];
  const groups = groupByKind(documents, faults);
  const of = (kind: Kind): readonly Uint8Array[] => groups.get(kind) ?? [];
  const allowances = new Map<string, Uint8Array[]>();
  for (const cose of of('allowance')) {
    const line = subjectOf(cose, lineOfAllowance);
    allowances.set(line, [...(allowances.get(line) ?? []), cose]);
  }
  const payers = new Map<string, RegisteredPayer[]>();
  const parties = new Map<string, Uint8Array[]>();
  for (const cose of of('party')) push(parties, subjectOf(cose, subjectOfParty), cose);
  for (const binding of of('binding')) {
    const own = parties.get(subjectOf(binding, partyOfBinding)) ?? [];
    const candidates = { parties: own, registrars: of('registrar') };
    for (const allowance of allowances.get(subjectOf(binding, lineOfBinding)) ?? []) {
      const chains = chainsOf(trust, candidates, binding, allowance);
      if (typeof chains === 'string') faults.push(`binding: ${chains}`);
      else for (const one of chains) push(payers, one.lineHex, withRevocation(one, statusLists));
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
    list.sort(
      (a, b) =>
        b.allowance.generation - a.allowance.generation || b.party.notBeforeS - a.party.notBeforeS,
    );
  }
  for (const list of [...payees.values(), ...approvers.values()]) list.sort(latestFirst);
  return { payers, payees, approvers, closings, faults };
}
