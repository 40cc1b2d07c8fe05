/**
 * Thrown for caller bugs and broken machines only (a full disk, a used port, a corrupt file).
 * A refused payment is a returned value, never one of these.
 */
export class KiriError extends Error {
  readonly code: string;

  constructor(code: string, message: string, options?: { cause?: unknown }) {
    super(message, options);
    this.name = 'KiriError';
    this.code = code;
  }
}

/** Stays on in production: going on with wrong money or counters is worse than stopping. */
export function invariant(holds: boolean, what: string): asserts holds {
  if (!holds) throw new KiriError('INVARIANT_BROKEN', what);
}
