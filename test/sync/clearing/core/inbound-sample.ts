import { nodeVerifier } from '../../../../identity/edge/node-signatures.ts';
import { sha256 } from '@noble/hashes/sha2.js';
import {
  openInboundManifest,
  signInboundManifest,
} from '../../../../sync/clearing/core/inbound-documents.ts';
import type {
  FileAcknowledgement,
  InboundManifest,
  InboundTrust,
} from '../../../../sync/clearing/core/inbound-documents.ts';
import type { InboundDraft, WrittenInbound } from '../../../../sync/clearing/core/inbound.ts';
import { writeInbound } from '../../../../sync/clearing/core/inbound.ts';
import type { InboundBody } from '../../../../sync/clearing/core/inbound-message.ts';
import { DEFAULT_IPM_PROFILE } from '../../../../sync/clearing/core/ipm-profile.ts';
import type { Signer } from '../../../../protocol/public-key.ts';
import { testSigner } from '../../../protocol/helpers.ts';

export const issuer: Signer = testSigner(41);
const clearingId: Uint8Array = new Uint8Array(16).fill(0xc1);
/** 2026-11-22 00:00 UTC. */
export const CREATED_S: number = Date.UTC(2026, 10, 22) / 1000;

export const trust: InboundTrust = {
  verifier: nodeVerifier(),
  issuers: [issuer.key],
  clearing: clearingId,
  nowS: CREATED_S,
};

export const SOURCE_FILE_ID = '0022611210000003281502201';
/** Check digit by the Luhn rule, worked out by hand. */
export const ARN = '01234566325000000000012';

/** One of each kind. */
export const BODIES: Readonly<Record<InboundBody['kind'], InboundBody>> = {
  'file-reject': {
    kind: 'file-reject',
    sourceFileId: SOURCE_FILE_ID,
    errors: [{ element: 'P0301', severity: '12', code: '0519', subfield: '000' }],
  },
  'message-reject': {
    kind: 'message-reject',
    sourceFileId: SOURCE_FILE_ID,
    sourceRecordNumber: 2,
    arn: ARN,
    errors: [{ element: 'P9501', severity: '08', code: '2001', subfield: '000' }],
  },
  reconciliation: {
    kind: 'reconciliation',
    position: 'settlement',
    sourceFileId: SOURCE_FILE_ID,
    currency: '392',
    debit: { count: 1, amountMinor: 3850n },
    credit: { count: 0, amountMinor: 0n },
  },
  chargeback: {
    kind: 'chargeback',
    arn: ARN,
    cycle: 'first',
    isPartial: true,
    amountMinor: 850n,
    originalMinor: 3850n,
    currency: '392',
    reason: '4837',
    fundingReference: 'KIRI-ACC-001',
    text: 'DENIED BY HOLDER',
  },
  retrieval: { kind: 'retrieval', arn: ARN, reason: '6323' },
  fee: {
    kind: 'fee',
    use: 'collection',
    direction: 'charged',
    amountMinor: 120n,
    currency: '392',
    reason: '7602',
    reference: 'FEE20261122A1',
    date: '261122',
    arn: ARN,
    text: 'CHARGEBACK HANDLED',
  },
};

export const draftOf = (
  bodies: readonly InboundBody[],
  part: Partial<InboundDraft> = {},
): InboundDraft => ({
  header: { date: '261122', member: '00000099990', sequence: 1, mode: 'T' },
  bodies,
  profile: DEFAULT_IPM_PROFILE,
  clearing: clearingId,
  number: 2,
  createdS: CREATED_S,
  ...part,
});

export const written = (
  bodies: readonly InboundBody[],
  part: Partial<InboundDraft> = {},
): WrittenInbound => {
  const result = writeInbound(draftOf(bodies, part), issuer);
  if (!result.ok) throw new Error(JSON.stringify(result.fault));
  return result.value;
};

export const ACKNOWLEDGEMENT: FileAcknowledgement = {
  clearing: clearingId,
  number: 1,
  fileId: SOURCE_FILE_ID,
  fileName: 'KIRI.kiri-ipm-onus.00000032815.D261121.S02201.T.ipm',
  fileSha256: new Uint8Array(32).fill(0xf1),
  fileBytes: 1014,
  records: 3,
  totals: [{ currency: 392, sign: 'debit', lines: 1, amountMinor: '3850' }],
  verdict: 'accepted',
  receivedS: CREATED_S,
};

/** The same file under a manifest signed anew over changed bytes. */
export const signedOver = (
  file: Uint8Array,
  like: WrittenInbound,
  part: Partial<InboundManifest> = {},
): Uint8Array => {
  const opened = openInboundManifest(like.manifest, trust);
  if (!opened.ok) throw new Error(JSON.stringify(opened.fault));
  const stated = { fileSha256: sha256(file), fileBytes: file.length };
  return signInboundManifest(issuer, { ...opened.value.value, ...stated, ...part });
};
