import { PRESENT, PRESENTED } from '../../protocol/messages/envelopes.ts';
import { refusalCodeOf, refused, type Refused } from '../../protocol/refusal.ts';
import type { EffectSink } from './effects.ts';
import { PRESENT_AGAIN_MS, PRESENT_WAIT_MS } from './limits.ts';

/** The connection to one gateway, and what it thinks of this device's credentials. */
export type DeviceLink = { readonly kind: 'down' } | LinkUp;

export interface LinkUp {
  readonly kind: 'up';
  /** Key id of the gateway's approver. */
  readonly approver: Uint8Array;
  /** Until the approver has answered `present`, or this passes, nothing else is sent. */
  presentUntilMs: number | undefined;
  /** There were newer documents while it looked at earlier ones. */
  isOutdated: boolean;
  /** The approver does not take this device's credentials; shown again at `againAtMs`. */
  refusal: (Refused & { readonly againAtMs: number }) | undefined;
}

export function newLink(approver: Uint8Array): LinkUp {
  return { kind: 'up', approver, presentUntilMs: undefined, isOutdated: false, refusal: undefined };
}

/** Shows this device's credentials, unless the approver is looking at them right now. */
export function present(
  link: DeviceLink,
  documents: readonly Uint8Array[],
  nowMs: number,
  out: EffectSink,
): void {
  if (link.kind !== 'up' || documents.length === 0) return;
  link.isOutdated = link.presentUntilMs !== undefined;
  if (link.isOutdated) return;
  link.presentUntilMs = nowMs + PRESENT_WAIT_MS;
  const payload = PRESENT.encode({ documents });
  out.push({ kind: 'publish', approver: link.approver, verb: 'present', payload });
}

/** The approver's answer to `present`. Unsigned: it can delay, never decide money. */
export function readPresented(link: LinkUp, payload: Uint8Array, nowMs: number): void {
  const presented = PRESENTED.decode(payload);
  if (!presented.ok) return;
  const { code, reason } = presented.value;
  link.presentUntilMs = undefined;
  link.refusal =
    code === 0
      ? undefined
      : {
          ...refused(refusalCodeOf(code) ?? 'CREDENTIAL_INVALID', reason),
          againAtMs: nowMs + PRESENT_AGAIN_MS,
        };
}

/** Gives up waiting, or shows refused documents again. True: the link is ready for everything. */
export function runPresent(
  link: DeviceLink,
  documents: readonly Uint8Array[],
  nowMs: number,
  out: EffectSink,
): link is LinkUp {
  if (link.kind !== 'up') return false;
  if (link.presentUntilMs !== undefined && link.presentUntilMs <= nowMs) {
    link.presentUntilMs = undefined;
  }
  if (link.refusal && link.refusal.againAtMs <= nowMs && link.presentUntilMs === undefined) {
    link.refusal = { ...link.refusal, againAtMs: nowMs + PRESENT_AGAIN_MS };
    present(link, documents, nowMs, out);
  }
  return link.presentUntilMs === undefined;
}

/** When `runPresent` has something to do next. */
export function presentDueMs(link: DeviceLink): number {
  if (link.kind !== 'up') return Infinity;
  return Math.min(link.presentUntilMs ?? Infinity, link.refusal?.againAtMs ?? Infinity);
}
