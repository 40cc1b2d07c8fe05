import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import t from 'tap';
import { journalReader } from '../../platform/journal-reader.ts';
import { openJournal } from '../../platform/journal.ts';
import type { JournalPosition } from '../../platform/ports.ts';
import '../plain-children.ts';

const CHILD = fileURLToPath(new URL('journal-child.js', import.meta.url));
const KILLS = 20;

interface Killed {
  readonly acknowledged: number;
  readonly seen: number[];
  readonly position: JournalPosition | undefined;
}

/** Lets a child write until `lines` commits are acknowledged, reading along all the while, then kills it. */
async function writeAndKill(
  folder: string,
  lines: number,
  from: JournalPosition | undefined,
): Promise<Killed> {
  const child = spawn(process.execPath, [CHILD, folder], { stdio: ['ignore', 'pipe', 'inherit'] });
  const exited = once(child, 'exit');
  const reader = journalReader(folder);
  const seen: number[] = [];
  let position = from;
  let text = '';
  child.stdout.setEncoding('latin1');
  try {
    for await (const chunk of child.stdout) {
      text += String(chunk);
      const slice = await reader.readFrom(position);
      position = slice.nextPosition;
      for (const { index } of slice.records) seen.push(index);
      if (text.split('\n').length > lines) child.kill('SIGKILL');
    }
  } finally {
    child.kill('SIGKILL');
    await exited;
  }
  const whole = text.slice(0, text.lastIndexOf('\n'));
  return { acknowledged: Number(whole.slice(whole.lastIndexOf('\n') + 1)), seen, position };
}

t.test(
  `${KILLS} SIGKILLs: nothing acknowledged is lost, a reader sees every record once`,
  async (t) => {
    const folder = join(t.testdir(), 'j');
    let position: JournalPosition | undefined;
    const seen: number[] = [];
    for (let kill = 0; kill < KILLS; kill += 1) {
      const killed = await writeAndKill(folder, 1 + ((kill * 37) % 90), position);
      seen.push(...killed.seen);
      position = killed.position;
      const { journal } = await openJournal(folder);
      t.ok(journal.nextIndex > killed.acknowledged, `kill ${kill}: ${killed.acknowledged}`);
      await journal.close();
    }
    for (;;) {
      const slice = await journalReader(folder).readFrom(position);
      if (slice.records.length === 0) break;
      for (const { index } of slice.records) seen.push(index);
      position = slice.nextPosition;
    }
    const { journal } = await openJournal(folder);
    t.same(
      seen,
      Array.from({ length: journal.nextIndex }, (_, i) => i),
    );
    let wrong = 0;
    for (const { index, record } of journal.records()) {
      if (!Buffer.from(record).toString().startsWith(`${index}.`)) wrong += 1;
    }
    t.equal(wrong, 0);
    await journal.close();
  },
);

t.test('a second process cannot write into the same folder', async (t) => {
  const folder = join(t.testdir(), 'j');
  const child = spawn(process.execPath, [CHILD, folder], { stdio: ['ignore', 'pipe', 'inherit'] });
  const exited = once(child, 'exit');
  await once(child.stdout, 'data');
  await t.rejects(openJournal(folder), {
    code: 'FOLDER_LOCKED',
    message: new RegExp(`${child.pid}`),
  });
  child.kill('SIGKILL');
  await exited;
  await (await openJournal(folder)).journal.close();
});
