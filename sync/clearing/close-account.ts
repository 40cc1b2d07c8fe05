import { currencyOf, microPerMinor } from '../../protocol/currency.ts';
import { keyOfRow, laneOfRow } from './books.ts';
import type { Books } from './books.ts';
import { LANE_BUCKET } from './core/aggregate.ts';
import type { Lane } from './core/aggregate.ts';
import type { CutContext } from './cut-context.ts';
import { enterOnLane } from './lane-entries.ts';
import { textOf } from './sql.ts';
import type { SqlRow, SqlSession } from './sql.ts';

const CAUSE = 'account closed';

/**
 * Writes off what is left of a charge lane, below one minor unit, once its account has ended, none follows it, and the
 * programme's age limit has passed since: in the payer's favour, as an entry of the journal (settlement.md 4.2). What is
 * owed to the payer (a credit key) is never written off.
 */
export const writeOffRemainder = async (
  session: SqlSession,
  books: Books,
  { directory, nowS }: CutContext,
  row: SqlRow,
): Promise<void> => {
  const [key, keyId, lane] = [keyOfRow(row), textOf(row, 'key_id'), textOf(row, 'lane') as Lane];
  const currency = currencyOf(key.currency);
  const rule = directory.programme(key.programme, key.mcc);
  const endsS = directory.accountEndsS?.(key);
  if (key.sign !== 'debit' || !currency || !rule || endsS === undefined) return;
  if (nowS < Math.max(endsS, laneOfRow(row).firstPaidS) + rule.maxAgeS) return;
  if (directory.accountAfter?.(key, nowS) !== undefined) return;
  const state = await books.lane(keyId, lane);
  if (state.pendingMicro === 0n || state.pendingMicro >= microPerMinor(currency)) return;
  const amountMicro = state.pendingMicro;
  const from = LANE_BUCKET[lane];
  await books.move({ keyId, from, to: 'writtenOff', amountMicro, cause: CAUSE });
  // Receipts that no aggregate holds are charged to nobody.
  await session.run(
    "UPDATE receipts SET state = 'writtenOff' WHERE key_id = ? AND lane = ? AND state = 'pending'",
    keyId,
    lane,
  );
  if (state.residualMicro > 0n) {
    const residual = {
      keyId,
      lane,
      kind: 'written-off',
      amountMicro: state.residualMicro,
    } as const;
    await enterOnLane(session, residual, nowS);
  }
  state.residualMicro = 0n;
  state.pendingMicro = 0n;
};
