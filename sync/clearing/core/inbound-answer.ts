import { bytesEqual } from '../../../protocol/bytes.ts';
import { decodeSign1, signSign1, verifySign1 } from '../../../protocol/cose.ts';
import type { PublicKey, Signer, Verifier } from '../../../protocol/public-key.ts';
import { refused, type Checked } from '../../../protocol/refusal.ts';
import { U32, U53, bytes, listOf, message, record, text } from '../../../protocol/schema.ts';
import type { Codec, Field } from '../../../protocol/schema.ts';

/**
 * What became of a document of the issuer. `taken`: every message of it was applied or was known. `partly`: those that
 * {@link InboundAnswer.refusals} names moved nothing. `refused`: nothing of it was read.
 */
type InboundVerdict = 'taken' | 'partly' | 'refused';

/** One message that moved nothing: where it stands in the issuer's file (0 in an acknowledgement), and why. */
export type RefusedMessage = { readonly record: number; readonly code: string };

/** The clearing's word on one document of the issuer. Times are UTC seconds. */
export type InboundAnswer = {
  /** Id of the issuer's key. */
  readonly issuer: Uint8Array;
  /** Runs per issuer, from 1 without gaps. */
  readonly number: number;
  /** Name in the inbox: of the acknowledgement or manifest, or of a file that none speaks of. */
  readonly name: string;
  /** Of the very bytes under that name. */
  readonly sha256: Uint8Array;
  readonly verdict: InboundVerdict;
  /** Why nothing was read; empty unless refused. */
  readonly code: string;
  /** For people; nothing is decided by it. */
  readonly detail: string;
  readonly refusals: readonly RefusedMessage[];
  /** Of so many answers to one document this is the one with number `part`, from 1. */
  readonly part: number;
  readonly parts: number;
  readonly answeredS: number;
};

const INBOUND_ANSWER_TYP = 'kiri-inbound-answer';
const INBOUND_ANSWER_TYPE = 69;
/** Messages in one answer: it stays below the longest signed document. */
export const REFUSALS_MAX = 256;
const DETAIL_MAX = 200;
const NAME_MAX = 128;
const VERDICTS: readonly InboundVerdict[] = ['taken', 'partly', 'refused'];

const VERDICT: Field<InboundVerdict> = {
  name: 'verdict',
  write: (value) => value,
  read: (value) => VERDICTS.find((one) => one === value),
};

const REFUSED_MESSAGE: Field<RefusedMessage> = record<RefusedMessage>('refused message', {
  record: [1, U32],
  code: [2, text(32)],
});

const INBOUND_ANSWER: Codec<InboundAnswer> = message<InboundAnswer>(INBOUND_ANSWER_TYPE, {
  issuer: [1, bytes(16)],
  number: [2, U53],
  name: [3, text(NAME_MAX)],
  sha256: [4, bytes(32)],
  verdict: [5, VERDICT],
  code: [6, text(32)],
  detail: [7, text(DETAIL_MAX)],
  refusals: [8, listOf(REFUSED_MESSAGE, REFUSALS_MAX)],
  part: [9, U32],
  parts: [10, U32],
  answeredS: [11, U53],
});

/** Texts of strangers: a name of the file system, words of a fault. */
const plain = (words: string, most: number): string =>
  words.replaceAll(/[^\x20-\x7e]/g, '?').slice(0, most);

/** @throws KiriError FIELD_MISSING, FIELD_OUT_OF_RANGE on a caller's bad value */
export const signInboundAnswer = (signer: Signer, answer: InboundAnswer): Uint8Array => {
  const { name, detail } = answer;
  const spoken = { ...answer, name: plain(name, NAME_MAX), detail: plain(detail, DETAIL_MAX) };
  const header = { kid: signer.key.id, typ: INBOUND_ANSWER_TYP };
  return signSign1(signer, INBOUND_ANSWER.encode(spoken), header);
};

/** The answer, if this clearing signed it. Whether it is for the reader, and of what document, is the reader's to compare. */
export const openInboundAnswer = (
  cose: Uint8Array,
  trust: { readonly verifier: Verifier; readonly clearing: PublicKey },
): Checked<InboundAnswer> => {
  const sign1 = decodeSign1(cose);
  if (!sign1.ok) return sign1;
  const { kid, typ } = sign1.value.header;
  const { clearing, verifier } = trust;
  if (typ !== INBOUND_ANSWER_TYP) return refused('MALFORMED', `typ is not ${INBOUND_ANSWER_TYP}`);
  if (!kid || !bytesEqual(kid, clearing.id) || !verifySign1(verifier, clearing, sign1.value)) {
    return refused('BAD_SIGNATURE', 'not signed by this clearing');
  }
  return INBOUND_ANSWER.decode(sign1.value.payload);
};
