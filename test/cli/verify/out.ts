/** A small output folder with real signatures, made through the real writers. */
import { generateKeyPairSync, randomBytes, type KeyObject } from 'node:crypto';
import { mkdir, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import * as issue from '../../../identity/core/issue.ts';
import { verifyPayer } from '../../../identity/core/chain.ts';
import { nodeSigner } from '../../../identity/edge/node-signatures.ts';
import { amountMicro, formatMajor } from '../../../protocol/amount.ts';
import { toHex } from '../../../protocol/bytes.ts';
import { signSign1 } from '../../../protocol/cose.ts';
import { offerHash, payloadHash } from '../../../protocol/ids.ts';
import { EVIDENCE, MISBEHAVIOUR_PROOF } from '../../../protocol/messages/evidence.ts';
import { OFFER } from '../../../protocol/messages/offer.ts';
import { PAYMENT, TIME_SYNCHRONISED, type Payment } from '../../../protocol/messages/payment.ts';
import { RECEIPT } from '../../../protocol/messages/receipt.ts';
import type { PublicKey, Signer } from '../../../protocol/public-key.ts';
import { ClearingService } from '../../../sync/clearing/clearing-service.ts';
import type { ClearingOptions } from '../../../sync/clearing/clearing-service.ts';
import type { WrittenFile } from '../../../sync/clearing/cut-file.ts';
import type { VerifiedReceipt } from '../../../sync/clearing/core/ingest.ts';
import { openSqlite } from '../../../sync/clearing/sql.ts';
import { encodeCheckpoint } from '../../../sync/ledger/core/checkpoint.ts';
import { cosign } from '../../../sync/ledger/core/cosignature.ts';
import {
  CHECKPOINT_PATH,
  appendBatch,
  appended,
  type LogEntry,
} from '../../../sync/ledger/core/log-batch.ts';
import { encodeVerifierKey } from '../../../sync/ledger/core/note-key.ts';
import { logSigner, witnessSigner } from '../../../sync/ledger/core/note-ports.ts';
import { signNote } from '../../../sync/ledger/core/note.ts';
import { parsePolicy } from '../../../sync/ledger/core/policy.ts';
import { emptyTree, treeRoot } from '../../../sync/ledger/core/tree.ts';
import { contentKeyId, wrapContentKey } from '../../../sync/ledger/key-wrap.ts';
import { leafOfRecord, sealPayload } from '../../../sync/ledger/payload-record.ts';
import { writeContents } from '../../../cli/verify/contents.ts';
import { keyFilesOf } from '../../../cli/verify/key-files.ts';
import {
  JPY,
  MERCHANT_FACTS,
  NOW_S,
  newSigner,
  newWorld,
  type World,
} from '../../identity/fixture.ts';
import { directoryOf, programme } from '../../sync/clearing/sample.ts';

export const ORIGIN = 'gw1.example/2026q4';

/** What one paid purchase left behind. */
export interface Paid {
  readonly payment: Uint8Array;
  readonly offer: Uint8Array;
  readonly receipt: Uint8Array;
  readonly paymentPayload: Uint8Array;
  readonly receiptPayload: Uint8Array;
  readonly amountMicro: bigint;
  readonly counter: number;
  readonly totalMicro: bigint;
}

export interface OutWorld {
  readonly world: World;
  readonly log: Signer;
  readonly witness: Signer;
  readonly tariff: Uint8Array;
  /** P-256 keys that the log's content keys are wrapped to. */
  readonly issuerContent: KeyObject;
  readonly partyContent: KeyObject;
}

const newContentKey = (): KeyObject =>
  generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey;

export const newOutWorld = (deviceKind: 'ed25519' | 'p256' = 'ed25519'): OutWorld => {
  const world = newWorld(deviceKind);
  const tariff = issue.issueTariff(world.signers.payee, {
    issuedS: NOW_S,
    name: 'toll-gate',
    version: 1,
    effectiveFromS: NOW_S - 60,
    currency: JPY,
    components: [{ unit: 0, steps: [{ fromMinute: 0, priceMicro: amountMicro(3_850_000n) }] }],
  });
  const [issuerContent, partyContent] = [newContentKey(), newContentKey()];
  return { world, log: newSigner(), witness: newSigner(), tariff, issuerContent, partyContent };
};

export const paymentBy = (
  { world }: OutWorld,
  device: Signer,
  part: Partial<Payment> & Pick<Payment, 'counter' | 'amountMicro' | 'totalMicro'>,
): { readonly cose: Uint8Array; readonly payload: Uint8Array } => {
  const payload = PAYMENT.encode({
    line: world.line,
    approver: world.signers.gateway.key.id,
    payee: world.signers.payee.key.id,
    currency: JPY,
    offerHash: new Uint8Array(20).fill(9),
    timeS: NOW_S,
    timeQuality: TIME_SYNCHRONISED,
    ...part,
  });
  return { cose: signSign1(device, payload), payload };
};

/** One purchase at 3.85 yen a unit, offered, paid and accepted. */
export const pay = (out: OutWorld, counter: number, totalBefore: bigint, units: bigint): Paid => {
  const { device, payee, gateway } = out.world.signers;
  const amount = amountMicro(3_850_000n * units);
  const offerPayload = OFFER.encode({
    payee: payee.key.id,
    approver: gateway.key.id,
    challenge: new Uint8Array(randomBytes(24)),
    acceptByMs: 10_000,
    lifetimeMs: 10_000,
    currency: JPY,
    amountMicro: amount,
    tariffHash: payloadHash(out.tariff),
    tariffVersion: 1,
    item: 'lane 1',
  });
  const totalMicro = totalBefore + amount;
  const { cose, payload } = paymentBy(out, device, {
    counter,
    amountMicro: amount,
    totalMicro: amountMicro(totalMicro),
    offerHash: offerHash(offerPayload),
  });
  const receiptPayload = RECEIPT.encode({
    paymentHash: payloadHash(payload),
    epoch: new Uint8Array(8).fill(1),
    sequence: counter,
    timeS: NOW_S + counter,
    flags: 2,
    statusListVersion: 1,
    nonce: new Uint8Array(randomBytes(16)),
  });
  return {
    payment: cose,
    offer: signSign1(payee, offerPayload),
    receipt: signSign1(gateway, receiptPayload),
    paymentPayload: payload,
    receiptPayload,
    amountMicro: amount,
    counter,
    totalMicro,
  };
};

class Folder {
  readonly root: string;

  constructor(root: string) {
    this.root = root;
  }

  async put(path: string, bytes: Uint8Array | string): Promise<void> {
    const target = join(this.root, path);
    await mkdir(dirname(target), { recursive: true });
    await writeFile(target, bytes);
  }
}

const policyTextOf = ({ log, witness }: OutWorld): string => {
  const logKey = encodeVerifierKey(logSigner(ORIGIN, log).key);
  const witnessKey = encodeVerifierKey(witnessSigner('witness.example/w1', witness).key);
  return `# demo\nlog ${logKey}\nwitness w1 ${witnessKey}\nquorum w1\n`;
};

const putTrust = async (folder: Folder, out: OutWorld): Promise<void> => {
  const { world, log, witness, tariff } = out;
  const { signers } = world;
  const { cosekey, pem } = keyFilesOf(signers.issuer.key);
  await folder.put('trust/issuer.cosekey', cosekey);
  await folder.put('trust/issuer.pem', pem);
  await folder.put('trust/policy.txt', policyTextOf(out));
  await folder.put('trust/log.vkey', `${encodeVerifierKey(logSigner(ORIGIN, log).key)}\n`);
  const own = witnessSigner('witness.example/w1', witness).key;
  await folder.put('trust/witness.vkey', `${encodeVerifierKey(own)}\n`);
  const keys: Record<string, PublicKey> = {
    gateway: signers.gateway.key,
    clearing: signers.clearing.key,
    'car-1': signers.device.key,
    'toll-gate': signers.payee.key,
  };
  for (const [name, key] of Object.entries(keys)) {
    const forms = keyFilesOf(key);
    await folder.put(`trust/keys/${name}.cosekey`, forms.cosekey);
    await folder.put(`trust/keys/${name}.pem`, forms.pem);
  }
  const documents: Record<string, Uint8Array> = {
    registrar: world.payer.registrar,
    acquirer: world.payee.acquirer,
    clearing: world.clearing,
    mandate: world.mandate,
    'party-1': world.payer.party,
    'policy-1': world.policy,
    'merchant-toll-gate': world.payee.merchant,
    'tariff-toll-gate': tariff,
    'binding-car-1': world.payer.binding,
    'allowance-car-1': world.payer.allowance,
  };
  for (const [name, cose] of Object.entries(documents)) {
    await folder.put(`trust/documents/${name}.cbor`, cose);
  }
};

/** The log in batches of different sizes, so that older partial tiles stay behind. @returns its root in hex */
const putLog = async (
  folder: Folder,
  out: OutWorld,
  paid: readonly Paid[],
  batches: readonly number[],
): Promise<string> => {
  const base = `ledger/${ORIGIN}`;
  const [issuer, party] = [out.issuerContent, out.partyContent].map((one) => nodeSigner(one).key);
  const key = new Uint8Array(randomBytes(32));
  const wrapped = wrapContentKey(key, issuer!, party);
  const content = { kid: contentKeyId(wrapped), key };
  await folder.put(`${base}/keys/${toHex(content.kid)}`, wrapped);
  const tree = emptyTree();
  const bundle = { leaves: [], payloads: [] };
  const grown = new Map<string, Uint8Array>();
  let at = 0;
  for (const size of batches) {
    const entries = paid.slice(at, at + size).map((one): LogEntry => {
      const { payment, offer, receipt: outcome } = one;
      const plain = EVIDENCE.encode({ payment, offer, outcome, answeredAtMs: NOW_S * 1000 });
      const payload = sealPayload(plain, payloadHash(one.receiptPayload), content);
      return { leaf: leafOfRecord(payload)!, payload, acceptedAtMs: 0 };
    });
    at += size;
    const { files, appends } = appendBatch(tree, bundle, entries);
    for (const { path, bytes } of files) await folder.put(`${base}/${path}`, bytes);
    for (const tail of appends) {
      grown.set(tail.path, appended(grown.get(tail.path), tail));
      await folder.put(`${base}/${tail.path}`, grown.get(tail.path)!);
    }
  }
  const text = encodeCheckpoint({ origin: ORIGIN, size: tree.size, root: treeRoot(tree) });
  const note = signNote(text, logSigner(ORIGIN, out.log));
  const line = cosign(text, witnessSigner('witness.example/w1', out.witness), NOW_S);
  await folder.put(`${base}/${CHECKPOINT_PATH}`, note + line);
  return toHex(treeRoot(tree));
};

const itemOf = ({ world }: OutWorld, paid: Paid, leafIndex: number): VerifiedReceipt => {
  const bound = verifyPayer(world.trust, world.payer, NOW_S);
  if (!bound.ok) throw new Error(bound.reason);
  const { gateway, payee, acquirer, issuer } = world.signers;
  return {
    kind: 'receipt',
    level: 'L2',
    paymentHash: payloadHash(paid.paymentPayload),
    receiptHash: payloadHash(paid.receiptPayload),
    line: world.line,
    counter: paid.counter,
    amountMicro: paid.amountMicro,
    totalMicro: paid.totalMicro,
    releasedMicro: 0n,
    approver: gateway.key.id,
    sequence: paid.counter,
    payee: payee.key.id,
    key: {
      issuer: issuer.key.hex,
      acquirer: acquirer.key.hex,
      merchant: MERCHANT_FACTS.merchantId,
      programme: MERCHANT_FACTS.programme,
      account: bound.value.party.fundingAccount,
      party: bound.value.partyHex,
      mcc: String(MERCHANT_FACTS.mcc),
      currency: JPY,
    },
    businessTimeS: NOW_S + paid.counter,
    isTimeFlagged: false,
    origin: ORIGIN,
    leafIndex,
  };
};

/** A proof that the device of this world signed two Payments that cannot both be. */
const brokenTotal = (out: OutWorld, last: Paid): Uint8Array => {
  const { device } = out.world.signers;
  const amount = amountMicro(1_000_000n);
  const later = paymentBy(out, device, {
    counter: last.counter + 1,
    amountMicro: amount,
    totalMicro: amount,
  });
  const { binding } = out.world.payer;
  return MISBEHAVIOUR_PROOF.encode({ earlier: last.payment, later: later.cose, binding });
};

export interface BuiltOut {
  readonly out: OutWorld;
  readonly paid: readonly Paid[];
}

/**
 * Writes a whole output folder: `batches` adds up to the number of receipts, cut in two settlement files, or as many as `cuts` says.
 * @param out a world to go on with; default: a new one
 * @param more other options of the clearing
 */
export const buildOut = async (
  root: string,
  batches: readonly number[],
  out: OutWorld = newOutWorld(),
  more: Partial<ClearingOptions> = {},
  cuts = 2,
): Promise<BuiltOut> => {
  const folder = new Folder(root);
  const count = batches.reduce((sum, one) => sum + one, 0);
  const paid: Paid[] = [];
  for (let i = 1; i <= count; i += 1) {
    paid.push(pay(out, i, paid.at(-1)?.totalMicro ?? 0n, BigInt((i % 7) + 1)));
  }
  await putTrust(folder, out);
  for (const one of paid) {
    const name = `receipts/${toHex(payloadHash(one.paymentPayload)).slice(0, 24)}`;
    await folder.put(`${name}.payment.cbor`, one.payment);
    await folder.put(`${name}.offer.cbor`, one.offer);
    await folder.put(`${name}.receipt.cbor`, one.receipt);
  }
  const rootHex = await putLog(folder, out, paid, batches);
  const policy = parsePolicy(new TextEncoder().encode(policyTextOf(out)));
  if (!policy.ok) throw new Error(policy.reason);
  const service = await ClearingService.open(
    {
      database: openSqlite(':memory:'),
      signer: out.world.signers.clearing,
      outFolder: root,
      directory: directoryOf({ ...programme, name: MERCHANT_FACTS.programme }),
      policyHash: policy.value.hash,
      mode: 'T',
      ...more,
    },
    NOW_S,
  );
  const items = paid.map((one, at) => itemOf(out, one, at));
  const anchors = [{ origin: ORIGIN, size: count, root: rootHex }];
  const share = Math.ceil(count / cuts);
  const files: WrittenFile[] = [];
  for (let cut = 0; cut < cuts; cut += 1) {
    const atS = NOW_S + 3600 * (cut + 1);
    await service.ingestBatch(items.slice(cut * share, (cut + 1) * share), atS);
    files.push(...(await service.cut(atS, anchors, true)).files);
  }
  await service.close();
  await folder.put('evidence/proof-car-1.cbor', brokenTotal(out, paid.at(-1)!));
  const sum = paid.reduce((total, one) => total + one.amountMicro, 0n);
  const presented = files.reduce((total, one) => total + one.sumMinor, 0n) * 1_000_000n;
  const whole = formatMajor(sum);
  const summary = {
    title: 'a gate',
    currency: 'JPY',
    policy: { name: 'demo', hash: toHex(policy.value.hash) },
    payments: { accepted: count },
    approvalMs: { p50: 1.25 },
    receipts: { count, sumMicro: String(sum) },
    ledger: [{ origin: ORIGIN, size: count, root: rootHex }],
    files: files.map(({ fileName, records, sumMinor, sha256 }) => ({
      fileName,
      records,
      sumMinor: String(sumMinor),
      sha256,
    })),
    presentedMicro: String(presented),
    carriedMicro: String(sum - presented),
    totals: {
      deviceReceipts: whole,
      gatewayAccepted: whole,
      ledger: whole,
      presented: formatMajor(presented),
      carried: formatMajor(sum - presented),
      otherStates: '0',
    },
    counts: { deviceReceipts: count, gatewayAccepted: count, ledger: count },
    reconciles: true,
  };
  await folder.put('summary.json', `${JSON.stringify(summary, undefined, 2)}\n`);
  await writeContents(root, out.world.signers.clearing);
  return { out, paid };
};
