import { cpSync, mkdirSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { KiriError } from '../../protocol/kiri-error.ts';
import { ANSWERS_FOLDER } from '../verify/answers.ts';
import { clearingInbox } from './configs.ts';
import { paths } from './identities.ts';
import { numberIn, textIn } from './json.ts';
import { runCommand, type Json } from './processes.ts';
import type { Report } from './report.ts';
import type { Site } from './site.ts';

/** The issuer's own id in the files it sends, 11 digits. */
const ISSUER_MEMBER = '00000000392';

/** What the issuer said of the settlement files, by number. */
export interface Answered {
  readonly files: number;
  readonly accepted: number;
  readonly lines: number;
  readonly linesTaken: number;
}

/** The issuer takes the files in as it would by hand, and the clearing reads its signed answers. */
export async function answerFiles(site: Site, cut: Json, report: Report): Promise<Answered> {
  const { world, trust, outDir, clearing } = site;
  const inbox = clearingInbox(world.stateDir);
  const options = {
    trust,
    key: paths.issuerKey(world.stateDir),
    member: ISSUER_MEMBER,
    state: join(world.stateDir, 'issuer', 'desk'),
    out: inbox,
  };
  const args = Object.entries(options).flatMap(([name, value]) => [`--${name}`, value]);
  const answered = { files: 0, accepted: 0, lines: 0, linesTaken: 0 };
  for (const file of cut['files'] as readonly Json[]) {
    const path = join(outDir, 'clearing', textIn(file, 'fileName'));
    const told = await runCommand(['issuer', 'ingest', path, ...args, '--json']);
    answered.files += 1;
    answered.accepted += told['verdict'] === 'accepted' ? 1 : 0;
    answered.lines += numberIn(told, 'lines');
    answered.linesTaken += numberIn(told, 'linesTaken');
  }
  const { inbox: answers } = await clearing.request({ do: 'read-back' });
  const odd = (answers as readonly Json[]).find(({ kind }) => kind !== 'taken');
  if (odd) throw new KiriError('DEMO_FAILED', `an answer of the issuer: ${JSON.stringify(odd)}`);
  // As the issuer signed them, for whoever checks the folder.
  const folder = join(outDir, ANSWERS_FOLDER);
  mkdirSync(folder, { recursive: true });
  const taken = join(inbox, 'taken');
  for (const name of readdirSync(taken)) cpSync(join(taken, name), join(folder, name));
  const { files, accepted, lines, linesTaken } = answered;
  report.line('issuer', `accepted ${accepted} of ${files} files, ${linesTaken} of ${lines} lines`);
  return answered;
}
