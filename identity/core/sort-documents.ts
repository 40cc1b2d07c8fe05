import { decodeCanonical } from '../../protocol/cbor/decode.ts';
import { decodeSign, decodeSign1 } from '../../protocol/cose.ts';
import { accepted, refused, type Checked } from '../../protocol/refusal.ts';
import { MAX_MESSAGE_BYTES } from '../../protocol/schema.ts';
import { TARIFF } from '../../protocol/tariff.ts';
import { ALLOWANCE } from './documents/allowance.ts';
import { APPROVER_CLOSING } from './documents/approver-closing.ts';
import { BINDING, CLOSING } from './documents/binding.ts';
import {
  ACQUIRER_CREDENTIAL,
  CLEARING_CREDENTIAL,
  PARTY_CREDENTIAL,
  REGISTRAR_CREDENTIAL,
} from './documents/credentials.ts';
import { GATEWAY_MANDATE } from './documents/mandate.ts';
import { MERCHANT_CREDENTIAL } from './documents/merchant.ts';
import { POLICY } from './documents/policy.ts';

const BY_TYP = new Map<string, DocumentKind>([
  [PARTY_CREDENTIAL.typ, 'party'],
  [REGISTRAR_CREDENTIAL.typ, 'registrar'],
  [ACQUIRER_CREDENTIAL.typ, 'acquirer'],
  [CLEARING_CREDENTIAL.typ, 'clearing'],
  [ALLOWANCE.typ, 'allowance'],
  [POLICY.typ, 'policy'],
  [MERCHANT_CREDENTIAL.typ, 'merchant'],
  [GATEWAY_MANDATE.typ, 'mandate'],
  [TARIFF.typ, 'tariff'],
  [APPROVER_CLOSING.typ, 'approver-closing'],
]);

type DocumentKind =
  | 'party'
  | 'registrar'
  | 'acquirer'
  | 'clearing'
  | 'binding'
  | 'closing'
  | 'allowance'
  | 'policy'
  | 'merchant'
  | 'mandate'
  | 'tariff'
  | 'approver-closing';

/** COSE bytes by what they say they are; nothing is verified yet. */
export type SortedDocuments = { readonly [kind in DocumentKind]?: Uint8Array };

function kindOf(cose: Uint8Array): Checked<DocumentKind> {
  const single = decodeSign1(cose);
  if (single.ok) {
    const kind = BY_TYP.get(single.value.header.typ ?? '');
    return kind ? accepted(kind) : refused('UNKNOWN_MESSAGE', 'a document of no known typ');
  }
  const several = decodeSign(cose);
  if (!several.ok)
    return refused(single.code, `neither COSE_Sign1 nor COSE_Sign: ${single.reason}`);
  const decoded = decodeCanonical(several.value.payload, { maxBytes: MAX_MESSAGE_BYTES });
  if (!decoded.ok) return refused(decoded.code, `COSE_Sign: ${decoded.reason}`);
  const claims = decoded.value instanceof Map ? decoded.value : new Map();
  if (claims.has(BINDING.claim)) return accepted('binding');
  if (claims.has(CLOSING.claim)) return accepted('closing');
  return refused('UNKNOWN_MESSAGE', 'a COSE_Sign that is neither binding nor closing');
}

/** Sorts the documents of a Present message. Refuses unknown ones and two of one kind. */
export function sortDocuments(documents: readonly Uint8Array[]): Checked<SortedDocuments> {
  const sorted: { [kind in DocumentKind]?: Uint8Array } = {};
  for (const cose of documents) {
    const kind = kindOf(cose);
    if (!kind.ok) return kind;
    if (sorted[kind.value]) return refused('MALFORMED', `two documents of kind ${kind.value}`);
    sorted[kind.value] = cose;
  }
  return accepted(sorted);
}
