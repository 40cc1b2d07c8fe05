import { concatBytes } from '../../../protocol/bytes.ts';
import { decodeSign1 } from '../../../protocol/cose.ts';
import { payloadHash } from '../../../protocol/ids.ts';
import type { HandIn } from '../../../protocol/messages/envelopes.ts';
import { EVIDENCE } from '../../../protocol/messages/evidence.ts';
import { RECEIPT } from '../../../protocol/messages/receipt.ts';
import type { Verifier } from '../../../protocol/public-key.ts';
import { accepted, type Checked } from '../../../protocol/refusal.ts';
import type { JudgedHandIn } from '../../ledger/core/intake.ts';
import { readEvidence } from './read-evidence.ts';
import type { Registry } from './registry.ts';

/** Whose documents and whose clearing a Hand-in is held against. */
export interface HandInJudge {
  readonly registry: Registry;
  readonly verifier: Verifier;
  /** Id of the clearing's key: an allowance names the one that settles it. */
  readonly clearing: Uint8Array;
}

const KIND_RECEIPT = Uint8Array.of(1);
const KIND_VOID = Uint8Array.of(2);

/**
 * What makes two Hand-ins the same: Payment hash and kind of its answer, each credit and each close. A Receipt and a
 * Void of one Payment are two, and so are two Payments on one counter: all of them are evidence.
 */
export function partsOf({ payment, outcome, credit, close }: HandIn): Checked<Uint8Array[]> {
  const parts: Uint8Array[] = [];
  const paid = decodeSign1(payment);
  if (!paid.ok) return paid;
  const answer = decodeSign1(outcome);
  if (!answer.ok) return answer;
  const kind = RECEIPT.decode(answer.value.payload).ok ? KIND_RECEIPT : KIND_VOID;
  parts.push(concatBytes(payloadHash(paid.value.payload), kind));
  for (const extra of [credit, close]) {
    if (!extra) continue;
    const signed = decodeSign1(extra);
    if (!signed.ok) return signed;
    parts.push(payloadHash(signed.value.payload));
  }
  return accepted(parts);
}

/**
 * A Hand-in with every signature and chain checked, as clearing itself will check the log entry that is made of it: what
 * is refused here could not be settled.
 */
export function judgeHandIn(
  judge: HandInJudge,
  handIn: HandIn,
  nowS: number,
): Checked<JudgedHandIn> {
  const parts = partsOf(handIn);
  if (!parts.ok) return parts;
  const outcome = decodeSign1(handIn.outcome);
  if (!outcome.ok) return outcome;
  const { payment, offer, credit, close } = handIn;
  const plain = EVIDENCE.encode({
    payment,
    outcome: handIn.outcome,
    offer,
    answeredAtMs: 0,
    ...(credit && { credit }),
    ...(close && { close }),
  });
  const read = readEvidence(judge.registry, judge.verifier, plain, {
    origin: '',
    leafIndex: 0,
    cosignedAtS: nowS,
    outcomeHash: payloadHash(outcome.value.payload),
    clearing: judge.clearing,
  });
  if (!read.ok) return read;
  const { item, credit: refund, close: closed, party, answeredAtS } = read.value;
  if (refund?.ok === false) return refund;
  if (closed?.ok === false) return closed;
  const { line } = item;
  return accepted({ parts: parts.value, line, party, answeredAtMs: answeredAtS * 1_000 });
}
