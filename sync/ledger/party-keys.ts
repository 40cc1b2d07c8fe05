/**
 * Which key-agreement key each liable party has, from the credentials that an approver took in and journalled. The approver
 * verified the chain before it wrote it down; this reads the journal along with MONEY and checks nothing again.
 */
import { join } from 'node:path';
import { DOCUMENTS_RECORD, PRESENTED_RECORD, recordType } from '../../approval/records.ts';
import { PARTY_CREDENTIAL } from '../../identity/core/documents/credentials.ts';
import { toHex } from '../../protocol/bytes.ts';
import { decodeSign1 } from '../../protocol/cose.ts';
import { KiriError } from '../../protocol/kiri-error.ts';
import type { PublicKey } from '../../protocol/public-key.ts';
import { JournalFollower } from './journal-follower.ts';

/** An approver keeps this many lines at most; a party has one or more of them. */
const MAX_PARTIES = 65_536;
/** Sets of documents remembered; one line has one in force, and each new one of it is a record of its own. */
const MAX_KNOWN_SETS = 65_536;

const forgetOldest = (held: { delete(key: string): unknown; keys(): Iterable<string> }): void => {
  for (const oldest of held.keys()) {
    held.delete(oldest);
    return;
  }
};

/** The party's credential among a set of documents, if it is a payer's. */
const partyIn = (
  documents: readonly Uint8Array[],
): { readonly partyHex: string; readonly key: PublicKey | undefined } | undefined => {
  for (const cose of documents) {
    const message = decodeSign1(cose);
    if (!message.ok || message.value.header.typ !== PARTY_CREDENTIAL.typ) continue;
    const credential = PARTY_CREDENTIAL.decode(message.value.payload);
    if (!credential.ok) continue;
    const { subject, agreementKey } = credential.value;
    return { partyHex: toHex(subject), key: agreementKey };
  }
  return undefined;
};

export class PartyKeys {
  readonly #documents: JournalFollower;
  readonly #maxLagMs: number;
  readonly #keys = new Map<string, PublicKey | undefined>();
  /**
   * Hashes of sets that were read. They are not let go when MONEY names them: a device that shows its documents twice
   * before the first answer has them put in force twice.
   */
  readonly #known = new Set<string>();
  /** Hashes of sets that MONEY has put in force since the last `settle`. */
  #wanted: string[] = [];
  #isDamaged = false;

  /** @param folder the approver's journals */
  constructor(folder: string, maxLagMs: number) {
    this.#documents = new JournalFollower(join(folder, 'documents'), (record) =>
      this.#take(record),
    );
    this.#maxLagMs = maxLagMs;
  }

  /** Looks at a record of MONEY; call it with every one, in order. */
  moneyRecord(record: Uint8Array): void {
    if (recordType(record) !== PRESENTED_RECORD.type) return;
    const presented = PRESENTED_RECORD.decode(record);
    if (presented.ok) this.#wanted.push(toHex(presented.value.documentsHash));
  }

  #take(record: Uint8Array): void {
    const set = DOCUMENTS_RECORD.decode(record);
    const party = set.ok ? partyIn(set.value.documents) : undefined;
    if (!set.ok || party === undefined) return;
    this.#keys.delete(party.partyHex);
    this.#keys.set(party.partyHex, party.key);
    if (this.#keys.size > MAX_PARTIES) forgetOldest(this.#keys);
    this.#known.add(toHex(set.value.documentsHash));
    if (this.#known.size > MAX_KNOWN_SETS) forgetOldest(this.#known);
  }

  /**
   * Reads on until the credentials of every payment read so far are known. Documents are durable before MONEY names them,
   * so a set that is not there is damage: it costs the party its copy of the key and holds up no payment.
   */
  async settle(): Promise<void> {
    for (const hash of this.#wanted) if (!this.#isDamaged) await this.#readTo(hash);
    this.#wanted = [];
  }

  async #readTo(hash: string): Promise<void> {
    try {
      const isThere = await this.#documents.readWhile(() => !this.#known.has(hash), this.#maxLagMs);
      if (!isThere) this.#isDamaged = true;
    } catch (error) {
      if (!(error instanceof KiriError) || error.code !== 'JOURNAL_CORRUPT') throw error;
      this.#isDamaged = true;
    }
  }

  /** Where content keys of this party's payments are wrapped to; undefined: to the issuer alone. */
  keyOf(party: Uint8Array): PublicKey | undefined {
    return this.#keys.get(toHex(party));
  }
}
