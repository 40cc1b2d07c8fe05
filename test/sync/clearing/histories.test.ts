import t from 'tap';
import type { SqlDatabase } from '../../../sync/clearing/sql.ts';
import { historyOf } from './histories.ts';
import { faultOf, verdictOn } from './run-history.ts';
import type { Bend } from './run-history.ts';

t.setTimeout(120_000);

/** Ten thousand of them are in test/soak. */
const HISTORIES = 24;
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

/** A store that leaves out the last row where there are several. */
const shortening =
  (pattern: RegExp, isNow: () => boolean) =>
  (database: SqlDatabase): SqlDatabase => ({
    transaction: (work) =>
      database.transaction((session) =>
        work({
          run: (sql, ...values) => session.run(sql, ...values),
          all: async (sql, ...values) => {
            const rows = await session.all(sql, ...values);
            return isNow() && pattern.test(sql) && rows.length > 1 ? rows.slice(0, -1) : rows;
          },
        }),
      ),
    close: () => database.close(),
  });

/** A store whose answers are bent, to questions of which the first value is `of`. */
const bending =
  (pattern: RegExp, column: string, bend: (value: unknown) => string | bigint, of = /(?:)/) =>
  (database: SqlDatabase): SqlDatabase => ({
    transaction: (work) =>
      database.transaction((session) =>
        work({
          run: (sql, ...values) => session.run(sql, ...values),
          all: async (sql, ...values) => {
            const rows = await session.all(sql, ...values);
            if (!pattern.test(sql) || !of.test(String(values[0]))) return rows;
            return rows.map((row) => ({ ...row, [column]: bend(row[column]) }));
          },
        }),
      ),
    close: () => database.close(),
  });

/** The document that comes is a 699. */
let isWholeReject = false;

/** Takes every chargeback in twice. */
const doubled: NonNullable<Bend['inbound']> = (inbound) => {
  if (inbound.kind !== 'file' || inbound.file.messages[0]?.kind !== 'chargeback') return [inbound];
  const { manifest } = inbound.file;
  const number = manifest.number + 1_000;
  const again = { ...manifest, number, fileName: `again ${number}` };
  return [
    inbound,
    { ...inbound, sha256: String(number), file: { ...inbound.file, manifest: again } },
  ];
};

/** `from`: seeds before it do not show it. */
type Fault = { readonly fault: string; readonly bend: Bend; readonly from?: number };

const FAULTS: readonly Fault[] = [
  {
    fault: 'a chargeback that is booked twice',
    bend: {
      inbound: doubled,
      // The line looks as if nobody had disputed it.
      database: bending(/^SELECT p\.\*, a\.key_id/, 'state', (value) =>
        value === 'disputed' ? 'presentedOpen' : String(value),
      ),
    },
  },
  {
    fault: 'a refund above the charge that is let through',
    bend: {
      database: bending(
        /^SELECT key_id, state, charge_micro FROM all_receipts/,
        'charge_micro',
        (value) => (BigInt(String(value)) * 2n).toString(),
      ),
    },
  },
  {
    fault: 'a 699 that requeues one line too few',
    // It takes a file of several lines that is refused before anything else is said of it.
    from: 215,
    bend: {
      inbound: (inbound) => {
        isWholeReject = inbound.kind === 'file' && inbound.file.messages[0]?.kind === 'file-reject';
        return [inbound];
      },
      database: shortening(/^SELECT l\.aggregate_id, l\.cycle/, () => isWholeReject),
    },
  },
  {
    fault: 'a chargeback that is accepted beside a refund that is out',
    // It takes a line that is refunded in part, and of which more than the rest is charged back.
    from: 140,
    bend: {
      database: bending(/^SELECT c\.state, c\.amount_micro, p\.arn/, 'amount_micro', () => '0'),
    },
  },
  { fault: 'a balance that is not written', bend: { database: losing(/INSERT INTO balances/) } },
  { fault: 'a window that never closes', bend: { database: losing(/INSERT INTO windows/) } },
  {
    fault: 'a receipt that stays out of its aggregate',
    bend: { database: losing(/'aggregated'/) },
  },
  {
    fault: 'a file sequence that is used again',
    bend: { database: bending(/^SELECT value, .* FROM counters/, 'value', () => 1n, /^file /) },
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

for (const { fault, bend, from = 1 } of FAULTS) {
  t.test(`${fault} is found`, async (t) => {
    let found: string | undefined;
    let seed = from - 1;
    while (found === undefined && seed < from + FOUND_WITHIN) {
      found = await faultOf(historyOf(++seed), bend);
    }
    t.ok(found, `in history ${seed}: ${found}`);
  });
}
