/**
 * Spent totals of an approver, asked for before its log is read on (DESIGN section 5): after an outage the issuer knows at
 * once how much has been accepted, however long the receipts take. News and no evidence: nothing is booked from it.
 */
import { fetchBytes } from '../../platform/http-client.ts';
import { fromHex, toHex } from '../../protocol/bytes.ts';
import { decodeSign1, verifySign1 } from '../../protocol/cose.ts';
import { SPENT_TOTALS, spentRows } from '../../protocol/messages/spent-totals.ts';
import type { Verifier } from '../../protocol/public-key.ts';
import type { Registry } from './core/registry.ts';

const TIMEOUT_MS = 5_000;
/** 64 Ki lines of 36 bytes in hex fit. */
const MAX_BYTES = 8 * 1024 * 1024;
const MAX_MESSAGES = 256;

/** What one approver says that its lines owe. */
export interface Exposure {
  readonly throughSequence: number;
  readonly timeS: number;
  readonly lines: number;
  readonly unacknowledgedMicro: bigint;
}

/** One signed message; undefined where its approver is unknown or has not signed it. */
const readTotals = (
  cose: Uint8Array,
  registry: Registry,
  verifier: Verifier,
): readonly [string, Exposure] | undefined => {
  const sign1 = decodeSign1(cose);
  const totals = sign1.ok ? SPENT_TOTALS.decode(sign1.value.payload) : sign1;
  const rows = totals.ok ? spentRows(totals.value) : undefined;
  if (!sign1.ok || !totals.ok || rows === undefined) return undefined;
  const { approver, throughSequence, timeS } = totals.value;
  const mandates = registry.approvers.get(toHex(approver)) ?? [];
  if (!mandates.some(({ gatewayKey }) => verifySign1(verifier, gatewayKey, sign1.value))) {
    return undefined;
  }
  const unacknowledgedMicro = rows.reduce((sum, row) => sum + row.unacknowledgedMicro, 0n);
  return [toHex(approver), { throughSequence, timeS, lines: rows.length, unacknowledgedMicro }];
};

/**
 * Asks the log's site for spent totals. Never throws: a site that has none to tell holds up no receipt.
 * @param url of the log, as log-server.ts serves it
 * @returns by approver id in hex; messages of one approver are added up
 */
export const pullTotals = async (
  url: string,
  registry: Registry,
  verifier: Verifier,
): Promise<ReadonlyMap<string, Exposure>> => {
  const found = new Map<string, Exposure>();
  try {
    const { status, body } = await fetchBytes(`${url}/totals`, {
      timeoutMs: TIMEOUT_MS,
      maxBytes: MAX_BYTES,
    });
    const { totals } = (status === 200 ? JSON.parse(Buffer.from(body).toString()) : {}) as {
      totals?: unknown;
    };
    for (const hex of Array.isArray(totals) ? totals.slice(0, MAX_MESSAGES) : []) {
      const read = readTotals(fromHex(String(hex)), registry, verifier);
      if (read === undefined) continue;
      const [approver, one] = read;
      const sum = found.get(approver);
      found.set(approver, {
        ...one,
        lines: one.lines + (sum?.lines ?? 0),
        unacknowledgedMicro: one.unacknowledgedMicro + (sum?.unacknowledgedMicro ?? 0n),
      });
    }
  } catch {
    // Offline, or no JSON: what was read so far counts.
  }
  return found;
};
