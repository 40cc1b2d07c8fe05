/**
 * RFC 3161: the request for a time stamp, and the answer taken apart. Nothing here is verified but form, status and what
 * can be compared without a key; signatures and certificates are checked in anchor/timestamp-check.ts.
 */
import { sha256 } from '@noble/hashes/sha2.js';
import { bytesEqual } from '../../../protocol/bytes.ts';
import {
  TAG,
  type DerNode,
  decodeDer,
  encodeDer,
  encodeOid,
  encodeUnsigned,
  explicit,
  partsOf,
  readInteger,
  readOid,
  readSmall,
  readTime,
  withTag,
} from './anchor-der.ts';
import { type Outcome, bad, ok } from './text.ts';

/** A token with a chain of certificates is some 6 kB. */
export const MAX_RESPONSE_BYTES = 65_536;

const OID = {
  sha256: '2.16.840.1.101.3.4.2.1',
  signedData: '1.2.840.113549.1.7.2',
  tstInfo: '1.2.840.113549.1.9.16.1.4',
  contentType: '1.2.840.113549.1.9.3',
  messageDigest: '1.2.840.113549.1.9.4',
  signingCertificate: '1.2.840.113549.1.9.16.2.12',
  signingCertificateV2: '1.2.840.113549.1.9.16.2.47',
} as const;

/** `granted` and `grantedWithMods`. */
const MAX_GRANTED = 1;
const MAX_CERTIFICATES = 16;
const NONCE_BYTES = 8;

/** SHA-256 with the NULL parameters that every authority accepts (RFC 3370 section 2). */
const SHA256_ALGORITHM = encodeDer(TAG.sequence, encodeOid(OID.sha256), encodeDer(TAG.nil));

/**
 * A TimeStampReq for SHA-256 of `data` that asks for the certificates.
 * @param nonce 8 random bytes
 */
export const encodeTimeStampReq = (data: Uint8Array, nonce: Uint8Array): Uint8Array => {
  if (nonce.length !== NONCE_BYTES) throw new RangeError('not a nonce');
  const imprint = encodeDer(
    TAG.sequence,
    SHA256_ALGORITHM,
    encodeDer(TAG.octetString, sha256(data)),
  );
  const version = encodeUnsigned(Uint8Array.of(1));
  const certReq = encodeDer(TAG.boolean, Uint8Array.of(0xff));
  return encodeDer(TAG.sequence, version, imprint, encodeUnsigned(nonce), certReq);
};

/** What the authority says in a token. */
export interface TstInfo {
  /** Dotted object identifier of its policy. */
  readonly policy: string;
  /** SHA-256 of what was stamped. */
  readonly imprint: Uint8Array;
  readonly genTimeS: number;
  /** Content of the INTEGER; absent where none was asked for. */
  readonly nonce?: Uint8Array;
}

/** A token taken apart; the bytes are those that were received. */
export interface TimeStampToken {
  readonly info: TstInfo;
  /** The signed content: DER of the TSTInfo. */
  readonly content: Uint8Array;
  /** DER of the certificates that came along. */
  readonly certificates: readonly Uint8Array[];
  readonly signer: TimeStampSigner;
}

interface TimeStampSigner {
  /** Issuer's name in DER and serial number: who signed. */
  readonly issuer: Uint8Array;
  readonly serial: Uint8Array;
  /** Dotted identifiers. */
  readonly digestAlgorithm: string;
  readonly signatureAlgorithm: string;
  /** What is signed: DER of the attributes as a SET. */
  readonly signedAttributes: Uint8Array;
  readonly messageDigest: Uint8Array;
  /** Hash of the signer's certificate that the signature covers, and its algorithm (RFC 5816): an identifier, or `sha1`. */
  readonly certificateHash: Uint8Array;
  readonly certificateHashAlgorithm: string;
  readonly signature: Uint8Array;
}

const readTstInfo = (bytes: Uint8Array): Outcome<TstInfo> => {
  const decoded = decodeDer(bytes);
  if (!decoded.ok) return decoded;
  const [version, policyNode, imprintNode, serial, time, ...rest] = partsOf(decoded.value);
  const [algorithm, hash] = partsOf(imprintNode);
  const policy = readOid(policyNode);
  const genTimeS = readTime(withTag(time, TAG.generalizedTime));
  if (readSmall(version) !== 1 || policy === undefined || readInteger(serial) === undefined) {
    return bad('malformed time stamp information');
  }
  if (genTimeS === undefined) return bad('the time stamp has a malformed time');
  if (readOid(partsOf(algorithm)[0]) !== OID.sha256)
    return bad('the time stamp is not over SHA-256');
  const imprint = withTag(hash, TAG.octetString)?.content;
  if (imprint?.length !== 32) return bad('the time stamp has a malformed imprint');
  // Critical or not, nobody here knows an extension of a time stamp.
  if (rest.some((part) => part.tag === explicit(1))) return bad('the time stamp has extensions');
  const nonce = readInteger(rest.find((part) => part.tag === TAG.integer));
  return ok({ policy, imprint, genTimeS, ...(nonce === undefined ? {} : { nonce }) });
};

/** The only value of an attribute that must stand exactly once. */
const attributeOf = (attributes: readonly DerNode[], oid: string): DerNode | undefined => {
  const found = attributes.filter((one) => readOid(partsOf(one)[0]) === oid);
  const [only] = found;
  const values = found.length === 1 ? partsOf(partsOf(only)[1], TAG.set) : [];
  return values.length === 1 ? values[0] : undefined;
};

/** ESSCertIDv2 (RFC 5035), or the older ESSCertID with SHA-1 (RFC 2634). The first one names the signer. */
const certificateHashOf = (
  attributes: readonly DerNode[],
): { hash: Uint8Array; algorithm: string } | undefined => {
  const v2 = attributeOf(attributes, OID.signingCertificateV2);
  const [first] = partsOf(partsOf(v2 ?? attributeOf(attributes, OID.signingCertificate))[0]);
  const [one, two] = partsOf(first);
  if (v2 === undefined) {
    const hash = withTag(one, TAG.octetString)?.content;
    return hash && { hash, algorithm: 'sha1' };
  }
  // The algorithm is left out where it is SHA-256.
  const algorithm = one?.tag === TAG.sequence ? readOid(partsOf(one)[0]) : OID.sha256;
  const hash = withTag(one?.tag === TAG.sequence ? two : one, TAG.octetString)?.content;
  return hash && algorithm !== undefined ? { hash, algorithm } : undefined;
};

/**
 * The identifier of an algorithm whose parameters are NULL or left out, as those of every accepted one are (RFC 3370,
 * RFC 5754); anything else could carry what nobody signed.
 */
const readAlgorithm = (node: DerNode | undefined): string | undefined => {
  const [oid, parameters, ...more] = partsOf(node);
  const isPlain =
    parameters === undefined || (parameters.tag === TAG.nil && parameters.content.length === 0);
  return isPlain && more.length === 0 ? readOid(oid) : undefined;
};

const readSigner = (node: DerNode | undefined): Outcome<TimeStampSigner> => {
  const [version, sid, digest, attributesNode, algorithm, signatureNode] = partsOf(node);
  const [issuer, serialNode] = partsOf(sid);
  const serial = readInteger(serialNode);
  // Version 1 goes with issuer and serial number, the only way that RFC 3161 tokens are signed in practice.
  if (readSmall(version) !== 1 || issuer === undefined || serial === undefined) {
    return bad('the signer is not named by issuer and serial number');
  }
  const attributes = partsOf(attributesNode, explicit(0));
  const signature = withTag(signatureNode, TAG.octetString)?.content;
  const digestAlgorithm = readAlgorithm(digest);
  const signatureAlgorithm = readAlgorithm(algorithm);
  if (!signature || digestAlgorithm === undefined || signatureAlgorithm === undefined) {
    return bad('malformed signer');
  }
  if (readOid(attributeOf(attributes, OID.contentType)) !== OID.tstInfo) {
    return bad('the signature does not cover the content type');
  }
  const messageDigest = withTag(
    attributeOf(attributes, OID.messageDigest),
    TAG.octetString,
  )?.content;
  const certificate = certificateHashOf(attributes);
  if (messageDigest === undefined) return bad('the signature does not cover a digest');
  if (certificate === undefined)
    return bad('the signature does not cover the signer’s certificate');
  return ok({
    issuer: issuer.whole,
    serial,
    digestAlgorithm,
    signatureAlgorithm,
    // Signed is the SET, stored is [0] (RFC 5652 section 5.4).
    signedAttributes: encodeDer(TAG.set, attributesNode?.content ?? new Uint8Array(0)),
    messageDigest,
    certificateHash: certificate.hash,
    certificateHashAlgorithm: certificate.algorithm,
    signature,
  });
};

const readToken = (node: DerNode): Outcome<TimeStampToken> => {
  const [type, wrapped] = partsOf(node);
  if (readOid(type) !== OID.signedData) return bad('the token is no signed data');
  const [signedData] = partsOf(wrapped, explicit(0));
  const [version, digests, encapsulated, ...rest] = partsOf(signedData);
  const [contentType, contentNode] = partsOf(encapsulated);
  const content = withTag(partsOf(contentNode, explicit(0))[0], TAG.octetString)?.content;
  if (readSmall(version) !== 3 || readOid(contentType) !== OID.tstInfo || content === undefined) {
    return bad('the token holds no time stamp information');
  }
  const info = readTstInfo(content);
  if (!info.ok) return info;
  const certificates = partsOf(
    rest.find((part) => part.tag === explicit(0)),
    explicit(0),
  );
  const signers = partsOf(
    rest.find((part) => part.tag === TAG.set),
    TAG.set,
  );
  if (certificates.length > MAX_CERTIFICATES) return bad('too many certificates');
  // RFC 3161 section 2.4.2: no signature but the authority's.
  if (signers.length !== 1) return bad('the token does not have exactly one signer');
  const signer = readSigner(signers[0]);
  if (!signer.ok) return signer;
  const named = partsOf(digests, TAG.set).map(readAlgorithm);
  if (named.length !== 1 || named[0] !== signer.value.digestAlgorithm) {
    return bad('the token names another digest than its signer');
  }
  return ok({
    info: info.value,
    content,
    certificates: certificates.map((one) => one.whole),
    signer: signer.value,
  });
};

/** Takes a TimeStampResp apart; a refusal of the authority is a reason. */
export const parseTimeStampResp = (bytes: Uint8Array): Outcome<TimeStampToken> => {
  if (bytes.length > MAX_RESPONSE_BYTES) return bad(`answer over ${MAX_RESPONSE_BYTES} bytes`);
  const decoded = decodeDer(bytes);
  if (!decoded.ok) return decoded;
  const [statusInfo, token, ...more] = partsOf(decoded.value);
  const status = readSmall(partsOf(statusInfo)[0]);
  if (status === undefined || more.length > 0) return bad('not a time stamp response');
  if (status > MAX_GRANTED) return bad(`the authority refused: status ${status}`);
  return token === undefined ? bad('the answer has no token') : readToken(token);
};

/** Whether a token stamps this data. */
export const stamps = (info: TstInfo, data: Uint8Array): boolean =>
  bytesEqual(info.imprint, sha256(data));

/** Whether a token answers this request, by its nonce. */
export const answersNonce = (info: TstInfo, nonce: Uint8Array): boolean => {
  const sent = decodeDer(encodeUnsigned(nonce));
  return info.nonce !== undefined && sent.ok && bytesEqual(info.nonce, sent.value.content);
};
