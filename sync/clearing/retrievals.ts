/** Retrieval requests (1644/603): the evidence of the line, as a document and as a page, named by its ARN. */
import { KiriError } from '../../protocol/kiri-error.ts';
import { evidenceHtml } from './core/evidence-html.ts';
import { verifyEvidence } from './core/evidence.ts';
import type { WriteFile } from './cut-file.ts';
import { bytesOf, textOf } from './sql.ts';
import type { SqlDatabase } from './sql.ts';

/** Below the output folder. */
export const RETRIEVAL_FOLDER = 'retrieval';
/** Answered in one round; the rest with the next. */
const ANSWERS_MAX = 1_000;

/** A request that was answered, with the path of the document below the output folder. */
export type AnsweredRetrieval = { readonly arn: string; readonly path: string };

/** Writes what was asked for and marks it answered, in this order: after a crash it is written again as it was. */
export const answerRetrievals = async (
  database: SqlDatabase,
  outFolder: string,
  writeFile: WriteFile,
  nowS: number,
): Promise<AnsweredRetrieval[]> => {
  const rows = await database.transaction((session) =>
    session.all(
      `SELECT r.issuer, r.number, r.record, r.arn, r.aggregate_id, a.document FROM retrievals r
       JOIN aggregates a ON a.aggregate_id = r.aggregate_id WHERE r.answered_s IS NULL
       ORDER BY r.asked_s, r.issuer, r.number, r.record LIMIT ${ANSWERS_MAX}`,
    ),
  );
  const answered: AnsweredRetrieval[] = [];
  for (const row of rows) {
    const arn = textOf(row, 'arn');
    const document = bytesOf(row, 'document');
    const check = verifyEvidence(document);
    if (!check.ok) throw new KiriError('STORE_CORRUPT', `evidence of ${arn}: ${check.fault}`);
    const path = `${RETRIEVAL_FOLDER}/${arn}.cbor`;
    await writeFile(`${outFolder}/${path}`, document);
    const page = evidenceHtml(check.value, check.id);
    await writeFile(`${outFolder}/${RETRIEVAL_FOLDER}/${arn}.html`, page);
    await database.transaction((session) =>
      session.run(
        'UPDATE retrievals SET answered_s = ? WHERE issuer = ? AND number = ? AND record = ?',
        BigInt(nowS),
        textOf(row, 'issuer'),
        row['number'] as bigint,
        row['record'] as bigint,
      ),
    );
    answered.push({ arn, path });
  }
  return answered;
};
