/** Commands of a clearing about what its issuer sends back: read it, resubmit, decide about refused and disputed lines. */
import { join } from 'node:path';
import { KiriError } from '../../protocol/kiri-error.ts';
import type { PublicKey, Verifier } from '../../protocol/public-key.ts';
import type { ClearingOptions, ClearingService } from '../../sync/clearing/clearing-service.ts';
import { DISPUTE_LIMITS } from '../../sync/clearing/core/dispute-rules.ts';
import { lossBearersOf } from '../../sync/clearing/core/loss-bearers.ts';
import { liftDecline, readDeclined } from '../../sync/clearing/declined.ts';
import type { DocumentWatch } from '../../sync/clearing/document-watch.ts';
import { InboxFolder } from '../../sync/clearing/inbox-folder.ts';
import type { LineDecision } from '../../sync/clearing/line-desk.ts';
import { withAlerts } from '../../sync/clearing/read-back-alerts.ts';
import type { Request } from '../serve.ts';
import type { Config } from './config.ts';

const DAY_S = 86_400;
const HOUR_S = 3_600;

/** Windows of disputes, and the time for an acknowledgement, as the configuration has them. */
export function disputeOptions(
  config: Config,
): Required<Pick<ClearingOptions, 'disputes' | 'ackWithinS'>> {
  const days = (key: string, otherwiseS: number): number =>
    config.count(key, otherwiseS / DAY_S) * DAY_S;
  return {
    disputes: {
      windowS: days('disputeWindowDays', DISPUTE_LIMITS.windowS),
      answerS: days('disputeAnswerDays', DISPUTE_LIMITS.answerS),
      arbitrationS: days('disputeArbitrationDays', DISPUTE_LIMITS.arbitrationS),
      evidenceS: days('evidenceDays', DISPUTE_LIMITS.evidenceS),
    },
    ackWithinS: config.count('acknowledgeWithinHours', 24) * HOUR_S,
  };
}

/** The folder in which the issuer's files arrive: `inbox` of the configuration, by default below `folder`. */
export function inboxOf(
  config: Config,
  from: {
    readonly issuerKey: PublicKey;
    readonly verifier: Verifier;
    readonly clearing: Uint8Array;
    readonly mode: 'P' | 'T';
  },
): InboxFolder {
  const folder = config.has('inbox') ? config.path('inbox') : join(config.path('folder'), 'inbox');
  const { issuerKey, verifier, clearing, mode } = from;
  const vaults = config.has('vaultKeys') ? config.publicKeys('vaultKeys') : [];
  const trust = { verifier, issuers: [issuerKey], clearing, mode, vaults };
  return new InboxFolder(folder, (nowS) => ({ ...trust, nowS }));
}

/** Takes in what has arrived, writes the evidence that was asked for, and answers what was sent. */
export async function readBack(
  service: ClearingService,
  inbox: InboxFolder,
  nowS: number,
): Promise<Request> {
  const answers = await inbox.take(service, nowS);
  const retrievals = await service.answerRetrievals(nowS);
  return { inbox: answers, retrievals, answers: await service.writeAnswers(nowS) };
}

/** What is open with the issuer: alerts with their age, and accounts that pay for nothing further. */
export async function openMatters(
  service: ClearingService,
  { documents, inbox }: { readonly documents: DocumentWatch; readonly inbox: InboxFolder },
  nowS: number,
): Promise<Request> {
  const { registry } = documents;
  const declined = (await service.within(readDeclined)).map((one) => ({
    ...one,
    bearers: lossBearersOf(registry, one),
  }));
  const more = [...documents.alerts(nowS), ...inbox.alerts(nowS)];
  return { alerts: withAlerts(await service.alerts(nowS), more), declined };
}

const text = (request: Request, key: string): string => {
  const value = request[key];
  if (typeof value === 'string' && value !== '') return value;
  throw new KiriError('REQUEST_INVALID', `${String(request['do'])} wants ${key}`);
};

async function represent(
  service: ClearingService,
  request: Request,
  nowS: number,
): Promise<Request> {
  const { amountMinor, withoutReceipts } = request;
  const isNumber = typeof amountMinor === 'number' || typeof amountMinor === 'string';
  const minor = isNumber ? String(amountMinor) : undefined;
  if (amountMinor !== undefined && !/^[1-9]\d{0,11}$/.test(minor ?? '')) {
    throw new KiriError('REQUEST_INVALID', 'amountMinor is no number of minor units');
  }
  const receipts = Array.isArray(withoutReceipts) ? withoutReceipts.map(String) : undefined;
  const answer = {
    arn: text(request, 'arn'),
    reason: text(request, 'reason'),
    ...(minor === undefined ? {} : { amountMinor: BigInt(minor) }),
    ...(receipts === undefined ? {} : { withoutReceipts: receipts }),
  };
  return { ...(await service.represent(answer, nowS)) };
}

/** Commands about one line, as they are asked and as the books know them. */
const DECISIONS: Readonly<Record<string, LineDecision>> = {
  requeue: 'requeue',
  park: 'park',
  release: 'release',
  'accept-chargeback': 'accept',
};

/** Answers one of these commands; undefined for any other. @throws KiriError REQUEST_INVALID */
export async function answerDispute(
  service: ClearingService,
  request: Request,
  nowS: number,
): Promise<Request | undefined> {
  const name = String(request['do']);
  const decision = DECISIONS[name];
  if (decision) return { ...(await service.decideLine(text(request, 'arn'), decision, nowS)) };
  switch (name) {
    case 'resubmit': {
      const fileName = text(request, 'file').replace(/\.ipm$/, '');
      return { ...(await service.resubmit(fileName, nowS)) };
    }
    case 'represent':
      return represent(service, request, nowS);
    case 'lift-decline': {
      const [account, party] = [text(request, 'account'), text(request, 'party')];
      const lifted = await service.within((session) => liftDecline(session, account, party, nowS));
      return { lifted };
    }
    case 'close-alert':
      return { closed: await service.closeAlert(text(request, 'reference'), nowS) };
    default:
      return undefined;
  }
}

/** For the error that names every command. */
export const DISPUTE_COMMANDS =
  'read-back, resubmit, requeue, park, release, represent, accept-chargeback, lift-decline, close-alert';
