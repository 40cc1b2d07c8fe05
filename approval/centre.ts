import type { Work } from './answers.ts';
import { append } from './appending.ts';
import { MAX_STATUS_LISTS } from './limits.ts';
import { ACKNOWLEDGED_RECORD } from './records.ts';

function answer(work: Work, taken: boolean, reason: string): void {
  work.effects.push({ kind: 'centre', taken, reason });
}

/** A time signed by the centre: the floor for every clock here, and the end of its silence. */
function heard(work: Work, timeS: number): void {
  const { state, now } = work;
  if (state.centre && timeS <= state.centre.timeS) return;
  state.centre = { timeS, receivedMs: now.monotonicMs };
}

/**
 * Lowers the unacknowledged sums through the sequence that it names. Cumulative: an older or
 * repeated one changes nothing, and one that knows more than this journal proves that the journal
 * is an old copy.
 */
export function takeAcknowledgement(work: Work, bytes: Uint8Array): void {
  const { state, ports } = work;
  const facts = ports.credentials.acknowledgement(bytes);
  if (!facts.ok) {
    answer(work, false, `${facts.code}: ${facts.reason}`);
    return;
  }
  const { throughSequence, timeS } = facts.value;
  if (state.phase !== 'open') {
    const reason = 'the approver is starting or its disk is full';
    work.effects.push({ kind: 'centre', taken: false, reason, isForNow: true });
    return;
  }
  if (throughSequence >= state.nextSequence) {
    answer(work, false, `covers sequence ${throughSequence}, which this journal does not have`);
    return;
  }
  heard(work, timeS);
  if (throughSequence <= state.acknowledgedThrough) {
    answer(work, true, 'known already');
    return;
  }
  state.acknowledgedThrough = throughSequence;
  state.exposure.acknowledge(throughSequence);
  append(work, 'money', ACKNOWLEDGED_RECORD.encode({ acknowledgement: bytes, throughSequence }));
  answer(work, true, `through sequence ${throughSequence}`);
}

/** Keeps the newest list of each URI; an older one is refused, the same one again stays as old. */
export function takeStatusList(work: Work, bytes: Uint8Array): void {
  const { state, ports, now } = work;
  const facts = ports.credentials.statusList(bytes);
  if (!facts.ok) {
    answer(work, false, `${facts.code}: ${facts.reason}`);
    return;
  }
  const { uri, version, issuedAtS } = facts.value;
  const held = state.status.get(uri);
  if (held && (held.facts.version > version || held.facts.issuedAtS > issuedAtS)) {
    answer(work, false, `version ${held.facts.version} is held, this is ${version}`);
    return;
  }
  if (held?.facts.version === version && held.facts.issuedAtS === issuedAtS) {
    answer(work, true, 'known already');
    return;
  }
  if (!held && state.status.size >= MAX_STATUS_LISTS) {
    answer(work, false, 'too many status lists');
    return;
  }
  heard(work, issuedAtS);
  state.status.set(uri, { facts: facts.value, receivedMs: now.monotonicMs });
  answer(work, true, `version ${version}`);
}
