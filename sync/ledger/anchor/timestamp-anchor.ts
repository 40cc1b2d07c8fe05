/** Anchors notes by time stamps (RFC 3161 over HTTP). The evidence is the whole TimeStampResp, as `openssl ts` reads it. */
import { randomBytes } from 'node:crypto';
import { fetchBytes } from '../../../platform/http-client.ts';
import { KiriError } from '../../../protocol/kiri-error.ts';
import type { Anchor, AnchorStatus } from '../core/anchor-port.ts';
import {
  answersNonce,
  encodeTimeStampReq,
  MAX_RESPONSE_BYTES,
  parseTimeStampResp,
} from '../core/anchor-timestamp.ts';
import { type TimeStampTrust, verifyTimeStamp } from './timestamp-check.ts';

const NONCE_BYTES = 8;
const REF = /^[0-9a-f]{16}$/;

export interface TimeStampAnchorOptions {
  /** The authority's address. */
  readonly url: string;
  readonly timeoutMs: number;
  /** An answer that does not lead there is not taken as final. */
  readonly trust: TimeStampTrust;
}

/**
 * A stamp is one round trip, so `submit` only chooses and keeps the nonce, and `status` asks: until there is an answer
 * with that nonce, over that note, that verifies.
 */
export const timeStampAnchor = (options: TimeStampAnchorOptions): Anchor => {
  const verify = verifyTimeStamp(options.trust);
  const stamp = async (nonce: Uint8Array, note: Uint8Array): Promise<AnchorStatus> => {
    const { url, timeoutMs } = options;
    const { status, body } = await fetchBytes(url, {
      body: encodeTimeStampReq(note, nonce),
      contentType: 'application/timestamp-query',
      timeoutMs,
      maxBytes: MAX_RESPONSE_BYTES,
    });
    if (status !== 200)
      throw new KiriError('ANCHOR_UNREACHABLE', `the authority answers ${status}`);
    const evidence = new Uint8Array(body);
    const token = parseTimeStampResp(evidence);
    if (!token.ok) return { kind: 'failed', reason: token.reason };
    if (!answersNonce(token.value.info, nonce)) {
      return { kind: 'failed', reason: 'the answer has another nonce: it is not to this request' };
    }
    const verified = verify(evidence, note);
    return verified.ok ? { kind: 'final', evidence } : { kind: 'failed', reason: verified.reason };
  };
  return {
    submit: async (_note, keep) => {
      const ref = randomBytes(NONCE_BYTES).toString('hex');
      await keep(ref);
      return ref;
    },
    status: async (ref, note) =>
      REF.test(ref)
        ? stamp(new Uint8Array(Buffer.from(ref, 'hex')), note)
        : { kind: 'failed', reason: 'not a reference of this anchor' },
  };
};
