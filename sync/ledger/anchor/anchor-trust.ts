/**
 * `trust/anchors/<name>.json`: what evidence of the anchor of that name is checked against. The verifier's own knowledge,
 * never the anchorer's word:
 *
 *   {"kind":"evm","chainId":1,"contract":"0x…","sender":"0x…","blocks":["0x…"]}
 *   {"kind":"rfc3161","roots":["-----BEGIN CERTIFICATE-----…"],"policies":["1.2.3"]}
 *   {"kind":"file","keys":["name+keyid+key"]}
 */
import { X509Certificate } from 'node:crypto';
import { fromHex } from '../../../protocol/bytes.ts';
import { verifyCountersigned } from '../core/anchor-countersign.ts';
import { readHex, verifyEvmEvidence } from '../core/anchor-evm.ts';
import type { VerifyAnchor } from '../core/anchor-port.ts';
import { type Verify, TYPE_COSIGNATURE, parseVerifierKey } from '../core/note-key.ts';
import { type Outcome, bad, decodeUtf8, ok } from '../core/text.ts';
import { HEAD_ANCHOR_CODE_HASH } from './evm/head-anchor.ts';
import { type TimeStampTrust, verifyTimeStamp } from './timestamp-check.ts';

const MAX_TRUST_BYTES = 1_048_576;
const HASH_BYTES = 32;
const ADDRESS_BYTES = 20;

type Values = Readonly<Record<string, unknown>>;

/** Every entry read, or undefined where one cannot be; a missing list is undefined too. */
const readAll = <T>(value: unknown, read: (entry: string) => T | undefined): T[] | undefined => {
  if (!Array.isArray(value)) return undefined;
  const found = value.map((entry: unknown) =>
    typeof entry === 'string' ? read(entry) : undefined,
  );
  return found.every((one) => one !== undefined) ? found : undefined;
};

const derOf = (pem: string): Uint8Array | undefined => {
  try {
    return new Uint8Array(new X509Certificate(pem).raw);
  } catch {
    return undefined;
  }
};

const lowerHex = (value: unknown, length: number): Uint8Array | undefined =>
  typeof value === 'string' ? readHex(value.toLowerCase(), length) : undefined;

const evmTrust = (values: Values): Outcome<VerifyAnchor> => {
  const chainId = values['chainId'];
  const contract = lowerHex(values['contract'], ADDRESS_BYTES);
  const sender = lowerHex(values['sender'], ADDRESS_BYTES);
  const blocks = readAll(values['blocks'], (text) => lowerHex(text, HASH_BYTES));
  if (typeof chainId !== 'number' || !contract || !sender || !blocks) {
    return bad('needs chainId, contract, sender and blocks');
  }
  const codeHash = fromHex(HEAD_ANCHOR_CODE_HASH.slice(2));
  return ok(verifyEvmEvidence({ chainId, contract, sender, blocks, codeHash }));
};

/** Roots in PEM, and policies; what an anchor of this kind is told in its configuration too. */
export const timeStampTrust = (values: Values): Outcome<TimeStampTrust> => {
  const roots = readAll(values['roots'], derOf);
  const policies = readAll(values['policies'] ?? [], (text) => text);
  if (!roots || roots.length === 0) return bad('needs roots: certificates in PEM');
  if (!policies) return bad('policies are dotted object identifiers');
  return ok({ roots, ...(policies.length === 0 ? {} : { policies }) });
};

/** The consortium's cosignature keys; what an anchor of this kind is told in its configuration too. */
export const countersignTrust = (values: Values, verify: Verify): Outcome<VerifyAnchor> => {
  const keys = readAll(values['keys'], (text) => {
    const key = parseVerifierKey(text);
    return key.ok && key.value.type === TYPE_COSIGNATURE ? key.value : undefined;
  });
  if (!keys || keys.length === 0) return bad('needs keys: vkeys of type 0x04');
  return ok(verifyCountersigned(keys, verify));
};

/** Reads one trust file. */
export const parseAnchorTrust = (bytes: Uint8Array, verify: Verify): Outcome<VerifyAnchor> => {
  const text = bytes.length > MAX_TRUST_BYTES ? undefined : decodeUtf8(bytes);
  let values: Values;
  try {
    values = Object(JSON.parse(text ?? '')) as Values;
  } catch {
    return bad('is not JSON');
  }
  if (values['kind'] === 'evm') return evmTrust(values);
  if (values['kind'] === 'file') return countersignTrust(values, verify);
  if (values['kind'] !== 'rfc3161') return bad('kind is evm, rfc3161 or file');
  const trust = timeStampTrust(values);
  return trust.ok ? ok(verifyTimeStamp(trust.value)) : trust;
};
