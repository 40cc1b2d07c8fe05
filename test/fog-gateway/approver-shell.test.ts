import { join } from 'node:path';
import t, { type Test } from 'tap';
import type { ApproverEffect, JournalName } from '../../approval/messages.ts';
import { initialState } from '../../approval/state.ts';
import type { Approver } from '../../approval/step.ts';
import { ApproverShell } from '../../fog-gateway/approver-shell.ts';
import { nodeJournalFs, type JournalFs } from '../../platform/journal-fs.ts';
import { journalReader } from '../../platform/journal-reader.ts';
import { openJournal } from '../../platform/journal.ts';
import { systemRandom } from '../../platform/system-random.ts';
import { tempFolder, worldClock } from './kit.ts';

/** Lets the test decide when a journal's sync returns. */
class HeldSyncs {
  readonly #folders = new Map<number, string>();
  readonly #held = new Map<string, () => void>();
  readonly #waiters: (() => void)[] = [];
  isHolding = false;
  readonly files: JournalFs = {
    ...nodeJournalFs,
    open: (path, flags) => {
      const fd = nodeJournalFs.open(path, flags);
      this.#folders.set(fd, path.split('/').at(-2)!);
      return fd;
    },
    fdatasync: (fd, done) => {
      const sync = (): void => nodeJournalFs.fdatasync(fd, done);
      if (!this.isHolding) return sync();
      this.#held.set(this.#folders.get(fd)!, sync);
      for (const wake of this.#waiters.splice(0)) wake();
    },
  };

  /** Resolves when this journal waits for its sync. */
  async reached(name: JournalName): Promise<void> {
    while (!this.#held.has(name)) await new Promise<void>((wake) => this.#waiters.push(wake));
  }

  release(name: JournalName): void {
    const sync = this.#held.get(name)!;
    this.#held.delete(name);
    sync();
  }
}

/** An approver that appends what it is told to: each step takes the next list of effects. */
function scripted(steps: ApproverEffect[][]): Approver {
  return {
    initial: () => initialState(),
    recoverSigned: () => {},
    recover: () => {},
    step(state, input) {
      if (input.kind === 'boot') Object.assign(state.nextIndex, input.nextIndex);
      const effects = input.kind === 'payment' ? (steps.shift() ?? []) : [];
      for (const effect of effects)
        if (effect.kind === 'append') state.nextIndex[effect.journal] += 1;
      return { state, effects };
    },
  };
}

const append = (journal: JournalName, text: string, afterOffer?: number): ApproverEffect => ({
  kind: 'append',
  journal,
  record: Buffer.from(text),
  ...(afterOffer === undefined ? {} : { afterOffer }),
});

async function shellOf(
  t: Test,
  steps: ApproverEffect[][],
): Promise<{ shell: ApproverShell; syncs: HeldSyncs; folder: string }> {
  const folder = tempFolder(t);
  const syncs = new HeldSyncs();
  const shell = await ApproverShell.open({
    folder,
    approver: scripted(steps),
    clock: worldClock(),
    random: systemRandom(),
    files: syncs.files,
    send: () => {},
    flush: () => {},
    onCentre: () => {},
    onFailure: (error) => t.fail(error.message),
  });
  return { shell, syncs, folder };
}

async function moneyOf(folder: string): Promise<string[]> {
  const { records } = await journalReader(join(folder, 'money')).readFrom();
  return records.map(({ record }) => Buffer.from(record).toString());
}

const STEPS = (): ApproverEffect[][] => [
  [append('money', 'first')],
  [append('money', 'second')],
  [append('offers', 'offer'), append('money', 'paid on it', 0)],
  [append('money', 'behind it')],
];

t.test('no acceptance gets into a commit that was asked for before its Offer was', async (t) => {
  const { shell, syncs, folder } = await shellOf(t, STEPS());
  syncs.isHolding = true;
  shell.payment('a', new Uint8Array());
  await syncs.reached('money');
  // The next commit is asked for while the first is under way: whatever is appended now rides along.
  for (let i = 0; i < 3; i += 1) shell.payment('a', new Uint8Array());
  await syncs.reached('offers');
  syncs.release('money');
  await syncs.reached('money');
  syncs.release('money');
  while ((await moneyOf(folder)).length < 2) await new Promise(setImmediate);
  t.same(await moneyOf(folder), ['first', 'second'], 'the Offer is not durable yet');
  syncs.isHolding = false;
  syncs.release('offers');
  while ((await moneyOf(folder)).length < 4) await new Promise(setImmediate);
  t.same(await moneyOf(folder), ['first', 'second', 'paid on it', 'behind it'], 'in their order');
  await shell.close();
});

t.test('an orderly end writes what waits for its Offer, after it', async (t) => {
  const { shell, syncs, folder } = await shellOf(t, STEPS().slice(2));
  syncs.isHolding = true;
  shell.payment('a', new Uint8Array());
  shell.payment('a', new Uint8Array());
  await syncs.reached('offers');
  const closed = shell.close();
  syncs.isHolding = false;
  syncs.release('offers');
  await closed;
  const { journal } = await openJournal(join(folder, 'money'));
  t.same(
    [...journal.records()].map(({ record }) => Buffer.from(record).toString()),
    ['paid on it', 'behind it'],
  );
  await journal.close();
});
