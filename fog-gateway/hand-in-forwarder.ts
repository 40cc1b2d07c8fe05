/**
 * Hand-ins that name another approver, or bring a Close, go to the intake log. The offers journal keeps every Hand-in as it came; this follows
 * it by a durable cursor, so nothing waits in memory and an outage of any length loses nothing. The intake takes the same
 * one twice (DESIGN section 5).
 */
import { join } from 'node:path';
import { HANDED_IN_RECORD, recordType } from '../approval/records.ts';
import { readIfPresent, writeFileDurable } from '../platform/durable-file.ts';
import { fetchBytes } from '../platform/http-client.ts';
import { journalReader } from '../platform/journal-reader.ts';
import type { JournalPosition } from '../platform/ports.ts';
import { bytesEqual } from '../protocol/bytes.ts';
import { decodeSign1 } from '../protocol/cose.ts';
import { KiriError } from '../protocol/kiri-error.ts';
import { HAND_IN } from '../protocol/messages/envelopes.ts';
import { PAYMENT } from '../protocol/messages/payment.ts';

const CURSOR_FILE = 'hand-in-cursor.json';
/** How often the journal is looked at, and the pause after the intake could not be reached. */
const POLL_MS = 1_000;
const HTTP_TIMEOUT_MS = 5_000;
const MAX_ANSWER_BYTES = 4_096;
/** The intake's last refusals of these bytes. Everything else is not now, or a proxy's word: a device has been told that this goes on. */
const FINAL: ReadonlySet<number> = new Set([400, 413, 422]);
/** What an intake says on a busy day. */
const BUSY: ReadonlySet<number> = new Set([429, 500, 503]);

export interface ForwarderOptions {
  /** The gateway's folder: `offers/` is read, the cursor stands beside it. */
  readonly folder: string;
  /** Address of the intake, without a trailing slash. */
  readonly intakeUrl: string;
  /** This gateway's own approver id: its own answers are in its own log. */
  readonly approver: Uint8Array;
  readonly onEvent?: (event: string, detail: Readonly<Record<string, unknown>>) => void;
}

/** The Hand-in's bytes where another approver answered, or the device ends an allowance: this gateway's log has no place for that. */
const forOthers = (record: Uint8Array, approver: Uint8Array): Uint8Array | undefined => {
  if (recordType(record) !== HANDED_IN_RECORD.type) return undefined;
  const kept = HANDED_IN_RECORD.decode(record);
  const handIn = kept.ok ? HAND_IN.decode(kept.value.handIn) : kept;
  const sign1 = handIn.ok ? decodeSign1(handIn.value.payment) : handIn;
  const payment = sign1.ok ? PAYMENT.decode(sign1.value.payload) : sign1;
  if (!kept.ok || !handIn.ok || !payment.ok) return undefined;
  const isOwn = bytesEqual(payment.value.approver, approver);
  return isOwn && handIn.value.close === undefined ? undefined : kept.value.handIn;
};

/** Starts forwarding; `close` waits for the request under way. @throws KiriError STATE_CORRUPT, DISK_* */
export async function startForwarder(
  options: ForwarderOptions,
): Promise<{ close(): Promise<void> }> {
  const { folder, intakeUrl, approver, onEvent } = options;
  const cursorPath = join(folder, CURSOR_FILE);
  const stored = await readIfPresent(cursorPath);
  let position: JournalPosition | undefined;
  try {
    if (stored) position = JSON.parse(stored.toString('utf8')) as JournalPosition;
  } catch {
    throw new KiriError('STATE_CORRUPT', `${cursorPath} is damaged; delete it, all is sent again`);
  }
  const reader = journalReader(join(folder, 'offers'));
  const closing = new AbortController();

  let told = '';
  /** Once for each reason: an outage of days is no line a second. */
  const tellWaiting = (detail: Readonly<Record<string, unknown>>): void => {
    const now = JSON.stringify(detail);
    if (now !== told) onEvent?.('hand-ins wait', detail);
    told = now;
  };

  /** False where it has to be tried again later. */
  const forward = async (body: Uint8Array): Promise<boolean> => {
    const limits = { timeoutMs: HTTP_TIMEOUT_MS, maxBytes: MAX_ANSWER_BYTES };
    const answer = await fetchBytes(`${intakeUrl}/hand-in`, { ...limits, body });
    const { status } = answer;
    if (BUSY.has(status)) return false;
    const isFinal = FINAL.has(status);
    const reason = Buffer.from(answer.body).toString('utf8').trim();
    if (isFinal) onEvent?.('intake refused a hand-in', { status, reason });
    if (isFinal || status === 200) told = '';
    else tellWaiting({ status, reason });
    return isFinal || status === 200;
  };

  const round = async (): Promise<void> => {
    while (!closing.signal.aborted) {
      const slice = await reader.readFrom(position);
      for (const { record } of slice.records) {
        const body = forOthers(record, approver);
        if (body && (closing.signal.aborted || !(await forward(body)))) return;
      }
      if (slice.records.length === 0) return;
      await writeFileDurable(cursorPath, JSON.stringify(slice.nextPosition), 0o600);
      position = slice.nextPosition;
    }
  };

  let running: Promise<void> | undefined;
  const poll = (): void => {
    running ??= round()
      .catch((error: unknown) => tellWaiting({ reason: String(error) }))
      .finally(() => {
        running = undefined;
      });
  };
  const timer = setInterval(poll, POLL_MS);
  poll();
  return {
    close: async () => {
      closing.abort();
      clearInterval(timer);
      await running;
    },
  };
}
