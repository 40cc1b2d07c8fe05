import { PRESENT, PRESENTED } from '../protocol/messages/envelopes.ts';
import { REFUSALS, refused, type Checked, type Refused } from '../protocol/refusal.ts';
import type { Work } from './answers.ts';
import { epochMs, judgedTime } from './clock.ts';
import { append } from './appending.ts';
import { bytesKey } from './keys.ts';
import { MAX_PAYEES, MAX_PENDING_DOCUMENTS } from './limits.ts';
import { joinParty, openLine } from './lines.ts';
import type { PayeeFacts, PayerFacts } from './ports.ts';
import { DOCUMENTS_RECORD, PRESENTED_RECORD } from './records.ts';
import type { ApproverState, PendingDocuments } from './state.ts';
import { tellSalesAgain } from './tell-payee.ts';

const TAKEN = 0;

function answer(work: Work, to: string, refusal: Refused | undefined): void {
  const bytes = PRESENTED.encode({
    code: refusal ? REFUSALS[refusal.code].number : TAKEN,
    reason: (refusal?.reason ?? '').slice(0, 200),
  });
  work.effects.push({ kind: 'reply', to, verb: 'presented', bytes });
}

/**
 * Step 4 of DESIGN §4, done once per document set: the chain is verified here, kept durable for
 * sync and recovery, and cached per line. The set is in force when it is durable.
 */
export function present(work: Work, from: string, bytes: Uint8Array): void {
  const { state, ports, now } = work;
  const message = PRESENT.decode(bytes);
  if (!message.ok) {
    answer(work, from, message);
    return;
  }
  const documentsHash = ports.sha256(bytes);
  const documentsKey = bytesKey(documentsHash);
  const held = state.documents.get(documentsKey);
  if (held !== undefined) {
    answer(work, from, undefined);
    const payee = held === from ? state.payees.get(from) : undefined;
    if (payee && state.presentBuckets.take(from, epochMs(state, now))) {
      tellSalesAgain(work, from, payee.facts.key.id);
    }
    return;
  }
  const busy =
    state.phase !== 'open' ||
    state.pendingDocuments.length >= MAX_PENDING_DOCUMENTS ||
    !state.presentBuckets.take(from, epochMs(state, now));
  if (busy) {
    answer(work, from, refused('BUSY', 'try again in a moment'));
    return;
  }
  const { documents } = message.value;
  const facts = checkDocuments(work, documents, from);
  if (!facts.ok) {
    answer(work, from, facts);
    return;
  }
  const fault = installFault(state, facts.value);
  if (fault) {
    answer(work, from, fault);
    return;
  }
  const record = DOCUMENTS_RECORD.encode({ documentsHash, documents });
  const index = append(work, 'documents', record);
  state.pendingDocuments.push({ index, from, documentsKey, documentsHash, facts: facts.value });
}

/** With an unknown clock the signatures are checked and the validity is judged at each Payment. */
function checkDocuments(
  work: Work,
  documents: readonly Uint8Array[],
  from: string,
): Checked<PayerFacts | PayeeFacts> {
  const { unixS, quality } = judgedTime(work.state, work.now);
  return work.ports.credentials.documents(documents, quality > 0 ? unixS : undefined, from);
}

function installFault(state: ApproverState, facts: PayerFacts | PayeeFacts): Refused | undefined {
  if (facts.kind === 'payee') {
    const full = state.payees.size >= MAX_PAYEES && !state.payees.has(facts.key.hex);
    return full ? refused('BUSY', 'too many payees') : undefined;
  }
  const held = state.lines.get(bytesKey(facts.line))?.payer;
  if (held && held.allowance.generation > facts.allowance.generation) {
    return refused('CREDENTIAL_INVALID', 'a newer allowance of this line is in force here');
  }
  return undefined;
}

/** Documents that the sync has made durable come into force. */
export function installPersisted(work: Work, through: number): void {
  const { pendingDocuments } = work.state;
  let done = 0;
  for (const row of pendingDocuments) {
    if (row.index > through) break;
    done += 1;
    const fault = row.facts.kind === 'payer' ? installPayer(work, row, row.facts) : undefined;
    if (row.facts.kind === 'payee') installPayee(work.state, row, row.facts);
    answer(work, row.from, fault);
    if (row.facts.kind === 'payee') tellSalesAgain(work, row.from, row.facts.key.id);
  }
  pendingDocuments.splice(0, done);
}

function installPayer(work: Work, row: PendingDocuments, facts: PayerFacts): Refused | undefined {
  const { state } = work;
  // Again: a newer set may have come into force while this one waited for its sync.
  const fault = installFault(state, facts);
  if (fault) return fault;
  const line = openLine(state, bytesKey(facts.line));
  if (!line) return refused('BUSY', 'too many lines');
  const closing = facts.closing ?? line.payer?.closing;
  if (line.documentsKey !== undefined) state.documents.delete(line.documentsKey);
  line.payer = closing ? { ...facts, closing } : facts;
  line.documentsKey = row.documentsKey;
  // A party keeps its sums; a line never changes its party (a new party gets a new line).
  line.party ??= joinParty(state, bytesKey(facts.party));
  state.documents.set(row.documentsKey, line.key);
  const { documentsHash } = row;
  const record = PRESENTED_RECORD.encode({ line: facts.line, party: facts.party, documentsHash });
  append(work, 'money', record);
  return undefined;
}

function installPayee(state: ApproverState, row: PendingDocuments, facts: PayeeFacts): void {
  const held = state.payees.get(facts.key.hex);
  if (held) state.documents.delete(held.documentsKey);
  state.payees.set(facts.key.hex, {
    facts,
    documentsKey: row.documentsKey,
    liveOffers: held?.liveOffers ?? 0,
    windowStartMs: held?.windowStartMs ?? 0,
    granted: held?.granted ?? 0,
  });
  state.documents.set(row.documentsKey, facts.key.hex);
}
