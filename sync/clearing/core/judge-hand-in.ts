import { bytesEqual, concatBytes, toHex } from '../../../protocol/bytes.ts';
import { decodeSign1, verifySign1, type Sign1 } from '../../../protocol/cose.ts';
import { payloadHash } from '../../../protocol/ids.ts';
import { CLOSE } from '../../../protocol/messages/after-payment.ts';
import type { HandIn } from '../../../protocol/messages/envelopes.ts';
import { EVIDENCE } from '../../../protocol/messages/evidence.ts';
import { RECEIPT } from '../../../protocol/messages/receipt.ts';
import type { PublicKey, Verifier } from '../../../protocol/public-key.ts';
import { accepted, refused, type Checked } from '../../../protocol/refusal.ts';
import type { Codec } from '../../../protocol/schema.ts';
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

function openSigned<T>(
  codec: Codec<T>,
  cose: Uint8Array,
  key: PublicKey,
  verifier: Verifier,
): Checked<T> {
  const signed: Checked<Sign1> = decodeSign1(cose);
  if (!signed.ok) return signed;
  const decoded = codec.decode(signed.value.payload);
  if (!decoded.ok) return decoded;
  if (verifySign1(verifier, key, signed.value)) return decoded;
  return refused('BAD_SIGNATURE', 'the close is not signed by the key of its line');
}

/** A close is the device's word on this line. */
function checkClose(
  { registry, verifier }: HandInJudge,
  close: Uint8Array,
  line: Uint8Array,
): Checked<true> {
  const device = registry.payers.get(toHex(line))?.[0]?.deviceKey;
  if (!device) return refused('UNKNOWN_LINE', 'no binding and allowance for the line');
  const opened = openSigned(CLOSE, close, device, verifier);
  if (!opened.ok) return opened;
  if (!bytesEqual(opened.value.line, line)) {
    return refused('MALFORMED', 'the close is for another line');
  }
  return accepted(true);
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
  });
  const read = readEvidence(judge.registry, judge.verifier, plain, {
    origin: '',
    leafIndex: 0,
    cosignedAtS: nowS,
    outcomeHash: payloadHash(outcome.value.payload),
    clearing: judge.clearing,
  });
  if (!read.ok) return read;
  const { item, credit: refund, party, answeredAtS } = read.value;
  if (refund?.ok === false) return refund;
  const { line } = item;
  const closed = close ? checkClose(judge, close, line) : undefined;
  if (closed?.ok === false) return closed;
  return accepted({ parts: parts.value, line, party, answeredAtMs: answeredAtS * 1_000 });
}
