/** What deleted lines, receipts and payouts amount to, per key or merchant: they stand in the books as before. */
import type { Bucket } from './core/ledger-states.ts';
import { amountOf, textOf } from './sql.ts';
import type { SqlSession } from './sql.ts';

/** Of a key: a bucket's lines, `receipts`, `credits`; of a merchant: `paid`; of an issuer's fees: the last two. */
type ClosedKind = Bucket | 'receipts' | 'credits' | 'paid' | 'charged' | 'received';

/** Sums gathered in memory, added to those in the store by {@link ClosedSums.flush}. */
export class ClosedSums {
  readonly #session: SqlSession;
  readonly #sums = new Map<string, { owner: string; kind: ClosedKind; amountMicro: bigint }>();

  constructor(session: SqlSession) {
    this.#session = session;
  }

  add(owner: string, kind: ClosedKind, amountMicro: bigint): void {
    if (amountMicro === 0n) return;
    const name = `${kind} ${owner}`;
    const sum = this.#sums.get(name) ?? { owner, kind, amountMicro: 0n };
    sum.amountMicro += amountMicro;
    this.#sums.set(name, sum);
  }

  async flush(): Promise<void> {
    for (const { owner, kind, amountMicro } of this.#sums.values()) {
      const [row] = await this.#session.all(
        'SELECT amount_micro FROM closed_sums WHERE owner = ? AND kind = ?',
        owner,
        kind,
      );
      const sum = amountMicro + (row ? amountOf(row, 'amount_micro') : 0n);
      await this.#session.run(
        `INSERT INTO closed_sums (owner, kind, amount_micro) VALUES (?, ?, ?)
         ON CONFLICT (owner, kind) DO UPDATE SET amount_micro = excluded.amount_micro`,
        owner,
        kind,
        sum.toString(),
      );
    }
    this.#sums.clear();
  }
}

/** By `kind owner`. Empty until the first books were closed. */
export const readClosedSums = async (session: SqlSession): Promise<ReadonlyMap<string, bigint>> => {
  const rows = await session.all(
    'SELECT owner, kind, amount_micro FROM closed_sums ORDER BY owner, kind',
  );
  return new Map(
    rows.map((row) => [
      `${textOf(row, 'kind')} ${textOf(row, 'owner')}`,
      amountOf(row, 'amount_micro'),
    ]),
  );
};
