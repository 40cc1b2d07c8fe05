/**
 * Journals of fiscal years past their end: the moves of each key become one opening entry per place, the entries of each
 * merchant one per kind. What the books hold does not change, and the journals still add up to it.
 */
import { ClosedSums } from './closed-sums.ts';
import { ownerOf } from './merchant-report.ts';
import type { Hold } from './retention.ts';
import { amountOf, numberOf, textOf } from './sql.ts';
import type { SqlDatabase, SqlSession } from './sql.ts';

const PAGE = 4_096;
/** Stands for everything before: the other side of each opening entry. */
const OPENING = 'opening';

/** Keys whose moves somebody holds. */
export const heldKeys = async (
  session: SqlSession,
  holds: readonly Hold[],
): Promise<ReadonlySet<string>> => {
  const held = new Set<string>();
  for (const { kind, reference } of holds) {
    const rows =
      kind === 'party' || kind === 'issuer'
        ? await session.all(`SELECT key_id FROM keys WHERE ${kind} = ?`, reference)
        : kind === 'line'
          ? await session.all(
              'SELECT DISTINCT key_id FROM all_receipts WHERE line = ?',
              new Uint8Array(Buffer.from(reference, 'hex')),
            )
          : await session.all(
              `SELECT DISTINCT a.key_id FROM file_lines l JOIN aggregates a
                 ON a.aggregate_id = l.aggregate_id WHERE l.file_name = ?`,
              reference,
            );
    for (const row of rows) held.add(textOf(row, 'key_id'));
  }
  return held;
};

/** The moves of one key before the horizon become opening entries; what was one already is added in. */
const closeKey = async (session: SqlSession, keyId: string, horizonS: number): Promise<number> => {
  const net = new Map<string, bigint>();
  const rows = await session.all(
    'SELECT from_bucket, to_bucket, amount_micro FROM books_journal WHERE key_id = ? AND at_s < ? ORDER BY id',
    keyId,
    BigInt(horizonS),
  );
  const isNew = rows.some((row) => ![row['from_bucket'], row['to_bucket']].includes(OPENING));
  if (!isNew) return 0;
  for (const row of rows) {
    const [from, to] = [textOf(row, 'from_bucket'), textOf(row, 'to_bucket')];
    const amount = amountOf(row, 'amount_micro');
    net.set(from, (net.get(from) ?? 0n) - amount);
    net.set(to, (net.get(to) ?? 0n) + amount);
  }
  net.delete(OPENING);
  await session.run(
    'DELETE FROM books_journal WHERE key_id = ? AND at_s < ?',
    keyId,
    BigInt(horizonS),
  );
  for (const [place, amount] of [...net].toSorted(([a], [b]) => (a < b ? -1 : 1))) {
    if (amount === 0n) continue;
    const [from, to] = amount > 0n ? [OPENING, place] : [place, OPENING];
    await session.run(
      `INSERT INTO books_journal (at_s, key_id, from_bucket, to_bucket, amount_micro, cause)
       VALUES (?, ?, ?, ?, ?, ?)`,
      BigInt(horizonS - 1),
      keyId,
      from,
      to,
      (amount > 0n ? amount : -amount).toString(),
      OPENING,
    );
  }
  return rows.length;
};

/** Closes the journal of every key that nobody holds, some keys a transaction. @returns entries that were replaced */
export const closeJournal = async (
  database: SqlDatabase,
  held: ReadonlySet<string>,
  horizonS: number,
): Promise<number> => {
  let [after, closed] = ['', 0];
  for (;;) {
    const from = after;
    const page = await database.transaction(async (session) => {
      const keys = await session.all(
        'SELECT key_id FROM keys WHERE key_id > ? ORDER BY key_id LIMIT 256',
        from,
      );
      for (const row of keys) {
        const keyId = textOf(row, 'key_id');
        if (!held.has(keyId)) closed += await closeKey(session, keyId, horizonS);
      }
      return keys;
    });
    const last = page.at(-1);
    if (!last) return closed;
    after = textOf(last, 'key_id');
  }
};

type Merchant = { readonly acquirer: string; readonly merchant: string };

type Kept = { readonly id: bigint; amountMicro: bigint; feeDueE4: bigint; count: number };

/**
 * The entries of each merchant before the horizon become one per kind: the oldest stays and holds the sum, so that the
 * order in which kinds can be booked stays too. Entries about a file that is still here stay as they are.
 */
export const closeMerchants = async (
  session: SqlSession,
  isHeld: (merchant: Merchant) => boolean,
  horizonS: number,
): Promise<number> => {
  const remaining = await session.all(
    'SELECT file_name FROM files WHERE cut_s < ? ORDER BY file_name',
    BigInt(horizonS),
  );
  const names = remaining.map((row) => textOf(row, 'file_name'));
  const kept = new Map<string, Kept>();
  let [after, closed] = [-1n, 0];
  for (;;) {
    const rows = await session.all(
      `SELECT * FROM merchant_entries WHERE at_s < ? AND id > ? ORDER BY id LIMIT ${PAGE}`,
      BigInt(horizonS),
      after,
    );
    for (const row of rows) {
      const [acquirer, merchant] = [textOf(row, 'acquirer'), textOf(row, 'merchant')];
      const reference = textOf(row, 'reference');
      const isAbout = names.some((name) => reference.includes(name));
      if (isAbout || isHeld({ acquirer, merchant })) continue;
      const account = [acquirer, merchant, numberOf(row, 'currency'), textOf(row, 'kind')];
      const name = JSON.stringify(account);
      const id = row['id'] as bigint;
      const sum = kept.get(name);
      if (!sum) {
        const [amountMicro, feeDueE4] = [
          amountOf(row, 'amount_micro'),
          amountOf(row, 'fee_due_e4'),
        ];
        kept.set(name, { id, amountMicro, feeDueE4, count: 1 });
        continue;
      }
      sum.amountMicro += amountOf(row, 'amount_micro');
      sum.feeDueE4 += amountOf(row, 'fee_due_e4');
      sum.count += 1;
      await session.run('DELETE FROM merchant_entries WHERE id = ?', id);
    }
    const last = rows.at(-1);
    if (!last || rows.length < PAGE) break;
    after = last['id'] as bigint;
  }
  for (const [name, { id, amountMicro, feeDueE4, count }] of kept) {
    const changed = await session.run(
      `UPDATE merchant_entries SET at_s = ?, amount_micro = ?, fee_due_e4 = ?, reference = ?
       WHERE id = ? AND reference <> ?`,
      BigInt(horizonS - 1),
      amountMicro.toString(),
      feeDueE4.toString(),
      `${OPENING} ${name} ${horizonS}`,
      id,
      `${OPENING} ${name} ${horizonS}`,
    );
    if (changed > 0) closed += count;
  }
  return closed;
};

/**
 * Deletes payouts before the horizon that paid no merchant whom somebody holds; what they paid stays in a sum per
 * merchant. @returns their names
 */
export const closePayouts = async (
  session: SqlSession,
  isHeld: (merchant: Merchant) => boolean,
  at: { readonly nowS: number; readonly horizonS: number },
): Promise<readonly string[]> => {
  const rows = await session.all(
    "SELECT file_name, acquirer, sha256 FROM payouts WHERE cut_s < ? AND state = 'written' ORDER BY file_name",
    BigInt(at.horizonS),
  );
  const sums = new ClosedSums(session);
  const closed: string[] = [];
  for (const row of rows) {
    const name = textOf(row, 'file_name');
    const acquirer = textOf(row, 'acquirer');
    const lines = await session.all(
      `SELECT l.merchant, l.currency, l.paid_micro, r.returned_s FROM payout_lines l
       LEFT JOIN returned_transfers r ON r.file_name = l.file_name AND r.number = l.number
       WHERE l.file_name = ? ORDER BY l.number`,
      name,
    );
    if (lines.some((line) => isHeld({ acquirer, merchant: textOf(line, 'merchant') }))) continue;
    closed.push(name);
    for (const line of lines) {
      // The bank gave it back: the account of its merchant says so already.
      if (line['returned_s'] !== null) continue;
      const merchant = textOf(line, 'merchant');
      const owner = ownerOf({ acquirer, merchant, currency: numberOf(line, 'currency') });
      sums.add(owner, 'paid', amountOf(line, 'paid_micro'));
    }
    for (const table of ['returned_transfers', 'payout_lines', 'payouts']) {
      await session.run(`DELETE FROM ${table} WHERE file_name = ?`, name);
    }
    await session.run(
      `INSERT INTO closed_files (file_name, kind, sha256, closed_s, is_on_disk) VALUES (?, 'payout', ?, ?, 1)`,
      name,
      textOf(row, 'sha256'),
      BigInt(at.nowS),
    );
  }
  await sums.flush();
  return closed;
};
