import { REPEATED, refuse, to } from './state-table.ts';
import type { StateTable } from './state-table.ts';

/** Where one settlement file stands between clearing and issuer. */
export const FILE_STATES = [
  /** In the store; not on the disk yet. */
  'assigned',
  'written',
  /** No acknowledgement in the configured time. Raises an alert, and never sends anything again by itself. */
  'silent',
  /** Lines of it were rejected one by one (691), and no acknowledgement says yet what became of the others. */
  'partlyRefused',
  /** The same, and the time for an acknowledgement is over. */
  'partlySilent',
  'accepted',
  /** Acknowledged, but for lines that were rejected one by one (691). */
  'partly',
  'rejected',
  /** Rejected, and its lines stand in a new file. */
  'resubmitted',
] as const;

export type FileState = (typeof FILE_STATES)[number];

/** What can happen to a file. The three verdicts come with the issuer's acknowledgement. */
export const FILE_EVENTS = [
  'write',
  'silence',
  'accepted',
  'partly',
  'rejected',
  'fileReject',
  'messageReject',
  'reconciliation',
  'resubmit',
] as const;

export type FileEvent = (typeof FILE_EVENTS)[number];

export type FileRefusal = 'NOT_WRITTEN' | 'ALREADY_ACCEPTED' | 'ALREADY_REJECTED' | 'NOT_REJECTED';

const UNANSWERED = {
  write: REPEATED,
  accepted: to('accepted'),
  partly: to('partly'),
  rejected: to('rejected'),
  fileReject: to('rejected'),
  resubmit: refuse('NOT_REJECTED'),
} as const;

/** A 691 speaks of its line alone: the file stays unanswered, and its other lines may still be refused as a whole. */
const UNANSWERED_REST = { ...UNANSWERED, accepted: to('partly') } as const;

const REFUSED_WHOLE = {
  write: REPEATED,
  silence: REPEATED,
  accepted: refuse('ALREADY_REJECTED'),
  partly: refuse('ALREADY_REJECTED'),
  rejected: REPEATED,
  fileReject: REPEATED,
  messageReject: refuse('ALREADY_REJECTED'),
  reconciliation: refuse('ALREADY_REJECTED'),
} as const;

/**
 * DESIGN §6, settlement.md 4.4. Whatever the order in which acknowledgement and rejects of single messages come, the
 * file ends in the same state; only a contradiction (accepted and rejected as a whole) is refused.
 */
export const FILE_TABLE: StateTable<FileState, FileEvent, FileRefusal> = {
  assigned: {
    write: to('written'),
    silence: REPEATED,
    accepted: refuse('NOT_WRITTEN'),
    partly: refuse('NOT_WRITTEN'),
    rejected: refuse('NOT_WRITTEN'),
    fileReject: refuse('NOT_WRITTEN'),
    messageReject: refuse('NOT_WRITTEN'),
    reconciliation: refuse('NOT_WRITTEN'),
    resubmit: refuse('NOT_REJECTED'),
  },
  written: {
    ...UNANSWERED,
    silence: to('silent'),
    messageReject: to('partlyRefused'),
    reconciliation: to('written'),
  },
  silent: {
    ...UNANSWERED,
    silence: REPEATED,
    messageReject: to('partlySilent'),
    reconciliation: to('silent'),
  },
  partlyRefused: {
    ...UNANSWERED_REST,
    silence: to('partlySilent'),
    messageReject: to('partlyRefused'),
    reconciliation: to('partlyRefused'),
  },
  partlySilent: {
    ...UNANSWERED_REST,
    silence: REPEATED,
    messageReject: to('partlySilent'),
    reconciliation: to('partlySilent'),
  },
  accepted: {
    write: REPEATED,
    silence: REPEATED,
    accepted: REPEATED,
    partly: to('partly'),
    rejected: refuse('ALREADY_ACCEPTED'),
    fileReject: refuse('ALREADY_ACCEPTED'),
    messageReject: to('partly'),
    reconciliation: to('accepted'),
    resubmit: refuse('NOT_REJECTED'),
  },
  partly: {
    write: REPEATED,
    silence: REPEATED,
    accepted: REPEATED,
    partly: REPEATED,
    rejected: refuse('ALREADY_ACCEPTED'),
    fileReject: refuse('ALREADY_ACCEPTED'),
    messageReject: to('partly'),
    reconciliation: to('partly'),
    resubmit: refuse('NOT_REJECTED'),
  },
  rejected: { ...REFUSED_WHOLE, resubmit: to('resubmitted') },
  resubmitted: { ...REFUSED_WHOLE, resubmit: REPEATED },
};
