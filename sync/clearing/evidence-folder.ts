/** Evidence of forks as files: a mirror's, or another clearing's, go in; what was found here comes out. */
import { createHash } from 'node:crypto';
import { readdir, readFile, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { writeFileDurable } from '../../platform/durable-file.ts';
import { makeFolder } from '../../platform/make-folder.ts';
import type { Verifier } from '../../protocol/public-key.ts';
import { MAX_FORK_EVIDENCE_BYTES } from '../ledger/core/fork-evidence.ts';
import type { FinalityRules } from '../ledger/core/policy-book.ts';
import type { ClearingService } from './clearing-service.ts';
import { checkForkEvidence } from './fork-watch.ts';

/** Files looked at in one round; the rest waits until these are gone. */
const MAX_FILES = 1_000;

/** A stopped log as an answer says it. */
export interface SpokenStop {
  readonly origin: string;
  /** Entries that stay payable. */
  readonly commonSize: number;
  readonly stoppedS: number;
  /** Path of the evidence file. */
  readonly evidence: string;
}

const sha256Hex = (bytes: Uint8Array | string): string =>
  createHash('sha256').update(bytes).digest('hex');

/** The folder of one clearing. A file that is no evidence stops nothing and is named every time. */
export class EvidenceFolder {
  readonly #folder: string;
  readonly #policy: FinalityRules;
  readonly #verifier: Verifier;
  /** Hashes of files that were taken. */
  readonly #taken = new Set<string>();

  constructor(folder: string, policy: FinalityRules, verifier: Verifier) {
    makeFolder(folder);
    this.#folder = folder;
    this.#policy = policy;
    this.#verifier = verifier;
  }

  /** Stops what the files prove. Returns what is wrong with the others, in words. */
  async take(clearing: ClearingService, nowS: number): Promise<string[]> {
    const faults: string[] = [];
    const names = (await readdir(this.#folder)).filter((name) => name.endsWith('.json')).toSorted();
    for (const name of names.slice(0, MAX_FILES)) {
      const path = join(this.#folder, name);
      const { size } = await stat(path);
      const bytes =
        size > MAX_FORK_EVIDENCE_BYTES ? undefined : new Uint8Array(await readFile(path));
      if (bytes && this.#taken.has(sha256Hex(bytes))) continue;
      const proven = bytes && checkForkEvidence(bytes, this.#policy, this.#verifier);
      if (!bytes || !proven) faults.push(`${name}: too long for evidence of a fork`);
      else if (!proven.ok) faults.push(`${name}: ${proven.reason}`);
      else {
        await clearing.stopLog(proven.value, Buffer.from(bytes).toString('utf8'), nowS);
        this.#taken.add(sha256Hex(bytes));
      }
    }
    return faults;
  }

  /** Writes the evidence of every stop that holds, and says where it is. */
  async keep(clearing: ClearingService): Promise<SpokenStop[]> {
    const stops: SpokenStop[] = [];
    for (const { origin, commonSize, stoppedS, evidence } of await clearing.stoppedLogs()) {
      const path = join(this.#folder, `${sha256Hex(origin)}.json`);
      if (!this.#taken.has(sha256Hex(evidence))) {
        await writeFileDurable(path, evidence, 0o644);
        this.#taken.add(sha256Hex(evidence));
      }
      stops.push({ origin, commonSize, stoppedS, evidence: path });
    }
    return stops;
  }
}
