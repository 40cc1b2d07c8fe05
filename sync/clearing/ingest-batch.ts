import { bookReceipts, RUN_MAX } from './book-receipt.ts';
import { bookVoid } from './book-void.ts';
import { bookCredit } from './book-credit.ts';
import { Books } from './books.ts';
import { keepClose } from './closes.ts';
import type { SettlementDirectory } from './core/directory.ts';
import type { ElsewhereItem, RejectedItem, VerifiedItem, VerifiedReceipt } from './core/ingest.ts';
import { noCounts, noteFinding } from './ingest-scope.ts';
import type { IngestCounts, IngestScope } from './ingest-scope.ts';
import { takeRows } from './taken-rows.ts';
import { isStorable } from './sql.ts';
import type { SqlSession } from './sql.ts';

/** Keys of receipts that were looked at: thousands of receipts share one. */
const USABLE = new WeakSet<VerifiedReceipt['key']>();

/** Whether the store can keep every name in a receipt's key. */
const isUsable = (key: VerifiedReceipt['key']): boolean => {
  if (USABLE.has(key)) return true;
  if (!Object.values(key).every((part) => isStorable(String(part)))) return false;
  USABLE.add(key);
  return true;
};

/** One batch inside one transaction. Items see what the items before them in the batch did. */
export class IngestBatch {
  readonly #scope: IngestScope;

  constructor(session: SqlSession, nowS: number, directory?: SettlementDirectory) {
    const books = new Books(session, nowS);
    this.#scope = {
      session,
      nowS,
      books,
      met: [],
      closed: new Map(),
      counts: noCounts(),
      ...(directory && { directory }),
    };
  }

  get counts(): IngestCounts {
    return this.#scope.counts;
  }

  /** Books items in their order. Receipts that follow each other are asked for and written together. */
  async add(items: readonly (VerifiedItem | RejectedItem | ElsewhereItem)[]): Promise<void> {
    let run: VerifiedReceipt[] = [];
    const endRun = async (): Promise<void> => {
      if (run.length > 0) await bookReceipts(this.#scope, run);
      run = [];
    };
    for (const item of items) {
      switch (item.kind) {
        case 'receipt':
          if (!isUsable(item.key)) await this.#reject(unusable(item));
          else if (run.push(item) === RUN_MAX) await endRun();
          break;
        case 'void':
          await endRun();
          await bookVoid(this.#scope, item);
          break;
        case 'credit':
          await endRun();
          await bookCredit(this.#scope, item);
          break;
        case 'close':
          await keepClose(this.#scope, item);
          break;
        case 'rejected':
          await this.#reject(item);
          break;
        case 'elsewhere':
          this.#scope.counts.elsewhere++;
          if (item.row) this.#scope.met.push({ row: item.row });
          break;
        default:
          item satisfies never;
      }
    }
    await endRun();
  }

  async #reject({ code, detail, origin, leafIndex }: RejectedItem): Promise<void> {
    this.#scope.counts.refused++;
    await noteFinding(this.#scope, code, `${origin}#${leafIndex}`, detail);
  }

  async flush(): Promise<void> {
    const { books, session, met } = this.#scope;
    await books.flush();
    await takeRows(session, met.splice(0));
  }
}

/** A name that the store cannot keep costs its own record, not the batch. */
const unusable = ({ origin, leafIndex }: VerifiedReceipt): RejectedItem => ({
  kind: 'rejected',
  code: 'NAME_UNUSABLE',
  detail: 'a name in its documents holds NUL or half a character',
  origin,
  leafIndex,
});
