import type { ClearingService } from './clearing-service.ts';
import { MAX_FAULTS, type LogPuller, type PullResult } from './pull-log.ts';

const reasonOf = (error: unknown): string =>
  error instanceof Error ? error.message : String(error);

/** What became of one log in a round over several. */
interface PulledLog {
  readonly origin: string;
  readonly size: number;
  readonly rootHex: string;
  readonly ingested: number;
  readonly elsewhere?: PullResult['elsewhere'];
  /** Why it could not be followed to its end. */
  readonly trouble?: string;
  /** It signed two histories and is not followed beyond this many entries, until a person lifts the stop. */
  readonly stoppedAt?: number;
}

export interface PullRound {
  readonly logs: readonly PulledLog[];
  readonly ingested: number;
  readonly faultCount: number;
  readonly faults: readonly string[];
}

/**
 * Pulls several logs, one after the other: a log that is out of reach or has forked holds up no other.
 * @throws what the first one met, where not a single log could be followed
 */
export const pullLogs = async (
  pullers: readonly LogPuller[],
  clearing: ClearingService,
  nowS: number,
): Promise<PullRound> => {
  const logs: PulledLog[] = [];
  const faults: string[] = [];
  let faultCount = 0;
  let failure: unknown;
  for (const puller of pullers) {
    const { origin } = puller;
    const { nextIndex: before } = await clearing.cursor(origin);
    try {
      const result = await puller.pull(clearing, nowS);
      const { size, rootHex, ingested, elsewhere, stoppedAt } = result;
      const stop = stoppedAt === undefined ? {} : { stoppedAt };
      const others = elsewhere === undefined ? {} : { elsewhere };
      logs.push({ origin, size, rootHex, ingested, ...others, ...stop });
      faultCount += result.faultCount;
      faults.push(...result.faults);
    } catch (error) {
      failure ??= error;
      const { nextIndex, rootHex } = await clearing.cursor(origin);
      const ingested = nextIndex - before;
      const trouble = reasonOf(error);
      logs.push({ origin, size: nextIndex, rootHex: rootHex ?? '', ingested, trouble });
    }
  }
  if (failure !== undefined && logs.every(({ trouble }) => trouble !== undefined)) throw failure;
  const ingested = logs.reduce((sum, log) => sum + log.ingested, 0);
  return { logs, ingested, faultCount, faults: faults.slice(0, MAX_FAULTS) };
};
