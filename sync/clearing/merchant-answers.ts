/**
 * What an issuer's answers mean for merchants: a line counts for its merchant once the file with it is acknowledged, is
 * taken back when the line is refused after that, and is taken from it while it is charged back. Each entry is made
 * once, under the document and the line that it speaks of, so the order of acknowledgement and reject does not matter.
 */
import { takenLines } from './file-positions.ts';
import type { Line } from './line-book.ts';
import { creditMerchant, debitMerchant } from './merchant-accounts.ts';
import type { SqlSession } from './sql.ts';

const referenceOf = (fileName: string, aggregateId: string): string => `${fileName} ${aggregateId}`;

/** An acknowledged file: every line of it that was not refused by itself. */
export const acknowledgeLines = async (
  session: SqlSession,
  fileName: string,
  nowS: number,
): Promise<void> => {
  for (const { aggregateId, cycle, amountMicro } of await takenLines(session, fileName)) {
    await creditMerchant(session, {
      aggregateId,
      amountMicro,
      reference: referenceOf(fileName, aggregateId),
      nowS,
      cause: cycle === 1 ? 'acknowledged' : 'chargeBackReversed',
    });
  }
};

/** A line that was refused by itself in a file: what an acknowledgement of that file gave is taken back. */
export const takeBack = async (
  session: SqlSession,
  { aggregateId, amountMicro, secondMicro }: Line,
  of: { readonly fileName: string; readonly isSecond: boolean },
  nowS: number,
): Promise<void> => {
  const given = referenceOf(of.fileName, aggregateId);
  const known = await session.all(
    'SELECT id FROM merchant_entries WHERE reference = ? ORDER BY id LIMIT 1',
    given,
  );
  if (known.length === 0) return;
  await debitMerchant(session, {
    aggregateId,
    amountMicro: of.isSecond ? secondMicro : amountMicro,
    reference: `691 ${given}`,
    nowS,
    cause: of.isSecond ? 'chargedBack' : 'reversed',
  });
};

/** A first chargeback, or an arbitration, takes its sum from the merchant. */
export const chargeBack = async (
  session: SqlSession,
  { aggregateId, arn, arnDate }: Line,
  cycle: 'first' | 'arbitration',
  sumMicro: bigint,
  nowS: number,
): Promise<void> => {
  await debitMerchant(session, {
    aggregateId,
    amountMicro: sumMicro,
    // With the date of the ARN: the number alone comes back after ten years, and the entry would count as known.
    reference: `${cycle} ${arn} ${arnDate}`,
    nowS,
    cause: 'chargedBack',
  });
};
