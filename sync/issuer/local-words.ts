/** What gateways and devices say of lines, as files: signed spent totals, device-signed Closes, and devices' bare exports. */
import { toHex } from '../../protocol/bytes.ts';
import { decodeSign1, verifySign1 } from '../../protocol/cose.ts';
import { CLOSE } from '../../protocol/messages/after-payment.ts';
import { SPENT_TOTALS, spentRows } from '../../protocol/messages/spent-totals.ts';
import type { Verifier } from '../../protocol/public-key.ts';
import type { Registry } from '../clearing/core/registry.ts';
import type { LocalWord } from './core/difference-report.ts';

const fromGateway = (
  cose: Uint8Array,
  registry: Registry,
  verifier: Verifier,
): LocalWord[] | undefined => {
  const sign1 = decodeSign1(cose);
  const totals = sign1.ok ? SPENT_TOTALS.decode(sign1.value.payload) : sign1;
  const rows = totals.ok ? spentRows(totals.value) : undefined;
  if (!sign1.ok || !totals.ok || !rows) return undefined;
  const by = toHex(totals.value.approver);
  const mandates = registry.approvers.get(by) ?? [];
  if (!mandates.some(({ gatewayKey }) => verifySign1(verifier, gatewayKey, sign1.value))) {
    return undefined;
  }
  return rows.map(({ line, counter, totalMicro }) => ({
    line: toHex(line),
    source: 'gateway',
    by,
    counter,
    totalMicro,
  }));
};

const fromDevice = (
  cose: Uint8Array,
  registry: Registry,
  verifier: Verifier,
): LocalWord[] | undefined => {
  const sign1 = decodeSign1(cose);
  const close = sign1.ok ? CLOSE.decode(sign1.value.payload) : sign1;
  if (!sign1.ok || !close.ok) return undefined;
  const line = toHex(close.value.line);
  const device = registry.payers.get(line)?.[0]?.deviceKey;
  if (!device || !verifySign1(verifier, device, sign1.value)) return undefined;
  const { lastCounter: counter, totalMicro } = close.value;
  return [{ line, source: 'device', by: line, counter, totalMicro }];
};

/** Spent totals or a Close; undefined where it is neither, or not signed by who it names. */
export const readLocalWord = (
  cose: Uint8Array,
  registry: Registry,
  verifier: Verifier,
): LocalWord[] | undefined =>
  fromGateway(cose, registry, verifier) ?? fromDevice(cose, registry, verifier);

const LINE = /^[\da-f]{32}$/;
const TOTAL = /^\d{1,20}$/;

/**
 * One line of a device export: `{"line":"HEX","counter":N,"totalMicro":"DECIMAL"}`. Unsigned; undefined where it is not that.
 */
export const readDeviceExport = (text: string): LocalWord | undefined => {
  try {
    const { line, counter, totalMicro } = JSON.parse(text) as Record<string, unknown>;
    if (typeof line !== 'string' || !LINE.test(line)) return undefined;
    if (typeof totalMicro !== 'string' || !TOTAL.test(totalMicro)) return undefined;
    if (typeof counter !== 'number' || !Number.isInteger(counter)) return undefined;
    if (counter < 0 || counter > 0xffff_ffff) return undefined;
    return { line, source: 'device', by: line, counter, totalMicro: BigInt(totalMicro) };
  } catch {
    return undefined;
  }
};
