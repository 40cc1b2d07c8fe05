/**
 * Thrown for caller bugs and broken machines (disk, network), never for a refusal: a refusal is a returned value.
 * `code` is stable and in capitals; `message` is for people and names what is wrong and where.
 */
export class KiriError extends Error {
  readonly code: string;

  constructor(code: string, message: string, options?: { cause?: unknown }) {
    super(message, options);
    this.name = 'KiriError';
    this.code = code;
  }
}
