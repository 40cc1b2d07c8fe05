/**
 * Checks a time stamp (RFC 3161) offline: signature over the token, the signer's certificate, and its chain to a root of
 * the trust files, all as of the stamped time. Revocation is not asked for: who trusts a root here trusts its authority
 * not to have lost the key before that time.
 */
import { X509Certificate, createHash, type KeyObject, verify } from 'node:crypto';
import { bytesEqual } from '../../../protocol/bytes.ts';
import { type Certificate, parseCertificate } from '../core/anchor-certificate.ts';
import type { AnchoredNote, VerifyAnchor } from '../core/anchor-port.ts';
import { parseTimeStampResp, stamps, type TimeStampToken } from '../core/anchor-timestamp.ts';
import { type Outcome, bad, ok } from '../core/text.ts';

/** Certificates between the authority's and a root. */
const MAX_CHAIN = 8;

const DIGESTS: ReadonlyMap<string, string> = new Map([
  ['sha1', 'sha1'],
  ['2.16.840.1.101.3.4.2.1', 'sha256'],
  ['2.16.840.1.101.3.4.2.2', 'sha384'],
  ['2.16.840.1.101.3.4.2.3', 'sha512'],
]);

/** Signature algorithms, with the digest that they state; RSA alone takes the signer's digest algorithm. */
const SIGNATURES: ReadonlyMap<string, { keyType: 'rsa' | 'ec'; digest?: string }> = new Map([
  ['1.2.840.113549.1.1.1', { keyType: 'rsa' }],
  ['1.2.840.113549.1.1.11', { keyType: 'rsa', digest: 'sha256' }],
  ['1.2.840.113549.1.1.12', { keyType: 'rsa', digest: 'sha384' }],
  ['1.2.840.113549.1.1.13', { keyType: 'rsa', digest: 'sha512' }],
  ['1.2.840.10045.4.3.2', { keyType: 'ec', digest: 'sha256' }],
  ['1.2.840.10045.4.3.3', { keyType: 'ec', digest: 'sha384' }],
  ['1.2.840.10045.4.3.4', { keyType: 'ec', digest: 'sha512' }],
]);

/** A certificate in both readings. */
interface KnownCertificate {
  readonly der: Uint8Array;
  readonly x509: X509Certificate;
  readonly key: KeyObject;
  readonly parsed: Certificate;
}

const readCertificate = (der: Uint8Array): KnownCertificate | undefined => {
  const parsed = parseCertificate(der);
  if (!parsed.ok) return undefined;
  try {
    const x509 = new X509Certificate(der);
    return { der, x509, key: x509.publicKey, parsed: parsed.value };
  } catch {
    return undefined;
  }
};

/** Those that can be read; another one proves nothing. */
const readAll = (ders: readonly Uint8Array[]): readonly KnownCertificate[] =>
  ders.map(readCertificate).filter((one) => one !== undefined);

/** What the verifier takes from the trust files. */
export interface TimeStampTrust {
  /** DER of root certificates, or of an authority's own. */
  readonly roots: readonly Uint8Array[];
  /** Policies of authorities that are accepted, dotted; absent for any. */
  readonly policies?: readonly string[];
}

const digestOf = (algorithm: string, bytes: Uint8Array): Uint8Array | undefined => {
  const name = DIGESTS.get(algorithm);
  return name === undefined ? undefined : createHash(name).update(bytes).digest();
};

const holds = (one: KnownCertificate, atS: number): string | undefined => {
  const { notBeforeS, notAfterS, unknownCritical } = one.parsed;
  if (atS < notBeforeS || atS > notAfterS) return 'a certificate was not valid at the stamped time';
  return unknownCritical.length > 0
    ? `a certificate has the unknown critical extension ${unknownCritical.join(', ')}`
    : undefined;
};

/** OpenSSL throws on signatures and keys that it cannot read. */
const isTrue = (check: () => boolean): boolean => {
  try {
    return check();
  } catch {
    return false;
  }
};

const issued = (above: KnownCertificate, below: KnownCertificate): boolean =>
  bytesEqual(above.parsed.subject, below.parsed.issuer) &&
  isTrue(() => below.x509.verify(above.key));

/** Walks from the signer's certificate to a trusted one. */
const checkChain = (
  signer: KnownCertificate,
  others: readonly KnownCertificate[],
  roots: readonly KnownCertificate[],
  atS: number,
): Outcome<KnownCertificate> => {
  let below = signer;
  for (let depth = 0; depth < MAX_CHAIN; depth += 1) {
    const wrong = holds(below, atS);
    if (wrong !== undefined) return bad(wrong);
    const current = below;
    const isRoot = roots.some((root) => bytesEqual(root.der, current.der));
    if (isRoot) return ok(current);
    const above = [...roots, ...others].find(
      (one) => one.parsed.maySignCertificates && issued(one, current),
    );
    if (above === undefined)
      return bad('the authority’s certificate leads to no root of the trust files');
    if ((above.parsed.pathLength ?? depth) < depth) return bad('a certificate’s path is too long');
    below = above;
  }
  return bad('the chain of certificates is too long');
};

const checkSignature = (token: TimeStampToken, signer: KnownCertificate): string | undefined => {
  const { content, signer: by } = token;
  const digest = digestOf(by.digestAlgorithm, content);
  const scheme = SIGNATURES.get(by.signatureAlgorithm);
  const hash = scheme?.digest ?? DIGESTS.get(by.digestAlgorithm);
  if (
    !digest ||
    !scheme ||
    hash === undefined ||
    hash === 'sha1' ||
    by.digestAlgorithm === 'sha1'
  ) {
    return 'the token is signed by an algorithm that is not accepted';
  }
  if (!bytesEqual(digest, by.messageDigest)) return 'the signed digest is not the content’s';
  const { key } = signer;
  if (key.asymmetricKeyType !== scheme.keyType) return 'the key is not of the signature’s kind';
  return isTrue(() => verify(hash, by.signedAttributes, key, by.signature))
    ? undefined
    : 'the authority’s signature does not hold';
};

/** Everything about a token but what it stamps. */
const checkToken = (token: TimeStampToken, trust: TimeStampTrust): Outcome<KnownCertificate> => {
  const [others, roots] = [readAll(token.certificates), readAll(trust.roots)];
  const { issuer, serial, certificateHash, certificateHashAlgorithm } = token.signer;
  const signer = [...others, ...roots].find(
    ({ parsed }) => bytesEqual(parsed.issuer, issuer) && bytesEqual(parsed.serial, serial),
  );
  if (signer === undefined) return bad('the authority’s certificate is not in the token');
  const named = digestOf(certificateHashAlgorithm, signer.der);
  if (named === undefined || !bytesEqual(named, certificateHash)) {
    return bad('the signature names another certificate');
  }
  if (!signer.parsed.mayStampTime) return bad('the certificate is not for time stamping alone');
  const wrong = checkSignature(token, signer);
  if (wrong !== undefined) return bad(wrong);
  if (trust.policies !== undefined && !trust.policies.includes(token.info.policy)) {
    return bad(`policy ${token.info.policy} is not accepted`);
  }
  const chain = checkChain(signer, others, roots, token.info.genTimeS);
  return chain.ok ? ok(signer) : chain;
};

/** Checks a stored TimeStampResp over the note's bytes. */
export const verifyTimeStamp =
  (trust: TimeStampTrust): VerifyAnchor =>
  (evidence, note): Outcome<AnchoredNote> => {
    const token = parseTimeStampResp(evidence);
    if (!token.ok) return token;
    if (!stamps(token.value.info, note)) return bad('the time stamp is of another note');
    const checked = checkToken(token.value, trust);
    if (!checked.ok) return checked;
    const subject = checked.value.x509.subject.replaceAll('\n', ', ');
    return ok({ anchoredAtS: token.value.info.genTimeS, by: `time stamp of ${subject}` });
  };
