import type { Books } from './books.ts';
import type { SettlementDirectory } from './core/directory.ts';
import type { MetRow } from './core/log-row.ts';
import type { SqlSession } from './sql.ts';

/** What a batch did, by number of items. */
export type IngestCounts = {
  first: number;
  final: number;
  duplicate: number;
  secondReceipt: number;
  conflict: number;
  late: number;
  withheld: number;
  void: number;
  credit: number;
  waiting: number;
  refused: number;
  /** Records that another part of the clearing books. */
  elsewhere: number;
};

export const noCounts = (): IngestCounts => ({
  first: 0,
  final: 0,
  duplicate: 0,
  secondReceipt: 0,
  conflict: 0,
  late: 0,
  withheld: 0,
  void: 0,
  credit: 0,
  waiting: 0,
  refused: 0,
  elsewhere: 0,
});

/** What every kind of item needs while a batch is booked, inside one transaction. */
export interface IngestScope {
  readonly session: SqlSession;
  readonly nowS: number;
  readonly books: Books;
  /** Rows of approvers that the batch met. */
  readonly met: MetRow[];
  /** Ends of the windows that are closed, by programme, as far as the batch has read them. */
  readonly closed: Map<string, number>;
  readonly counts: IngestCounts;
  /** Says which account follows an ended one; absent: accounts stay. */
  readonly directory?: SettlementDirectory;
  /** Refunds that wait in the store; undefined until somebody asked. */
  waitingCredits?: number;
}

/** Notes what somebody should look at; the same thing once. */
export const noteFinding = async (
  { session, nowS }: Pick<IngestScope, 'session' | 'nowS'>,
  kind: string,
  reference: string,
  detail: string,
): Promise<void> => {
  await session.run(
    `INSERT INTO findings (noted_s, kind, reference, detail) VALUES (?, ?, ?, ?)
     ON CONFLICT DO NOTHING`,
    BigInt(nowS),
    kind,
    reference,
    detail,
  );
};
