/** Commands of a clearing about what it keeps and for how long: erasure, deletion, legal holds. */
import type { ClearingService } from '../../sync/clearing/clearing-service.ts';
import { ACCOUNTING_YEARS, FISCAL_YEAR_END_MONTH } from '../../sync/clearing/core/closed-books.ts';
import { DISPUTE_HORIZON_DAYS } from '../../sync/clearing/core/retention.ts';
import type { InboxFolder } from '../../sync/clearing/inbox-folder.ts';
import { liftHold, setHold } from '../../sync/clearing/retention.ts';
import type { Request } from '../serve.ts';
import type { Config } from './config.ts';

interface Clearing {
  readonly service: ClearingService;
  readonly inbox: InboxFolder;
  readonly config: Config;
}

/** How long accounting records are kept, as the configuration has it. */
function accountingTerms(config: Config): { years: number; yearEndMonth: number } {
  return {
    years: config.count('accountingYears', ACCOUNTING_YEARS),
    yearEndMonth: config.count('fiscalYearEndMonth', FISCAL_YEAR_END_MONTH),
  };
}

const wordOf = (value: unknown): string => (typeof value === 'string' ? value : '');

function holdOf(request: Request): { kind: string; reference: string; reason: string } {
  const { kind, reference, reason } = request;
  return { kind: wordOf(kind), reference: wordOf(reference), reason: wordOf(reason) };
}

/** Erases what has passed the dispute horizon, then deletes what has passed its years. */
async function retain({ service, inbox, config }: Clearing, nowS: number): Promise<Request> {
  const days = config.count('disputeHorizonDays', DISPUTE_HORIZON_DAYS);
  const erased = await service.eraseExpired(days, nowS);
  const deleted = await service.deleteExpired(accountingTerms(config), nowS);
  return { ...erased, deleted: { ...deleted, taken: await inbox.removeClosed(service) } };
}

/** Answers one of these commands; undefined for any other. @throws KiriError RETENTION_TOO_SHORT, HOLD_INVALID */
export async function answerRetention(
  clearing: Clearing,
  request: Request,
  nowS: number,
): Promise<Request | undefined> {
  const { service } = clearing;
  switch (request['do']) {
    case 'retain':
      return retain(clearing, nowS);
    case 'hold':
      return { set: await service.within((session) => setHold(session, holdOf(request), nowS)) };
    case 'lift-hold':
      return {
        lifted: await service.within((session) => liftHold(session, holdOf(request), nowS)),
      };
    default:
      return undefined;
  }
}

/** For the error that names every command. */
export const RETENTION_COMMANDS = 'retain, hold, lift-hold';
