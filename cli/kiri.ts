import { KiriError } from '../protocol/kiri-error.ts';
import { EXIT_FAILED, EXIT_OK, EXIT_USAGE, UsageError } from './command.ts';
import { COMMANDS } from './commands.ts';

function help(): string {
  const rows = Object.entries(COMMANDS).map(
    ([name, { summary }]) => `  ${name.padEnd(10)} ${summary}`,
  );
  return [
    'kiri: payments between machines',
    '',
    'Usage: kiri COMMAND [options]',
    '',
    ...rows,
    '',
    'kiri COMMAND --help shows the options of one command.',
    'Exit codes: 0 ok, 1 failed, 2 usage, 3 refused, 4 offline.',
    '',
  ].join('\n');
}

/** Words for the person at the terminal; a stack only for what nobody foresaw. */
function explain(error: unknown): string {
  if (error instanceof UsageError) return error.message;
  if (error instanceof KiriError) return `${error.code}: ${error.message}`;
  return error instanceof Error ? (error.stack ?? error.message) : String(error);
}

async function main(argv: readonly string[]): Promise<number> {
  const [name, ...rest] = argv;
  if (name === undefined || name === '--help' || name === '-h' || name === 'help') {
    process.stdout.write(help());
    return name === undefined ? EXIT_USAGE : EXIT_OK;
  }
  const command = Object.hasOwn(COMMANDS, name) ? COMMANDS[name] : undefined;
  if (!command) {
    process.stderr.write(`kiri: there is no command ${JSON.stringify(name)}; see kiri --help\n`);
    return EXIT_USAGE;
  }
  if (rest.includes('--help') || rest.includes('-h')) {
    process.stdout.write(`${command.summary}\n\n${command.usage}\n`);
    return EXIT_OK;
  }
  try {
    const run = await command.load();
    return await run(rest);
  } catch (error) {
    process.stderr.write(`kiri ${name}: ${explain(error)}\n`);
    if (error instanceof UsageError) process.stderr.write(`${command.usage}\n`);
    return error instanceof UsageError ? EXIT_USAGE : EXIT_FAILED;
  }
}

process.exitCode = await main(process.argv.slice(2));
