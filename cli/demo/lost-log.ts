import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { readFinality, type LeafTimes } from '../../sync/ledger/finality-file.ts';
import { gatewayFolder, ledgerFolder } from './configs.ts';
import { numberIn } from './json.ts';
import { runCommand } from './processes.ts';
import type { Report } from './report.ts';
import { startLedgerProgram, type Site } from './site.ts';

/** What became of a log whose disk was lost. */
export interface LostLog {
  /** Entries that the mirror gave back, and those under the last final checkpoint that it had fetched. */
  readonly entries: number;
  readonly finalEntries: number;
  /** `kiri ledger restore` alone, as a person would wait for it. */
  readonly restoreMs: number;
  /** Measured before the loss; measurements are no part of what a mirror keeps. */
  readonly finality: readonly LeafTimes[];
}

/** Deletes the log's folder as a broken disk does, and has it back from the mirror (docs/operating.md). */
export async function loseAndRestoreLog(site: Site, report: Report): Promise<LostLog> {
  const { world, trust } = site;
  const log = ledgerFolder(world.stateDir);
  const mirror = world.cosigners.find(({ kind }) => kind === 'mirror')!;
  await site.ledger.stop();
  site.programs.delete(site.ledger);
  const finality = await readFinality(log);
  await rm(log, { recursive: true });
  report.line('ledger', "stopped, the log's folder deleted");
  const startedMs = performance.now();
  const options = {
    from: site.cosigners.get(mirror.place)!.url,
    to: log,
    policy: join(trust, 'policy.txt'),
    gateway: gatewayFolder(world.stateDir),
    'approver-key': join(trust, 'keys', 'approver.cosekey'),
  };
  const args = Object.entries(options).flatMap(([name, value]) => [`--${name}`, value]);
  const restored = await runCommand(['ledger', 'restore', ...args, '--json']);
  const restoreMs = performance.now() - startedMs;
  const [entries, finalEntries] = [numberIn(restored, 'size'), numberIn(restored, 'finalSize')];
  site.ledger = await startLedgerProgram(site);
  report.line(
    'ledger',
    `${entries} entries back from ${mirror.keyName} after ${restoreMs.toFixed(0)} ms`,
  );
  return { entries, finalEntries, restoreMs, finality };
}
