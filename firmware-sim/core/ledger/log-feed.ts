import { sha256 } from '@noble/hashes/sha2.js';
import { EvidenceJoiner, type Evidence } from '../../../approval/evidence.ts';
import { payloadHash } from '../../../protocol/ids.ts';
import { EVIDENCE } from '../../../protocol/messages/evidence.ts';
import type { CoseAlg } from '../../../protocol/public-key.ts';
import type { Seed } from '../seed.ts';

/** What the log writer reads of one answer, as approver-source.ts gives it to the real one. */
export interface FeedEntry {
  readonly receiptPayloadHash: Uint8Array;
  readonly plain: Uint8Array;
  /** Chooses the content key. */
  readonly partyHex: string;
}

/** A journal as rows of entries; it only grows. */
export interface LogFeed {
  /** Rows from `index` on, at most `max`; a row may hold several entries or none. */
  read(index: number, max: number): readonly (readonly FeedEntry[])[];
}

/** The durable journals of a gateway in its world. */
export type GatewayJournals = Readonly<
  Record<'offers' | 'money' | 'signed', readonly Uint8Array[]>
>;

const entryOf = (evidence: Evidence): FeedEntry => ({
  receiptPayloadHash: payloadHash(evidence.outcomePayload),
  plain: EVIDENCE.encode({
    payment: evidence.payment,
    outcome: evidence.outcome,
    ...(evidence.offer ? { offer: evidence.offer } : {}),
    answeredAtMs: evidence.answeredAtMs,
  }),
  partyHex: evidence.party.join(),
});

/** Answers of a time before the world began: unreadable to anybody, and in the log like all others. */
export function past(seed: Seed, count: number): readonly (readonly FeedEntry[])[] {
  return Array.from({ length: count }, () => {
    const plain = seed.bytes(24);
    return [{ receiptPayloadHash: sha256(plain), plain, partyHex: 'past' }];
  });
}

/** Follows a gateway's journals: SIGNED row by row, MONEY and OFFERS only as far as each row needs. */
export class GatewayFeed implements LogFeed {
  readonly #journals: () => GatewayJournals;
  readonly #joiner: EvidenceJoiner;
  readonly #rows: (readonly FeedEntry[])[];
  readonly #pastRows: number;
  #money = 0;
  #offers = 0;

  constructor(
    alg: CoseAlg,
    before: readonly (readonly FeedEntry[])[],
    journals: () => GatewayJournals,
  ) {
    this.#joiner = new EvidenceJoiner(alg);
    this.#journals = journals;
    this.#rows = [...before];
    this.#pastRows = before.length;
  }

  read(index: number, max: number): readonly (readonly FeedEntry[])[] {
    const { signed } = this.#journals();
    while (this.#rows.length - this.#pastRows < signed.length) {
      const record = signed[this.#rows.length - this.#pastRows]!;
      if (!this.#readFor(record)) break;
      this.#rows.push(this.#joiner.signedRecord(record).map(entryOf));
    }
    return this.#rows.slice(index, index + max);
  }

  #readFor(record: Uint8Array): boolean {
    const { money, offers } = this.#journals();
    while (this.#joiner.lacksAnswer(record)) {
      if (this.#money === money.length) return false;
      this.#joiner.moneyRecord(money[this.#money]!);
      this.#money += 1;
    }
    while (this.#joiner.lacksOffer(record) && this.#offers < offers.length) {
      this.#joiner.offerRecord(offers[this.#offers]!);
      this.#offers += 1;
    }
    return true;
  }
}
