import { REPEATED, refuse, to } from './state-table.ts';
import type { StateTable } from './state-table.ts';

/** Where a fee of an issuer (1740) stands, by its reference. */
export const FEE_STATES = [
  'unknown',
  'booked',
  'returned',
  /** Fell due before the books were closed: whatever is known of it was deleted (retention). */
  'closed',
] as const;

export type FeeState = (typeof FEE_STATES)[number];

/** What an issuer sends about a fee. */
export const FEE_EVENTS = ['collection', 'return'] as const;

export type FeeEvent = (typeof FEE_EVENTS)[number];

export type FeeRefusal = 'UNKNOWN_FEE' | 'FEE_USED' | 'BOOKS_CLOSED';

/** A reference is used for one fee and, at most once, for its return. */
export const FEE_TABLE: StateTable<FeeState, FeeEvent, FeeRefusal> = {
  unknown: { collection: to('booked'), return: refuse('UNKNOWN_FEE') },
  booked: { collection: refuse('FEE_USED'), return: to('returned') },
  returned: { collection: refuse('FEE_USED'), return: REPEATED },
  closed: { collection: refuse('BOOKS_CLOSED'), return: refuse('BOOKS_CLOSED') },
};
