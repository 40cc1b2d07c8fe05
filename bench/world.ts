import { createPrivateKey, generateKeyPairSync } from 'node:crypto';
import { LOSS_BY_PARTY } from '../identity/core/documents/allowance.ts';
import { MAY_PAY } from '../identity/core/documents/binding.ts';
import { OVERAGE_BY_OPERATOR } from '../identity/core/documents/mandate.ts';
import * as issue from '../identity/core/issue.ts';
import { nodeSigner } from '../identity/edge/node-signatures.ts';
import { packStatuses } from '../identity/edge/status-zlib.ts';
import { amountMicro, type AmountMicro } from '../protocol/amount.ts';
import { decodeSign1 } from '../protocol/cose.ts';
import { lineId, payloadHash } from '../protocol/ids.ts';
import { PRESENT } from '../protocol/messages/envelopes.ts';
import type { PublicKey, Signer } from '../protocol/public-key.ts';

export const CURRENCY = 392;
/** 4 yen: what a passage costs. */
export const PRICE_MICRO: AmountMicro = amountMicro(4_000_000n);

const LIST_URI = 'kiri:status/bench';
const DAY_S = 86_400;
/** High enough that no limit decides a run; the checks are made all the same. */
const HIGH = amountMicro(1n << 60n);

interface NewKey {
  readonly pem: string;
  readonly signer: Signer;
}

export interface BenchPayer {
  readonly signer: Signer;
  readonly line: Uint8Array;
  readonly documents: readonly Uint8Array[];
  readonly present: Uint8Array;
}

/** One issuer and everyone under it, with real keys and real documents. */
export interface BenchWorld {
  readonly issuer: Signer;
  readonly gateway: NewKey;
  readonly payee: Signer;
  readonly mandate: Uint8Array;
  readonly statusList: Uint8Array;
  readonly payeePresent: Uint8Array;
  readonly payers: readonly BenchPayer[];
  /** One more payer, with a key of its own making. */
  readonly enrol: (device: Signer) => BenchPayer;
  /** Everybody's credentials, for the centre. */
  readonly documents: readonly Uint8Array[];
}

function newKey(): NewKey {
  const { privateKey } = generateKeyPairSync('ed25519');
  const pem = privateKey.export({ type: 'pkcs8', format: 'pem' }) as string;
  return { pem, signer: nodeSigner(privateKey) };
}

export function signerOf(pem: string): Signer {
  return nodeSigner(createPrivateKey(pem));
}

function hashOf(cose: Uint8Array): Uint8Array {
  const sign1 = decodeSign1(cose);
  if (!sign1.ok) throw new Error(sign1.reason);
  return payloadHash(sign1.value.payload);
}

type Dated = Record<'issuedS' | 'notBeforeS' | 'expiresS', number>;
type Facts = Dated & { readonly status: { readonly uri: string; readonly index: number } };

/** Bit `index` of the one status list. */
function place(index: number): Facts['status'] {
  return { uri: LIST_URI, index };
}

interface Credentials {
  readonly credentials: Record<'party' | 'registrar' | 'acquirer', Uint8Array>;
  readonly merchant: Uint8Array;
}

function issueCredentials(
  signers: Record<'issuer' | 'party' | 'registrar' | 'acquirer' | 'payee', Signer>,
  dated: Dated,
): Credentials {
  const { issuer, party, registrar, acquirer, payee } = signers;
  const credentials = {
    party: issue.issueParty(issuer, {
      ...dated,
      key: party.key,
      status: place(1),
      reference: 'party-1',
      fundingAccount: 'account-1',
      currency: CURRENCY,
      capMicro: HIGH,
      overCommitPermille: 1_000,
    }),
    registrar: issue.issueRegistrar(issuer, {
      ...dated,
      key: registrar.key,
      status: place(2),
      reference: 'registrar-1',
      maxCheckLevel: 3,
    }),
    acquirer: issue.issueAcquirer(issuer, {
      ...dated,
      key: acquirer.key,
      status: place(3),
      reference: 'acquirer-1',
      institution: '00000000001',
    }),
  };
  const merchant = issue.issueMerchant(acquirer, {
    ...dated,
    status: place(4),
    merchantId: 'BENCH0000000001',
    payeeKeys: [payee.key],
    mcc: 4784,
    name: 'Ring Road',
    place: 'Minato',
    currency: CURRENCY,
    programme: 'BILATERAL',
    beneficiary: 'beneficiary-1',
  });
  return { credentials, merchant };
}

export function makeWorld(payerCount: number): BenchWorld {
  const issuedS = Math.floor(Date.now() / 1_000) - 60;
  const dated: Dated = { issuedS, notBeforeS: issuedS, expiresS: issuedS + 10 * DAY_S };
  const [issuer, party, registrar, acquirer, payee] = Array.from(
    { length: 5 },
    () => newKey().signer,
  );
  if (!issuer || !party || !registrar || !acquirer || !payee) throw new Error('no keys');
  const gateway = newKey();
  const { credentials, merchant } = issueCredentials(
    { issuer, party, registrar, acquirer, payee },
    dated,
  );
  const policyHash = hashOf(issue.issuePolicy(party, { ...dated, version: 1, mccs: [4784] }));
  let nextPlace = 8;
  const enrol = (device: Signer): BenchPayer => {
    nextPlace += 1;
    const facts = { ...dated, status: place(nextPlace) };
    return enrolPayer({ issuer, party, registrar }, credentials, device, { facts, policyHash });
  };
  const payers = Array.from({ length: payerCount }, () => enrol(newKey().signer));
  const mandate = issueGateway(issuer, gateway.signer.key, { ...dated, status: place(5) });
  return {
    issuer,
    gateway,
    payee,
    mandate,
    statusList: issue.issueStatusList(issuer, {
      issuedS,
      expiresS: dated.expiresS,
      ttlS: DAY_S,
      uri: LIST_URI,
      version: 1,
      packed: packStatuses(1_024, []),
    }),
    payeePresent: PRESENT.encode({ documents: [credentials.acquirer, merchant] }),
    payers,
    enrol,
    documents: [
      ...Object.values(credentials),
      merchant,
      mandate,
      ...payers.flatMap(({ documents }) => documents.slice(2)),
    ],
  };
}

function issueGateway(issuer: Signer, key: PublicKey, facts: Facts): Uint8Array {
  return issue.issueMandate(issuer, {
    ...facts,
    key,
    operator: 'Ring Road',
    place: 'Minato',
    currency: CURRENCY,
    deviceLimitMicro: HIGH,
    partyLimitMicro: HIGH,
    maxUnacknowledgedMicro: HIGH,
    maxSilenceS: 4 * DAY_S,
    neighbours: [],
    logOriginPrefix: 'bench.example/',
    overageBearer: OVERAGE_BY_OPERATOR,
  });
}

interface Offices {
  readonly issuer: Signer;
  readonly party: Signer;
  readonly registrar: Signer;
}

function enrolPayer(
  { issuer, party, registrar }: Offices,
  credentials: { readonly party: Uint8Array; readonly registrar: Uint8Array },
  device: Signer,
  { facts, policyHash }: { readonly facts: Facts; readonly policyHash: Uint8Array },
): BenchPayer {
  const line = lineId(device.key.id, party.key.id, CURRENCY);
  const { issuedS, notBeforeS, expiresS } = facts;
  const documents = [
    credentials.party,
    credentials.registrar,
    issue.issueBinding(
      { device, party, registrar },
      { ...facts, currency: CURRENCY, roles: MAY_PAY, checkLevel: 2, keyStoreLevel: 1 },
    ),
    issue.issueAllowance(issuer, {
      issuedS,
      notBeforeS,
      expiresS,
      line,
      generation: 1,
      currency: CURRENCY,
      ceilingMicro: HIGH,
      baseMicro: amountMicro(0n),
      lowerMicro: HIGH,
      upperMicro: HIGH,
      paymentLimitMicro: HIGH,
      directLimitMicro: HIGH,
      releaseCapMicro: HIGH,
      counterCeiling: 0xffff_ffff,
      policyHash,
      maxListAgeS: 4 * DAY_S,
      handInDelayS: 30 * DAY_S,
      lossRule: LOSS_BY_PARTY,
      clearing: issuer.key.id,
    }),
  ];
  return { signer: device, line, documents, present: PRESENT.encode({ documents }) };
}
