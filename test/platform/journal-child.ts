/** Run as a process of its own by the journal's process test: appends, commits and says what is durable, until killed. */
import { writeSync } from 'node:fs';
import { openJournal } from '../../platform/journal.ts';

const [folder = '', maxBatch = '8'] = process.argv.slice(2);
const { journal } = await openJournal(folder, { maxSegmentBytes: 64 * 1024 });
for (let batch = 0; ; batch += 1) {
  for (let i = 0; i <= batch % Number(maxBatch); i += 1) {
    journal.append(Buffer.from(String(journal.nextIndex).padEnd(200, '.')));
  }
  const durable = await journal.commit();
  // Straight to the pipe: what a killed process has written there is not lost.
  writeSync(1, `${durable}\n`);
}
