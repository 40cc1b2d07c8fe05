/** How the log writer goes from one policy version to the next: other witnesses, nothing signed again. */
import { bytesEqual } from '../../../protocol/bytes.ts';
import { invariant } from '../../../protocol/kiri-error.ts';
import type { FoundLog, LogPorts, LogWriterState } from './log-writer-types.ts';
import type { Verify } from './note-key.ts';
import { verifyNote } from './note-verify.ts';
import type { Policy } from './policy.ts';
import { policySpans, spanAt } from './policy-book.ts';
import { type WitnessLink, witnessLinks } from './witness-link.ts';

/**
 * Links as a start makes them. What the published checkpoint carries a cosignature for, its witness has cosigned: one
 * that answers with less later has lost its state, also when this writer was started anew in between.
 */
export const startLinks = (
  policy: Policy,
  { head, published }: FoundLog,
  verify: Verify,
): WitnessLink[] => {
  const links = witnessLinks(policy, head.size);
  const note = published?.note;
  if (published === undefined || note === undefined) return links;
  for (const link of links) {
    if (verifyNote(note, [link.key], verify).ok) link.cosignedSize = published.size;
  }
  return links;
};

const isSame = (link: WitnessLink, other: WitnessLink): boolean =>
  bytesEqual(link.key.publicKey, other.key.publicKey) && link.key.name === other.key.name;

/**
 * Takes over the version that is in force now. A witness that is new in it starts at size 0, its proof covers the whole
 * log; one that is in both goes on. What the open round has gathered was cosigned under the version before and is asked
 * for again; the log's own signature stays as it is.
 */
export const followPolicy = (state: LogWriterState, ports: LogPorts, unixMs: number): void => {
  const span = spanAt(ports.policy, Math.floor(unixMs / 1000));
  if (span.policy === state.span.policy) return;
  const before = new Map(state.witnesses.map((link) => [link.name, link]));
  state.span = span;
  state.witnesses = witnessLinks(span.policy, 0).map((link) => {
    const old = before.get(link.name);
    if (old === undefined) return link;
    if (isSame(old, link)) return old;
    // The answer that the old key still owes comes under the same name.
    link.ignoredAnswers = old.ignoredAnswers + (old.askedSize === undefined ? 0 : 1);
    return link;
  });
  if (state.round?.publishing === false) state.round.cosignatures.clear();
};

/** The link that an answer is for; `undefined` where its witness is no longer one of the policy. */
export const linkOf = (
  state: LogWriterState,
  ports: LogPorts,
  name: string,
): WitnessLink | undefined => {
  const link = state.witnesses.find((known) => known.name === name);
  const isKnown = policySpans(ports.policy).some(({ policy }) =>
    policy.witnesses.some((witness) => witness.name === name),
  );
  invariant(isKnown, 'an answer comes from a witness of the policy');
  if (link === undefined || link.ignoredAnswers === 0) return link;
  link.ignoredAnswers -= 1;
  return undefined;
};
