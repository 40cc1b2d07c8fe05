import { bookReceipt } from './book-receipt.ts';
import { bookVoid } from './book-void.ts';
import { bookCredit } from './book-credit.ts';
import { Books } from './books.ts';
import type { SettlementDirectory } from './core/directory.ts';
import type { RejectedItem, VerifiedItem } from './core/ingest.ts';
import { noCounts, noteFinding } from './ingest-scope.ts';
import type { IngestCounts, IngestScope } from './ingest-scope.ts';
import { takeRows } from './taken-rows.ts';
import { isStorable } from './sql.ts';
import type { SqlSession } from './sql.ts';

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
      counts: noCounts(),
      ...(directory && { directory }),
    };
  }

  get counts(): IngestCounts {
    return this.#scope.counts;
  }

  async add(item: VerifiedItem | RejectedItem): Promise<void> {
    // A name that the store cannot keep costs its own record, not the batch.
    if ('key' in item && !Object.values(item.key).every((part) => isStorable(String(part)))) {
      const { origin, leafIndex } = item;
      const detail = 'a name in its documents holds NUL or half a character';
      return this.#reject({ kind: 'rejected', code: 'NAME_UNUSABLE', detail, origin, leafIndex });
    }
    switch (item.kind) {
      case 'receipt':
        return bookReceipt(this.#scope, item);
      case 'void':
        return bookVoid(this.#scope, item);
      case 'credit':
        return bookCredit(this.#scope, item);
      case 'rejected':
        return this.#reject(item);
      default:
        item satisfies never;
    }
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
