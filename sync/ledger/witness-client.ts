/** Asks one witness for a cosignature (C2SP tlog-witness, add-checkpoint). */
import { type FetchBytes, fetchBytes } from '../../platform/http-client.ts';
import { encodeBase64, parseDecimal } from './core/text.ts';
import type { LogInput } from './core/log-writer-types.ts';
import { encodeAddCheckpoint } from './core/witness.ts';

/** A witness that takes longer counts as failed; the L2 target is 2 s in all (DESIGN section 5). */
const WITNESS_TIMEOUT_MS = 2_000;
/** An answer is a few signature lines. */
const MAX_ANSWER_BYTES = 65_536;
const MAX_SHOWN_CHARACTERS = 120;

/** What is asked of a witness. */
interface CosignatureRequest {
  readonly oldSize: number;
  readonly path: readonly Uint8Array[];
  readonly checkpoint: string;
}

/** What an exchange took on the uplink; see http-client.ts. */
export interface ExchangeBytes {
  readonly bytesUp: number;
  readonly bytesDown: number;
}

/** What a witness's answer is to the log writer. */
export const witnessInput = (witness: string, status: number, text: string): LogInput => {
  const theirSize = parseDecimal(text.replace(/\n$/, ''));
  if (status === 200) return { kind: 'cosigned', witness, lines: text };
  if (status === 422) return { kind: 'witnessInconsistent', witness };
  if (status === 409 && theirSize !== undefined) {
    return { kind: 'witnessConflict', witness, theirSize };
  }
  const shown = text.slice(0, MAX_SHOWN_CHARACTERS).trim();
  return { kind: 'witnessFailed', witness, trouble: `answers ${status}: ${shown}` };
};

/** Status of a witness that does not know the log (tlog-witness). */
export const UNKNOWN_LOG = 404;

/**
 * Enrols the log at a witness (core/enrol.ts). Never throws.
 * @param body see encodeEnrolment
 * @returns why it did not; undefined where it did
 */
export const requestEnrolment = async (
  url: string,
  body: Uint8Array,
  ask: FetchBytes = fetchBytes,
): Promise<{ readonly trouble: string | undefined } & ExchangeBytes> => {
  try {
    const answer = await ask(`${url}/enrol`, {
      body,
      timeoutMs: WITNESS_TIMEOUT_MS,
      maxBytes: MAX_ANSWER_BYTES,
    });
    const { status, bytesUp, bytesDown } = answer;
    const shown = new TextDecoder().decode(answer.body).slice(0, MAX_SHOWN_CHARACTERS).trim();
    const trouble = status === 200 ? undefined : `refuses the enrolment, ${status}: ${shown}`;
    return { trouble, bytesUp, bytesDown };
  } catch (error) {
    const trouble = error instanceof Error ? error.message : String(error);
    return { trouble, bytesUp: 0, bytesDown: 0 };
  }
};

/** Always answers, never throws: every request ends in one input for the log writer; `status` 0 where none came. */
export const requestCosignature = async (
  witness: string,
  url: string,
  request: CosignatureRequest,
  ask: FetchBytes = fetchBytes,
): Promise<LogInput & ExchangeBytes & { readonly status: number }> => {
  try {
    const path = request.path.map(encodeBase64);
    const { status, body, bytesUp, bytesDown } = await ask(`${url}/add-checkpoint`, {
      body: encodeAddCheckpoint(request.oldSize, path, request.checkpoint),
      timeoutMs: WITNESS_TIMEOUT_MS,
      maxBytes: MAX_ANSWER_BYTES,
    });
    const input = witnessInput(witness, status, new TextDecoder().decode(body));
    return { ...input, status, bytesUp, bytesDown };
  } catch (error) {
    const trouble = error instanceof Error ? error.message : String(error);
    return { kind: 'witnessFailed', witness, trouble, status: 0, bytesUp: 0, bytesDown: 0 };
  }
};
