/** Looks into the folder of a process that was just killed: what it had signed must already stand there. */
import { createHash } from 'node:crypto';
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { readCheckpoint, readNote } from '../c2sp/note.ts';
import { entryOf } from '../c2sp/run.ts';
import { WIDTH, judge, judgeContents } from '../c2sp/tlog.ts';
import { ORIGIN } from './soak-keys.ts';

/** Where a mirror below `base` keeps its copy of the soak's log. */
export const copyFolder = (base: string): string =>
  join(base, 'mirror/logs', createHash('sha256').update(ORIGIN).digest('hex'));

/** The log's stored head covers every size that it signed. */
export function writerFault(base: string, signedSize: number): string | undefined {
  const path = join(base, 'log/state/head');
  const [body = '{}'] = existsSync(path) ? readFileSync(path, 'utf8').split('\n') : [];
  const { size = 0 } = JSON.parse(body) as { readonly size?: number };
  return size < signedSize ? `the writer signed ${signedSize} and kept ${size}` : undefined;
}

/** Everything up to the size that the mirror cosigned is in its copy: entries, and the payload records they commit to. */
export class CopyEye {
  /** Full bundles that were looked at. */
  #seen = 0;

  fault(base: string, cosignedSize: number): string | undefined {
    const folder = copyFolder(base);
    const path = join(folder, 'signed-head');
    if (!existsSync(path)) return cosignedSize > 0 ? 'the mirror kept no head' : undefined;
    const kept = judge(() => readCheckpoint(readNote(readFileSync(path)).text).size);
    if (!kept.right) return `the mirror's head: ${kept.reason}`;
    if (kept.value < cosignedSize) return `the mirror cosigned ${cosignedSize}, kept ${kept.value}`;
    const contents = judgeContents(folder, this.#seen, kept.value);
    if (!contents.right) return `the mirror cosigned ${cosignedSize}: ${contents.reason}`;
    const wrong = contents.value.findIndex(([entry, record]) => !entry.equals(entryOf(record)));
    if (wrong >= 0) return `the mirror's entry ${this.#seen * WIDTH + wrong} is of another record`;
    this.#seen = Math.floor(kept.value / WIDTH);
    return undefined;
  }
}
