/**
 * The approver's journals as entries of its log. The log is a cursor over the SIGNED journal; MONEY and OFFERS are read
 * along as far as each signed row needs. The ledger never holds the approver's key.
 */
import { join } from 'node:path';
import { EvidenceJoiner, type Evidence } from '../../approval/evidence.ts';
import { journalReader } from '../../platform/journal-reader.ts';
import type { JournalPosition, JournalReader } from '../../platform/ports.ts';
import { payloadHash } from '../../protocol/ids.ts';
import { KiriError } from '../../protocol/kiri-error.ts';
import { EVIDENCE } from '../../protocol/messages/evidence.ts';
import type { CoseAlg } from '../../protocol/public-key.ts';
import type { EntrySource, LedgerEntry } from './ledger-types.ts';

/** A signature stands in its journal only after MONEY and OFFERS were durable, so more tries mean damage. */
const MAX_CATCH_UPS = 3;
const CATCH_UP_PAUSE_MS = 50;

/** What `startLedgerService` wants of a gateway: its journals' folders and the algorithm of its key. */
export interface ApproverSource {
  readonly reader: JournalReader;
  readonly source: EntrySource;
}

/** One journal read from the start to wherever it has got. */
class Follower {
  readonly #reader: JournalReader;
  readonly #take: (record: Uint8Array) => void;
  #position: JournalPosition | undefined;

  constructor(folder: string, take: (record: Uint8Array) => void) {
    this.#reader = journalReader(folder);
    this.#take = take;
  }

  async catchUp(): Promise<void> {
    for (;;) {
      const slice = await this.#reader.readFrom(this.#position);
      for (const { record } of slice.records) this.#take(record);
      this.#position = slice.nextPosition;
      if (slice.records.length === 0) return;
    }
  }
}

const entryOf = (evidence: Evidence): LedgerEntry => ({
  receiptPayloadHash: payloadHash(evidence.outcomePayload),
  payloadPlain: EVIDENCE.encode({
    payment: evidence.payment,
    outcome: evidence.outcome,
    ...(evidence.offer ? { offer: evidence.offer } : {}),
    answeredAtMs: evidence.answeredAtMs,
  }),
  partyRef: evidence.party,
  acceptedAtMs: evidence.answeredAtMs,
});

/**
 * @param folder the gateway's journals: `money/`, `offers/`, `signed/`
 * @param alg of the approver's key
 */
export const approverSource = (folder: string, alg: CoseAlg): ApproverSource => {
  const joiner = new EvidenceJoiner(alg);
  const offers = new Follower(join(folder, 'offers'), (record) => joiner.offerRecord(record));
  const money = new Follower(join(folder, 'money'), (record) => joiner.moneyRecord(record));
  const signed = journalReader(join(folder, 'signed'));
  let nextIndex = 0;

  const read = async (record: Uint8Array): Promise<Evidence[]> => {
    for (let tries = 0; !joiner.isComplete(record); tries += 1) {
      if (tries === MAX_CATCH_UPS) {
        throw new KiriError('JOURNAL_CORRUPT', `${folder}: a signature without its answer`);
      }
      if (tries > 0) await new Promise((resolve) => setTimeout(resolve, CATCH_UP_PAUSE_MS));
      // Offers after money: an Offer is durable before what was paid on it.
      await money.catchUp();
      await offers.catchUp();
    }
    return joiner.signedRecord(record);
  };

  /** After a restart: what is in the log already is joined once more and let go. */
  const skipTo = async (index: number): Promise<void> => {
    let position: JournalPosition | undefined;
    while (nextIndex < index) {
      const slice = await signed.readFrom(position);
      position = slice.nextPosition;
      if (slice.records.length === 0) {
        throw new KiriError('JOURNAL_CORRUPT', `${folder}: shorter than what is in the log`);
      }
      for (const row of slice.records) {
        if (row.index >= index) break;
        await read(row.record);
        nextIndex = row.index + 1;
      }
    }
  };

  return {
    reader: signed,
    source: async (record, index) => {
      await skipTo(index);
      const entries = (await read(record)).map(entryOf);
      nextIndex = index + 1;
      return entries;
    },
  };
};
