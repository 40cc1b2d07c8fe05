import t from 'tap';
import type { SqlDatabase } from '../../../sync/clearing/sql.ts';
import { historyOf } from './histories.ts';
import { faultOf, verdictOn } from './run-history.ts';
import type { Bend } from './run-history.ts';

/** Ten thousand of them are in test/soak. */
const HISTORIES = 40;
/** A planted fault shows within so many. */
const FOUND_WITHIN = 40;

t.test('random histories: the books stand as a second bookkeeper has them', async (t) => {
  for (let seed = 1; seed <= HISTORIES; seed += 1) {
    const verdict = await verdictOn(seed);
    if (verdict !== undefined) t.fail(verdict);
  }
  t.pass(`${HISTORIES} histories`);
});

/** A store that does not carry out the first statement of its kind. */
const losing =
  (pattern: RegExp) =>
  (database: SqlDatabase): SqlDatabase => ({
    transaction: (work) =>
      database.transaction((session) =>
        work({
          all: (sql, ...values) => session.all(sql, ...values),
          run: async (sql, ...values) => (pattern.test(sql) ? 1 : session.run(sql, ...values)),
        }),
      ),
    close: () => database.close(),
  });

/** A store whose answers are bent. */
const bending =
  (pattern: RegExp, column: string, bend: (value: unknown) => string | bigint) =>
  (database: SqlDatabase): SqlDatabase => ({
    transaction: (work) =>
      database.transaction((session) =>
        work({
          run: (sql, ...values) => session.run(sql, ...values),
          all: async (sql, ...values) => {
            const rows = await session.all(sql, ...values);
            if (!pattern.test(sql)) return rows;
            return rows.map((row) => ({ ...row, [column]: bend(row[column]) }));
          },
        }),
      ),
    close: () => database.close(),
  });

const FAULTS: readonly { readonly fault: string; readonly bend: Bend }[] = [
  { fault: 'a balance that is not written', bend: { database: losing(/INSERT INTO balances/) } },
  { fault: 'a window that never closes', bend: { database: losing(/INSERT INTO windows/) } },
  {
    fault: 'a receipt that stays out of its aggregate',
    bend: { database: losing(/'aggregated'/) },
  },
  {
    fault: 'a file sequence that is used again',
    bend: { database: bending(/SELECT value FROM counters/, 'value', () => 1n) },
  },
  {
    fault: 'a remainder that is forgotten',
    bend: { database: bending(/SELECT \* FROM lanes/, 'residual_micro', () => '0') },
  },
  {
    fault: 'a byte of a written file that differs from the store',
    bend: {
      writeFile: (write) => (path, bytes) =>
        write(path, path.endsWith('.cbor') ? Buffer.from(bytes).fill(0, 3, 4) : bytes),
    },
  },
  {
    fault: 'a file that is never written',
    bend: {
      writeFile: (write) => async (path, bytes) => {
        if (!path.endsWith('.ipm')) await write(path, bytes);
      },
    },
  },
];

for (const { fault, bend } of FAULTS) {
  t.test(`${fault} is found`, async (t) => {
    let found: string | undefined;
    let seed = 0;
    while (found === undefined && seed < FOUND_WITHIN)
      found = await faultOf(historyOf(++seed), bend);
    t.ok(found, `in history ${seed}: ${found}`);
  });
}
