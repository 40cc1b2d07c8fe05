/**
 * The answers that an issuer finds about what it sent: made in the transaction that takes a document in or keeps it apart,
 * written after it, and after a crash by the next round.
 */
import { fromHex } from '../../protocol/bytes.ts';
import type { Signer } from '../../protocol/public-key.ts';
import { nextNumber } from './counters.ts';
import { REFUSALS_MAX, signInboundAnswer } from './core/inbound-answer.ts';
import type { InboundAnswer, RefusedMessage } from './core/inbound-answer.ts';
import type { StreamFile } from './cut-file.ts';
import { bytesOf, numberOf, textOf } from './sql.ts';
import type { SqlDatabase, SqlSession } from './sql.ts';

/** Below the output folder. */
export const ANSWER_FOLDER = 'inbound-answers';
/** Written in one round; the rest waits for the next. */
const ROUND_MAX = 1_000;

/** What is answered. `issuer` and `sha256` in hex. */
type Answered = Pick<InboundAnswer, 'name' | 'code' | 'detail'> & {
  readonly issuer: string;
  readonly sha256: string;
};

const refusalsOf = async (
  session: SqlSession,
  issuer: string,
  number: number,
): Promise<RefusedMessage[]> => {
  const rows = await session.all(
    `SELECT record, code FROM inbound_messages
     WHERE issuer = ? AND number = ? AND outcome = 'refused' ORDER BY record`,
    issuer,
    BigInt(number),
  );
  return rows.map((row) => ({ record: numberOf(row, 'record'), code: textOf(row, 'code') }));
};

/** The same answer once more, if this document had it before. */
const again = async (
  session: SqlSession,
  { sha256, code }: Pick<Answered, 'sha256' | 'code'>,
): Promise<boolean> => {
  const known = await session.run(
    'UPDATE inbound_answers SET written_s = NULL WHERE sha256 = ? AND code = ?',
    sha256,
    code,
  );
  return known > 0;
};

const sign = async (
  session: SqlSession,
  signer: Signer,
  one: Answered,
  rest: Pick<InboundAnswer, 'verdict' | 'refusals' | 'part' | 'parts' | 'answeredS'>,
): Promise<void> => {
  const { issuer, sha256 } = one;
  const number = await nextNumber(session, `answer ${issuer}`);
  const ids = { issuer: fromHex(issuer), sha256: fromHex(sha256), number };
  await session.run(
    'INSERT INTO inbound_answers (issuer, number, sha256, code, document) VALUES (?, ?, ?, ?, ?)',
    issuer,
    BigInt(number),
    sha256,
    one.code,
    signInboundAnswer(signer, { ...one, ...rest, ...ids }),
  );
};

/** Answers a document of which nothing was read; `code` says why. */
export const answerRefused = async (
  session: SqlSession,
  signer: Signer,
  one: Answered,
  nowS: number,
): Promise<void> => {
  if (await again(session, one)) return;
  const whole = { refusals: [], part: 1, parts: 1, answeredS: nowS };
  await sign(session, signer, one, { verdict: 'refused', ...whole });
};

/** A document that was taken in. `issuer` and `sha256` in hex. */
export type TakenDocument = Pick<Answered, 'issuer' | 'name' | 'sha256'> & {
  /** Under which its issuer sent it. */
  readonly documentNumber: number;
};

/** Answers a document that was taken in under its number, now or before. */
export const answerTaken = async (
  session: SqlSession,
  signer: Signer,
  taken: TakenDocument,
  nowS: number,
): Promise<void> => {
  const { documentNumber, ...named } = taken;
  const one = { ...named, code: '', detail: '' };
  if (await again(session, one)) return;
  const refusals = await refusalsOf(session, one.issuer, documentNumber);
  const verdict = refusals.length === 0 ? 'taken' : 'partly';
  const parts = Math.max(1, Math.ceil(refusals.length / REFUSALS_MAX));
  for (let part = 1; part <= parts; part++) {
    const own = refusals.slice((part - 1) * REFUSALS_MAX, part * REFUSALS_MAX);
    await sign(session, signer, one, { verdict, refusals: own, part, parts, answeredS: nowS });
  }
};

/** Where an answer is written, below the output folder. */
export const answerPath = (issuer: string, number: number): string =>
  `${ANSWER_FOLDER}/${issuer}.${String(number).padStart(10, '0')}.answer`;

/** Writes what is committed and not written: `<issuer>.<number>.answer`, each whole. @returns their paths */
export const writeAnswers = async (
  database: SqlDatabase,
  outFolder: string,
  writeFile: StreamFile,
  nowS: number,
): Promise<string[]> => {
  const rows = await database.transaction((session) =>
    session.all(
      `SELECT issuer, number, document FROM inbound_answers WHERE written_s IS NULL
       ORDER BY issuer, number LIMIT ${ROUND_MAX}`,
    ),
  );
  const paths: string[] = [];
  for (const row of rows) {
    const [issuer, number] = [textOf(row, 'issuer'), numberOf(row, 'number')];
    const path = answerPath(issuer, number);
    await writeFile(`${outFolder}/${path}`, bytesOf(row, 'document'));
    await database.transaction((session) =>
      session.run(
        'UPDATE inbound_answers SET written_s = ? WHERE issuer = ? AND number = ?',
        BigInt(nowS),
        issuer,
        BigInt(number),
      ),
    );
    paths.push(path);
  }
  return paths;
};
