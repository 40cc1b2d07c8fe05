import { parseArgs } from 'node:util';
import { measureApproval } from './approval.ts';
import { isMissed, table, type Figure } from './figure.ts';

const { values: options } = parseArgs({
  options: {
    json: { type: 'boolean', default: false },
    quick: { type: 'boolean', default: false },
    check: { type: 'boolean', default: false },
  },
});

const figures: Figure[] = [];
const plan = options.quick
  ? { payers: 16, rounds: 1, count: 240 }
  : { payers: 64, rounds: 7, count: 2_400 };
figures.push(
  ...(await measureApproval({
    ...plan,
    ...(process.env['PROF'] ? { execArgv: process.env['PROF'].split(' ') } : {}),
  })),
);

process.stdout.write(`${options.json ? JSON.stringify({ figures }) : table(figures)}\n`);
if (options.check && figures.some(isMissed)) process.exitCode = 1;
