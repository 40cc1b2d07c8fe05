import { REPEATED, refuse, to } from './state-table.ts';
import type { StateTable } from './state-table.ts';

/** Where one line (one ARN) stands. Its money may be split: open, disputed, charged back. */
export const PRESENTMENT_STATES = [
  /** Waits for the next cut under its old ARN: its file was rejected, or a person released it from parking. */
  'queued',
  'inFile',
  'presentedOpen',
  /** Refused by itself (691); a person decides. */
  'parked',
  /** Given up: nobody is charged. */
  'released',
  'disputed',
  /** The second presentment waits for a cut, stands in a file, is on the disk. */
  'secondQueued',
  'secondInFile',
  'secondPresented',
  /** The time for arbitration is over: what was presented again stands. */
  'secondFinal',
  /** The dispute is over; what was not presented again is charged back. */
  'chargedBack',
] as const;

export type PresentmentState = (typeof PRESENTMENT_STATES)[number];

/** What can happen to a line. `assign` and `write` are steps of a cut, the next two the issuer's rejects, `lapse` the clock. */
export const PRESENTMENT_EVENTS = [
  'assign',
  'write',
  'fileReject',
  'messageReject',
  'requeue',
  'park',
  'release',
  'chargeback',
  'represent',
  'accept',
  'arbitration',
  'lapse',
  'retrieval',
] as const;

export type PresentmentEvent = (typeof PRESENTMENT_EVENTS)[number];

/** Why an event is refused in a state. */
export type PresentmentRefusal =
  /** A step of a cut that its states do not allow. */
  | 'WRONG_STEP'
  /** The file of the line is not on the disk yet: nobody can have read it. */
  | 'NOT_WRITTEN'
  | 'NOT_PRESENTED'
  | 'NOT_PARKED'
  | 'NOT_REJECTED'
  | 'NOT_DISPUTED'
  | 'NOT_REPRESENTED'
  | 'ALREADY_DISPUTED'
  | 'DISPUTED'
  | 'RELEASED'
  | 'ARBITRATION_WINDOW_CLOSED'
  | 'FINAL';

const NO_DISPUTE = {
  represent: refuse('NOT_DISPUTED'),
  accept: refuse('NOT_DISPUTED'),
  arbitration: refuse('NOT_REPRESENTED'),
  lapse: refuse('NOT_REPRESENTED'),
} as const;

const NOT_SHOWN = { chargeback: refuse('NOT_PRESENTED'), ...NO_DISPUTE } as const;

const NOT_HELD = {
  requeue: refuse('NOT_PARKED'),
  park: refuse('NOT_REJECTED'),
  release: refuse('NOT_PARKED'),
} as const;

/** DESIGN §6, settlement.md 4.4. A retrieval request moves nothing: the evidence of a line is always there. */
export const PRESENTMENT_TABLE: StateTable<PresentmentState, PresentmentEvent, PresentmentRefusal> =
  {
    queued: {
      ...NOT_SHOWN,
      assign: to('inFile'),
      write: refuse('WRONG_STEP'),
      fileReject: REPEATED,
      messageReject: refuse('NOT_PRESENTED'),
      requeue: REPEATED,
      park: to('parked'),
      release: refuse('NOT_PARKED'),
      retrieval: to('queued'),
    },
    inFile: {
      ...NOT_SHOWN,
      ...NOT_HELD,
      assign: refuse('WRONG_STEP'),
      write: to('presentedOpen'),
      fileReject: refuse('NOT_WRITTEN'),
      messageReject: refuse('NOT_WRITTEN'),
      retrieval: refuse('NOT_WRITTEN'),
    },
    presentedOpen: {
      ...NO_DISPUTE,
      ...NOT_HELD,
      assign: refuse('WRONG_STEP'),
      write: REPEATED,
      fileReject: to('queued'),
      messageReject: to('parked'),
      chargeback: to('disputed'),
      retrieval: to('presentedOpen'),
    },
    parked: {
      ...NOT_SHOWN,
      assign: refuse('WRONG_STEP'),
      write: refuse('WRONG_STEP'),
      fileReject: REPEATED,
      messageReject: REPEATED,
      requeue: to('queued'),
      park: REPEATED,
      release: to('released'),
      retrieval: to('parked'),
    },
    released: {
      ...NOT_SHOWN,
      assign: refuse('WRONG_STEP'),
      write: refuse('WRONG_STEP'),
      fileReject: REPEATED,
      messageReject: REPEATED,
      requeue: refuse('RELEASED'),
      park: refuse('RELEASED'),
      release: REPEATED,
      retrieval: to('released'),
    },
    disputed: {
      ...NOT_HELD,
      assign: refuse('WRONG_STEP'),
      write: REPEATED,
      fileReject: refuse('DISPUTED'),
      messageReject: refuse('DISPUTED'),
      chargeback: refuse('ALREADY_DISPUTED'),
      represent: to('secondQueued'),
      accept: to('chargedBack'),
      arbitration: refuse('NOT_REPRESENTED'),
      lapse: refuse('NOT_REPRESENTED'),
      retrieval: to('disputed'),
    },
    secondQueued: {
      ...NOT_HELD,
      assign: to('secondInFile'),
      write: refuse('WRONG_STEP'),
      fileReject: REPEATED,
      messageReject: refuse('DISPUTED'),
      chargeback: refuse('ALREADY_DISPUTED'),
      represent: REPEATED,
      accept: to('chargedBack'),
      arbitration: refuse('NOT_REPRESENTED'),
      lapse: refuse('NOT_REPRESENTED'),
      retrieval: to('secondQueued'),
    },
    secondInFile: {
      ...NOT_HELD,
      assign: refuse('WRONG_STEP'),
      write: to('secondPresented'),
      fileReject: refuse('NOT_WRITTEN'),
      messageReject: refuse('NOT_WRITTEN'),
      chargeback: refuse('ALREADY_DISPUTED'),
      represent: REPEATED,
      accept: refuse('NOT_WRITTEN'),
      arbitration: refuse('NOT_REPRESENTED'),
      lapse: refuse('NOT_REPRESENTED'),
      retrieval: to('secondInFile'),
    },
    secondPresented: {
      ...NOT_HELD,
      assign: refuse('WRONG_STEP'),
      write: REPEATED,
      fileReject: to('secondQueued'),
      messageReject: to('disputed'),
      chargeback: refuse('ALREADY_DISPUTED'),
      represent: REPEATED,
      accept: refuse('NOT_DISPUTED'),
      arbitration: to('chargedBack'),
      lapse: to('secondFinal'),
      retrieval: to('secondPresented'),
    },
    secondFinal: {
      ...NOT_HELD,
      assign: refuse('WRONG_STEP'),
      write: REPEATED,
      fileReject: refuse('FINAL'),
      messageReject: refuse('FINAL'),
      chargeback: refuse('ALREADY_DISPUTED'),
      represent: REPEATED,
      accept: refuse('NOT_DISPUTED'),
      arbitration: refuse('ARBITRATION_WINDOW_CLOSED'),
      lapse: REPEATED,
      retrieval: to('secondFinal'),
    },
    chargedBack: {
      ...NOT_HELD,
      assign: refuse('WRONG_STEP'),
      write: REPEATED,
      fileReject: refuse('DISPUTED'),
      messageReject: refuse('DISPUTED'),
      chargeback: refuse('ALREADY_DISPUTED'),
      represent: refuse('FINAL'),
      accept: REPEATED,
      arbitration: refuse('FINAL'),
      lapse: refuse('FINAL'),
      retrieval: to('chargedBack'),
    },
  };
