import { toHex } from '../protocol/bytes.ts';
import { invariant } from '../protocol/kiri-error.ts';
import { EPOCH_BYTES } from '../protocol/messages/offer.ts';
import { RECEIPT_NONCE_BYTES } from '../protocol/messages/receipt.ts';
import type { Now } from '../platform/ports.ts';
import type { Work } from './answers.ts';
import { takeAcknowledgement, takeStatusList } from './centre.ts';
import { epochMs } from './clock.ts';
import { installPersisted, present } from './documents.ts';
import { answerHandIns, takeHandIn } from './hand-in.ts';
import { append } from './appending.ts';
import { releasePersisted, signRecovered } from './journalling.ts';
import type { ApproverEffect, ApproverInput, JournalName } from './messages.ts';
import { dropOffers, grantChallenges, registerOffers } from './offers.ts';
import { decidePayment, resumeLookup } from './payment.ts';
import type { ApproverConfig, ApproverPorts } from './ports.ts';
import { EPOCH_RECORD } from './records.ts';
import { foundAnswer, noteEpoch, noteSigned, recoverRecord } from './recovery.ts';
import { initialState, type ApproverState } from './state.ts';

interface ApproverStep {
  readonly state: ApproverState;
  readonly effects: readonly ApproverEffect[];
}

/** The rules of DESIGN §4, for a gateway and for a payee that approves directly. */
export interface Approver {
  initial(): ApproverState;
  /** One record of the signed journal, oldest first, before those of the money journal. */
  recoverSigned(state: ApproverState, signedRecord: Uint8Array): void;
  /** One record of the money journal, oldest first, before the `boot` input. */
  recover(state: ApproverState, moneyRecord: Uint8Array): void;
  /** Owns and may change `state`; use only what it returns. Never blocks, reads no clock. */
  step(state: ApproverState, input: ApproverInput, now: Now): ApproverStep;
}

export function createApprover(config: ApproverConfig, ports: ApproverPorts): Approver {
  return {
    initial: initialState,
    recoverSigned: (state, record) => noteSigned(state, record),
    recover: (state, record) => recoverRecord(state, ports, record),
    step(state, input, now) {
      const effects: ApproverEffect[] = [];
      handle({ state, ports, now, effects }, config, input);
      return { state, effects };
    },
  };
}

function handle(work: Work, config: ApproverConfig, input: ApproverInput): void {
  switch (input.kind) {
    case 'payment':
      invariant(input.nonce.length === RECEIPT_NONCE_BYTES, 'a nonce has 16 bytes');
      decidePayment(work, config, input);
      return;
    case 'persisted':
      persisted(work, input.journal, input.through);
      return;
    case 'boot':
      boot(work, input);
      return;
    case 'offers':
      registerOffers(work, input.from, input.bytes);
      return;
    case 'challenges':
      grantChallenges(work, input.from, input.bytes);
      return;
    case 'present':
      present(work, input.from, input.bytes);
      return;
    case 'hand-in':
      takeHandIn(work, config, input.from, input.bytes);
      return;
    case 'found':
      resumeLookup(work, config, input.key, (hash) => foundAnswer(input.records, hash));
      return;
    case 'acknowledgement':
      takeAcknowledgement(work, input.bytes);
      return;
    case 'status-list':
      takeStatusList(work, input.bytes);
      return;
    case 'disk-full':
      work.state.phase = 'full';
      return;
    case 'tick':
      dropOffers(work.state, epochMs(work.state, work.now));
  }
}

/** A new epoch, journalled; until that is durable every Payment hears BUSY. */
function boot(work: Work, input: Extract<ApproverInput, { kind: 'boot' }>): void {
  const { state, now } = work;
  invariant(state.phase === 'recovering', 'boot comes once');
  invariant(input.epoch.length === EPOCH_BYTES && input.epochSecret.length === 32, 'epoch sizes');
  invariant(!state.epochs.has(toHex(input.epoch)), 'an epoch is never used again');
  Object.assign(state.nextIndex, input.nextIndex);
  state.phase = 'opening';
  state.startedMs = now.monotonicMs;
  state.keys = { epoch: input.epoch.slice(), secret: input.epochSecret.slice() };
  noteEpoch(state, input.epoch);
  const startedAtMs = Math.max(0, Math.floor(now.unixMs));
  state.epochIndex = append(
    work,
    'money',
    EPOCH_RECORD.encode({ epoch: input.epoch, startedAtMs }),
  );
}

function persisted(work: Work, journal: JournalName, through: number): void {
  const { state } = work;
  if (state.phase === 'full') return;
  invariant(through < state.nextIndex[journal], 'only what was appended can be durable');
  if (journal === 'documents') installPersisted(work, through);
  if (journal === 'offers') answerHandIns(work, through);
  if (journal !== 'money') return;
  if (state.phase === 'opening' && through >= state.epochIndex) {
    state.phase = 'open';
    signRecovered(work);
  }
  releasePersisted(work, through);
}
