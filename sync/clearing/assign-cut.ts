import { toHex } from '../../protocol/bytes.ts';
import { invariant, KiriError } from '../../protocol/kiri-error.ts';
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
import { nextNumber, nextNumbers } from './counters.ts';
import { FILE_LINES_MAX } from './cut-context.ts';
import type { CutContext } from './cut-context.ts';
import { assignAgain, queuedLines } from './queued-lines.ts';
import type { QueuedLine } from './queued-lines.ts';
import { heldLanes } from './held-lanes.ts';
import { replacedLanes } from './lane-entries.ts';
import { LaneStager } from './stage-lane.ts';
import type { StagedAggregate } from './stage-lane.ts';
import { baseName, encodeFileDocument } from './file-document.ts';
import { FileRows } from './file-rows.ts';
import { textOf } from './sql.ts';
import type { SqlSession } from './sql.ts';

/** What a cut assigned: files to be written, and keys that are due but cannot be presented yet. */
export type CutAssignment = {
  readonly files: readonly string[];
  readonly blocked: readonly string[];
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
      for await (const page of heldLanes(this.#session)) {
        const rows = page.filter((row) => old.has(textOf(row, 'key_id')) === isOld);
        await stager.lookAhead(rows);
        for (const row of rows) {
          for (const aggregate of await stager.stage(row)) add({ kind: 'new', aggregate });
          await writeOffRemainder(this.#session, this.#books, this.#context, row);
        }
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
    const rows = new FileRows(this.#session, fileName, nowS);
    const arns = await this.#takeArns(lines);
    let number = 1;
    for (const draft of lines) {
      if (draft.kind === 'again') {
        const place = { fileName, number: ++number };
        await assignAgain(this.#session, this.#books, draft.line, place);
        continue;
      }
      rows.addAggregate(draft.aggregate);
      if (draft.aggregate.amountMinor > 0n)
        await this.#present(draft.aggregate, rows, ++number, arns);
      if (rows.isFull) await rows.flush();
    }
    await rows.flush();
    return fileName;
  }

  #profileOf(draft: Draft): IpmProfile {
    if (draft.kind === 'new') return draft.aggregate.profile;
    // A profile of the past that is no longer made is followed by the one that is.
    return ipmProfile(draft.line.profile) ?? this.#context.profile;
  }

  /** A running number for each line that the file presents first, in its order: of each BIN all at once. */
  async #takeArns(lines: readonly Draft[]): Promise<ReadonlyMap<string, Iterator<number>>> {
    const counts = new Map<string, number>();
    for (const draft of lines) {
      if (draft.kind === 'again' || draft.aggregate.amountMinor === 0n) continue;
      const { bin } = draft.aggregate.details;
      counts.set(bin, (counts.get(bin) ?? 0) + 1);
    }
    const taken = new Map<string, Iterator<number>>();
    for (const [bin, count] of counts) {
      taken.set(bin, await nextNumbers(this.#session, `arn ${bin}`, count));
    }
    return taken;
  }

  async #present(
    aggregate: StagedAggregate,
    rows: FileRows,
    number: number,
    arns: ReadonlyMap<string, Iterator<number>>,
  ): Promise<void> {
    const sequence = arns.get(aggregate.details.bin)?.next().value as number | undefined;
    invariant(sequence !== undefined, 'clearing: a line for which no ARN was taken');
    const record = this.#record(aggregate, sequence);
    rows.addLine(aggregate, number, {
      record,
      arnDate: isoDate(this.#date),
      feeDueE4: this.#feeDueE4(aggregate),
    });
    const { keyId, amountMicro } = aggregate;
    const cause = `file ${rows.fileName}`;
    await this.#books.move({ keyId, from: 'queued', to: 'inFile', amountMicro, cause });
  }

  /** What the acquirer keeps of the line; a refund costs its merchant nothing more. */
  #feeDueE4({ key, amountMicro }: StagedAggregate): bigint {
    const rule = this.#context.directory.programme(key.programme, key.mcc);
    return rule?.fee && key.sign === 'debit' ? feeDueE4(rule.fee, amountMicro) : 0n;
  }

  #record(aggregate: StagedAggregate, sequence: number): PresentmentRecord {
    const { details, key, profile } = aggregate;
    const { directory, zone } = this.#context;
    const arn = buildArn(profile.arn, {
      bin: details.bin,
      yddd: yddd(this.#date),
      sequence,
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
