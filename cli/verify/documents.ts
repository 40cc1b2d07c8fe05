import { toHex } from '../../protocol/bytes.ts';
import { decodeSign, decodeSign1 } from '../../protocol/cose.ts';
import type { PublicKey } from '../../protocol/public-key.ts';
import { accepted, refused, type Checked } from '../../protocol/refusal.ts';
import { TARIFF } from '../../protocol/tariff.ts';
import {
  verifyBinding,
  verifyMandate,
  verifyPayee,
  verifyPayer,
  type BindingDocuments,
  type Trust,
  type VerifiedBinding,
  type VerifiedMandate,
  type VerifiedPayee,
  type VerifiedPayer,
} from '../../identity/core/chain.ts';
import {
  verifyApproverClosing,
  verifyClearing,
  verifyStatusList,
  verifyTariff,
} from '../../identity/core/centre.ts';
import { openDocument } from '../../identity/core/document.ts';
import type { NamedPeriod } from '../../identity/core/period.ts';
import { ALLOWANCE } from '../../identity/core/documents/allowance.ts';
import { APPROVER_CLOSING } from '../../identity/core/documents/approver-closing.ts';
import { BINDING, type Binding } from '../../identity/core/documents/binding.ts';
import {
  ACQUIRER_CREDENTIAL,
  CLEARING_CREDENTIAL,
  type ClearingCredential,
  PARTY_CREDENTIAL,
  REGISTRAR_CREDENTIAL,
} from '../../identity/core/documents/credentials.ts';
import { GATEWAY_MANDATE } from '../../identity/core/documents/mandate.ts';
import { MERCHANT_CREDENTIAL } from '../../identity/core/documents/merchant.ts';
import { POLICY } from '../../identity/core/documents/policy.ts';
import { STATUS_LIST } from '../../identity/core/documents/status-list.ts';

/** A payee key with the credential that names it. */
export interface KnownPayee {
  readonly key: PublicKey;
  readonly verified: VerifiedPayee;
}

const push = <T>(chains: Map<string, T[]>, id: string, chain: T): T[] => {
  const list = chains.get(id) ?? [];
  chains.set(id, list);
  list.push(chain);
  return list;
};

const latestFirst = (
  a: { readonly period: NamedPeriod },
  b: { readonly period: NamedPeriod },
): number => b.period.notBeforeS - a.period.notBeforeS;

const newestFirst = (a: VerifiedPayer, b: VerifiedPayer): number =>
  b.allowance.generation - a.allowance.generation || b.party.notBeforeS - a.party.notBeforeS;

/** A document whose key must stand on the table before it can be opened. */
const UNKNOWN_SIGNER = 'its signer has no valid credential in trust/documents';

interface Authority {
  readonly key: PublicKey;
  readonly cose: Uint8Array;
}

/**
 * Everything that documents say and the issuer's key proves. Documents are opened in the order of the chain; times are
 * not judged here but against the time of each acceptance (DESIGN §6: clearing asks the same).
 */
export class DocumentBook {
  readonly trust: Trust;
  /** By key id, as registrars and acquirers; renewals stand beside what they renew. */
  readonly parties: Map<string, Authority[]> = new Map();
  /** By party: every account that a credential of it has named. */
  readonly accounts: Map<string, Set<string>> = new Map();
  readonly registrars: Map<string, Authority[]> = new Map();
  readonly acquirers: Map<string, Authority[]> = new Map();
  /** By line; more than one after a rotation. */
  readonly bindings: Map<string, VerifiedBinding[]> = new Map();
  /**
   * By line: every chain of party, registrar, binding and allowance that holds, in the order in which clearing asks them: the
   * newest allowance first, then the party's newest credential.
   */
  readonly payers: Map<string, VerifiedPayer[]> = new Map();
  /** By payee id, the latest to begin first, as for approvers. */
  readonly payees: Map<string, KnownPayee[]> = new Map();
  /** By approver id. */
  readonly approvers: Map<string, VerifiedMandate[]> = new Map();
  /** Their periods are judged against the time of each file that they sign. */
  readonly clearings: ClearingCredential[] = [];
  /** Every key that some valid document names, by id. */
  readonly keys: Map<string, PublicKey> = new Map();

  constructor(trust: Trust) {
    this.trust = trust;
    this.#know(trust.issuerKey);
  }

  #addParty(cose: Uint8Array): Checked<readonly PublicKey[]> {
    const added = this.#addAuthority(PARTY_CREDENTIAL, this.parties, cose);
    if (!added.ok) return added;
    const sign1 = decodeSign1(cose);
    const party = sign1.ok ? PARTY_CREDENTIAL.decode(sign1.value.payload) : sign1;
    if (!party.ok) return party;
    for (const { hex } of added.value) {
      const accounts = this.accounts.get(hex) ?? new Set();
      this.accounts.set(hex, accounts.add(party.value.fundingAccount));
    }
    return added;
  }

  #know(key: PublicKey): PublicKey {
    this.keys.set(key.hex, key);
    return key;
  }

  /** Opens one document and remembers what it says. The keys are those that it speaks of. */
  add(cose: Uint8Array): Checked<readonly PublicKey[]> {
    const single = decodeSign1(cose);
    if (!single.ok) return this.#addBinding(cose, single.reason);
    const { typ, kid } = single.value.header;
    const signer = toHex(kid ?? new Uint8Array(0));
    switch (typ ?? '') {
      case PARTY_CREDENTIAL.typ:
        return this.#addParty(cose);
      case REGISTRAR_CREDENTIAL.typ:
        return this.#addAuthority(REGISTRAR_CREDENTIAL, this.registrars, cose);
      case ACQUIRER_CREDENTIAL.typ:
        return this.#addAuthority(ACQUIRER_CREDENTIAL, this.acquirers, cose);
      case CLEARING_CREDENTIAL.typ:
        return this.#addClearing(cose);
      case GATEWAY_MANDATE.typ:
        return this.#addMandate(cose);
      case MERCHANT_CREDENTIAL.typ:
        return this.#addMerchant(cose, signer);
      case ALLOWANCE.typ:
        return this.#checkAllowance(cose, single.value.payload);
      case POLICY.typ:
        return this.#checkSigned(this.parties.get(signer)?.[0]?.key, (key) =>
          openDocument(this.trust.verifier, key, POLICY, cose),
        );
      case TARIFF.typ:
        return this.#checkSigned(this.payees.get(signer)?.[0]?.key, (key) =>
          verifyTariff(this.trust.verifier, key, cose),
        );
      case APPROVER_CLOSING.typ:
        return this.#checkSigned(this.trust.issuerKey, () =>
          verifyApproverClosing(this.trust, cose),
        );
      case STATUS_LIST.typ:
        return this.#checkSigned(this.trust.issuerKey, () => verifyStatusList(this.trust, cose));
      default:
        return refused('UNKNOWN_MESSAGE', 'a document of no known typ');
    }
  }

  #checkSigned(
    key: PublicKey | undefined,
    open: (key: PublicKey) => Checked<unknown>,
  ): Checked<readonly PublicKey[]> {
    if (!key) return refused('CREDENTIAL_INVALID', UNKNOWN_SIGNER);
    const opened = open(key);
    return opened.ok ? accepted([]) : opened;
  }

  #addAuthority(
    codec: typeof PARTY_CREDENTIAL | typeof REGISTRAR_CREDENTIAL | typeof ACQUIRER_CREDENTIAL,
    into: Map<string, Authority[]>,
    cose: Uint8Array,
  ): Checked<readonly PublicKey[]> {
    const { verifier, issuerKey } = this.trust;
    // The three codecs differ in fields that are not asked for here.
    const opened = openDocument(verifier, issuerKey, codec as typeof REGISTRAR_CREDENTIAL, cose);
    if (!opened.ok) return opened;
    const { key } = opened.value.value;
    push(into, key.hex, { key: this.#know(key), cose });
    return accepted([key]);
  }

  #addClearing(cose: Uint8Array): Checked<readonly PublicKey[]> {
    const opened = verifyClearing(this.trust, cose, undefined);
    if (!opened.ok) return opened;
    const credential = opened.value.value;
    this.clearings.push(credential);
    return accepted([this.#know(credential.key)]);
  }

  #addMandate(cose: Uint8Array): Checked<readonly PublicKey[]> {
    const opened = verifyMandate(this.trust, cose, undefined);
    if (!opened.ok) return opened;
    const { gatewayKey } = opened.value;
    push(this.approvers, this.#know(gatewayKey).hex, opened.value).sort(latestFirst);
    return accepted([gatewayKey]);
  }

  #addMerchant(cose: Uint8Array, signer: string): Checked<readonly PublicKey[]> {
    let found: Checked<readonly PublicKey[]> = refused('CREDENTIAL_INVALID', UNKNOWN_SIGNER);
    for (const acquirer of this.acquirers.get(signer) ?? []) {
      const documents = { acquirer: acquirer.cose, merchant: cose };
      const opened = verifyPayee(this.trust, documents, undefined);
      if (!opened.ok) {
        if (!found.ok) found = opened;
        continue;
      }
      const verified = opened.value;
      const keys = [...verified.payeeKeys.values()];
      for (const key of keys) {
        push(this.payees, this.#know(key).hex, { key, verified }).sort((a, b) =>
          latestFirst(a.verified, b.verified),
        );
      }
      found = accepted(keys);
    }
    return found;
  }

  #addBinding(cose: Uint8Array, otherwise: string): Checked<readonly PublicKey[]> {
    const opened = this.openBinding(cose, otherwise);
    if (!opened.ok) return opened;
    const { lineHex, deviceKey } = opened.value;
    push(this.bindings, lineHex, opened.value);
    for (const documents of this.#chainsOf(opened.value.binding, cose)) {
      push(this.#coses, lineHex, documents);
    }
    return accepted([this.#know(deviceKey)]);
  }

  /** A binding under the party and registrar that it names; also one that came inside a proof. */
  openBinding(cose: Uint8Array, otherwise = 'not a COSE_Sign'): Checked<VerifiedBinding> {
    const message = decodeSign(cose);
    if (!message.ok) return refused('MALFORMED', `${otherwise}; ${message.reason}`);
    const binding = BINDING.decode(message.value.payload);
    if (!binding.ok) return binding;
    let found: Checked<VerifiedBinding> = refused('CREDENTIAL_INVALID', UNKNOWN_SIGNER);
    for (const documents of this.#chainsOf(binding.value, cose)) {
      const verified = verifyBinding(this.trust, documents, undefined);
      if (verified.ok || !found.ok) found = verified;
    }
    return found;
  }

  /** A binding with each credential that its party and its registrar have. */
  #chainsOf({ party, issuer }: Binding, binding: Uint8Array): BindingDocuments[] {
    const registrars = this.registrars.get(toHex(issuer)) ?? [];
    return (this.parties.get(toHex(party)) ?? []).flatMap((one) =>
      registrars.map(({ cose }) => ({ party: one.cose, registrar: cose, binding })),
    );
  }

  /** The documents behind each line's bindings: an allowance is opened together with them. */
  readonly #coses = new Map<string, BindingDocuments[]>();

  #checkAllowance(cose: Uint8Array, payload: Uint8Array): Checked<readonly PublicKey[]> {
    const allowance = ALLOWANCE.decode(payload);
    if (!allowance.ok) return allowance;
    let found: Checked<readonly PublicKey[]> = refused(
      'UNKNOWN_LINE',
      'no valid binding of its line in trust/documents',
    );
    for (const bound of this.#coses.get(toHex(allowance.value.line)) ?? []) {
      const verified = verifyPayer(this.trust, { ...bound, allowance: cose }, undefined);
      if (verified.ok) {
        push(this.payers, verified.value.lineHex, verified.value).sort(newestFirst);
        found = accepted([]);
      } else if (!found.ok) {
        found = verified;
      }
    }
    return found;
  }
}

const RANKS: ReadonlyMap<string, number> = new Map([
  [PARTY_CREDENTIAL.typ, 0],
  [REGISTRAR_CREDENTIAL.typ, 0],
  [ACQUIRER_CREDENTIAL.typ, 0],
  [CLEARING_CREDENTIAL.typ, 0],
  [GATEWAY_MANDATE.typ, 0],
  [STATUS_LIST.typ, 0],
  [APPROVER_CLOSING.typ, 0],
]);

/** Where a document stands in the chain: what others rest on comes first. */
export function chainRank(cose: Uint8Array): number {
  const single = decodeSign1(cose);
  if (!single.ok) return 1;
  const { typ } = single.value.header;
  return RANKS.get(typ ?? '') ?? (typ === MERCHANT_CREDENTIAL.typ ? 1 : 2);
}

/** Id of the key that a document says the issuer has; undefined for documents of others. */
export function namedIssuer(cose: Uint8Array): string | undefined {
  const single = decodeSign1(cose);
  if (!single.ok) return undefined;
  const { typ, kid } = single.value.header;
  return kid && RANKS.has(typ ?? '') ? toHex(kid) : undefined;
}
