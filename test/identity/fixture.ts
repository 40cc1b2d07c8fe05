import { generateKeyPairSync } from 'node:crypto';
import { amountMicro, type AmountMicro } from '../../protocol/amount.ts';
import type { Signer } from '../../protocol/public-key.ts';
import type { PayeeDocuments, PayerDocuments, Trust } from '../../identity/core/chain.ts';
import { decodeSign1 } from '../../protocol/cose.ts';
import { lineId, payloadHash } from '../../protocol/ids.ts';
import { LOSS_BY_PARTY } from '../../identity/core/documents/allowance.ts';
import { OVERAGE_BY_OPERATOR } from '../../identity/core/documents/mandate.ts';
import * as issue from '../../identity/core/issue.ts';
import { nodeSigner, nodeVerifier } from '../../identity/edge/node-signatures.ts';

/** A maker's facts without the keys, which every world makes anew. */
type Facts<M extends (signer: never, facts: never) => Uint8Array, K extends string = 'key'> = Omit<
  Parameters<M>[1],
  K
>;
type Valid = Record<'issuedS' | 'notBeforeS' | 'expiresS', number>;

export const JPY = 392;
export const NOW_S = 1_790_000_000;
export const VALID: Valid = {
  issuedS: NOW_S - 60,
  notBeforeS: NOW_S - 60,
  expiresS: NOW_S + 86_400,
};

export const LIST = 'urn:example:status:1';

export function newSigner(kind: 'ed25519' | 'p256' = 'ed25519'): Signer {
  const pair =
    kind === 'ed25519'
      ? generateKeyPairSync('ed25519')
      : generateKeyPairSync('ec', { namedCurve: 'P-256' });
  return nodeSigner(pair.privateKey);
}

/** One issuer and one of everything under it, every document valid around NOW_S. */
export interface World {
  readonly trust: Trust;
  readonly signers: Record<
    | 'issuer'
    | 'party'
    | 'registrar'
    | 'acquirer'
    | 'clearing'
    | 'device'
    | 'payee'
    | 'gateway'
    | 'stranger',
    Signer
  >;
  readonly line: Uint8Array;
  readonly policy: Uint8Array;
  readonly policyHash: Uint8Array;
  readonly payer: PayerDocuments;
  readonly payee: PayeeDocuments;
  readonly mandate: Uint8Array;
  readonly clearing: Uint8Array;
}

export function yen(major: number): AmountMicro {
  return amountMicro(BigInt(major) * 1_000_000n);
}

export const PARTY_FACTS: Facts<typeof issue.issueParty> = {
  ...VALID,
  status: { uri: LIST, index: 1 },
  reference: 'party-0001',
  fundingAccount: 'acct-7f3a',
  currency: JPY,
  capMicro: yen(100_000),
  overCommitPermille: 1500,
};
export const REGISTRAR_FACTS: Facts<typeof issue.issueRegistrar> = {
  ...VALID,
  status: { uri: LIST, index: 2 },
  reference: 'registrar-0001',
  maxCheckLevel: 3,
};
export const ACQUIRER_FACTS: Facts<typeof issue.issueAcquirer> = {
  ...VALID,
  status: { uri: LIST, index: 3 },
  reference: 'acquirer-0001',
  institution: '00000012345',
};
export const BINDING_FACTS: issue.BindingFacts = {
  ...VALID,
  status: { uri: LIST, index: 4 },
  currency: JPY,
  roles: 1,
  checkLevel: 2,
  keyStoreLevel: 1,
};
export const MERCHANT_FACTS: Facts<typeof issue.issueMerchant, 'payeeKeys'> = {
  ...VALID,
  merchantId: 'TOLLROAD0000001',
  status: { uri: LIST, index: 5 },
  mcc: 4784,
  name: 'Ring Road Tolls',
  place: 'Minato',
  currency: JPY,
  programme: 'onus-micro',
  beneficiary: 'bene-0001',
};
export const MANDATE_FACTS: Facts<typeof issue.issueMandate> = {
  ...VALID,
  status: { uri: LIST, index: 6 },
  operator: 'Ring Road',
  place: 'Minato',
  currency: JPY,
  deviceLimitMicro: yen(5_000),
  partyLimitMicro: yen(50_000),
  maxUnacknowledgedMicro: yen(1_000_000),
  maxSilenceS: 345_600,
  neighbours: [new Uint8Array(16).fill(7)],
  logOriginPrefix: 'gw1.example/',
  overageBearer: OVERAGE_BY_OPERATOR,
};
export const ALLOWANCE_FACTS: Facts<
  typeof issue.issueAllowance,
  'line' | 'policyHash' | 'clearing'
> = {
  ...VALID,
  generation: 1,
  currency: JPY,
  ceilingMicro: yen(20_000),
  baseMicro: yen(0),
  lowerMicro: yen(5_000),
  upperMicro: yen(10_000),
  paymentLimitMicro: yen(2_000),
  directLimitMicro: yen(500),
  releaseCapMicro: yen(1_000),
  counterCeiling: 10_000,
  maxListAgeS: 86_400,
  handInDelayS: 2_592_000,
  lossRule: LOSS_BY_PARTY,
};

export function newWorld(deviceKind: 'ed25519' | 'p256' = 'ed25519'): World {
  const signers = {
    issuer: newSigner(),
    party: newSigner(),
    registrar: newSigner(),
    acquirer: newSigner(),
    clearing: newSigner(),
    device: newSigner(deviceKind),
    payee: newSigner(),
    gateway: newSigner(),
    stranger: newSigner(),
  };
  const { issuer, party, registrar, acquirer, clearing, device, payee, gateway } = signers;
  const policy = issue.issuePolicy(party, { ...VALID, version: 1, mccs: [4784] });
  const line = lineId(device.key.id, party.key.id, JPY);
  const opened = decodeSign1(policy);
  if (!opened.ok) throw new Error(opened.reason);
  const policyHash = payloadHash(opened.value.payload);
  const payer = {
    party: issue.issueParty(issuer, { ...PARTY_FACTS, key: party.key }),
    registrar: issue.issueRegistrar(issuer, { ...REGISTRAR_FACTS, key: registrar.key }),
    binding: issue.issueBinding({ device, party, registrar }, BINDING_FACTS),
    allowance: issue.issueAllowance(issuer, {
      ...ALLOWANCE_FACTS,
      line,
      policyHash,
      clearing: clearing.key.id,
    }),
  };
  return {
    trust: { issuerKey: issuer.key, verifier: nodeVerifier() },
    signers,
    line,
    policy,
    policyHash,
    payer,
    payee: {
      acquirer: issue.issueAcquirer(issuer, { ...ACQUIRER_FACTS, key: acquirer.key }),
      merchant: issue.issueMerchant(acquirer, { ...MERCHANT_FACTS, payeeKeys: [payee.key] }),
    },
    mandate: issue.issueMandate(issuer, { ...MANDATE_FACTS, key: gateway.key }),
    clearing: issue.issueClearing(issuer, {
      ...VALID,
      status: { uri: LIST, index: 7 },
      reference: 'clearing-0001',
      key: clearing.key,
    }),
  };
}
