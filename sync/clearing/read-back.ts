/**
 * Reading back what an issuer sends (settlement.md 4.4): acknowledgements and files with rejects, positions,
 * chargebacks and retrieval requests. Everything of one document happens in one transaction under the issuer's
 * running number, so a repeated document moves nothing and a lost one shows as a gap. Later numbers are taken all the
 * same: every message is answered by the state it finds, and a lost file must not keep a chargeback from the gateways.
 */
import { Books } from './books.ts';
import { readClosedMark } from './closed-mark.ts';
import type { FileAcknowledgement, FromIssuer } from './core/inbound-documents.ts';
import type { InboundFile } from './core/inbound.ts';
import { ipmProfile } from './core/ipm-profile.ts';
import type { TakenDocument } from './inbound-answers.ts';
import { toHex } from '../../protocol/bytes.ts';
import { KiriError } from '../../protocol/kiri-error.ts';
import { MessageReader } from './read-back-messages.ts';
import type { MessageOutcome, ReadBackRules } from './read-back-messages.ts';
import { textOf } from './sql.ts';
import type { SqlDatabase, SqlSession } from './sql.ts';

/**
 * A document whose signature and form hold. `sha256` (hex) is of the signed statement, which binds the file; `name` is the
 * statement's in the inbox: what came by no inbox is answered by nothing.
 */
export type Inbound = { readonly sha256: string; readonly name?: string } & (
  | { readonly kind: 'acknowledgement'; readonly document: FromIssuer<FileAcknowledgement> }
  | { readonly kind: 'file'; readonly file: InboundFile }
);

/** Why a document is kept apart: nothing of it is read. */
export type QuarantineCode =
  /** Unsigned, wrongly signed, for another clearing, or not what its manifest says. */
  | 'UNTRUSTED'
  /** Signed by the issuer, but not as the profile has it: the detail says which element of which record. */
  | 'INVALID'
  | 'NUMBER_REUSED'
  | 'FILE_NAME_REUSED'
  /** So old that what was known under such numbers is deleted: nobody can say that it was not taken before. */
  | 'BOOKS_CLOSED';

/** What became of a document. */
export type Taken =
  | {
      readonly kind: 'taken';
      readonly number: number;
      readonly messages: readonly MessageOutcome[];
    }
  | { readonly kind: 'repeated'; readonly number: number }
  | { readonly kind: 'quarantined'; readonly code: QuarantineCode; readonly detail: string };

type Head = {
  readonly issuer: string;
  readonly number: number;
  readonly fileName: string;
};

const headOf = (inbound: Inbound): Head => {
  const { issuer, number, fileName } =
    inbound.kind === 'file'
      ? { ...inbound.file.manifest, issuer: inbound.file.issuer }
      : { ...inbound.document.value, issuer: inbound.document.issuer };
  return { issuer: toHex(issuer.id), number, fileName };
};

/** Whether the number, or the file's name, was taken before. */
const known = async (
  session: SqlSession,
  inbound: Inbound,
  { issuer, number, fileName }: Head,
): Promise<Taken | undefined> => {
  const [row] = await session.all(
    'SELECT sha256 FROM inbound WHERE issuer = ? AND number = ?',
    issuer,
    BigInt(number),
  );
  if (row && textOf(row, 'sha256') === inbound.sha256) return { kind: 'repeated', number };
  if (row) {
    const detail = `number ${number} was another document`;
    return { kind: 'quarantined', code: 'NUMBER_REUSED', detail };
  }
  const { throughNumber } = await readClosedMark(session, issuer);
  if (number <= throughNumber) {
    const detail = `numbers through ${throughNumber} are of closed books`;
    return { kind: 'quarantined', code: 'BOOKS_CLOSED', detail };
  }
  if (inbound.kind === 'acknowledgement') return undefined;
  const named = await session.all(
    "SELECT number FROM inbound WHERE issuer = ? AND kind = 'file' AND file_name = ?",
    issuer,
    fileName,
  );
  if (named.length === 0) return undefined;
  const detail = `${fileName} was taken under another number`;
  return { kind: 'quarantined', code: 'FILE_NAME_REUSED', detail };
};

const keepOutcome = async (
  session: SqlSession,
  { issuer, number }: Head,
  record: number,
  kind: string,
  outcome: MessageOutcome,
  nowS: number,
): Promise<void> => {
  await session.run(
    `INSERT INTO inbound_messages (issuer, number, record, kind, reference, outcome, code, detail, noted_s)
     VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)`,
    issuer,
    BigInt(number),
    BigInt(record),
    kind,
    outcome.reference,
    outcome.kind,
    outcome.kind === 'refused' ? outcome.code : null,
    outcome.detail,
    BigInt(nowS),
  );
};

const takeAll = async (
  session: SqlSession,
  inbound: Inbound,
  head: Head,
  rules: ReadBackRules,
  nowS: number,
): Promise<Taken> => {
  const { issuer, number, fileName } = head;
  await session.run(
    'INSERT INTO inbound (issuer, number, kind, sha256, file_name, taken_s) VALUES (?, ?, ?, ?, ?, ?)',
    issuer,
    BigInt(number),
    inbound.kind,
    inbound.sha256,
    fileName,
    BigInt(nowS),
  );
  const reader = new MessageReader(session, new Books(session, nowS), rules, nowS);
  const messages: MessageOutcome[] = [];
  const keep = async (record: number, kind: string, outcome: MessageOutcome): Promise<void> => {
    await keepOutcome(session, head, record, kind, outcome, nowS);
    messages.push(outcome);
  };
  if (inbound.kind === 'acknowledgement') {
    await keep(0, inbound.kind, await reader.acknowledge(inbound.document.value));
  } else {
    const profile = ipmProfile(inbound.file.manifest.profile);
    if (!profile) throw new KiriError('PROFILE_UNKNOWN', inbound.file.manifest.profile);
    for (const message of inbound.file.messages) {
      const record = message.recordNumber;
      const outcome = await reader.apply(message, { issuer, number, record }, profile);
      await keep(record, message.kind, outcome);
    }
  }
  await reader.flush();
  return { kind: 'taken', number, messages };
};

/** Notes what its issuer is told about a document, in the transaction that takes it in. */
type Answer = (session: SqlSession, taken: TakenDocument) => Promise<void>;

/**
 * Takes one document in, or says why it is kept apart. Safe to repeat: what was taken moves nothing again, and is answered as
 * before.
 */
export const takeInbound = async (
  database: SqlDatabase,
  inbound: Inbound,
  rules: ReadBackRules,
  nowS: number,
  answer?: Answer,
): Promise<Taken> =>
  database.transaction(async (session) => {
    const head = headOf(inbound);
    const taken =
      (await known(session, inbound, head)) ?? (await takeAll(session, inbound, head, rules, nowS));
    const { sha256, name } = inbound;
    if (answer && name !== undefined && taken.kind !== 'quarantined') {
      const { issuer, number: documentNumber } = head;
      await answer(session, { issuer, documentNumber, sha256, name });
    }
    return taken;
  });
