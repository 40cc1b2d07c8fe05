/** What a time stamp's chain needs of an X.509 certificate (RFC 5280) that node:crypto does not tell. */
import {
  TAG,
  type DerNode,
  decodeDer,
  explicit,
  partsOf,
  readInteger,
  readOid,
  readSmall,
  readTime,
  withTag,
} from './anchor-der.ts';
import { type Outcome, bad, ok } from './text.ts';

const EXTENSION = {
  keyUsage: '2.5.29.15',
  basicConstraints: '2.5.29.19',
  extendedKeyUsage: '2.5.29.37',
} as const;
const TIME_STAMPING = '1.3.6.1.5.5.7.3.8';
/** Bits of KeyUsage, the first byte of the bit string. */
const DIGITAL_SIGNATURE = 0x80;
const NON_REPUDIATION = 0x40;
const CERT_SIGN = 0x04;

export interface Certificate {
  readonly issuer: Uint8Array;
  readonly subject: Uint8Array;
  readonly serial: Uint8Array;
  /** First and last second of its validity. */
  readonly notBeforeS: number;
  readonly notAfterS: number;
  readonly isCa: boolean;
  /** Certificate authorities that may stand below it; absent without a limit. */
  readonly pathLength?: number;
  /** Whether it may sign certificates, and time stamps and nothing else (RFC 3161 section 2.3). */
  readonly maySignCertificates: boolean;
  readonly mayStampTime: boolean;
  /** Dotted identifiers of critical extensions that are not judged here. */
  readonly unknownCritical: readonly string[];
}

interface Extension {
  readonly isCritical: boolean;
  readonly value: DerNode;
}

const readExtensions = (node: DerNode | undefined): ReadonlyMap<string, Extension> | undefined => {
  const found = new Map<string, Extension>();
  for (const extension of partsOf(partsOf(node, explicit(3))[0])) {
    const [oidNode, second, third] = partsOf(extension);
    const isMarked = second?.tag === TAG.boolean;
    const value = withTag(isMarked ? third : second, TAG.octetString);
    const oid = readOid(oidNode);
    const decoded = value && decodeDer(value.content);
    if (oid === undefined || decoded?.ok !== true || found.has(oid)) return undefined;
    found.set(oid, { isCritical: isMarked && second.content[0] !== 0, value: decoded.value });
  }
  return found;
};

const usageOf = (extension: Extension | undefined): number | undefined =>
  extension === undefined ? undefined : (withTag(extension.value, TAG.bitString)?.content[1] ?? 0);

/** Reads one certificate; nothing is verified. */
export const parseCertificate = (bytes: Uint8Array): Outcome<Certificate> => {
  const decoded = decodeDer(bytes);
  if (!decoded.ok) return decoded;
  const [body] = partsOf(decoded.value);
  const fields = partsOf(body);
  // Version 3, the only one with extensions, stands in front as [0].
  const [version] = partsOf(fields[0], explicit(0));
  if (readSmall(version) !== 2) return bad('not a certificate of version 3');
  const [, serialNode, , issuer, validity, subject] = fields;
  const serial = readInteger(serialNode);
  const [notBeforeS, notAfterS] = partsOf(validity).map(readTime);
  const extensions = readExtensions(fields.find((field) => field.tag === explicit(3)));
  if (serial === undefined || issuer?.tag !== TAG.sequence || subject?.tag !== TAG.sequence) {
    return bad('malformed certificate');
  }
  if (notBeforeS === undefined || notAfterS === undefined || extensions === undefined) {
    return bad('malformed certificate');
  }
  const [ca, pathNode] = partsOf(extensions.get(EXTENSION.basicConstraints)?.value);
  const isCa = ca?.tag === TAG.boolean && ca.content[0] === 0xff;
  const pathLength = readSmall(pathNode);
  const usage = usageOf(extensions.get(EXTENSION.keyUsage));
  const purpose = extensions.get(EXTENSION.extendedKeyUsage);
  const purposes = partsOf(purpose?.value).map(readOid);
  const isForStamps =
    purpose?.isCritical === true && purposes.length === 1 && purposes[0] === TIME_STAMPING;
  const known: readonly string[] = Object.values(EXTENSION);
  return ok({
    issuer: issuer.whole,
    subject: subject.whole,
    serial,
    notBeforeS,
    notAfterS,
    isCa,
    ...(pathLength === undefined ? {} : { pathLength }),
    maySignCertificates: isCa && (usage === undefined || (usage & CERT_SIGN) !== 0),
    mayStampTime:
      isForStamps && (usage === undefined || (usage & (DIGITAL_SIGNATURE | NON_REPUDIATION)) !== 0),
    unknownCritical: [...extensions]
      .filter(([oid, { isCritical }]) => isCritical && !known.includes(oid))
      .map(([oid]) => oid),
  });
};
