import { toHex } from '../../protocol/bytes.ts';
import { openInboundAnswer, type InboundAnswer } from '../../sync/clearing/core/inbound-answer.ts';
import { ANSWER_FOLDER } from '../../sync/clearing/inbound-answers.ts';
import type { Artefacts } from './artefacts.ts';
import type { Findings } from './findings.ts';
import type { TrustStore } from './trust.ts';

const ENDING = '.answer';

interface Context {
  readonly files: Artefacts;
  readonly store: Pick<TrustStore, 'book'>;
  readonly findings: Findings;
}

export const isInboundAnswer = (path: string): boolean => path.endsWith(ENDING);

const told = ({ name, verdict, code, refusals, part, parts }: InboundAnswer): string => {
  const why = refusals.map((one) => `record ${one.record} ${one.code}`);
  const words = [verdict, ...(code === '' ? [] : [code]), ...why].join(', ');
  return `${name}: ${words}${parts > 1 ? ` (${part} of ${parts})` : ''}`;
};

/** What a clearing told an issuer about one of its documents: signed by a clearing of this issuer, under its own name. */
function checkInboundAnswer(
  { files, store, findings }: Context,
  path: string,
): InboundAnswer | undefined {
  const cose = files.read(path);
  if (!cose) return undefined;
  const { clearings, trust } = store.book;
  let reason = 'no clearing is credentialed in this folder';
  for (const { key } of clearings) {
    const opened = openInboundAnswer(cose, { verifier: trust.verifier, clearing: key });
    if (!opened.ok) {
      reason = `${opened.code}: ${opened.reason}`;
      continue;
    }
    const { issuer, number } = opened.value;
    const name = `${toHex(issuer)}.${String(number).padStart(10, '0')}${ENDING}`;
    if (path.slice(path.lastIndexOf('/') + 1) !== name) {
      findings.fault(path, `is the answer ${name}`);
      return undefined;
    }
    findings.count('answers to issuers');
    return opened.value;
  }
  findings.fault(path, reason);
  return undefined;
}

/** One answer by itself, and what it says. */
export function proveInboundAnswer(context: Context, path: string): void {
  const answer = checkInboundAnswer(context, path);
  if (answer) context.findings.proven(told(answer));
}

/** All answers of an output folder: numbers run per issuer without gaps. */
export function checkInboundAnswers(context: Context): void {
  const { files, findings } = context;
  const last = new Map<string, number>();
  for (const path of files.below(`${ANSWER_FOLDER}/`)) {
    const answer = findings.guard(path, () => checkInboundAnswer(context, path));
    if (!answer) continue;
    const issuer = toHex(answer.issuer);
    const expected = (last.get(issuer) ?? answer.number - 1) + 1;
    if (answer.number !== expected) findings.fault(path, `number ${expected} is missing`);
    last.set(issuer, answer.number);
  }
}
