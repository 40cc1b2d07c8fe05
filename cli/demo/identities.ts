import { generateKeyPairSync } from 'node:crypto';
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { amountMicro, type AmountMicro } from '../../protocol/amount.ts';
import { lineId, payloadHash } from '../../protocol/ids.ts';
import { KiriError } from '../../protocol/kiri-error.ts';
import { ALG_ES256, publicKey, type PublicKey, type Signer } from '../../protocol/public-key.ts';
import { decodeSign1 } from '../../protocol/cose.ts';
import { MAY_PAY } from '../../identity/core/documents/binding.ts';
import { LOSS_BY_PARTY } from '../../identity/core/documents/allowance.ts';
import { OVERAGE_BY_OPERATOR } from '../../identity/core/documents/mandate.ts';
import * as issue from '../../identity/core/issue.ts';
import { createKeyFile } from '../../identity/edge/key-file.ts';
import { packStatuses } from '../../identity/edge/status-zlib.ts';
import { POLICIES, type Cosigner, type FinalityPolicy } from './finality-policy.ts';
import type { PayeePlan, PayerPlan, Plan } from './plan.ts';

/** A device as the demonstration enrolled it: where its key is, and what it shows. */
export interface EnrolledDevice {
  readonly ref: string;
  readonly folder: string;
  readonly keyFile: string;
  readonly key: PublicKey;
  /** COSE documents, in the order that a Present message carries them. */
  readonly documents: readonly Uint8Array[];
}

export interface EnrolledPayer extends EnrolledDevice {
  readonly line: Uint8Array;
  readonly ceilingMicro: AmountMicro;
}

/** Everyone in the story, with keys made in their own folders and credentials for each. */
export interface World {
  readonly stateDir: string;
  readonly issuer: Signer;
  readonly clearing: Signer;
  readonly gatewayKey: PublicKey;
  readonly logKey: PublicKey;
  readonly policy: FinalityPolicy;
  /** Witnesses and mirror of the policy, with their keys. */
  readonly cosigners: readonly (Cosigner & { readonly key: PublicKey })[];
  /** P-256 key that content keys are wrapped to; the private half is the clearing's. */
  readonly contentKey: PublicKey;
  readonly origin: string;
  readonly mandate: Uint8Array;
  readonly statusList: Uint8Array;
  /** Registrar, acquirer, party, clearing credentials and all device documents, by file name. */
  readonly documents: ReadonlyMap<string, Uint8Array>;
  readonly payees: readonly (EnrolledDevice & { readonly plan: PayeePlan })[];
  readonly payers: readonly EnrolledPayer[];
}

const STATUS_URI = 'kiri:status/demo';
const STATUS_ENTRIES = 4096;
const YEAR_S = 365 * 86_400;
const DAY_S = 86_400;
/** What one device may be owed for here before the centre has acknowledged it. */
const UNACKNOWLEDGED_FACTOR = 2n;

export const paths = {
  gatewayKey: (stateDir: string): string => join(stateDir, 'gateway', 'key.json'),
  logKey: (stateDir: string): string => join(stateDir, 'ledger', 'key.json'),
  clearingKey: (stateDir: string): string => join(stateDir, 'clearing', 'key.json'),
  contentKey: (stateDir: string): string => join(stateDir, 'clearing', 'content-key.pem'),
  issuerKey: (stateDir: string): string => join(stateDir, 'issuer', 'key.json'),
};

interface Dated {
  readonly issuedS: number;
  readonly notBeforeS: number;
  readonly expiresS: number;
  readonly status: { readonly uri: string; readonly index: number };
}

/** Draws status indexes in turn: every credential has a bit that can revoke it. */
class Office {
  readonly #stateDir: string;
  readonly nowS: number;
  #nextIndex = 1;

  constructor(stateDir: string, nowS: number) {
    this.#stateDir = stateDir;
    this.nowS = nowS;
  }

  place(...parts: string[]): string {
    return join(this.#stateDir, ...parts);
  }

  key(...place: string[]): Signer {
    const folder = join(this.#stateDir, ...place);
    mkdirSync(folder, { recursive: true, mode: 0o700 });
    return createKeyFile(join(folder, 'key.json')).signer;
  }

  /** The rows that every credential has. */
  credential(key: PublicKey): Dated & { readonly key: PublicKey } {
    return { key, ...this.dated() };
  }

  dated(): Dated {
    const index = this.#nextIndex;
    this.#nextIndex += 1;
    if (index >= STATUS_ENTRIES) throw new KiriError('TOO_MANY_DEVICES', 'the status list is full');
    return {
      issuedS: this.nowS,
      notBeforeS: this.nowS - DAY_S,
      expiresS: this.nowS + YEAR_S,
      status: { uri: STATUS_URI, index },
    };
  }
}

interface Authorities {
  readonly issuer: Signer;
  readonly registrar: Signer;
  readonly acquirer: Signer;
  readonly clearing: Signer;
  readonly registrarCredential: Uint8Array;
  readonly acquirerCredential: Uint8Array;
  readonly clearingCredential: Uint8Array;
}

function makeAuthorities(office: Office): Authorities {
  const issuer = office.key('issuer');
  const registrar = office.key('registrar');
  const acquirer = office.key('acquirer');
  const clearing = office.key('clearing');
  return {
    issuer,
    registrar,
    acquirer,
    clearing,
    registrarCredential: issue.issueRegistrar(issuer, {
      ...office.credential(registrar.key),
      reference: 'REGISTRAR-1',
      maxCheckLevel: 3,
    }),
    acquirerCredential: issue.issueAcquirer(issuer, {
      ...office.credential(acquirer.key),
      reference: 'ACQUIRER-1',
      institution: '00000000001',
    }),
    clearingCredential: issue.issueClearing(issuer, {
      ...office.credential(clearing.key),
      reference: 'CLEARING-1',
    }),
  };
}

interface Party {
  readonly signer: Signer;
  readonly credential: Uint8Array;
  readonly policy: Uint8Array;
  readonly policyHash: Uint8Array;
}

function hashOf(cose: Uint8Array): Uint8Array {
  const message = decodeSign1(cose);
  if (!message.ok) throw new KiriError('DOCUMENT_INVALID', message.reason);
  return payloadHash(message.value.payload);
}

function makeParty(office: Office, issuer: Signer, plan: Plan, number: number): Party {
  const signer = office.key('parties', `party-${number}`);
  const capMicro = plan.payers
    .filter((payer) => payer.party === number)
    .reduce((sum, payer) => sum + payer.ceilingMicro, 1_000_000n);
  const credential = issue.issueParty(issuer, {
    ...office.credential(signer.key),
    reference: `PARTY-${number + 1}`,
    fundingAccount: `FUND-${number + 1}`,
    currency: plan.currency,
    capMicro: amountMicro(capMicro),
    overCommitPermille: 1000,
    agreementKey: makeAgreementKey(office.place('parties', `party-${number}`, 'agreement-key.pem')),
  });
  const { notBeforeS, expiresS, issuedS } = office.dated();
  const policy = issue.issuePolicy(signer, {
    issuedS,
    notBeforeS,
    expiresS,
    version: 1,
    mccs: [...new Set(plan.payees.map((payee) => payee.mcc))],
  });
  return { signer, credential, policy, policyHash: hashOf(policy) };
}

/** What is the same for all payers of a run. */
interface PayerTerms {
  readonly plan: Plan;
  readonly authorities: Authorities;
  readonly parties: readonly Party[];
}

function enrolPayer(office: Office, terms: PayerTerms, payer: PayerPlan): EnrolledPayer {
  const { plan, authorities } = terms;
  const { issuer, registrar, clearing } = authorities;
  const party = terms.parties[payer.party]!;
  const folder = join('devices', payer.ref);
  const device = office.key(folder);
  const binding = issue.issueBinding(
    { device, party: party.signer, registrar },
    {
      ...office.dated(),
      currency: plan.currency,
      roles: MAY_PAY,
      checkLevel: 2,
      keyStoreLevel: 1,
    },
  );
  const line = lineId(device.key.id, party.signer.key.id, plan.currency);
  const allowance = issue.issueAllowance(issuer, {
    issuedS: office.nowS,
    notBeforeS: office.nowS - 60,
    line,
    generation: 1,
    currency: plan.currency,
    ceilingMicro: payer.ceilingMicro,
    baseMicro: amountMicro(0n),
    lowerMicro: payer.ceilingMicro,
    // Above the ceiling, so that each limit answers with its own code.
    upperMicro: amountMicro(payer.ceilingMicro * 2n),
    paymentLimitMicro: plan.paymentLimitMicro,
    directLimitMicro: plan.paymentLimitMicro,
    releaseCapMicro: payer.ceilingMicro,
    counterCeiling: 1_000_000,
    policyHash: party.policyHash,
    maxListAgeS: 96 * 3600,
    handInDelayS: 30 * DAY_S,
    lossRule: LOSS_BY_PARTY,
    clearing: clearing.key.id,
  });
  return {
    ref: payer.ref,
    folder: office.place(folder),
    keyFile: office.place(folder, 'key.json'),
    key: device.key,
    line,
    ceilingMicro: payer.ceilingMicro,
    documents: [
      party.credential,
      authorities.registrarCredential,
      binding,
      allowance,
      party.policy,
    ],
  };
}

function enrolPayees(office: Office, authorities: Authorities, plan: Plan): World['payees'] {
  return plan.payees.map((payee) => {
    const folder = join('devices', payee.ref);
    const device = office.key(folder);
    const merchant = issue.issueMerchant(authorities.acquirer, {
      ...office.dated(),
      merchantId: payee.merchantId,
      payeeKeys: [device.key],
      mcc: payee.mcc,
      name: payee.name,
      place: payee.place,
      currency: plan.currency,
      programme: 'BILATERAL',
      beneficiary: `BENEFICIARY-${payee.merchantId}`,
    });
    const tariff = issue.issueTariff(device, {
      issuedS: office.nowS,
      name: payee.ref,
      version: 1,
      effectiveFromS: office.nowS - 60,
      currency: plan.currency,
      components: payee.components,
    });
    return {
      ref: payee.ref,
      plan: payee,
      folder: office.place(folder),
      keyFile: office.place(folder, 'key.json'),
      key: device.key,
      documents: [authorities.acquirerCredential, merchant, tariff],
    };
  });
}

function makeMandate(
  office: Office,
  issuer: Signer,
  plan: Plan,
  gatewayKey: PublicKey,
  origin: string,
): Uint8Array {
  const ceilings = plan.payers.reduce((sum, payer) => sum + payer.ceilingMicro, 0n);
  const highest = plan.payers.reduce(
    (most, payer) => (payer.ceilingMicro > most ? payer.ceilingMicro : most),
    0n,
  );
  return issue.issueMandate(issuer, {
    ...office.credential(gatewayKey),
    operator: 'Kiri Road Operations',
    place: plan.payees[0]?.place ?? '',
    currency: plan.currency,
    deviceLimitMicro: amountMicro(highest),
    partyLimitMicro: amountMicro(ceilings),
    maxUnacknowledgedMicro: amountMicro(ceilings * UNACKNOWLEDGED_FACTOR),
    maxSilenceS: 96 * 3600,
    neighbours: [],
    logOriginPrefix: origin,
    overageBearer: OVERAGE_BY_OPERATOR,
  });
}

/** P-256, because content keys are wrapped by ECDH; the private half is a PEM file of mode 0600. */
function makeAgreementKey(path: string): PublicKey {
  const { privateKey, publicKey: key } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  const pem = privateKey.export({ type: 'pkcs8', format: 'pem' });
  writeFileSync(path, pem, { mode: 0o600, flag: 'wx' });
  const { x, y } = key.export({ format: 'jwk' });
  const point = Buffer.concat([Buffer.from(x!, 'base64url'), Buffer.from(y!, 'base64url')]);
  return publicKey(ALG_ES256, new Uint8Array(point))!;
}

/**
 * Step 1 of the story: every key is made in its holder's own folder, every credential is signed by
 * whoever signs it in real life.
 */
export function makeWorld(
  plan: Plan,
  stateDir: string,
  nowS: number,
  policy: FinalityPolicy = POLICIES.demo,
): World {
  const office = new Office(stateDir, nowS);
  const authorities = makeAuthorities(office);
  const { issuer, clearing } = authorities;
  const gatewayKey = office.key('gateway').key;
  const origin = `gw-${gatewayKey.hex.slice(0, 8)}.kiri.example`;
  const parties = Array.from({ length: plan.parties }, (_, i) =>
    makeParty(office, issuer, plan, i),
  );
  const mandate = makeMandate(office, issuer, plan, gatewayKey, origin);
  const payees = enrolPayees(office, authorities, plan);
  const terms: PayerTerms = { plan, authorities, parties };
  const payers = plan.payers.map((payer) => enrolPayer(office, terms, payer));
  const documents = new Map<string, Uint8Array>([
    ['registrar', authorities.registrarCredential],
    ['acquirer', authorities.acquirerCredential],
    ['clearing', authorities.clearingCredential],
    ['mandate', mandate],
  ]);
  for (const [i, party] of parties.entries()) {
    documents.set(`party-${i + 1}`, party.credential);
    documents.set(`policy-${i + 1}`, party.policy);
  }
  for (const { ref, documents: own } of payees) {
    documents.set(`merchant-${ref}`, own[1]!);
    documents.set(`tariff-${ref}`, own[2]!);
  }
  for (const { ref, documents: own } of payers) {
    documents.set(`binding-${ref}`, own[2]!);
    documents.set(`allowance-${ref}`, own[3]!);
  }
  return {
    stateDir,
    issuer,
    clearing,
    gatewayKey,
    logKey: office.key('ledger').key,
    policy,
    cosigners: policy.cosigners.map((one) => ({ ...one, key: office.key(one.place).key })),
    contentKey: makeAgreementKey(paths.contentKey(stateDir)),
    origin,
    mandate,
    statusList: issue.issueStatusList(issuer, {
      issuedS: nowS,
      expiresS: nowS + 30 * DAY_S,
      ttlS: 3600,
      uri: STATUS_URI,
      version: 1,
      packed: packStatuses(STATUS_ENTRIES, []),
    }),
    documents,
    payees,
    payers,
  };
}
