import { availableParallelism } from 'node:os';
import { Worker } from 'node:worker_threads';
import t from 'tap';

/** `npm run soak` asks for ten thousand. */
const HISTORIES = Number(process.env['KIRI_CLEARING_HISTORIES'] ?? 40);
/** Seeds of npm test's own histories come first. */
const FIRST_SEED = 1_001;

t.setTimeout(900_000);

t.test(`${HISTORIES} random histories of the clearing, on every core`, async (t) => {
  const startedMs = Date.now();
  const threads = availableParallelism();
  let played = 0;
  const verdicts: string[] = [];
  const play = (at: number): Promise<void> =>
    new Promise((resolve, reject) => {
      const worker = new Worker(new URL('./clearing-histories-child.js', import.meta.url), {
        workerData: { from: FIRST_SEED + at, to: FIRST_SEED + HISTORIES - 1, step: threads },
      });
      worker.on('message', (verdict: string | undefined) => {
        played += 1;
        if (verdict !== undefined) verdicts.push(verdict);
      });
      worker.once('error', reject);
      worker.once('exit', () => resolve());
    });
  await Promise.all(Array.from({ length: threads }, (_, at) => play(at)));
  t.same(verdicts, [], 'the books stand as a second bookkeeper has them, after every step');
  t.equal(played, HISTORIES);
  t.comment(`${played} histories in ${Math.round((Date.now() - startedMs) / 1000)} s`);
});
