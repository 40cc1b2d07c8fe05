import { amountMicro, type AmountMicro } from '../../protocol/amount.ts';
import { lineId } from '../../protocol/ids.ts';
import { TARIFF_UNITS, type Tariff } from '../../protocol/tariff.ts';
import type { Signer, Verifier } from '../../protocol/public-key.ts';
import { MAY_PAY } from '../../identity/core/documents/binding.ts';
import { OVERAGE_BY_OPERATOR } from '../../identity/core/documents/mandate.ts';
import { LOSS_BY_PARTY } from '../../identity/core/documents/allowance.ts';
import {
  issueAcquirer,
  issueAllowance,
  issueBinding,
  issueMandate,
  issueMerchant,
  issueParty,
  issuePolicy,
  issueRegistrar,
  issueTariff,
} from '../../identity/core/issue.ts';
import { payloadHash } from '../../protocol/ids.ts';
import { decodeSign1 } from '../../protocol/cose.ts';
import { invariant } from '../../protocol/kiri-error.ts';

/** How the keys of a world sign: stand-ins in bulk, the real thing in a sample. */
export interface Signatures {
  signer(secret: Uint8Array): Signer;
  readonly verifier: Verifier;
}

/** What the issuer allows in one world; small enough that some seeds run into it. */
export interface CityLimits {
  readonly ceilingMicro: bigint;
  readonly perPaymentMicro: bigint;
  readonly deviceLimitMicro: bigint;
  readonly unacknowledgedLimitMicro: bigint;
}

export interface PayerPapers {
  readonly signer: Signer;
  readonly line: Uint8Array;
  /** What it shows to an approver: party, registrar, binding, allowance. */
  readonly present: readonly Uint8Array[];
  readonly policy: Uint8Array;
}

export interface PayeePapers {
  readonly signer: Signer;
  readonly present: readonly Uint8Array[];
  readonly tariff: Uint8Array;
}

export interface ApproverPapers {
  readonly signer: Signer;
  readonly mandate: Uint8Array;
}

/** Everybody's keys and documents, as the issuer and the others would have signed them. */
export interface City {
  readonly issuer: Signer;
  readonly verifier: Verifier;
  readonly payers: readonly PayerPapers[];
  readonly payees: readonly PayeePapers[];
  readonly approvers: readonly ApproverPapers[];
}

export interface CityOptions {
  readonly payers: number;
  readonly payees: number;
  readonly approvers: number;
  readonly limits: CityLimits;
  readonly startS: number;
  readonly secret: () => Uint8Array;
  readonly signatures: Signatures;
}

export const JPY = 392;
export const STATUS_URI = 'https://issuer.example/status/1';
const DAY_S = 86_400;

/** Price of one item in these worlds: 3.85 JPY. */
export const ITEM_PRICE_MICRO: AmountMicro = amountMicro(3_850_000n);

export function buildCity(options: CityOptions): City {
  const { startS, limits, signatures } = options;
  const key = (): Signer => signatures.signer(options.secret());
  const [issuer, acquirer, registrar, party] = [key(), key(), key(), key()];
  const issuedS = startS - DAY_S;
  const valid = { issuedS, notBeforeS: issuedS, expiresS: startS + 20 * DAY_S };
  let index = 0;
  const status = (): { uri: string; index: number } => ({ uri: STATUS_URI, index: (index += 1) });
  const registrarDocument = issueRegistrar(issuer, {
    ...valid,
    key: registrar.key,
    status: status(),
    reference: 'registrar-1',
    maxCheckLevel: 3,
  });
  const acquirerDocument = issueAcquirer(issuer, {
    ...valid,
    key: acquirer.key,
    status: status(),
    reference: 'acquirer-1',
    institution: '900001',
  });
  const partyDocument = issueParty(issuer, {
    ...valid,
    key: party.key,
    status: status(),
    reference: 'party-1',
    fundingAccount: 'funding-1',
    currency: JPY,
    capMicro: amountMicro(limits.ceilingMicro * BigInt(options.payers)),
    overCommitPermille: 1_000,
  });
  const policy = issuePolicy(party, { ...valid, version: 1 });
  const signers = { issuer, party, registrar };
  const papers = { party: partyDocument, registrar: registrarDocument, policy };
  return {
    issuer,
    verifier: signatures.verifier,
    payers: Array.from({ length: options.payers }, () =>
      payerPapers({ ...signers, device: key() }, papers, limits, { valid, status }),
    ),
    payees: Array.from({ length: options.payees }, (_, i) =>
      payeePapers(key(), acquirer, acquirerDocument, { valid, status, number: i }),
    ),
    approvers: Array.from({ length: options.approvers }, () =>
      approverPapers(key(), issuer, limits, { valid, status }),
    ),
  };
}

interface Stamp {
  readonly valid: {
    readonly issuedS: number;
    readonly notBeforeS: number;
    readonly expiresS: number;
  };
  readonly status: () => { readonly uri: string; readonly index: number };
}

function payerPapers(
  signers: Record<'issuer' | 'party' | 'registrar' | 'device', Signer>,
  papers: Record<'party' | 'registrar' | 'policy', Uint8Array>,
  limits: CityLimits,
  { valid, status }: Stamp,
): PayerPapers {
  const { issuer, party, device } = signers;
  const binding = issueBinding(signers, {
    ...valid,
    status: status(),
    currency: JPY,
    roles: MAY_PAY,
    checkLevel: 2,
    keyStoreLevel: 0,
  });
  const line = lineId(device.key.id, party.key.id, JPY);
  const policySign1 = decodeSign1(papers.policy);
  invariant(policySign1.ok, 'the policy was just signed');
  const ceilingMicro = amountMicro(limits.ceilingMicro);
  const allowance = issueAllowance(issuer, {
    ...valid,
    line,
    generation: 1,
    currency: JPY,
    ceilingMicro,
    baseMicro: amountMicro(0n),
    lowerMicro: amountMicro(limits.ceilingMicro / 2n),
    upperMicro: ceilingMicro,
    paymentLimitMicro: amountMicro(limits.perPaymentMicro),
    directLimitMicro: amountMicro(limits.perPaymentMicro),
    releaseCapMicro: ceilingMicro,
    counterCeiling: 1_000_000,
    policyHash: payloadHash(policySign1.value.payload),
    maxListAgeS: 10 * DAY_S,
    handInDelayS: 10 * DAY_S,
    lossRule: LOSS_BY_PARTY,
    clearing: issuer.key.id,
  });
  const present = [papers.party, papers.registrar, binding, allowance];
  return { signer: device, line, present, policy: papers.policy };
}

function payeePapers(
  payee: Signer,
  acquirer: Signer,
  acquirerDocument: Uint8Array,
  { valid, status, number }: Stamp & { readonly number: number },
): PayeePapers {
  const merchant = issueMerchant(acquirer, {
    ...valid,
    merchantId: `M${number}`,
    status: status(),
    payeeKeys: [payee.key],
    mcc: 4784,
    name: `Gate ${number}`,
    place: 'Tokyo',
    currency: JPY,
    programme: 'kiri',
    beneficiary: `beneficiary-${number}`,
  });
  const tariff: Omit<Tariff, 'issuer'> = {
    issuedS: valid.issuedS,
    name: 'item',
    version: 1,
    effectiveFromS: valid.notBeforeS,
    currency: JPY,
    components: [
      {
        unit: TARIFF_UNITS.indexOf('item'),
        steps: [{ fromMinute: 0, priceMicro: ITEM_PRICE_MICRO }],
      },
    ],
  };
  return {
    signer: payee,
    present: [acquirerDocument, merchant],
    tariff: issueTariff(payee, tariff),
  };
}

function approverPapers(
  signer: Signer,
  issuer: Signer,
  limits: CityLimits,
  { valid, status }: Stamp,
): ApproverPapers {
  const mandate = issueMandate(issuer, {
    ...valid,
    key: signer.key,
    status: status(),
    operator: 'operator-1',
    place: 'Tokyo',
    currency: JPY,
    deviceLimitMicro: amountMicro(limits.deviceLimitMicro),
    partyLimitMicro: amountMicro(limits.unacknowledgedLimitMicro),
    maxUnacknowledgedMicro: amountMicro(limits.unacknowledgedLimitMicro),
    maxSilenceS: 10 * DAY_S,
    neighbours: [],
    logOriginPrefix: 'gateway.example',
    overageBearer: OVERAGE_BY_OPERATOR,
  });
  return { signer, mandate };
}
