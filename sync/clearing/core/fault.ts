/** Why a byte or a value of a clearing file is refused. The list is closed. */
export type CodecFaultCode =
  | 'BAD_MTI'
  | 'BAD_BITMAP'
  | 'UNKNOWN_FIELD'
  | 'MISSING_FIELD'
  | 'UNEXPECTED_FIELD'
  | 'DUPLICATE_FIELD'
  | 'WRONG_CHARACTER'
  | 'WRONG_LENGTH'
  | 'TOO_LONG'
  | 'OVERFLOW'
  | 'NEGATIVE'
  | 'WRONG_VALUE'
  | 'BAD_FRAMING'
  | 'BAD_PADDING'
  | 'MISSING_TERMINATOR'
  | 'TRUNCATED'
  | 'TRAILING_DATA'
  | 'TOO_MANY'
  /** Not signed, signed by somebody else, or not for us. */
  | 'BAD_SIGNATURE'
  /** A manifest beside a file that is not the one it speaks of. */
  | 'WRONG_FILE'
  | 'IN_FUTURE';

/**
 * One refusal of the codec. `offset` counts bytes from the start of what was being read (the whole file when a
 * file is read) or written (the record); `field` names the element, for example `DE4` or `PDS0105`.
 */
export type CodecFault = {
  readonly code: CodecFaultCode;
  readonly offset: number;
  readonly field: string;
  readonly detail: string;
};

/** A value, or the reason why there is none. Lenient readers in the field are why nothing here is repaired. */
export type Coded<T> =
  { readonly ok: true; readonly value: T } | { readonly ok: false; readonly fault: CodecFault };

export const coded = <T>(value: T): Coded<T> => ({ ok: true, value });

export const refused = (
  code: CodecFaultCode,
  offset: number,
  field: string,
  detail: string,
): { readonly ok: false; readonly fault: CodecFault } => ({
  ok: false,
  fault: { code, offset, field, detail },
});

/** A fault with the number of its record in the file, counted from 1. */
export const inRecord = (
  { code, offset, field, detail }: CodecFault,
  record: number,
): { readonly ok: false; readonly fault: CodecFault } =>
  refused(code, offset, field, `record ${record}: ${detail}`);
