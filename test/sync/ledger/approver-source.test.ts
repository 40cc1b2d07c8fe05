import { generateKeyPairSync, randomBytes } from 'node:crypto';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { sha256 } from '@noble/hashes/sha2.js';
import t from 'tap';
import {
  ACCEPTED_RECORD,
  DOCUMENTS_RECORD,
  MAX_SIGNED_ROWS,
  OFFER_RECORD,
  PRESENTED_RECORD,
  SIGNED_RECORD,
  VOID_RECORD,
} from '../../../approval/records.ts';
import { issueParty } from '../../../identity/core/issue.ts';
import { nodeSigner } from '../../../identity/edge/node-signatures.ts';
import { openJournal } from '../../../platform/journal.ts';
import type { Journal } from '../../../platform/ports.ts';
import { amountMicro } from '../../../protocol/amount.ts';
import { decodeSign1, joinSign1 } from '../../../protocol/cose.ts';
import { offerHash, payloadHash } from '../../../protocol/ids.ts';
import { EVIDENCE } from '../../../protocol/messages/evidence.ts';
import { OFFER } from '../../../protocol/messages/offer.ts';
import { PAYMENT } from '../../../protocol/messages/payment.ts';
import { RECEIPT } from '../../../protocol/messages/receipt.ts';
import { REFUSAL } from '../../../protocol/messages/refusal.ts';
import { ALG_EDDSA } from '../../../protocol/public-key.ts';
import { approverSource } from '../../../sync/ledger/approver-source.ts';
import type { LedgerEntry } from '../../../sync/ledger/ledger-types.ts';
import { newWorld, PARTY_FACTS } from '../../identity/fixture.ts';
import { temporaryFolder } from './rig.ts';

const LINE = new Uint8Array(16).fill(1);
const PARTY = new Uint8Array(16).fill(2);
const APPROVER = new Uint8Array(16).fill(3);
const PAYEE = new Uint8Array(16).fill(4);
/** Nobody here checks signatures: the joiner puts bytes together. */
const SIGNATURE = new Uint8Array(64).fill(5);
const YEN = amountMicro(1_000_000n);

const signed = (payload: Uint8Array): Uint8Array => joinSign1(ALG_EDDSA, payload, SIGNATURE);

/** The journals of a gateway, written as its approver writes them. */
class Journals {
  readonly folder: string;
  readonly offers: Journal;
  readonly money: Journal;
  readonly signedRows: Journal;
  readonly documents: Journal;
  #sequence = 0;

  private constructor(folder: string, journals: readonly Journal[]) {
    const [offers, money, signedRows, documents] = journals;
    this.folder = folder;
    this.offers = offers!;
    this.money = money!;
    this.signedRows = signedRows!;
    this.documents = documents!;
  }

  static async open(folder: string): Promise<Journals> {
    const names = ['offers', 'money', 'signed', 'documents'];
    const opened = await Promise.all(names.map((name) => openJournal(join(folder, name))));
    return new Journals(
      folder,
      opened.map(({ journal }) => journal),
    );
  }

  /** A payer shows its documents; `isKept` false: the set is not in DOCUMENTS, which is damage. */
  present(line: Uint8Array, party: Uint8Array, cose: readonly Uint8Array[], isKept = true): void {
    const documents = cose.length > 0 ? cose : [new Uint8Array(70)];
    const documentsHash = sha256(Buffer.concat(documents));
    if (isKept) this.documents.append(DOCUMENTS_RECORD.encode({ documentsHash, documents }));
    this.money.append(PRESENTED_RECORD.encode({ line, party, documentsHash }));
  }

  #payment(offerPayload: Uint8Array, line: Uint8Array): Uint8Array {
    this.#sequence += 1;
    const payload = PAYMENT.encode({
      line,
      approver: APPROVER,
      payee: PAYEE,
      counter: this.#sequence,
      amountMicro: YEN,
      totalMicro: amountMicro(BigInt(this.#sequence) * 1_000_000n),
      currency: 392,
      offerHash: offerHash(offerPayload),
      timeS: 1_700_000_000,
      timeQuality: 1,
    });
    return signed(payload);
  }

  /** One accepted Payment; its Offer is registered unless it is to be missing. */
  accept({ hasOffer = true, line = LINE }: { hasOffer?: boolean; line?: Uint8Array } = {}): number {
    const offer = OFFER.encode({
      payee: PAYEE,
      approver: APPROVER,
      challenge: randomBytes(24),
      acceptByMs: 1,
      lifetimeMs: 1,
      currency: 392,
      amountMicro: YEN,
      tariffHash: new Uint8Array(32),
      tariffVersion: 1,
    });
    if (hasOffer) this.offers.append(OFFER_RECORD.encode({ offer: signed(offer) }));
    const payment = this.#payment(offer, line);
    const receiptPayload = RECEIPT.encode({
      paymentHash: new Uint8Array(32),
      epoch: new Uint8Array(8),
      sequence: this.#sequence,
      timeS: 1_700_000_000,
      flags: 1,
      statusListVersion: 1,
      nonce: new Uint8Array(16),
    });
    this.money.append(ACCEPTED_RECORD.encode({ payment, receiptPayload, acceptedAtMs: 1 }));
    return this.#sequence;
  }

  /** A Void, perhaps instead of an acceptance that never left. */
  void(reverses?: number): number {
    const payment = this.#payment(new Uint8Array(1), LINE);
    const refusalPayload = REFUSAL.encode({
      paymentHash: new Uint8Array(32),
      code: 'OFFER_EXPIRED',
      final: true,
      timeS: 1_700_000_000,
      epoch: new Uint8Array(8),
      sequence: this.#sequence,
    });
    const reversal = reverses === undefined ? {} : { reverses };
    this.money.append(VOID_RECORD.encode({ payment, refusalPayload, voidedAtMs: 1, ...reversal }));
    return this.#sequence;
  }

  sign(sequences: readonly number[]): void {
    const rows = sequences.map((sequence) => ({ sequence, signature: SIGNATURE }));
    this.signedRows.append(SIGNED_RECORD.encode({ rows }));
  }

  async commit(): Promise<void> {
    for (const journal of this.#all()) await journal.commit();
  }

  async close(): Promise<void> {
    for (const journal of this.#all()) await journal.close();
  }

  #all(): readonly Journal[] {
    return [this.documents, this.offers, this.money, this.signedRows];
  }
}

/** What a ledger reads that starts with `fromIndex` rows of SIGNED in its log already. */
async function readFrom(folder: string, fromIndex = 0): Promise<LedgerEntry[]> {
  const { reader, source } = approverSource(folder, ALG_EDDSA, 100);
  const entries: LedgerEntry[] = [];
  let slice = await reader.readFrom();
  while (slice.records.length > 0) {
    for (const { record, index } of slice.records) {
      if (index >= fromIndex) entries.push(...(await source(record, index)));
    }
    slice = await reader.readFrom(slice.nextPosition);
  }
  return entries;
}

t.test('every signed answer becomes one entry, with all that proves it', async (t) => {
  const journals = await Journals.open(await temporaryFolder(t));
  journals.present(LINE, PARTY, []);
  journals.sign([journals.accept(), journals.void()]);
  const taken = journals.accept();
  journals.sign([journals.void(taken)]);
  await journals.commit();
  await journals.close();
  const entries = await readFrom(journals.folder);
  const opened = entries.map((entry) => EVIDENCE.decode(entry.payloadPlain));
  t.same(
    opened.map((evidence) => evidence.ok && evidence.value.offer !== undefined),
    [true, false, false],
    'an acceptance with its Offer, two Voids; the one that was taken back is in none',
  );
  t.ok(entries.every((entry) => Buffer.from(entry.partyRef).equals(PARTY)));
  const [first] = opened;
  if (!first?.ok) throw new Error('no evidence');
  const outcome = decodeSign1(first.value.outcome);
  if (!outcome.ok) throw new Error(outcome.reason);
  t.same(
    entries[0]?.receiptPayloadHash,
    payloadHash(outcome.value.payload),
    'the leaf commits to it',
  );
  t.same(outcome.value.signature, SIGNATURE, 'under the signature that was journalled');
});

t.test('a journal longer than any bound of the joiner is read from any place', async (t) => {
  const journals = await Journals.open(await temporaryFolder(t));
  journals.present(LINE, PARTY, []);
  const count = 18_000; // more answers than the joiner may hold unsigned
  for (let from = 0; from < count; from += MAX_SIGNED_ROWS) {
    const rows = Math.min(MAX_SIGNED_ROWS, count - from);
    journals.sign(Array.from({ length: rows }, () => journals.accept()));
    await journals.commit();
  }
  await journals.close();
  const logged = 70; // records of SIGNED that the log holds
  t.equal((await readFrom(journals.folder, logged)).length, count - logged * MAX_SIGNED_ROWS);
});

t.test('an acceptance without its Offer holds up no other', async (t) => {
  const journals = await Journals.open(await temporaryFolder(t));
  journals.present(LINE, PARTY, []);
  journals.sign([journals.accept(), journals.accept({ hasOffer: false }), journals.accept()]);
  await journals.commit();
  await journals.close();
  const offers = (await readFrom(journals.folder)).map((entry) => {
    const evidence = EVIDENCE.decode(entry.payloadPlain);
    return evidence.ok && evidence.value.offer !== undefined;
  });
  t.same(offers, [true, false, true]);
});

t.test('a signature without its answer is damage', async (t) => {
  const journals = await Journals.open(await temporaryFolder(t));
  journals.present(LINE, PARTY, []);
  journals.sign([journals.accept() + 1]);
  await journals.commit();
  await journals.close();
  await t.rejects(readFrom(journals.folder), { code: 'JOURNAL_CORRUPT' });
});

t.test('documents shown twice before the first answer hold up nothing', async (t) => {
  const world = newWorld();
  const { issuer, party } = world.signers;
  const agreementKey = nodeSigner(
    generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey,
  ).key;
  const keyed = issueParty(issuer, { ...PARTY_FACTS, key: party.key, agreementKey });
  const first = [world.payer.registrar, world.payer.binding, world.payer.allowance];
  const journals = await Journals.open(await temporaryFolder(t));
  journals.present(LINE, PARTY, first);
  journals.present(LINE, PARTY, first);
  journals.sign([journals.accept()]);
  await journals.commit();
  const line = new Uint8Array(16).fill(9);
  journals.present(line, party.key.id, [...first, keyed]);
  journals.sign([journals.accept({ line })]);
  await journals.commit();
  await journals.close();
  const keys = (await readFrom(journals.folder)).map((entry) => entry.partyKey?.hex);
  t.same(keys, [undefined, agreementKey.hex], 'nothing was taken for damage');
});

t.test('each entry brings the key that its party’s content key is wrapped to', async (t) => {
  const world = newWorld();
  const { issuer, party } = world.signers;
  const agreementKey = nodeSigner(
    generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey,
  ).key;
  const facts = { ...PARTY_FACTS, key: party.key };
  const bare = issueParty(issuer, facts);
  const keyed = issueParty(issuer, { ...facts, agreementKey });
  const others = [world.payer.registrar, world.payer.binding, world.payer.allowance];
  const lines = [1, 2, 3].map((n) => new Uint8Array(16).fill(n));
  const [own, second, stranger] = lines;
  const journals = await Journals.open(await temporaryFolder(t));
  const pay = async (line: Uint8Array): Promise<void> => {
    journals.sign([journals.accept({ line })]);
    await journals.commit();
  };
  journals.present(own!, party.key.id, [...others, bare]);
  await pay(own!);
  journals.present(own!, party.key.id, [...others, keyed]);
  await pay(own!);
  // Another line of the party; the set was read ahead or not, the key is the party's.
  journals.present(second!, party.key.id, [keyed, ...others]);
  await pay(second!);
  // A set that is not there costs this party its copy, after that no other waits for anything.
  journals.present(stranger!, PARTY, [], false);
  await pay(stranger!);
  await pay(own!);
  await journals.close();
  const keys = (await readFrom(journals.folder)).map((entry) => entry.partyKey?.hex);
  t.equal(keys.length, 5);
  const { hex } = agreementKey;
  t.same(keys.slice(1), [hex, hex, undefined, hex]);
  await writeFile(join(journals.folder, 'documents/x'), 'not a segment');
  t.equal((await readFrom(journals.folder)).length, 5, 'whatever lies there');
});
