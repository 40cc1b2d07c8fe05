/**
 * Enrolment: how a witness or a mirror comes to know a gateway's log without anybody's configuration (DESIGN section 5).
 * Whoever asks brings two documents: the mandate, signed by the issuer, which names the gateway's key and the prefix of
 * its origins, and an enrolment signed by that key, which names the origin and the key that signs its checkpoints.
 * It stays when the mandate ends: what was approved under it must become final even then.
 */
import { type Trust, verifyMandate } from '../../../identity/core/chain.ts';
import { type Opened, openDocument } from '../../../identity/core/document.ts';
import {
  LOG_ENROLMENT,
  type LogEnrolment,
} from '../../../identity/core/documents/log-enrolment.ts';
import { coversOrigin } from '../../../identity/core/documents/mandate.ts';
import type { StatusReference } from '../../../identity/core/documents/standard.ts';
import { bytesEqual } from '../../../protocol/bytes.ts';
import { decodeCanonical } from '../../../protocol/cbor/decode.ts';
import { encodeCanonical } from '../../../protocol/cbor/encode.ts';
import { TYPE_ED25519, type VerifierKey, isKeyName, verifierKey } from './note-key.ts';
import { parseShard } from './shard.ts';
import { type Outcome, bad, ok } from './text.ts';
import { MAX_WITNESSED_LOGS } from './witness.ts';

/** Two documents with the largest mandate fit many times over. */
export const MAX_ENROLMENT_BYTES = 16_384;
/** Origins that one gateway's key may enrol: the log, and one more for each time that it was lost for good. */
export const MAX_ORIGINS_PER_MANDATE = 8;

/** A log that was enrolled. */
export interface EnrolledLog {
  /** Of a log, or the prefix of a chain of shards. */
  readonly origin: string;
  readonly key: VerifierKey;
  /** Id of the gateway's key. */
  readonly gateway: string;
  readonly issuedS: number;
  readonly url?: string;
  /** The request as it came: what is stored. */
  readonly request: Uint8Array;
}

/** Keys and enrolments that a witness knows. */
export interface KnownLogs {
  /** From the configuration and from enrolments, by origin or prefix. */
  readonly keys: ReadonlyMap<string, readonly VerifierKey[]>;
  readonly enrolled: ReadonlyMap<string, EnrolledLog>;
}

/** What an enrolment is judged by. */
export interface EnrolmentRules {
  readonly trust: Trust;
  /** A mirror takes only a log whose address is known. */
  readonly needsUrl: boolean;
  /** What the status list says of a mandate; `unknown` where the list is missing, late or another. */
  readonly statusOf: (reference: StatusReference, nowS: number) => 'valid' | 'revoked' | 'unknown';
}

interface EnrolmentAnswer {
  readonly status: 200 | 400 | 403 | 409 | 503;
  readonly body: string;
}

/** `log` is to be stored before the answer leaves; absent where there is nothing new. */
export interface EnrolmentVerdict {
  readonly answer: EnrolmentAnswer;
  readonly log?: EnrolledLog;
}

/** The body of POST /enrol: a CBOR array of the mandate and the enrolment, each COSE bytes. */
export const encodeEnrolment = (mandate: Uint8Array, enrolment: Uint8Array): Uint8Array =>
  encodeCanonical([mandate, enrolment]);

const parseEnrolment = (request: Uint8Array): Outcome<readonly [Uint8Array, Uint8Array]> => {
  if (request.length > MAX_ENROLMENT_BYTES) return bad('enrolment too large');
  const decoded = decodeCanonical(request, { maxBytes: MAX_ENROLMENT_BYTES });
  if (!decoded.ok || !Array.isArray(decoded.value) || decoded.value.length !== 2) {
    return bad('not a CBOR array of mandate and enrolment');
  }
  const [mandate, enrolment] = decoded.value;
  return mandate instanceof Uint8Array && enrolment instanceof Uint8Array
    ? ok([mandate, enrolment])
    : bad('mandate and enrolment are not byte strings');
};

/** Whether a stored record is an enrolment rather than a head: no text begins with a byte of a CBOR array. */
export const isEnrolment = (record: Uint8Array): boolean => (record[0] ?? 0) >>> 5 === 0b100;

interface Checked {
  readonly log: EnrolledLog;
  readonly status: StatusReference;
}

type Refusal = Outcome<never> & { readonly isMalformed: boolean };

const refusal = (reason: string, isMalformed = false): Refusal => ({ ...bad(reason), isMalformed });

/** Checks both documents and that one allows the other. */
const check = (
  request: Uint8Array,
  trust: Trust,
  nowS: number | undefined,
): { readonly ok: true; readonly value: Checked } | Refusal => {
  const parts = parseEnrolment(request);
  if (!parts.ok) return refusal(parts.reason, true);
  const [mandateBytes, enrolmentBytes] = parts.value;
  const verified = verifyMandate(trust, mandateBytes, nowS);
  if (!verified.ok) return refusal(verified.reason);
  const { mandate, gatewayKey } = verified.value;
  const opened = openDocument(trust.verifier, gatewayKey, LOG_ENROLMENT, enrolmentBytes);
  if (!opened.ok) return refusal(opened.reason);
  const { origin, logKey, issuedS, url }: Opened<LogEnrolment>['value'] = opened.value.value;
  if (!isKeyName(origin)) return refusal('no note can carry this origin', true);
  if (!coversOrigin(mandate, origin)) return refusal('the mandate is for other origins');
  const log: EnrolledLog = {
    origin,
    key: verifierKey(origin, TYPE_ED25519, logKey.point),
    gateway: gatewayKey.hex,
    issuedS,
    ...(url === undefined ? {} : { url }),
    request,
  };
  return { ok: true, value: { log, status: mandate.status } };
};

const isSameKey = (keys: readonly VerifierKey[], { publicKey }: VerifierKey): boolean =>
  keys.some((key) => bytesEqual(key.publicKey, publicKey));

/**
 * Whether another key stands for this log already: for the origin, for the prefix that it is a shard of, or for a shard
 * that it is the prefix of.
 */
const isTaken = ({ keys }: KnownLogs, { origin, key }: EnrolledLog): boolean => {
  const prefix = parseShard(origin)?.prefix;
  for (const name of prefix === undefined ? [origin] : [origin, prefix]) {
    const known = keys.get(name);
    if (known !== undefined && !isSameKey(known, key)) return true;
  }
  for (const [name, known] of keys) {
    if (parseShard(name)?.prefix === origin && !isSameKey(known, key)) return true;
  }
  return false;
};

const answer = (status: EnrolmentAnswer['status'], body: string): EnrolmentVerdict => ({
  answer: { status, body: `${body}\n` },
});

/**
 * Judges a request. Codes: 400 malformed, 403 not signed, not covered, expired, revoked or one too many of a mandate,
 * 409 another key stands for this log, 503 no room, or the mandate's status is not known.
 */
export const judgeEnrolment = (
  request: Uint8Array,
  known: KnownLogs,
  rules: EnrolmentRules,
  nowS: number,
): EnrolmentVerdict => {
  const checked = check(request, rules.trust, nowS);
  if (!checked.ok) return answer(checked.isMalformed ? 400 : 403, checked.reason);
  const { log, status } = checked.value;
  const { origin } = log;
  if (rules.needsUrl && log.url === undefined) return answer(400, 'the log has no address');
  const standing = rules.statusOf(status, nowS);
  if (standing === 'revoked') return answer(403, 'the mandate is revoked');
  if (standing === 'unknown') return answer(503, 'the status of the mandate is not known');
  if (isTaken(known, log)) return answer(409, 'another key stands for this log');
  const before = known.enrolled.get(origin);
  if (before !== undefined) {
    // An older enrolment, sent again, does not bring an old address back.
    const isMoved = rules.needsUrl && log.url !== before.url && log.issuedS > before.issuedS;
    return isMoved ? { ...answer(200, 'enrolled'), log } : answer(200, 'enrolled');
  }
  if (known.keys.has(origin)) return answer(200, 'known by configuration');
  if (known.keys.size >= MAX_WITNESSED_LOGS) return answer(503, 'too many logs');
  let own = 0;
  for (const { gateway } of known.enrolled.values()) if (gateway === log.gateway) own += 1;
  return own < MAX_ORIGINS_PER_MANDATE
    ? { ...answer(200, 'enrolled'), log }
    : answer(403, 'too many origins of one mandate');
};

/** Reads a stored request back; times and the status list were checked when it came. */
export const restoreEnrolment = (request: Uint8Array, trust: Trust): Outcome<EnrolledLog> => {
  const checked = check(request, trust, undefined);
  return checked.ok ? ok(checked.value.log) : bad(checked.reason);
};
