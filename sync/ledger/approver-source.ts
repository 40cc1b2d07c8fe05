/**
 * The approver's journals as entries of its log. The log is a cursor over the SIGNED journal; MONEY, OFFERS and
 * DOCUMENTS are read along only as far as each signed row needs, so that a long journal is never in memory. The ledger never holds the
 * approver's key.
 */
import { join } from 'node:path';
import { EvidenceJoiner, type Evidence } from '../../approval/evidence.ts';
import { journalReader } from '../../platform/journal-reader.ts';
import type { JournalPosition, JournalReader } from '../../platform/ports.ts';
import { payloadHash } from '../../protocol/ids.ts';
import { KiriError } from '../../protocol/kiri-error.ts';
import { EVIDENCE } from '../../protocol/messages/evidence.ts';
import type { CoseAlg, PublicKey } from '../../protocol/public-key.ts';
import { JournalFollower } from './journal-follower.ts';
import type { EntrySource, LedgerEntry } from './ledger-types.ts';
import { PartyKeys } from './party-keys.ts';

/**
 * A signature is written after its Offer and its answer were durable; what a reader sees of another journal may lag by
 * the mark that announces its last block. Longer than this means damage.
 */
const MAX_LAG_MS = 5_000;

/** What `startLedgerService` wants of a gateway: its journals' folders and the algorithm of its key. */
export interface ApproverSource {
  readonly reader: JournalReader;
  readonly source: EntrySource;
}

const entryOf = (evidence: Evidence, partyKey: PublicKey | undefined): LedgerEntry => ({
  receiptPayloadHash: payloadHash(evidence.outcomePayload),
  payloadPlain: EVIDENCE.encode({
    payment: evidence.payment,
    outcome: evidence.outcome,
    ...(evidence.offer ? { offer: evidence.offer } : {}),
    answeredAtMs: evidence.answeredAtMs,
  }),
  partyRef: evidence.party,
  ...(partyKey === undefined ? {} : { partyKey }),
  acceptedAtMs: evidence.answeredAtMs,
  sequence: evidence.sequence,
});

/**
 * @param folder the gateway's journals: `money/`, `offers/`, `signed/`, `documents/`
 * @param alg of the approver's key
 */
export const approverSource = (
  folder: string,
  alg: CoseAlg,
  maxLagMs: number = MAX_LAG_MS,
): ApproverSource => {
  const joiner = new EvidenceJoiner(alg);
  const offers = new JournalFollower(join(folder, 'offers'), (record) =>
    joiner.offerRecord(record),
  );
  const money = new JournalFollower(join(folder, 'money'), (record) => {
    joiner.moneyRecord(record);
    partyKeys.moneyRecord(record);
  });
  const partyKeys = new PartyKeys(folder, maxLagMs);
  const signed = journalReader(join(folder, 'signed'));
  let nextIndex = 0;

  const read = async (record: Uint8Array): Promise<Evidence[]> => {
    if (!(await money.readWhile(() => joiner.lacksAnswer(record), maxLagMs))) {
      throw new KiriError('JOURNAL_CORRUPT', `${folder}: a signature without its answer`);
    }
    // An Offer that is not there costs clearing one payment until it is handed in again, and holds up no other.
    await partyKeys.settle();
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
      const entries = (await read(record)).map((row) => entryOf(row, partyKeys.keyOf(row.party)));
      nextIndex = index + 1;
      return entries;
    },
  };
};
