/** Payments of an enrolled world with their Offers and Receipts, and logs in memory that hold them. */
import { generateKeyPairSync, type KeyObject } from 'node:crypto';
import { nodeSigner } from '../../../identity/edge/node-signatures.ts';
import { toHex, utf8ToBytes } from '../../../protocol/bytes.ts';
import { signSign1 } from '../../../protocol/cose.ts';
import { HAND_IN } from '../../../protocol/messages/envelopes.ts';
import { EVIDENCE } from '../../../protocol/messages/evidence.ts';
import type { Evidence } from '../../../protocol/messages/evidence.ts';
import { RECEIPT } from '../../../protocol/messages/receipt.ts';
import type { Receipt } from '../../../protocol/messages/receipt.ts';
import { REFUSAL } from '../../../protocol/messages/refusal.ts';
import type { Signer } from '../../../protocol/public-key.ts';
import { encodeCheckpoint } from '../../../sync/ledger/core/checkpoint.ts';
import { cosign } from '../../../sync/ledger/core/cosignature.ts';
import { CHECKPOINT_PATH, appendBatch, appended } from '../../../sync/ledger/core/log-batch.ts';
import { signNote } from '../../../sync/ledger/core/note.ts';
import { emptyTree, treeRoot } from '../../../sync/ledger/core/tree.ts';
import { wrappedKeyPath } from '../../../sync/ledger/content-keys.ts';
import { contentKeyId, wrapContentKey } from '../../../sync/ledger/key-wrap.ts';
import { leafOfRecord, sealPayload } from '../../../sync/ledger/payload-record.ts';
import { hashOf, pay, signOffer } from '../../approval/kit.ts';
import type { Payer, PaymentFacts } from '../../approval/kit.ts';
import { NOW_S } from '../../identity/fixture.ts';
import type { World } from '../../identity/fixture.ts';
import { policyOf, realLog, realWitness } from '../ledger/keys.ts';

export const ORIGIN = 'gw1.example/2026q4';
const WITNESS = 'witness.example/w1';
const COSIGNED_S: number = NOW_S + 30;
export const challenge: Uint8Array = new Uint8Array(24).fill(5);

const pair: { readonly publicKey: KeyObject; readonly privateKey: KeyObject } = generateKeyPairSync(
  'ec',
  { namedCurve: 'P-256' },
);
const wrapped = wrapContentKey(new Uint8Array(32).fill(2), nodeSigner(pair.privateKey).key);

/** A log in memory whose every file is signed and sealed as the ledger does it. */
export class LogInMemory {
  readonly origin: string;
  readonly files: Map<string, Uint8Array> = new Map();
  readonly pair: { readonly publicKey: KeyObject; readonly privateKey: KeyObject } = pair;
  readonly policy: ReturnType<typeof policyOf>;
  readonly source: {
    readonly place: string;
    readonly read: (path: string) => Promise<Uint8Array | undefined>;
  };
  #tree = emptyTree();
  readonly #bundle = { leaves: [] as Uint8Array[], payloads: [] as Uint8Array[] };
  readonly key: { readonly kid: Uint8Array; readonly key: Uint8Array };

  constructor(origin: string = ORIGIN) {
    this.origin = origin;
    this.policy = policyOf(realLog(origin), [realWitness(WITNESS)], 'quorum w1');
    this.source = {
      place: origin,
      read: async (path) => this.files.get(path),
    };
    this.key = { kid: contentKeyId(wrapped), key: new Uint8Array(32).fill(2) };
    this.files.set(wrappedKeyPath(toHex(this.key.kid)), wrapped);
  }

  get size(): number {
    return this.#tree.size;
  }

  /** Appends records and publishes a cosigned checkpoint. */
  append(plains: readonly Evidence[], leafHashes?: readonly Uint8Array[]): void {
    const entries = plains.map((evidence, at) => {
      const committed = leafHashes?.[at] ?? hashOf(evidence.outcome);
      const payload = sealPayload(EVIDENCE.encode(evidence), committed, this.key);
      return { leaf: leafOfRecord(payload)!, payload, acceptedAtMs: evidence.answeredAtMs };
    });
    this.appendEntries(entries);
  }

  appendEntries(
    entries: readonly { leaf: Uint8Array; payload: Uint8Array; acceptedAtMs: number }[],
  ): void {
    const { files, appends } = appendBatch(this.#tree, this.#bundle, entries);
    for (const file of files) this.files.set(file.path, file.bytes);
    for (const tail of appends) {
      this.files.set(tail.path, appended(this.files.get(tail.path), tail));
    }
    this.publish(treeRoot(this.#tree));
  }

  note(root: Uint8Array = treeRoot(this.#tree)): string {
    return signNote(
      encodeCheckpoint({ origin: this.origin, size: this.#tree.size, root }),
      realLog(this.origin),
    );
  }

  publish(root: Uint8Array, isCosigned = true): void {
    const note = this.note(root);
    const text = note.slice(0, note.indexOf('\n\n') + 1);
    const line = isCosigned ? cosign(text, realWitness(WITNESS), COSIGNED_S) : '';
    this.files.set(CHECKPOINT_PATH, utf8ToBytes(note + line));
  }

  /** Another history of the same length. */
  fork(plains: readonly Evidence[]): void {
    this.#tree = emptyTree();
    this.#bundle.leaves = [];
    this.#bundle.payloads = [];
    this.append(plains);
  }
}

export const documentsOf = (world: World): Uint8Array[] => [
  ...Object.values(world.payer),
  ...Object.values(world.payee),
  world.mandate,
];

let answered = 0;
/** Payment, Offer and Receipt of one purchase, every one signed; `facts` bend the Receipt. */
export const purchase = (
  world: World,
  payer: Payer,
  facts: Partial<Receipt> = {},
  more: { offer?: Uint8Array; signer?: Signer; payment?: PaymentFacts } = {},
): Required<Pick<Evidence, 'payment' | 'offer' | 'outcome' | 'answeredAtMs'>> => {
  const offer = more.offer ?? signOffer(world, challenge);
  const payment = pay(payer, offer, more.payment ?? {});
  answered += 1;
  const receipt = RECEIPT.encode({
    paymentHash: hashOf(payment),
    epoch: new Uint8Array(8).fill(3),
    sequence: answered,
    timeS: NOW_S,
    flags: 2,
    statusListVersion: 1,
    nonce: new Uint8Array(16).fill(answered % 256),
    ...facts,
  });
  const outcome = signSign1(more.signer ?? world.signers.gateway, receipt);
  return { payment, offer, outcome, answeredAtMs: NOW_S * 1000 };
};

/** The Void of a Payment, by the gateway. */
export const voidOf = (world: World, payment: Uint8Array, row?: number): Uint8Array => {
  answered += 1;
  const sequence = row ?? answered;
  const refusal = REFUSAL.encode({
    paymentHash: hashOf(payment),
    code: 'OFFER_EXPIRED',
    final: true,
    timeS: NOW_S,
    epoch: new Uint8Array(8),
    sequence,
    nonce: new Uint8Array(16),
  });
  return signSign1(world.signers.gateway, refusal);
};

/** What either side hands in for it. */
export const handInOf = ({
  payment,
  offer,
  outcome,
}: {
  readonly payment: Uint8Array;
  readonly offer: Uint8Array;
  readonly outcome: Uint8Array;
}): Uint8Array => HAND_IN.encode({ payment, offer, outcome });

export const worldPayer = (world: World): Payer => ({
  signer: world.signers.device,
  party: world.signers.party,
  line: world.line,
  present: new Uint8Array(0),
  counter: 0,
  totalMicro: 0n,
});
