import { bytesEqual, fromHex } from '../../protocol/bytes.ts';
import { KiriError } from '../../protocol/kiri-error.ts';
import type { PublicKey, Signer, Verifier } from '../../protocol/public-key.ts';
import { JST, civilTime, yymmdd } from '../clearing/core/civil-time.ts';
import { signAcknowledgement } from '../clearing/core/inbound-documents.ts';
import { writeInbound } from '../clearing/core/inbound.ts';
import type { InboundBody } from '../clearing/core/inbound-message.ts';
import { ipmProfile, isPreStage } from '../clearing/core/ipm-profile.ts';
import type { IpmProfile } from '../clearing/core/ipm-profile.ts';
import type { SqlDatabase, SqlSession } from '../clearing/sql.ts';
import { judge, missingSequences, modeOf, receive } from './core/desk.ts';
import type { AccountState, Arrival, DeskFacts, Judgement, Received } from './core/desk.ts';
import { chargebackOf, retrievalOf } from './core/dispute.ts';
import type { DisputeRequest } from './core/dispute.ts';
import { feeMessage, feeReturn, isSameFee } from './core/fee.ts';
import type { FeeRequest } from './core/fee.ts';
import * as store from './desk-store.ts';
import type { AnsweredFile, Outgoing } from './desk-store.ts';
import * as fees from './fee-store.ts';

/** What a desk runs on. `member` is the issuer's id in its own files, 11 digits. */
export type DeskOptions = {
  readonly database: SqlDatabase;
  readonly signer: Signer;
  readonly member: string;
  readonly verifier: Verifier;
  /** Vaults whose statements are believed; none by default: then no file with card numbers is taken. */
  readonly vaults?: readonly PublicKey[];
  readonly account: (reference: string) => AccountState;
  /** Writes one file as a whole below the folder that the clearing reads, durable when it resolves. */
  readonly writeFile: (name: string, bytes: Uint8Array) => Promise<void>;
};

/** What the desk did with a file. */
export type DeskAnswer = {
  readonly file: AnsweredFile;
  /** True if these very bytes were answered before: the same answer again, nothing booked. */
  readonly isRepeated: boolean;
  readonly written: readonly string[];
  readonly missingSequences: readonly number[];
  readonly remarks: readonly string[];
};

/** What the desk sent of itself. */
export type DeskRequest = {
  readonly number: number;
  readonly isRepeated: boolean;
  readonly amountMinor: bigint;
  readonly written: readonly string[];
};

type Checked<T> =
  { readonly ok: true; readonly value: T } | { readonly ok: false; readonly reason: string };

/** A 1442 of such a profile is taken by no vault without DE2. */
const NO_CARDS =
  'a chargeback of this profile carries the card number, which this desk never keeps: make it in the card system';

type Kind = 'first' | 'arbitration' | 'retrieval';

type Booked = Omit<DeskRequest, 'written'> & { readonly clearing: string };

type Origin = { readonly clearing: string; readonly mode: 'P' | 'T'; readonly profile: IpmProfile };

/**
 * The issuer's side of settlement: takes a clearing's files, answers each once, and sends chargebacks and retrieval
 * requests for lines it took. Answer, lines and numbers are one transaction; the documents are written after it, and
 * whatever a crash kept from the disk is written by the next call. One desk per store at a time.
 */
export class IssuerDesk {
  readonly #options: DeskOptions;

  private constructor(options: DeskOptions) {
    this.#options = options;
  }

  /** @throws KiriError STORE_UNAVAILABLE, CONFIG_INVALID */
  static async open(options: DeskOptions): Promise<IssuerDesk> {
    if (!/^\d{11}$/.test(options.member)) {
      throw new KiriError('CONFIG_INVALID', `member ${options.member} is not 11 digits`);
    }
    await store.prepareDeskStore(options.database);
    const desk = new IssuerDesk(options);
    await desk.#writeAll();
    return desk;
  }

  async #writeOne(clearing: string, number: number): Promise<string[]> {
    const { database, writeFile } = this.#options;
    const found = await database.transaction((session) =>
      store.loadOutgoing(session, clearing, number),
    );
    if (!found) return [];
    const { name, file, signed } = found;
    const names = file ? [`${name}.ipm`, `${name}.manifest`] : [`${name}.ack`];
    if (file) await writeFile(names[0] as string, file);
    await writeFile(names.at(-1) as string, signed);
    await database.transaction((session) => store.markWritten(session, clearing, number));
    return names;
  }

  /** What is committed and not marked as written: after a crash, or of the transaction just done. */
  async #writeAll(): Promise<string[]> {
    const pending = await this.#options.database.transaction((session) => store.unwritten(session));
    const names: string[] = [];
    for (const { clearing, number } of pending) {
      names.push(...(await this.#writeOne(clearing, number)));
    }
    return names;
  }

  async #factsOf(session: SqlSession, received: Received): Promise<DeskFacts> {
    const { manifest, presentments, fileSha256 } = received;
    const answers = await store.answersOf(session, manifest.fileId);
    const taken = new Set<string>();
    const chargedBack = new Map<string, bigint>();
    for (const { arn, second } of presentments) {
      const cycle = second ? 2 : 1;
      if (await store.isLineTaken(session, arn, cycle)) taken.add(`${arn} ${cycle}`);
      const history = second && (await store.lineHistory(session, arn));
      if (history) chargedBack.set(arn, history.firstMinor - history.presentedAgainMinor);
    }
    return {
      account: this.#options.account,
      isTaken: (arn, cycle) => taken.has(`${arn} ${cycle}`),
      chargedBackMinor: (arn) => chargedBack.get(arn) ?? 0n,
      isFileIdUsed: answers.some((one) => !bytesEqual(one.fileSha256, fileSha256)),
    };
  }

  /** Signs one file of messages and puts it beside its number into the store. */
  async #send(
    session: SqlSession,
    bodies: readonly InboundBody[],
    origin: Origin,
    numbers: { readonly number: number; readonly sequence: number },
    nowS: number,
  ): Promise<Outgoing> {
    const { signer, member } = this.#options;
    const { clearing, profile, mode } = origin;
    const { number, sequence } = numbers;
    const date = yymmdd(civilTime(nowS, JST));
    const header = { date, member, sequence, mode };
    const address = fromHex(clearing);
    const draft = { header, bodies, profile, clearing: address, number, createdS: nowS };
    const written = writeInbound(draft, signer);
    if (!written.ok) {
      const { field, detail } = written.fault;
      throw new KiriError('MESSAGE_UNWRITABLE', `answer: ${field} ${detail}`);
    }
    const { fileName, file, manifest: signed } = written.value;
    const outgoing = { number, name: fileName.replace(/\.ipm$/, ''), file, signed };
    await store.saveOutgoing(session, clearing, outgoing, sequence);
    return outgoing;
  }

  async #commit(
    session: SqlSession,
    received: Received,
    clearing: string,
    judgement: Judgement,
    nowS: number,
  ): Promise<AnsweredFile> {
    const { manifest, fileName, profile, fileSha256, fileBytes, presentments } = received;
    const { number, sequence } = await store.nextNumbers(session, clearing);
    const mode = modeOf(manifest);
    const acknowledgement = signAcknowledgement(this.#options.signer, {
      clearing: fromHex(clearing),
      number,
      fileId: manifest.fileId,
      fileName,
      fileSha256,
      fileBytes,
      records: received.records,
      totals: judgement.totals,
      verdict: judgement.verdict,
      receivedS: nowS,
    });
    const base = fileName.replace(/\.ipm$/, '');
    const name = `${base}.${String(number).padStart(10, '0')}`;
    await store.saveOutgoing(session, clearing, { number, name, signed: acknowledgement }, 0);
    const numbers = { number: number + 1, sequence };
    await this.#send(session, judgement.bodies, { clearing, mode, profile }, numbers, nowS);
    const answered: AnsweredFile = {
      fileId: manifest.fileId,
      fileSha256,
      clearing,
      profile: profile.name,
      member: manifest.fileId.slice(9, 20),
      sequence: Number(manifest.fileId.slice(20)),
      mode,
      verdict: judgement.verdict,
      number,
      lines: presentments.length,
      linesTaken: judgement.taken.length,
    };
    await store.saveAnswer(session, answered, judgement.taken);
    return answered;
  }

  /**
   * Takes one file of a clearing and answers it. The same bytes again are answered as before. Refused, and answered
   * by nothing, is what did not arrive as its clearing signed it, and a test file where production files were taken.
   * @throws KiriError DISK_*, STORE_*
   */
  async ingest(arrival: Arrival, clearing: PublicKey, nowS: number): Promise<Checked<DeskAnswer>> {
    const { database, verifier, vaults = [] } = this.#options;
    const received = receive(arrival, { verifier, clearings: [clearing], vaults }, nowS);
    if (!received.ok) return received;
    const { value } = received;
    type Done = Pick<DeskAnswer, 'file' | 'isRepeated' | 'remarks'>;
    const done = await database.transaction(async (session): Promise<Checked<Done>> => {
      const answers = await store.answersOf(session, value.manifest.fileId);
      const same = answers.find((one) => bytesEqual(one.fileSha256, value.fileSha256));
      if (same) return { ok: true, value: { file: same, isRepeated: true, remarks: [] } };
      const [own, mode] = [modeOf(value.manifest), await store.modeOfDesk(session)];
      if (mode !== undefined && mode !== own) {
        return { ok: false, reason: `this desk takes files of mode ${mode}, not ${own}` };
      }
      const judgement = judge(value, await this.#factsOf(session, value));
      const file = await this.#commit(session, value, clearing.hex, judgement, nowS);
      return { ok: true, value: { file, isRepeated: false, remarks: judgement.remarks } };
    });
    if (!done.ok) return done;
    const { file } = done.value;
    const written: string[] = [];
    for (const number of [file.number, file.number + 1]) {
      written.push(...(await this.#writeOne(file.clearing, number)));
    }
    const sequences = await database.transaction((session) => store.sequencesOf(session, file));
    const missing = missingSequences(sequences);
    return { ok: true, value: { ...done.value, written, missingSequences: missing } };
  }

  /** ISO 4217 numeric code of a line that was taken: amounts are minor units here. */
  async currencyOf(arn: string): Promise<string | undefined> {
    const { database } = this.#options;
    const line = await database.transaction((session) => store.lineHistory(session, arn));
    return line?.currency;
  }

  /** Sends a chargeback of a line that was taken; the same request again is the same document again. */
  chargeback(request: DisputeRequest, nowS: number): Promise<Checked<DeskRequest>> {
    return this.#request(request, request.cycle, nowS);
  }

  /** Asks for the documents of a line that was taken. */
  retrieval(
    request: Pick<DisputeRequest, 'arn' | 'reason' | 'text'>,
    nowS: number,
  ): Promise<Checked<DeskRequest>> {
    return this.#request({ ...request, cycle: 'first' }, 'retrieval', nowS);
  }

  /** Charges a fee to a clearing whose files were taken, or pays one; the same again is the same document again. */
  fee(request: FeeRequest, nowS: number): Promise<Checked<DeskRequest>> {
    return this.#written((session) => this.#bookFee(session, request, nowS));
  }

  /** Gives a fee back in whole, once. */
  returnFee(reference: string, nowS: number): Promise<Checked<DeskRequest>> {
    return this.#written((session) => this.#bookReturn(session, reference, nowS));
  }

  async #request(request: DisputeRequest, kind: Kind, nowS: number): Promise<Checked<DeskRequest>> {
    return this.#written((session) => this.#book(session, request, kind, nowS));
  }

  /** Books a request in one transaction and writes its document after it. */
  async #written(
    book: (session: SqlSession) => Promise<Checked<Booked>>,
  ): Promise<Checked<DeskRequest>> {
    const done = await this.#options.database.transaction(book);
    if (!done.ok) return done;
    const { clearing, ...sent } = done.value;
    return { ok: true, value: { ...sent, written: await this.#writeOne(clearing, sent.number) } };
  }

  async #originOf(session: SqlSession, wanted: string | undefined): Promise<Checked<Origin>> {
    const all = await fees.clearingsOf(session);
    if (wanted === undefined && all.length > 1) {
      return { ok: false, reason: `files of ${all.length} clearings were taken: name one` };
    }
    const found = wanted === undefined ? all[0] : all.find((one) => one.clearing === wanted);
    const profile = ipmProfile(found?.profile ?? '');
    if (!found || !profile) return { ok: false, reason: 'no file of such a clearing was taken' };
    return { ok: true, value: { clearing: found.clearing, mode: found.mode, profile } };
  }

  async #bookFee(session: SqlSession, request: FeeRequest, nowS: number): Promise<Checked<Booked>> {
    const { reference, amountMinor } = request;
    const sent = await fees.feeOf(session, reference);
    if (sent) {
      const { clearing, number } = sent;
      const isSame = isSameFee(sent, request) && (request.clearing ?? clearing) === clearing;
      if (!isSame) return { ok: false, reason: `${reference} is the reference of another fee` };
      return { ok: true, value: { clearing, number, amountMinor, isRepeated: true } };
    }
    const origin = await this.#originOf(session, request.clearing);
    if (!origin.ok) return origin;
    const { clearing, profile } = origin.value;
    const line = request.arn === undefined ? 'none' : await store.lineHistory(session, request.arn);
    if (!line) return { ok: false, reason: `no line ${request.arn} was taken` };
    const body = feeMessage(request, yymmdd(civilTime(nowS, JST)), profile);
    if (!body.ok) return body;
    const numbers = await store.nextNumbers(session, clearing);
    await this.#send(session, [body.value], origin.value, numbers, nowS);
    const { number } = numbers;
    await fees.saveFee(session, request, clearing, number);
    return { ok: true, value: { clearing, number, amountMinor, isRepeated: false } };
  }

  async #bookReturn(
    session: SqlSession,
    reference: string,
    nowS: number,
  ): Promise<Checked<Booked>> {
    const sent = await fees.feeOf(session, reference);
    if (!sent) return { ok: false, reason: `no fee ${reference} was sent` };
    const { clearing, amountMinor, returnNumber } = sent;
    if (returnNumber !== undefined) {
      return { ok: true, value: { clearing, number: returnNumber, amountMinor, isRepeated: true } };
    }
    const origin = await this.#originOf(session, clearing);
    if (!origin.ok) return origin;
    const numbers = await store.nextNumbers(session, clearing);
    const body = feeReturn(sent, yymmdd(civilTime(nowS, JST)));
    await this.#send(session, [body], origin.value, numbers, nowS);
    const { number } = numbers;
    await fees.markReturned(session, reference, number);
    return { ok: true, value: { clearing, number, amountMinor, isRepeated: false } };
  }

  async #book(
    session: SqlSession,
    request: DisputeRequest,
    kind: Kind,
    nowS: number,
  ): Promise<Checked<Booked>> {
    const { arn, reason } = request;
    const line = await store.lineHistory(session, arn);
    const profile = ipmProfile(line?.profile ?? '');
    if (!line || !profile) return { ok: false, reason: `no line ${arn} was taken` };
    if (kind !== 'retrieval' && isPreStage(profile)) return { ok: false, reason: NO_CARDS };
    const whole = kind === 'first' ? line.amountMinor : line.presentedAgainMinor;
    const wanted = kind === 'retrieval' ? 0n : (request.amountMinor ?? whole);
    const earlier = await store.requestsOf(session, arn);
    const same = earlier.find(
      (one) => one.kind === kind && one.reason === reason && one.amountMinor === wanted,
    );
    const { clearing } = line;
    if (same) {
      const { number, amountMinor } = same;
      return { ok: true, value: { clearing, number, amountMinor, isRepeated: true } };
    }
    const body =
      kind === 'retrieval'
        ? retrievalOf(line, request, profile)
        : chargebackOf(line, request, profile);
    if (!body.ok) return body;
    const numbers = await store.nextNumbers(session, clearing);
    await this.#send(session, [body.value], { clearing, mode: line.mode, profile }, numbers, nowS);
    const amountMinor = body.value.kind === 'chargeback' ? body.value.amountMinor : 0n;
    const { number } = numbers;
    await store.saveRequest(session, clearing, number, { kind, arn, reason, amountMinor });
    return { ok: true, value: { clearing, number, amountMinor, isRepeated: false } };
  }
}
