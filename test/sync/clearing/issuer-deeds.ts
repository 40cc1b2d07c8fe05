/** What an issuer sends in a history and what a person decides, told to both bookkeepers: read from the files themselves. */
import { createHash } from 'node:crypto';
import type { ClearingService } from '../../../sync/clearing/clearing-service.ts';
import type { InboundBody } from '../../../sync/clearing/core/inbound-message.ts';
import { DEFAULT_IPM_PROFILE } from '../../../sync/clearing/core/ipm-profile.ts';
import { liftDecline } from '../../../sync/clearing/declined.ts';
import type { Inbound } from '../../../sync/clearing/read-back.ts';
import type { Step } from './histories.ts';
import { plainPds, readPlainIpm } from './plain-ipm.ts';
import { hashOf, signer } from './sample.ts';
import type { SecondBooks } from './second-books.ts';
import type { SecondDesk } from './second-desk.ts';
import type { FileLine, Line, SecondLines } from './second-lines.ts';

/** A step of either bookkeeper. */
type Deed = {
  readonly act: (clearing: ClearingService) => Promise<unknown>;
  readonly tell: () => void;
};

/** One file as the issuer got it; records by the second bookkeeper's entry. */
type Got = {
  readonly name: string;
  readonly fileId: string;
  readonly bytes: Buffer;
  readonly records: ReadonlyMap<FileLine, number>;
};

const NAME = /^out\/clearing\/(.+\.(\d{11})\.D\d{6}\.S(\d{5})\.T)\.ipm$/;
const ABOUT_FILES = [
  'accepted',
  'partly',
  'rejected',
  'fileReject',
  'resubmit',
  'messageReject',
  'position',
] as const;
const ABOUT_LINES = [
  'chargeback',
  'arbitration',
  'represent',
  'accept',
  'requeue',
  'park',
  'release',
  'retrieval',
] as const;

const isOf = <Name extends Step['kind']>(kind: Step['kind'], list: readonly Name[]): kind is Name =>
  (list as readonly string[]).includes(kind);

const NOTHING: Deed = { act: async () => undefined, tell: () => undefined };
const ERRORS = [{ element: 'P9501', severity: '08', code: '2003', subfield: '000' }];

/** Now and then the reason says that the account pays nothing further. */
const isDeclining = (how: number): boolean => (how & 0xf000) === 0xf000;

export class IssuerDeeds {
  readonly #books: SecondLines;
  readonly #desk: SecondDesk;
  readonly #got: Got[] = [];
  readonly #read = new Set<string>();
  readonly #sent: Inbound[] = [];

  readonly #arriving: (inbound: Inbound) => readonly Inbound[];

  /** @param arriving what of a document comes: itself, where nothing is bent */
  constructor(
    { lines, desk }: Pick<SecondBooks, 'lines' | 'desk'>,
    arriving: (inbound: Inbound) => readonly Inbound[],
  ) {
    this.#books = lines;
    this.#desk = desk;
    this.#arriving = arriving;
  }

  /** Reads files that are new, and which line of ours each ARN is. `laneOf` tells lines apart that look alike. */
  learn(files: ReadonlyMap<string, Buffer>, laneOf: (arn: string) => string | undefined): void {
    for (const [path, bytes] of files) {
      if (this.#read.has(path)) continue;
      this.#read.add(path);
      const found = NAME.exec(path);
      if (!found) continue;
      const [, name, member, sequence] = found as unknown as [string, string, string, string];
      const at = this.#books.files.findIndex(
        (file) => file.member === member && file.sequence === Number(sequence),
      );
      const entries = this.#books.files[at]?.lines;
      if (!entries) throw new Error(`${path} is no file of the second bookkeeper`);
      const records = new Map<FileLine, number>();
      const [head, ...rest] = readPlainIpm(bytes);
      for (const record of rest.slice(0, -1)) {
        const field = (element: number): string => record.fields.get(element) ?? '';
        const arn = field(31);
        const says = [
          field(42).trim().toLowerCase(),
          plainPds(record).get('9501'),
          field(3) === '000000' ? 'debit' : 'credit',
          BigInt(field(4)),
          field(24) === '200' ? 1 : 2,
          laneOf(arn),
        ].join(' ');
        const entry = entries.find((one) => {
          const { line, cycle, minor } = one;
          const { merchant, account, sign } = line.account;
          const isFree = !records.has(one) && (line.arn === arn || line.arn === '');
          return isFree && says === [merchant, account, sign, minor, cycle, line.lane].join(' ');
        });
        if (!entry) throw new Error(`${path}: nobody knows ${arn} ${says}`);
        entry.line.arn = arn;
        records.set(entry, Number(field(71)));
      }
      this.#got[at] = { name, fileId: plainPds(head!).get('0105') ?? '', bytes, records };
    }
  }

  /** @returns undefined for a step that is not the issuer's */
  deed(step: Step, nowS: number): Deed | undefined {
    const { kind } = step;
    if (isOf(kind, ABOUT_FILES)) return this.#aboutFile(step, kind, nowS);
    if (isOf(kind, ABOUT_LINES)) return this.#aboutLine(step, kind, nowS);
    if (kind === 'forgive') return this.#forgive(step, nowS);
    if (kind !== 'repeat') return undefined;
    const inbound = this.#sent[step.pick % Math.max(1, this.#sent.length)];
    if (!inbound) return NOTHING;
    return {
      act: async (clearing) => {
        const taken = await clearing.readBack(inbound, nowS);
        if (taken.kind !== 'repeated') throw new Error(`a document is ${taken.kind} again`);
      },
      tell: () => undefined,
    };
  }

  #forgive({ pick }: Step, nowS: number): Deed {
    const account = [...this.#desk.declined][pick % Math.max(1, this.#desk.declined.size)];
    if (account === undefined) return NOTHING;
    return {
      act: (clearing) =>
        clearing.within((session) => liftDecline(session, account, 'party-1', nowS)),
      tell: () => void this.#desk.declined.delete(account),
    };
  }

  #gotFile(at: number): Got {
    const got = this.#got[at];
    if (!got) throw new Error(`file ${at + 1} never came`);
    return got;
  }

  #send(inbound: Inbound, nowS: number, tell: () => void): Deed {
    this.#sent.push(inbound);
    const act = async (clearing: ClearingService): Promise<void> => {
      for (const one of this.#arriving(inbound)) await clearing.readBack(one, nowS);
    };
    return { act, tell };
  }

  #message(body: InboundBody, nowS: number, tell: () => void): Deed {
    const number = this.#sent.length + 1;
    const { name, version } = DEFAULT_IPM_PROFILE;
    const header = {
      fileType: '002' as const,
      date: '261121',
      member: '00000099990',
      sequence: number,
    };
    const manifest = {
      clearing: signer.key.id,
      number,
      fileName: `file ${number}`,
      fileId: String(number),
      profile: name,
      profileVersion: version,
      fileSha256: hashOf(String(number)),
      fileBytes: 1014,
      records: 3,
      createdS: nowS,
    };
    const file = {
      manifest,
      issuer: signer.key,
      header: { ...header, mode: 'T' as const },
      messages: [{ ...body, recordNumber: 2 }],
    };
    return this.#send({ kind: 'file', file, sha256: `manifest ${number}` }, nowS, tell);
  }

  #acknowledge(
    at: number,
    verdict: 'accepted' | 'partly' | 'rejected',
    { how }: Step,
    nowS: number,
  ): Deed {
    const { name, fileId, bytes } = this.#gotFile(at);
    const { lines, currency } = this.#books.files[at]!;
    const totals = (['debit', 'credit'] as const).flatMap((sign) => {
      const of = lines.filter(({ line }) => line.account.sign === sign);
      const sum = of.reduce((total, { minor }) => total + minor, 0n);
      const amountMinor = sum.toString();
      return of.length === 0 ? [] : [{ currency, sign, lines: of.length, amountMinor }];
    });
    // Now and then other bytes arrived, or the issuer counted another record.
    const isDamaged = (how & 0xf) === 0;
    const isMiscounted = (how & 0xf) === 1;
    const number = this.#sent.length + 1;
    const value = {
      clearing: signer.key.id,
      number,
      fileId,
      fileName: `${name}.ipm`,
      fileSha256: isDamaged ? hashOf('damaged') : createHash('sha256').update(bytes).digest(),
      fileBytes: bytes.length,
      records: lines.length + (isMiscounted ? 3 : 2),
      totals,
      verdict,
      receivedS: nowS,
    };
    const document = { value, issuer: signer.key };
    const isHeard = verdict === 'rejected' || !(isDamaged || isMiscounted);
    return this.#send({ kind: 'acknowledgement', document, sha256: `ack ${number}` }, nowS, () => {
      if (isHeard) this.#books.acknowledge(at, verdict);
    });
  }

  #aboutFile(step: Step, kind: (typeof ABOUT_FILES)[number], nowS: number): Deed {
    const { pick, how } = step;
    const files = this.#books.files.map((file, at) => ({ file, at }));
    const meant = files.filter(({ file }) => {
      const isAnswered = file.stand !== 'written' && file.stand !== 'partlyRefused';
      return kind === 'resubmit'
        ? file.stand === 'rejected'
        : kind === 'messageReject' || kind === 'position' || !isAnswered;
    });
    const some = meant.length > 0 && (how & 0x70) !== 0 ? meant : files;
    const chosen = some[pick % Math.max(1, some.length)];
    if (!chosen) return NOTHING;
    const { at, file } = chosen;
    const { name, fileId, records } = this.#gotFile(at);
    if (kind === 'resubmit') {
      return {
        act: (clearing) => clearing.resubmit(name, nowS),
        tell: () => this.#books.resubmit(at, nowS),
      };
    }
    if (kind === 'fileReject') {
      const body = { kind: 'file-reject', sourceFileId: fileId, errors: ERRORS } as const;
      return this.#message(body, nowS, () => this.#books.reject(at));
    }
    if (kind === 'position') return this.#position(at, step, nowS);
    if (kind !== 'messageReject') return this.#acknowledge(at, kind, step, nowS);
    const entry = file.lines[(pick >> 2) % file.lines.length]!;
    const sourceRecordNumber = records.get(entry)!;
    const declines = isDeclining(how);
    const body: InboundBody = {
      kind: 'message-reject',
      sourceFileId: fileId,
      sourceRecordNumber,
      errors: ERRORS.map((one) => (declines ? { ...one, code: '2001' } : one)),
    };
    return this.#message(body, nowS, () => {
      const isMoved = this.#books.rejectOne(at, entry, nowS);
      if (isMoved && declines) this.#desk.declined.add(entry.line.account.account);
    });
  }

  /** What the issuer took as we have it; now and then it counted another line or another sum. */
  #position(at: number, { pick, how }: Step, nowS: number): Deed {
    const ours = this.#books.taken(at);
    const debit = { ...ours.debit };
    if ((how & 0x180) === 0x100) debit.count += 1;
    if ((how & 0x180) === 0x180) debit.amountMinor += 1n;
    const said = { ...ours, at, debit };
    const body: InboundBody = {
      kind: 'reconciliation',
      position: pick % 2 === 0 ? 'financial' : 'settlement',
      sourceFileId: this.#gotFile(at).fileId,
      currency: String(this.#books.files[at]!.currency),
      debit,
      credit: ours.credit,
    };
    return this.#message(body, nowS, () => this.#desk.position(said));
  }

  /** Answered at once, with all that waits, or left open. */
  #retrieval(line: Line, { how }: Step, nowS: number): Deed {
    const isAnswered = (how & 0x80) === 0;
    const body = { kind: 'retrieval', arn: line.arn, reason: '6323' } as const;
    const { act, tell } = this.#message(body, nowS, () =>
      this.#desk.retrieve(line, isAnswered, nowS),
    );
    if (!isAnswered) return { act, tell };
    return {
      act: async (clearing) => {
        await act(clearing);
        await clearing.answerRetrievals(nowS);
      },
      tell,
    };
  }

  #lineFor({ pick, how }: Step, isMeant: (line: Line) => boolean): Line | undefined {
    // A sum in several lines has no one line that its payments are in.
    const lines = this.#books.lines.filter((line) => !line.isPiece);
    const meant = lines.filter(isMeant);
    const some = meant.length > 0 && (how & 0x70) !== 0 ? meant : lines;
    return some[pick % Math.max(1, some.length)];
  }

  #chargeback(step: Step, cycle: 'first' | 'arbitration', nowS: number): Deed {
    const isFirst = cycle === 'first';
    const line = this.#lineFor(step, ({ stand }) => stand === (isFirst ? 'open' : 'second'));
    if (!line) return NOTHING;
    const { how, micro } = step;
    const most = isFirst ? line.minor : line.second / line.unit;
    const parts = [most, most, 1n + (micro % line.minor), line.minor + 1n];
    const amountMinor = parts[(how >> 7) & 3]! || 1n;
    // An ARN that nobody gave, now and then.
    const isUnknown = (how & 0xe00) === 0;
    const declines = isDeclining(how);
    const body: InboundBody = {
      kind: 'chargeback',
      arn: isUnknown ? '0'.repeat(23) : line.arn,
      cycle,
      isPartial: amountMinor < line.minor,
      amountMinor,
      originalMinor: line.minor,
      currency: String(line.account.currency),
      reason: declines ? '4837' : '4853',
      fundingReference: line.account.account,
    };
    return this.#message(body, nowS, () => {
      if (isUnknown) return;
      const isMoved = isFirst
        ? this.#books.chargeback(line, amountMinor, nowS, declines)
        : this.#books.arbitrate(line, amountMinor, nowS);
      if (isMoved && declines) this.#desk.declined.add(line.account.account);
    });
  }

  #aboutLine(step: Step, kind: (typeof ABOUT_LINES)[number], nowS: number): Deed {
    if (kind === 'chargeback') return this.#chargeback(step, 'first', nowS);
    if (kind === 'arbitration') return this.#chargeback(step, 'arbitration', nowS);
    const from = {
      represent: 'disputed',
      accept: 'disputed',
      park: 'queued',
      retrieval: 'open',
    } as const;
    const wanted = kind === 'requeue' || kind === 'release' ? 'parked' : from[kind];
    const line = this.#lineFor(step, ({ stand }) => stand === wanted);
    if (!line) return NOTHING;
    if (kind === 'retrieval') return this.#retrieval(line, step, nowS);
    const { arn } = line;
    if (kind !== 'represent') {
      return {
        act: (clearing) => clearing.decideLine(arn, kind, nowS),
        tell: () => this.#books.decide(line, kind, nowS),
      };
    }
    const minor = (step.how & 0x80) === 0 ? undefined : 1n + (step.micro % (line.minor + 1n));
    const amount = minor === undefined ? {} : { amountMinor: minor };
    return {
      act: (clearing) => clearing.represent({ arn, reason: '4853', ...amount }, nowS),
      tell: () => this.#books.represent(line, minor, nowS),
    };
  }
}
