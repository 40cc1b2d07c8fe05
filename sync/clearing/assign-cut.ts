import { toHex } from '../../protocol/bytes.ts';
import { KiriError } from '../../protocol/kiri-error.ts';
import { Books } from './books.ts';
import { shortIdOf, windowOf } from './core/aggregate.ts';
import { writeOffRemainder } from './close-account.ts';
import { buildArn } from './core/arn.ts';
import { civilTime, isoDate, yddd, yymmdd, yymmddhhmmss } from './core/civil-time.ts';
import type { CivilTime } from './core/civil-time.ts';
import { fileIdOf } from './core/ipm-record.ts';
import type { FileHeader, PresentmentRecord } from './core/ipm-record.ts';
import { ipmProfile } from './core/ipm-profile.ts';
import type { IpmProfile } from './core/ipm-profile.ts';
import { declinedAccounts } from './declined.ts';
import { feeDueE4 } from './core/merchant-account.ts';
import { lineRecord } from './core/line-record.ts';
import { FILE_LINES_MAX } from './cut-context.ts';
import type { CutContext } from './cut-context.ts';
import { assignAgain, queuedLines } from './queued-lines.ts';
import type { QueuedLine } from './queued-lines.ts';
import { heldLanes } from './held-lanes.ts';
import { replacedLanes } from './lane-entries.ts';
import { LaneStager } from './stage-lane.ts';
import type { StagedAggregate } from './stage-lane.ts';
import { baseName, encodeFileDocument, encodeRecord } from './file-document.ts';
import { numberOf, textOf } from './sql.ts';
import type { SqlSession } from './sql.ts';

/** What a cut assigned: files to be written, and keys that are due but cannot be presented yet. */
export type CutAssignment = {
  readonly files: readonly string[];
  readonly blocked: readonly string[];
};

/**
 * Takes the next number of a counter that never goes back; the transaction makes it once. Parts of a clearing share out the
 * numbers: part i of n takes i + 1, i + 1 + n, i + 1 + 2n, so no two of them ever take the same.
 */
export const nextNumber = async (session: SqlSession, name: string): Promise<number> => {
  await session.run(
    `INSERT INTO counters (name, value) VALUES (?, coalesce((SELECT part_index FROM part), 0) + 1)
     ON CONFLICT (name) DO UPDATE SET value = counters.value + coalesce((SELECT part_count FROM part), 1)`,
    name,
  );
  const [row] = await session.all('SELECT value FROM counters WHERE name = ?', name);
  return numberOf(row ?? {}, 'value');
};

/** What one line of a file comes from: a new aggregate, or a line that is presented once more. */
type Draft =
  | { readonly kind: 'new'; readonly aggregate: StagedAggregate }
  | { readonly kind: 'again'; readonly line: QueuedLine };

/** One file holds lines of one member, one currency and one profile. */
const groupOf = (draft: Draft): string => {
  const { member, currency, profile } =
    draft.kind === 'new'
      ? { ...draft.aggregate, ...draft.aggregate.details, profile: draft.aggregate.profile.name }
      : draft.line;
  return `${member} ${currency.alpha} ${profile}`;
};

/** What a file is for: under its own name, or with the lines of a rejected one. */
type FileOrigin = { readonly lines: readonly Draft[]; readonly replaces?: string };

/** One cut in one transaction: receipts to aggregates, aggregates to ARNs, ARNs to files with their sequence. */
export class CutAssigner {
  readonly #session: SqlSession;
  readonly #context: CutContext;
  readonly #books: Books;
  readonly #date: CivilTime;

  constructor(session: SqlSession, context: CutContext) {
    this.#session = session;
    this.#context = context;
    this.#books = new Books(session, context.nowS);
    this.#date = civilTime(context.nowS, context.zone);
  }

  async run(): Promise<CutAssignment> {
    const replaced = await replacedLanes(this.#session, this.#context);
    const isDeclined = await declinedAccounts(this.#session);
    const context = this.#context;
    const stager = new LaneStager(this.#session, this.#books, context, replaced, isDeclined);
    const groups = new Map<string, Draft[]>();
    const add = (draft: Draft): void => {
      const name = groupOf(draft);
      const group = groups.get(name);
      if (group) group.push(draft);
      else groups.set(name, [draft]);
    };
    for (const line of await queuedLines(this.#session)) add({ kind: 'again', line });
    // Replaced accounts first: what they leave below one minor unit others take over.
    const old = new Set([...replaced.values()].flat());
    for (const isOld of old.size > 0 ? [true, false] : [false]) {
      for await (const row of heldLanes(this.#session)) {
        if (old.has(textOf(row, 'key_id')) !== isOld) continue;
        for (const aggregate of await stager.stage(row)) add({ kind: 'new', aggregate });
        await writeOffRemainder(this.#session, this.#books, this.#context, row);
      }
    }
    const files: string[] = [];
    for (const name of [...groups.keys()].toSorted()) {
      const group = groups.get(name) as Draft[];
      for (let at = 0; at < group.length; at += FILE_LINES_MAX) {
        files.push(await this.#assignFile({ lines: group.slice(at, at + FILE_LINES_MAX) }));
      }
    }
    await this.#closeWindows();
    await this.#books.flush();
    return { files, blocked: stager.blocked };
  }

  /** The lines of a rejected file, which wait, under a new file id: same ARNs, new numbers (settlement.md 4.4). */
  async resubmit(replaces: string): Promise<string> {
    const lines = await queuedLines(this.#session, replaces);
    const fileName = await this.#assignFile({
      lines: lines.map((line) => ({ kind: 'again', line })),
      replaces,
    });
    await this.#books.flush();
    return fileName;
  }

  async #assignFile({ lines, replaces }: FileOrigin): Promise<string> {
    const { mode, nowS, anchors, policyHash } = this.#context;
    const [first] = lines as readonly [Draft, ...Draft[]];
    const { member, currency } =
      first.kind === 'new' ? { ...first.aggregate, ...first.aggregate.details } : first.line;
    const profile = this.#profileOf(first);
    const sequence = await nextNumber(this.#session, `file ${member}`);
    if (sequence > 99_999) {
      throw new KiriError('FILE_SEQUENCE_EXHAUSTED', `no file number left for member ${member}`);
    }
    const date = yymmdd(this.#date);
    const header: FileHeader = { fileType: profile.fileType, date, member, sequence, mode };
    const fileName = baseName(profile, header);
    await this.#session.run(
      `INSERT INTO files (file_name, file_id, first_name, profile, member, sequence, state, cut_s, document)
       VALUES (?, ?, coalesce((SELECT first_name FROM files WHERE file_name = ?), ?), ?, ?, ?,
         'assigned', ?, ?)`,
      fileName,
      fileIdOf(header),
      replaces ?? null,
      fileName,
      profile.name,
      member,
      BigInt(sequence),
      BigInt(nowS),
      encodeFileDocument({
        header,
        profile,
        currency: currency.numeric,
        anchors,
        policyHash: toHex(policyHash),
        cutS: nowS,
      }),
    );
    let number = 1;
    for (const draft of lines) {
      if (draft.kind === 'again') {
        const place = { fileName, number: ++number };
        await assignAgain(this.#session, this.#books, draft.line, place);
        continue;
      }
      await this.#insertAggregate(draft.aggregate, fileName);
      if (draft.aggregate.amountMinor > 0n) {
        await this.#present(draft.aggregate, fileName, ++number);
      }
    }
    return fileName;
  }

  #profileOf(draft: Draft): IpmProfile {
    if (draft.kind === 'new') return draft.aggregate.profile;
    // A profile of the past that is no longer made is followed by the one that is.
    return ipmProfile(draft.line.profile) ?? this.#context.profile;
  }

  async #insertAggregate(aggregate: StagedAggregate, fileName: string): Promise<void> {
    await this.#session.run(
      `INSERT INTO aggregates (aggregate_id, key_id, lane, number, document, reason, cut_s, file_name)
       VALUES (?, ?, ?, ?, ?, ?, ?, ?)`,
      aggregate.aggregateId,
      aggregate.keyId,
      aggregate.lane,
      BigInt(aggregate.number),
      aggregate.document,
      aggregate.reason,
      BigInt(this.#context.nowS),
      fileName,
    );
  }

  async #present(aggregate: StagedAggregate, fileName: string, number: number): Promise<void> {
    const record = await this.#record(aggregate);
    await this.#session.run(
      `INSERT INTO presentments (aggregate_id, file_name, number, arn, arn_date, amount_micro,
         fee_due_e4, state) VALUES (?, ?, ?, ?, ?, ?, ?, 'inFile')`,
      aggregate.aggregateId,
      fileName,
      BigInt(number),
      record.arn,
      isoDate(this.#date),
      aggregate.amountMicro.toString(),
      this.#feeDueE4(aggregate).toString(),
    );
    await this.#session.run(
      `INSERT INTO file_lines (file_name, number, aggregate_id, cycle, amount_micro, record)
       VALUES (?, ?, ?, 1, ?, ?)`,
      fileName,
      BigInt(number),
      aggregate.aggregateId,
      aggregate.amountMicro.toString(),
      encodeRecord(record),
    );
    const { keyId, amountMicro } = aggregate;
    const cause = `file ${fileName}`;
    await this.#books.move({ keyId, from: 'queued', to: 'inFile', amountMicro, cause });
  }

  /** What the acquirer keeps of the line; a refund costs its merchant nothing more. */
  #feeDueE4({ key, amountMicro }: StagedAggregate): bigint {
    const rule = this.#context.directory.programme(key.programme, key.mcc);
    return rule?.fee && key.sign === 'debit' ? feeDueE4(rule.fee, amountMicro) : 0n;
  }

  async #record(aggregate: StagedAggregate): Promise<PresentmentRecord> {
    const { details, key, profile } = aggregate;
    const { directory, zone } = this.#context;
    const arn = buildArn(profile.arn, {
      bin: details.bin,
      yddd: yddd(this.#date),
      sequence: await nextNumber(this.#session, `arn ${details.bin}`),
    });
    if (!arn.ok) throw new KiriError('ARN_IMPOSSIBLE', arn.fault.detail);
    const local = civilTime(aggregate.firstPaidS, directory.programme(key.programme)?.zone ?? zone);
    const line = {
      arn: arn.value,
      firstPaidAt: yymmddhhmmss(local),
      aggregateShortId: shortIdOf(aggregate.aggregateId),
    };
    return lineRecord({ ...aggregate, ...line }, profile);
  }

  /** What is paid before the start of the running window comes late from now on; windows never reopen. */
  async #closeWindows(): Promise<void> {
    const { nowS, closeOut, directory, zone } = this.#context;
    const rows = await this.#session.all('SELECT DISTINCT programme FROM keys ORDER BY programme');
    for (const row of rows) {
      const name = textOf(row, 'programme');
      const through = closeOut
        ? nowS
        : windowOf(nowS, directory.programme(name)?.zone ?? zone).fromS;
      await this.#session.run(
        `INSERT INTO windows (programme, closed_through_s) VALUES (?, ?)
         ON CONFLICT (programme) DO UPDATE SET closed_through_s =
           CASE WHEN excluded.closed_through_s > windows.closed_through_s
             THEN excluded.closed_through_s ELSE windows.closed_through_s END`,
        name,
        BigInt(through),
      );
    }
  }
}
