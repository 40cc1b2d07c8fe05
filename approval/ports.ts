import type { AmountMicro } from '../protocol/amount.ts';
import type { PublicKey, Signer, Verifier } from '../protocol/public-key.ts';
import type { Checked } from '../protocol/refusal.ts';

export type Sha256 = (bytes: Uint8Array) => Uint8Array;
export type HmacSha256 = (key: Uint8Array, bytes: Uint8Array) => Uint8Array;

/** The terms of an allowance that decide a Payment (DESIGN §2). */
interface AllowanceTerms {
  /** Rises with each allowance of the line; an older one is no longer taken. */
  readonly generation: number;
  /** Ceiling on the line's net total (total − released), counted from the line's birth. */
  readonly ceilingMicro: AmountMicro;
  /** Net total when the allowance was issued; `lower` and `upper` count from here. */
  readonly baseTotalMicro: AmountMicro;
  /** Above it an approval is stand-in unless the issuer was asked. */
  readonly lowerLimitMicro: AmountMicro;
  readonly upperLimitMicro: AmountMicro;
  readonly paymentLimitMicro: AmountMicro;
  readonly directLimitMicro: AmountMicro;
  /** `released` of a Payment is believed up to here. */
  readonly releaseCapMicro: AmountMicro;
  readonly counterCeiling: number;
  readonly maxListAgeS: number;
}

/** Where a document's revocation bit stands (Token Status List). */
export interface StatusPlace {
  readonly uri: string;
  readonly index: number;
}

/** What a payer's verified documents say; made once per set, then cached. */
export interface PayerFacts {
  readonly kind: 'payer';
  readonly line: Uint8Array;
  readonly party: Uint8Array;
  readonly device: PublicKey;
  readonly currency: number;
  readonly validFromS: number;
  readonly validUntilS: number;
  /** Revocation bits of everything that can be revoked on its own. */
  readonly status: readonly StatusPlace[];
  readonly allowance: AllowanceTerms;
  /** From a Closing: Payments above these marks are no longer taken. */
  readonly closing?: { readonly lastCounter: number; readonly totalMicro: AmountMicro };
}

/** What a payee's verified documents say. */
export interface PayeeFacts {
  readonly kind: 'payee';
  readonly key: PublicKey;
  readonly currency: number;
  readonly validFromS: number;
  readonly validUntilS: number;
  readonly status: readonly StatusPlace[];
}

export interface StatusFacts {
  readonly uri: string;
  readonly version: number;
  readonly issuedAtS: number;
  /** Older than this it is still used, at the tightened caps, up to the allowance's list age. */
  readonly ttlS: number;
  /** Undefined: the list is too short to know of it. */
  isRevoked(index: number): boolean | undefined;
}

interface AcknowledgementFacts {
  readonly throughSequence: number;
  readonly timeS: number;
}

/** Checks documents offline against the trust anchors it was made with; deterministic. */
export interface CredentialPort {
  /** `unixS` undefined: clock unknown. `from`: who showed them, a payee key's id in hex. */
  documents(
    set: readonly Uint8Array[],
    unixS: number | undefined,
    from: string,
  ): Checked<PayerFacts | PayeeFacts>;
  statusList(bytes: Uint8Array): Checked<StatusFacts>;
  acknowledgement(bytes: Uint8Array): Checked<AcknowledgementFacts>;
}

/** Everything a core may call: pure functions of their arguments from its point of view. */
export interface ApproverPorts {
  readonly signer: Signer;
  readonly verifier: Verifier;
  readonly sha256: Sha256;
  readonly hmacSha256: HmacSha256;
  readonly credentials: CredentialPort;
}

/** The issuer's mandate for this approver, as verified at start. */
export interface MandateTerms {
  readonly currency: number;
  readonly validFromS: number;
  readonly validUntilS: number;
  /** Most unacknowledged sum of one device, of one party, and in all. */
  readonly deviceLimitMicro: AmountMicro;
  readonly partyLimitMicro: AmountMicro;
  readonly unacknowledgedLimitMicro: AmountMicro;
  /** Longest time without a word signed by the issuer or the clearing. */
  readonly maxSilenceS: number;
}

export interface ApproverConfig {
  /** `direct`: the payee device approves itself, under the allowance's direct limit. */
  readonly mode: 'fog' | 'direct';
  readonly mandate: MandateTerms;
  /** Whether something carries Hand-ins on to an intake log. */
  readonly forwardsHandIns?: boolean;
}
