import { readFile } from 'node:fs/promises';
import t from 'tap';
import { FEE_EVENTS, FEE_STATES, FEE_TABLE } from '../../../../sync/clearing/core/fee-states.ts';
import {
  FILE_EVENTS,
  FILE_STATES,
  FILE_TABLE,
} from '../../../../sync/clearing/core/file-states.ts';
import {
  PRESENTMENT_EVENTS,
  PRESENTMENT_STATES,
  PRESENTMENT_TABLE,
} from '../../../../sync/clearing/core/presentment-states.ts';
import type { StateAnswer } from '../../../../sync/clearing/core/state-table.ts';

type Rows = Readonly<Record<string, Readonly<Record<string, StateAnswer<string, string>>>>>;

/** One row of the page per state: what moves it, what is known already, what is refused with which code. */
const pageRows = (table: Rows, events: readonly string[]): string[] =>
  Object.entries(table).map(([state, row]) => {
    const moves: string[] = [];
    const known: string[] = [];
    const refused = new Map<string, string[]>();
    for (const event of events) {
      const answer = row[event];
      if (answer?.kind === 'move') moves.push(`${event} → ${answer.to}`);
      else if (answer?.kind === 'repeated') known.push(event);
      else if (answer) refused.set(answer.code, [...(refused.get(answer.code) ?? []), event]);
    }
    const codes = [...refused].map(([code, list]) => `${code}: ${list.join(', ')}`);
    const cells = [state, moves.join(', '), known.join(', '), codes.join('; ')];
    return `| ${cells.map((cell) => cell || '–').join(' | ')} |`;
  });

t.test('docs/clearing.md shows the very tables that the code decides by', async (t) => {
  const page = (await readFile('docs/clearing.md', 'utf8')).replaceAll(/ +/g, ' ');
  const tables: readonly [Rows, readonly string[]][] = [
    [FILE_TABLE, FILE_EVENTS],
    [PRESENTMENT_TABLE, PRESENTMENT_EVENTS],
    [FEE_TABLE, FEE_EVENTS],
  ];
  for (const [table, events] of tables) {
    const rows = pageRows(table, events);
    for (const row of rows) t.ok(page.includes(row), row);
  }
});

t.test('every state answers every event, and a move ends in a state of the list', async (t) => {
  for (const state of FILE_STATES) {
    t.same(Object.keys(FILE_TABLE[state]).toSorted(), [...FILE_EVENTS].toSorted());
  }
  for (const state of PRESENTMENT_STATES) {
    t.same(Object.keys(PRESENTMENT_TABLE[state]).toSorted(), [...PRESENTMENT_EVENTS].toSorted());
  }
});

t.test('a fee answers every event, and a second time nothing moves', async (t) => {
  for (const state of FEE_STATES) {
    t.same(Object.keys(FEE_TABLE[state]).toSorted(), [...FEE_EVENTS].toSorted());
    for (const event of FEE_EVENTS) {
      const first = FEE_TABLE[state][event];
      if (first.kind === 'move')
        t.not(FEE_TABLE[first.to][event].kind, 'move', `${state} ${event}`);
    }
  }
});

t.test('the same issuer event a second time moves nothing', async (t) => {
  // Retrieval, 691 and 685/688 concern a line or a sum, so the file may answer them by staying where it is.
  for (const state of FILE_STATES) {
    for (const event of FILE_EVENTS) {
      const first = FILE_TABLE[state][event];
      if (first.kind !== 'move') continue;
      const again = FILE_TABLE[first.to][event];
      t.ok(
        again.kind === 'repeated' || (again.kind === 'move' && again.to === first.to),
        `${state} ${event}`,
      );
    }
  }
  for (const state of PRESENTMENT_STATES) {
    for (const event of PRESENTMENT_EVENTS) {
      const first = PRESENTMENT_TABLE[state][event];
      if (first.kind !== 'move' || first.to === state) continue;
      const again = PRESENTMENT_TABLE[first.to][event];
      t.not(again.kind, 'move', `${state} ${event}`);
    }
  }
});

t.test('nothing leads out of released, and only a rejected file is resubmitted', async (t) => {
  const out = PRESENTMENT_EVENTS.map((event) => PRESENTMENT_TABLE.released[event]);
  t.notOk(out.some((answer) => answer.kind === 'move' && answer.to !== 'released'));
  const resubmitted = FILE_STATES.filter((state) => FILE_TABLE[state].resubmit.kind === 'move');
  t.same(resubmitted, ['rejected']);
});
