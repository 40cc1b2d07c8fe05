/**
 * The approver's journals as entries of its log. The log is a cursor over the SIGNED journal; MONEY and OFFERS are read
 * along only as far as each signed row needs, so that a long journal is never in memory. The ledger never holds the
 * approver's key.
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

/**
 * A signature is written after its Offer and its answer were durable; what a reader sees of another journal may lag by
 * the mark that announces its last block. Longer than this means damage.
 */
const MAX_LAG_MS = 5_000;
const LAG_PAUSE_MS = 50;

/** What `startLedgerService` wants of a gateway: its journals' folders and the algorithm of its key. */
export interface ApproverSource {
  readonly reader: JournalReader;
  readonly source: EntrySource;
}

/** One journal read from the start, slice by slice, to where it is needed. */
class Follower {
  readonly #reader: JournalReader;
  readonly #take: (record: Uint8Array) => void;
  #position: JournalPosition | undefined;

  constructor(folder: string, take: (record: Uint8Array) => void) {
    this.#reader = journalReader(folder);
    this.#take = take;
  }

  /** Reads on while something is lacking. @returns whether nothing is lacking any more */
  async readWhile(isLacking: () => boolean, maxLagMs: number): Promise<boolean> {
    for (let waitedMs = 0; isLacking();) {
      const slice = await this.#reader.readFrom(this.#position);
      for (const { record } of slice.records) this.#take(record);
      this.#position = slice.nextPosition;
      if (slice.records.length > 0) continue;
      if (waitedMs >= maxLagMs) return false;
      await new Promise((resolve) => setTimeout(resolve, LAG_PAUSE_MS));
      waitedMs += LAG_PAUSE_MS;
    }
    return true;
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
export const approverSource = (
  folder: string,
  alg: CoseAlg,
  maxLagMs: number = MAX_LAG_MS,
): ApproverSource => {
  const joiner = new EvidenceJoiner(alg);
  const offers = new Follower(join(folder, 'offers'), (record) => joiner.offerRecord(record));
  const money = new Follower(join(folder, 'money'), (record) => joiner.moneyRecord(record));
  const signed = journalReader(join(folder, 'signed'));
  let nextIndex = 0;

  const read = async (record: Uint8Array): Promise<Evidence[]> => {
    if (!(await money.readWhile(() => joiner.lacksAnswer(record), maxLagMs))) {
      throw new KiriError('JOURNAL_CORRUPT', `${folder}: a signature without its answer`);
    }
    // An Offer that is not there costs clearing one payment until it is handed in again, and holds up no other.
    await offers.readWhile(() => joiner.lacksOffer(record), maxLagMs);
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
