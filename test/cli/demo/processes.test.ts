import t from 'tap';
import { Program } from '../../../cli/demo/processes.ts';

t.test('a program that ends before it is ready is told with its own words', async (t) => {
  const running = new Set<Program>();
  await t.rejects(Program.start('witness', ['witness', '--config', '/nowhere/c.json'], running), {
    code: 'PROGRAM_GONE',
    message: /witness ended: .*\/nowhere\/c\.json/,
  });
  const [known] = running;
  t.ok(known, 'and whoever started it knew of it from the first moment');
  await known?.stop();
  t.pass('stopping what is gone ends at once');
});

t.test('a program that says something else is no protocol error of ours', async (t) => {
  await t.rejects(Program.start('help', ['--help'], new Set()), {
    code: 'PROGRAM_GONE',
    message: /help ended: .*Usage: kiri COMMAND/s,
  });
});
