import { toHex } from '../../../protocol/bytes.ts';
import { decodeSign, decodeSign1 } from '../../../protocol/cose.ts';
import { verifyApproverClosing } from '../../../identity/core/centre.ts';
import {
  openCredential,
  OpenedBefore,
  readBinding,
  verifyMandate,
  verifyPayee,
  verifyPayer,
  type Trust,
  type VerifiedMandate,
  type VerifiedPayee,
} from '../../../identity/core/chain.ts';
import { openDocument } from '../../../identity/core/document.ts';
import { ALLOWANCE } from '../../../identity/core/documents/allowance.ts';
import type { ApproverClosing } from '../../../identity/core/documents/approver-closing.ts';
import {
  ACQUIRER_CREDENTIAL,
  PARTY_CREDENTIAL,
  REGISTRAR_CREDENTIAL,
} from '../../../identity/core/documents/credentials.ts';
import { MERCHANT_CREDENTIAL } from '../../../identity/core/documents/merchant.ts';
import type { NamedPeriod } from '../../../identity/core/period.ts';
import { sortDocuments, type SortedDocuments } from '../../../identity/core/sort-documents.ts';
import type { StatusList } from '../../../identity/core/status-list.ts';
import type { RegisteredPayer, Registry } from './registry.ts';
import { changedRegistry, withRevocation, type RegistryChange } from './registry-change.ts';

/** A document that cannot be used, or not yet: what it rests on may still come. */
interface DocumentFault {
  readonly cose: Uint8Array;
  readonly reason: string;
}

/** What taking documents in led to. */
export interface RegistryStep {
  readonly registry: Registry;
  /** What is other than before. */
  readonly change: RegistryChange;
  /** Of the documents that were handed in, those of no known kind; they are not kept. */
  readonly strange: readonly DocumentFault[];
  /** Of all that are kept, those that no chain rests on. */
  readonly faults: readonly DocumentFault[];
}

type Kind = keyof SortedDocuments;

/** What others rest on comes first, so that each pair of documents is met once. */
const ORDER = [
  'party',
  'registrar',
  'acquirer',
  'binding',
  'allowance',
  'merchant',
  'mandate',
  'approver-closing',
] as const satisfies readonly Kind[];

/** What a clearing goes by; documents of other kinds are let lie. */
type Used = (typeof ORDER)[number];

/** Versions of one status list that are kept; of more, those between the first and the latest make room. */
const LISTS_MAX = 256;

const push = <T>(lists: Map<string, T[]>, id: string, one: T): void => {
  const list = lists.get(id);
  if (list) list.push(one);
  else lists.set(id, [one]);
};

const payloadOf = (cose: Uint8Array): Uint8Array | undefined => {
  const single = decodeSign1(cose);
  if (single.ok) return single.value.payload;
  const several = decodeSign(cose);
  return several.ok ? several.value.payload : undefined;
};

const latestFirst = (
  a: { readonly period: NamedPeriod },
  b: { readonly period: NamedPeriod },
): number => b.period.notBeforeS - a.period.notBeforeS;

const newestFirst = (a: RegisteredPayer, b: RegisteredPayer): number =>
  b.allowance.generation - a.allowance.generation || b.party.notBeforeS - a.party.notBeforeS;

const isSameList = (a: StatusList, b: StatusList): boolean =>
  a.bits === b.bits &&
  a.bytes.length === b.bytes.length &&
  a.bytes.every((byte, at) => byte === b.bytes[at]);

/** A binding with the ids of those that its chain rests on. */
interface Bound {
  readonly cose: Uint8Array;
  readonly party: string;
  readonly registrar: string;
}

/** Adds to lists that were handed out before: each is copied before its first change, and noted. */
class Growing<T> {
  #map: Map<string, readonly T[]> = new Map();
  readonly #touched = new Map<string, T[]>();

  add(id: string, one: T): void {
    const list = this.#touched.get(id) ?? [...(this.#map.get(id) ?? [])];
    list.push(one);
    this.#touched.set(id, list);
  }

  /** What has grown since it was asked last, in the order given; undefined where nothing has. */
  take(order: (a: T, b: T) => number): ReadonlyMap<string, readonly T[]> | undefined {
    if (this.#touched.size === 0) return undefined;
    const touched = new Map(this.#touched);
    this.#touched.clear();
    for (const list of touched.values()) list.sort(order);
    this.#map = new Map([...this.#map, ...touched]);
    return touched;
  }

  get all(): ReadonlyMap<string, readonly T[]> {
    return this.#map;
  }
}

const EMPTY: Registry = {
  payers: new Map(),
  payees: new Map(),
  approvers: new Map(),
  closings: new Map(),
  faults: [],
};

/**
 * The documents of a clearing as they come, in any order: what a new one completes is verified, and nothing twice. A document is
 * never taken back: it ends by its own time, a status list or a closing. Renewals stand beside what they renew.
 */
export class RegistryBook {
  readonly #trust: Trust;
  /** Credentials of parties, registrars and acquirers, by the id of their key. */
  readonly #credentials = new Map<string, Uint8Array[]>();
  /** By line, as its allowances. */
  readonly #bindings = new Map<string, Bound[]>();
  readonly #allowances = new Map<string, Uint8Array[]>();
  /** Lines that rest on a party or registrar, by its id. */
  readonly #lines = new Map<string, Set<string>>();
  /** Merchant credentials by acquirer. */
  readonly #merchants = new Map<string, Uint8Array[]>();
  /** Documents that some chain rests on. */
  readonly #carried = new WeakSet<Uint8Array>();
  readonly #faults = new Map<Uint8Array, string>();
  /** Versions of each status list, by its address. */
  readonly #lists = new Map<string, StatusList[]>();
  readonly #payers = new Growing<RegisteredPayer>();
  readonly #payees = new Growing<VerifiedPayee>();
  readonly #approvers = new Growing<VerifiedMandate>();
  readonly #closings = new Map<string, ApproverClosing>();
  #registry: Registry = EMPTY;

  constructor(trust: Trust) {
    this.#trust = { ...trust, opened: new OpenedBefore() };
  }

  /**
   * Takes documents in besides those that it holds.
   * @param statusLists whose signatures were checked
   */
  take(documents: readonly Uint8Array[], statusLists: readonly StatusList[] = []): RegistryStep {
    const strange: DocumentFault[] = [];
    const kinds = new Map<Kind, Uint8Array[]>();
    for (const cose of documents) {
      const sorted = sortDocuments([cose]);
      if (sorted.ok) push(kinds, Object.keys(sorted.value)[0] as Kind, cose);
      else strange.push({ cose, reason: sorted.reason });
    }
    const closingsBefore = new Map(this.#closings);
    const isOtherStatus = this.#takeLists(statusLists);
    for (const kind of ORDER) for (const cose of kinds.get(kind) ?? []) this.#add(kind, cose);
    const grown = this.#payers.take(newestFirst);
    const payers = new Map(isOtherStatus ? this.#payers.all : grown);
    const payees = this.#payees.take(latestFirst) && this.#payees.all;
    const approvers = this.#approvers.take(latestFirst) && this.#approvers.all;
    const isOtherClosing = [...this.#closings].some(([id, one]) => closingsBefore.get(id) !== one);
    const change: RegistryChange = {
      payers: this.#revoked(payers),
      ...(payees && { payees }),
      ...(approvers && { approvers }),
      ...(isOtherClosing && { closings: new Map(this.#closings) }),
    };
    const faults = [...this.#faults].map(([cose, reason]) => ({ cose, reason }));
    this.#registry = {
      ...changedRegistry(this.#registry, change),
      faults: [...strange, ...faults].map(({ reason }) => reason),
    };
    return { registry: this.#registry, change, strange, faults };
  }

  /** Those of the chains that read otherwise than in the registry so far, with what status lists say of them. */
  #revoked(lines: ReadonlyMap<string, readonly RegisteredPayer[]>): RegistryChange['payers'] {
    const lists = [...this.#lists.values()].flat();
    const changed: [string, readonly RegisteredPayer[]][] = [];
    for (const [line, chains] of lines) {
      const before = this.#registry.payers.get(line) ?? [];
      const now = chains.map((chain) => {
        const next = withRevocation(chain, lists);
        const held = before.find(
          ({ allowance, party, binding }) =>
            allowance === chain.allowance && party === chain.party && binding === chain.binding,
        );
        return held && held.revokedS === next.revokedS ? held : next;
      });
      const isSame = now.length === before.length && now.every((one, at) => one === before[at]);
      if (!isSame) changed.push([line, now]);
    }
    return changed;
  }

  /** Keeps versions that say something new. @returns whether there are any */
  #takeLists(statusLists: readonly StatusList[]): boolean {
    let isOther = false;
    for (const list of statusLists) {
      const versions = this.#lists.get(list.uri) ?? [];
      this.#lists.set(list.uri, versions);
      const after = versions.filter(({ issuedS }) => issuedS <= list.issuedS).length;
      const before = versions[after - 1];
      if (before && (before.issuedS === list.issuedS || isSameList(before, list))) continue;
      versions.splice(after, 0, list);
      if (versions.length > LISTS_MAX) versions.splice(1, 1);
      isOther = true;
    }
    return isOther;
  }

  #add(kind: Used, cose: Uint8Array): void {
    const fault = this.#addOne(kind, cose);
    if (fault === undefined) return;
    this.#faults.set(cose, `${kind.replace('-', ' ')}: ${fault}`);
  }

  /** @returns why it cannot be used */
  #addOne(kind: Used, cose: Uint8Array): string | undefined {
    switch (kind) {
      case 'party':
        return this.#addCredential(PARTY_CREDENTIAL, cose);
      case 'registrar':
        return this.#addCredential(REGISTRAR_CREDENTIAL, cose);
      case 'acquirer':
        return this.#addCredential(ACQUIRER_CREDENTIAL, cose);
      case 'binding':
        return this.#addBinding(cose);
      case 'allowance':
        return this.#addAllowance(cose);
      case 'merchant':
        return this.#addMerchant(cose);
      case 'mandate':
        return this.#addMandate(cose);
      case 'approver-closing':
        return this.#addClosing(cose);
    }
  }

  /** A credential of a party, registrar or acquirer, and what waited for it. */
  #addCredential(
    codec: typeof PARTY_CREDENTIAL | typeof REGISTRAR_CREDENTIAL | typeof ACQUIRER_CREDENTIAL,
    cose: Uint8Array,
  ): string | undefined {
    // The three codecs differ in fields that are not asked for here.
    const opened = openCredential(this.#trust, codec as typeof REGISTRAR_CREDENTIAL, cose);
    if (!opened.ok) return opened.reason;
    const id = toHex(opened.value.value.subject);
    push(this.#credentials, id, cose);
    if (codec === ACQUIRER_CREDENTIAL) {
      for (const merchant of this.#merchants.get(id) ?? []) this.#payee(cose, merchant);
      return undefined;
    }
    const role = codec === PARTY_CREDENTIAL ? 'party' : 'registrar';
    for (const line of this.#lines.get(id) ?? []) {
      for (const bound of this.#bindings.get(line) ?? []) {
        if (bound[role] !== id) continue;
        for (const allowance of this.#allowances.get(line) ?? []) {
          this.#payer(line, bound, allowance, { [role]: [cose] });
        }
      }
    }
    return undefined;
  }

  #addBinding(cose: Uint8Array): string | undefined {
    const payload = payloadOf(cose);
    const binding = payload && readBinding(this.#trust, cose, payload);
    if (!binding?.ok) return binding?.reason ?? 'cannot be read';
    const line = toHex(binding.value.line);
    const bound = {
      cose,
      party: toHex(binding.value.party),
      registrar: toHex(binding.value.issuer),
    };
    push(this.#bindings, line, bound);
    for (const id of [bound.party, bound.registrar]) {
      this.#lines.set(id, (this.#lines.get(id) ?? new Set()).add(line));
    }
    for (const allowance of this.#allowances.get(line) ?? []) this.#payer(line, bound, allowance);
    return undefined;
  }

  #addAllowance(cose: Uint8Array): string | undefined {
    const payload = payloadOf(cose);
    const allowance = payload && ALLOWANCE.decode(payload);
    if (!allowance?.ok) return allowance?.reason ?? 'cannot be read';
    const line = toHex(allowance.value.line);
    push(this.#allowances, line, cose);
    for (const bound of this.#bindings.get(line) ?? []) this.#payer(line, bound, cose);
    return undefined;
  }

  /**
   * The chains of a binding and an allowance, one for each credential of party and registrar that they hold under: one that
   * was issued anew, with another funding account or a later end, stands beside the one before.
   */
  #payer(
    line: string,
    bound: Bound,
    allowance: Uint8Array,
    only: {
      readonly party?: readonly Uint8Array[];
      readonly registrar?: readonly Uint8Array[];
    } = {},
  ): void {
    const binding = bound.cose;
    let reason = 'no party or registrar credential';
    let isHeld = false;
    for (const party of only.party ?? this.#credentials.get(bound.party) ?? []) {
      for (const registrar of only.registrar ?? this.#credentials.get(bound.registrar) ?? []) {
        const chain = verifyPayer(this.#trust, { party, registrar, binding, allowance }, undefined);
        if (chain.ok) this.#payers.add(line, chain.value);
        else reason = chain.reason;
        isHeld ||= chain.ok;
      }
    }
    if (isHeld) {
      for (const cose of [binding, allowance]) {
        this.#carried.add(cose);
        this.#faults.delete(cose);
      }
    } else if (!this.#carried.has(binding) || !this.#carried.has(allowance)) {
      this.#blame(binding, allowance, reason);
    }
  }

  /** The fault is the allowance's where it does not hold by itself. */
  #blame(binding: Uint8Array, allowance: Uint8Array, reason: string): void {
    const { verifier, issuerKey } = this.#trust;
    const isOwn = !openDocument(verifier, issuerKey, ALLOWANCE, allowance).ok;
    const [cose, kind] = isOwn ? [allowance, 'allowance'] : [binding, 'binding'];
    this.#faults.set(cose, `${kind}: ${reason}`);
  }

  #addMerchant(cose: Uint8Array): string | undefined {
    const payload = payloadOf(cose);
    const merchant = payload && MERCHANT_CREDENTIAL.decode(payload);
    if (!merchant?.ok) return merchant?.reason ?? 'cannot be read';
    const id = toHex(merchant.value.issuer);
    push(this.#merchants, id, cose);
    let fault: string | undefined = 'no acquirer credential';
    for (const acquirer of this.#credentials.get(id) ?? []) fault = this.#payee(acquirer, cose);
    return this.#carried.has(cose) ? undefined : fault;
  }

  #payee(acquirer: Uint8Array, merchant: Uint8Array): string | undefined {
    const chain = verifyPayee(this.#trust, { acquirer, merchant }, undefined);
    if (!chain.ok) return chain.reason;
    for (const hex of chain.value.payeeKeys.keys()) this.#payees.add(hex, chain.value);
    this.#carried.add(merchant);
    this.#faults.delete(merchant);
    return undefined;
  }

  #addMandate(cose: Uint8Array): string | undefined {
    const mandate = verifyMandate(this.#trust, cose, undefined);
    if (!mandate.ok) return mandate.reason;
    this.#approvers.add(mandate.value.gatewayKey.hex, mandate.value);
    return undefined;
  }

  /** The closing issued last counts. */
  #addClosing(cose: Uint8Array): string | undefined {
    const opened = verifyApproverClosing(this.#trust, cose);
    if (!opened.ok) return opened.reason;
    const closing = opened.value.value;
    const id = toHex(closing.approver);
    const held = this.#closings.get(id);
    if (!held || held.issuedS < closing.issuedS) this.#closings.set(id, closing);
    return undefined;
  }
}
