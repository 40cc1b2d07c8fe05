import { textOf } from './sql.ts';
import type { SqlRow, SqlSession } from './sql.ts';

/** Lanes with their keys held at a time: a store of a million accounts is gone through in pages. */
const LANES_PAGE = 4_096;

/** Lanes that hold anything, each with its key, in the order in which a cut takes them; a page at a time. */
export async function* heldLanes(session: SqlSession): AsyncGenerator<readonly SqlRow[]> {
  let [keyId, lane] = ['', ''];
  for (;;) {
    const rows = await session.all(
      `SELECT k.*, l.lane, l.residual_micro, l.pending_micro, l.first_paid_s, l.first_ingest_s,
         l.aggregates, l.last_aggregate FROM lanes l JOIN keys k ON k.key_id = l.key_id
       WHERE (l.key_id, l.lane) > (?, ?) AND l.pending_micro <> '0'
       ORDER BY l.key_id, l.lane LIMIT ${LANES_PAGE}`,
      keyId,
      lane,
    );
    yield rows;
    const last = rows.at(-1);
    if (!last || rows.length < LANES_PAGE) return;
    [keyId, lane] = [textOf(last, 'key_id'), textOf(last, 'lane')];
  }
}
