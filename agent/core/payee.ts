import { toHex } from '../../protocol/bytes.ts';
import { payloadHash } from '../../protocol/ids.ts';
import { KiriError } from '../../protocol/kiri-error.ts';
import { REFUSAL } from '../../protocol/messages/refusal.ts';
import type { RefusalCode } from '../../protocol/refusal.ts';
import type { Now } from '../../platform/ports.ts';
import { append, wakeAt } from './effects.ts';
import { replayFinal, takeFinal } from './final-through.ts';
import { MAX_USAGES } from './limits.ts';
import { newLink, present, presentDueMs, readPresented, runPresent } from './link.ts';
import { answerAsks, onAsk, onGrant, requestChallenges, wakeForChallenges } from './payee-offer.ts';
import { onPaid, onSalesPersisted, remember } from './payee-paid.ts';
import type {
  PayeeEffect,
  PayeeInput,
  PayeeSetup,
  PayeeState,
  PayeeStep,
  Usage,
} from './payee-types.ts';
import { FINAL, FLOOR, recordType, SALE } from './records.ts';
import { checkSignature, readSigned } from './signed.ts';
import { learnDocuments, payeeDocuments, type TrustBook } from './trust.ts';

export type * from './payee-types.ts';

/**
 * The payee's state after `records`, all that its journal holds, in order. Offers are not among
 * them: what was offered before a restart and paid after it is kept as evidence and opens nothing.
 * @throws KiriError JOURNAL_UNREADABLE
 */
export function bootPayee(
  setup: PayeeSetup,
  trust: TrustBook,
  records: Iterable<Uint8Array>,
): PayeeState {
  const state: PayeeState = {
    setup,
    trust,
    link: { kind: 'down' },
    disk: 'ok',
    appends: 0,
    wakeAtMs: undefined,
    floorS: trust.floorS,
    stock: undefined,
    requestAtMs: 0,
    asks: [],
    open: new Map(),
    openOf: new Map(),
    usages: new Map(),
    pending: [],
    recent: new Set(),
    salesKept: 0,
    finals: new Map(),
  };
  for (const record of records) replay(state, record);
  return state;
}

function replay(state: PayeeState, record: Uint8Array): void {
  const floor = recordType(record) === FLOOR.type ? FLOOR.decode(record) : undefined;
  if (floor?.ok) {
    state.floorS = Math.max(state.floorS, floor.value.timeS);
    return;
  }
  const final = recordType(record) === FINAL.type ? FINAL.decode(record) : undefined;
  if (final?.ok) {
    replayFinal(state.finals, final.value.final);
    return;
  }
  const sale = SALE.decode(record);
  if (!sale.ok) throw new KiriError('JOURNAL_UNREADABLE', `sale: ${sale.reason}`);
  const payment = readSigned({ decode: rawPayload }, sale.value.payment);
  if (!payment.ok) throw new KiriError('JOURNAL_UNREADABLE', `sale: ${payment.reason}`);
  remember(state, toHex(payloadHash(payment.value.value)));
  state.salesKept += 1;
}

function rawPayload(payload: Uint8Array): { readonly ok: true; readonly value: Uint8Array } {
  return { ok: true, value: payload };
}

/**
 * One input of a payee. Owns and returns `state`; effects are to be carried out in order. Never
 * throws on anything that came from outside.
 */
export function payeeStep(state: PayeeState, input: PayeeInput, now: Now): PayeeStep {
  const out: PayeeEffect[] = [];
  handle(state, input, now, out);
  const nowMs = now.monotonicMs;
  const { link } = state;
  if (runPresent(link, payeeDocuments(state.trust), nowMs, out) && !link.refusal) {
    answerAsks(state, link, now, out);
    requestChallenges(state, link, nowMs, out);
  }
  wakeAt(state, Math.min(presentDueMs(link), wakeForChallenges(state, nowMs)), out);
  return { state, effects: out };
}

function handle(state: PayeeState, input: PayeeInput, now: Now, out: PayeeEffect[]): void {
  const nowMs = now.monotonicMs;
  switch (input.kind) {
    case 'inbox':
      onInbox(state, input.verb, input.payload, now, out);
      return;
    case 'linkUp':
      state.link = newLink(input.approver);
      // The gateway may have been restarted: its challenges are asked for anew.
      state.stock = undefined;
      state.requestAtMs = 0;
      present(state.link, payeeDocuments(state.trust), nowMs, out);
      return;
    case 'linkDown':
      state.link = { kind: 'down' };
      state.asks.length = 0;
      return;
    case 'persisted':
      onSalesPersisted(state, input.through, out);
      return;
    case 'diskFailed':
      if (state.disk === 'ok')
        out.push({ kind: 'notice', code: 'DISK_FULL', reason: input.reason });
      state.disk = 'failed';
      return;
    case 'documents':
      onDocuments(state, input.documents, nowMs, out);
      return;
    case 'usage':
      onUsage(state, input.usage, out);
      return;
    case 'tick':
      // A timer may come early: say again when it is due.
      state.wakeAtMs = undefined;
      return;
  }
}

/** Everything in the inbox is hostile until it has been checked. */
function onInbox(
  state: PayeeState,
  verb: string,
  payload: Uint8Array,
  now: Now,
  out: PayeeEffect[],
): void {
  if (verb === 'ask') onAsk(state, payload);
  else if (verb === 'paid') {
    // With no working journal a sale cannot be kept; the payer's resend brings it again.
    if (state.disk === 'ok') onPaid(state, payload, out);
  } else if (verb === 'challenges') onGrant(state, payload, now);
  else if (verb === 'refusal') onRefusal(state, payload, now, out);
  else if (verb === 'presented' && state.link.kind === 'up') {
    readPresented(state.link, payload, now.monotonicMs);
  } else if (verb === 'final' && state.disk === 'ok') onFinal(state, payload, out);
}

function onFinal(state: PayeeState, payload: Uint8Array, out: PayeeEffect[]): void {
  if (!takeFinal(state.finals, state.trust, payload)) return;
  append(state, FINAL.encode({ final: payload }), out, 'lazy');
}

/** The approver does not know this payee or its Offers (any more): show everything once more. */
const START_OVER: ReadonlySet<RefusalCode> = new Set<RefusalCode>([
  'UNKNOWN_LINE',
  'CREDENTIAL_INVALID',
  'OFFER_UNKNOWN',
]);

function onRefusal(state: PayeeState, cose: Uint8Array, now: Now, out: PayeeEffect[]): void {
  const refusal = readSigned(REFUSAL, cose);
  if (!refusal.ok || state.link.kind !== 'up') return;
  const approver = state.trust.approvers.get(toHex(state.link.approver));
  const { verifier } = state.trust.trust;
  if (!approver || !checkSignature(verifier, approver.gatewayKey, refusal.value, 'refusal').ok) {
    return;
  }
  const { code } = refusal.value.value;
  out.push({ kind: 'notice', code, reason: 'the approver refuses what this payee sent' });
  if (!START_OVER.has(code)) return;
  state.stock = undefined;
  present(state.link, payeeDocuments(state.trust), now.monotonicMs, out);
}

function onDocuments(
  state: PayeeState,
  documents: readonly Uint8Array[],
  nowMs: number,
  out: PayeeEffect[],
): void {
  for (const { code, reason } of learnDocuments(state.trust, documents)) {
    out.push({ kind: 'notice', code, reason });
  }
  if (state.trust.floorS > state.floorS && state.disk === 'ok') {
    state.floorS = state.trust.floorS;
    append(state, FLOOR.encode({ timeS: state.floorS }), out, 'lazy');
  }
  present(state.link, payeeDocuments(state.trust), nowMs, out);
}

function onUsage(state: PayeeState, usage: Usage, out: PayeeEffect[]): void {
  if (state.usages.size >= MAX_USAGES && !state.usages.has(usage.item)) {
    out.push({ kind: 'notice', code: 'BUSY', reason: `${MAX_USAGES} uses wait to be paid` });
    return;
  }
  state.usages.set(usage.item, usage);
}
