import { spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import t from 'tap';
import { isMissed, section, table } from '../../bench/figure.ts';
import { median, quantile } from '../../bench/measure.ts';
import '../plain-children.ts';

const MAIN = fileURLToPath(new URL('../../bench/main.js', import.meta.url));

interface Output {
  readonly quick: boolean;
  readonly figures: readonly { name: string; value: number; goal?: number }[];
  readonly missed: readonly string[];
}

t.test('a quick run takes every figure of the stated goals', async (t) => {
  const run = spawnSync(process.execPath, [MAIN, '--quick', '--json'], { encoding: 'utf8' });
  t.equal(run.status, 0, run.stderr);
  const { quick, figures, missed } = JSON.parse(run.stdout) as Output;
  t.equal(quick, true);
  for (const { name, value } of figures) {
    // A difference may be nothing, or less.
    t.ok(Number.isFinite(value) && (value > 0 || name.includes(' − ')), `${name} is measured`);
  }
  const goals = figures.filter(({ goal }) => goal !== undefined);
  t.same(
    goals.map(({ name, goal }) => [name, goal]),
    [
      ['Payment, typical', 210],
      ['Payment, longest', 210],
      ['Payment + Receipt, typical', 375],
      ['Payment + Receipt, longest', 375],
      ['gateway ÷ floor', 2],
      ['money + signed', 393.75],
      ['RSS ÷ empty Node', 1.45],
      ['start until connected ÷ empty Node, CPU', 1.5],
      ['kept for ever, per receipt', 115],
      ['floor ÷ ingest', 1 / 1.7],
      ['peak memory ÷ with 100,000 receipts', 1.5],
      ['written ÷ raw write + fsync of the same bytes', 10],
      ['peak RSS − that at 10000 records', 30],
      ['check ÷ (its signatures + hashes)', 1.2],
      ['check ÷ (its signatures + hashes)', 1.2],
      ['offered ÷ achieved', 1.05],
      ['from due to cosigned, p99', 500],
      ['L2, all up: p99', 2_000],
      ['L2, fastest dead: p99', 2_000],
    ],
  );
  const sizes = goals.filter(({ name }) => /^(?:Payment|money|kept)/.test(name));
  for (const { name, value, goal } of sizes) {
    t.ok(value <= (goal ?? 0), `${name}: sizes do not depend on the machine`);
    t.notOk(missed.includes(name));
  }
  t.equal(
    spawnSync(process.execPath, [MAIN, '--nonsense']).status,
    1,
    'unknown options are refused',
  );
});

t.test('a goal is the largest value that meets it', async (t) => {
  const figure = section('Speed');
  const rows = [
    figure('met', 2, 'µs', 2),
    figure('missed', 2.01, 'µs', 2),
    figure('not taken', Number.NaN, 'µs', 2),
    figure('informs', 100.04, '/s'),
  ];
  t.same(rows.map(isMissed), [false, true, true, false]);
  const lines = table(rows).split('\n');
  t.match(lines, [
    /^Speed$/,
    /2 µs .*met$/,
    /2\.01 µs .*MISSED$/,
    /NaN µs .*MISSED$/,
    /100\.0 \/s$/,
  ]);
});

t.test('median and quantiles are of the values themselves', async (t) => {
  t.equal(median([5, 1, 9]), 5);
  t.equal(median([1, 2, 10, 3]), 2.5);
  const hundred = Array.from({ length: 100 }, (_, i) => 100 - i);
  t.equal(quantile(hundred, 0.5), 50);
  t.equal(quantile(hundred, 0.99), 99);
  t.equal(quantile([7], 0.99), 7);
  t.ok(Number.isNaN(median([])));
});
