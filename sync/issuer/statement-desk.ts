/**
 * A round of Statements (DESIGN section 2): every line's account becomes an issuer-signed Statement where it says something
 * new, with a fresh allowance where one is due and the party's cap has room. Numbers, holds and documents become durable
 * together, before anything leaves.
 */
import { createHash } from 'node:crypto';
import { issueAllowance, issueStatement } from '../../identity/core/issue.ts';
import type { VerifiedPayer } from '../../identity/core/chain.ts';
import { ZERO_MICRO } from '../../protocol/amount.ts';
import { fromHex, toHex } from '../../protocol/bytes.ts';
import { decodeSign1, verifySign1 } from '../../protocol/cose.ts';
import { payloadHash } from '../../protocol/ids.ts';
import { invariant } from '../../protocol/kiri-error.ts';
import { CLOSE } from '../../protocol/messages/after-payment.ts';
import type { Signer, Verifier } from '../../protocol/public-key.ts';
import type { LineAccount } from '../clearing/core/line-account.ts';
import type { Registry } from '../clearing/core/registry.ts';
import type { SqlDatabase } from '../clearing/sql.ts';
import {
  capOf,
  decideGrant,
  HOLD_AFTER_EXPIRY_S,
  holdOf,
  type AllowanceTerms,
  type Grant,
} from './core/holds.ts';
import {
  appliedThrough,
  clearThroughOf,
  statementFromAccount,
  type StatementBody,
} from './core/statement-from-account.ts';
import {
  openStatementBook,
  StatementBook,
  type BookedAllowance,
  type BookedLine,
} from './statement-book.ts';

/** Lines of one transaction. */
const BATCH_LINES = 128;

export interface RoundOptions {
  /** The desk's own store. */
  readonly database: SqlDatabase;
  readonly issuer: Signer;
  readonly verifier: Verifier;
  /** Chains of all lines; what their allowances say besides limits is repeated. */
  readonly registry: Registry;
  readonly accounts: AsyncIterable<LineAccount>;
  /** Device-signed Closes as they came. */
  readonly closes: readonly Uint8Array[];
  readonly nowS: number;
  /** Gets each document once it is durable here; a round that died hands them out again. */
  readonly hand: (document: IssuedDocument) => Promise<void>;
}

export interface IssuedDocument {
  readonly line: string;
  readonly number: number;
  readonly statement: Uint8Array;
}

export interface RoundResult {
  lines: number;
  statements: number;
  allowances: number;
  closes: number;
  /** Lines that got no allowance though theirs is nearly used up or over: by reason. */
  noRoom: number;
  blocked: number;
  /** Lines and Closes that could not be used, in words; the first of them. */
  readonly faults: string[];
}

const FAULTS_MAX = 100;

const termsFrom = ({ allowance }: VerifiedPayer): AllowanceTerms => ({
  limitMicro: allowance.ceilingMicro - allowance.baseMicro,
  lowerMicro: allowance.lowerMicro,
  upperMicro: allowance.upperMicro,
  releaseMicro: allowance.releaseCapMicro,
  counters: allowance.counterCeiling,
  validityS: allowance.expiresS - allowance.notBeforeS,
});

const hashOf = (cose: Uint8Array): Uint8Array => {
  const signed = decodeSign1(cose);
  invariant(signed.ok, 'an allowance that was verified or just signed can be read');
  return payloadHash(signed.value.payload);
};

const emptyAccount = (line: BookedLine, currency: number): LineAccount => ({
  line: fromHex(line.line),
  party: line.party,
  currency,
  afterCounter: 0,
  releasedBeforeMicro: ZERO_MICRO,
  throughCounter: 0,
  runs: [],
  highestCounter: 0,
  totalMicro: ZERO_MICRO,
  chargedMicro: ZERO_MICRO,
  settledMicro: ZERO_MICRO,
  missingMicro: ZERO_MICRO,
  highestNetMicro: ZERO_MICRO,
  lastPaidS: 0,
  conflicts: 0,
  credits: [],
  disputes: [],
  heads: [],
});

/** SHA-256 of what a Statement says, without heads: they move with other people's payments. */
const saidBy = ({ heads: _heads, ...body }: StatementBody): string =>
  createHash('sha256')
    .update(
      JSON.stringify(body, (_key, value: unknown) => {
        if (typeof value === 'bigint') return value.toString();
        return value instanceof Uint8Array ? toHex(value) : value;
      }),
    )
    .digest('hex');

interface AboutLine {
  readonly line: BookedLine;
  readonly payer: VerifiedPayer;
  readonly account: LineAccount;
  readonly allowances: readonly BookedAllowance[];
  readonly body: StatementBody;
}

class Round {
  readonly #options: RoundOptions;
  readonly #holds = new Map<string, bigint>();
  readonly #seen = new Set<string>();
  #declined: ReadonlySet<string> = new Set();
  readonly result: RoundResult = {
    lines: 0,
    statements: 0,
    allowances: 0,
    closes: 0,
    noRoom: 0,
    blocked: 0,
    faults: [],
  };

  constructor(options: RoundOptions) {
    this.#options = options;
  }

  async run(): Promise<void> {
    await openStatementBook(this.#options.database);
    await this.#handAgain();
    await this.#learn();
    await this.#close();
    let batch: LineAccount[] = [];
    for await (const account of this.#options.accounts) {
      batch.push(account);
      if (batch.length >= BATCH_LINES) await this.#state(batch.splice(0));
    }
    await this.#state(batch);
    await this.#stateSilentLines();
  }

  #fault(text: string): void {
    if (this.result.faults.length < FAULTS_MAX) this.result.faults.push(text);
  }

  /** Allowances of enrolment, and any that another desk of this issuer signed, are held too. */
  async #learn(): Promise<void> {
    const { database, registry } = this.#options;
    await database.transaction(async (session) => {
      const book = new StatementBook(session);
      for (const [line, payers] of registry.payers) {
        const oldest = payers.at(-1);
        if (!oldest) continue;
        await book.enter(line, oldest.partyHex, termsFrom(oldest));
        for (const payer of payers) {
          const { generation, ceilingMicro, expiresS } = payer.allowance;
          const hash = hashOf(payer.documents.allowance);
          await book.hold(line, { generation, hash, ceilingMicro, expiresS, clearThrough: 0 });
        }
      }
      this.#declined = new Set((await book.declined()).map(({ kind, id }) => `${kind} ${id}`));
    });
  }

  async #close(): Promise<void> {
    const { database, registry, verifier, closes } = this.#options;
    await database.transaction(async (session) => {
      const book = new StatementBook(session);
      for (const cose of closes) {
        const signed = decodeSign1(cose);
        const close = signed.ok ? CLOSE.decode(signed.value.payload) : signed;
        if (!signed.ok || !close.ok) {
          this.#fault(`a Close cannot be read: ${close.ok ? '' : close.reason}`);
          continue;
        }
        const line = toHex(close.value.line);
        const device = registry.payers.get(line)?.[0]?.deviceKey;
        if (!device || !verifySign1(verifier, device, signed.value)) {
          this.#fault(`Close of line ${line}: not signed by the device that is bound to it`);
          continue;
        }
        const { allowanceHash: hash, totalMicro, releasedMicro } = close.value;
        const netMicro = totalMicro - (releasedMicro ?? 0n);
        if (await book.close(line, hash, netMicro)) this.result.closes += 1;
        else this.#fault(`Close of line ${line}: names an allowance that is not held`);
      }
    });
  }

  /** What a round before this one had signed and not handed out when it ended. */
  async #handAgain(): Promise<void> {
    for (;;) {
      const left = await this.#options.database.transaction((session) =>
        new StatementBook(session).unhanded(BATCH_LINES),
      );
      if (left.length === 0) return;
      await this.#hand(left);
    }
  }

  async #hand(documents: readonly IssuedDocument[]): Promise<void> {
    for (const document of documents) await this.#options.hand(document);
    await this.#options.database.transaction(async (session) => {
      const book = new StatementBook(session);
      for (const { line, number } of documents) await book.handed(line, number);
    });
  }

  async #state(accounts: readonly LineAccount[]): Promise<void> {
    if (accounts.length === 0) return;
    const issued = await this.#options.database.transaction(async (session) => {
      const book = new StatementBook(session);
      const documents: IssuedDocument[] = [];
      for (const account of accounts) {
        const document = await this.#stateLine(book, account);
        if (document) documents.push(document);
      }
      return documents;
    });
    await this.#hand(issued);
  }

  async #stateSilentLines(): Promise<void> {
    const { database, registry } = this.#options;
    let after = '';
    for (;;) {
      const lines = await database.transaction((session) =>
        new StatementBook(session).lines(after, BATCH_LINES),
      );
      const silent = lines.filter(({ line }) => !this.#seen.has(line));
      const accounts = silent.flatMap((line) => {
        const currency = registry.payers.get(line.line)?.[0]?.allowance.currency;
        return currency === undefined ? [] : [emptyAccount(line, currency)];
      });
      await this.#state(accounts);
      after = lines.at(-1)?.line ?? after;
      if (lines.length < BATCH_LINES) return;
    }
  }

  async #stateLine(book: StatementBook, account: LineAccount): Promise<IssuedDocument | undefined> {
    const { nowS, issuer, registry } = this.#options;
    const hex = toHex(account.line);
    this.#seen.add(hex);
    const line = await book.line(hex);
    const payer = registry.payers.get(hex)?.[0];
    if (!line || !payer || line.party !== account.party) {
      this.#fault(`line ${hex}: no binding and allowance of its party is known`);
      return undefined;
    }
    this.result.lines += 1;
    const allowances = await book.allowances(hex, nowS - HOLD_AFTER_EXPIRY_S);
    const clearThrough = Math.max(line.clearThrough, appliedThrough(allowances, account));
    const body = statementFromAccount(account, clearThrough);
    const fresh = await this.#fresh(book, { line, payer, account, allowances, body });
    const said = saidBy(body);
    const { settledMicro } = account;
    if (!fresh && said === line.said) {
      await book.save({ ...line, settledMicro, clearThrough });
      return undefined;
    }
    const number = line.number + 1;
    const facts = { ...body, line: account.line, issuedS: nowS, number };
    const statement = issueStatement(issuer, fresh ? { ...facts, allowance: fresh } : facts);
    await book.save({ line: hex, number, settledMicro, clearThrough, said }, statement);
    this.result.statements += 1;
    return { line: hex, number, statement };
  }

  /** Keeps the party's sum of holds and signs a fresh allowance where one is due and there is room. */
  async #fresh(book: StatementBook, about: AboutLine): Promise<Uint8Array | undefined> {
    const { nowS } = this.#options;
    const { line, payer, account, allowances, body } = about;
    const { settledMicro } = account;
    const before = holdOf(allowances, line.settledMicro, nowS);
    const othersMicro = (await this.#partyHold(book, line.party)) - before;
    const decision = decideGrant({
      terms: line.terms,
      allowances,
      settledMicro,
      releasedMicro: body.releasedMicro,
      highestCounter: account.highestCounter,
      capMicro: capOf(payer.party),
      othersMicro,
      isBlocked:
        this.#declined.has(`party ${line.party}`) || this.#declined.has(`line ${line.line}`),
      nowS,
    });
    if (decision.kind === 'none') {
      if (decision.why === 'NO_ROOM') this.result.noRoom += 1;
      if (decision.why === 'BLOCKED') this.result.blocked += 1;
      this.#holds.set(line.party, othersMicro + holdOf(allowances, settledMicro, nowS));
      return undefined;
    }
    const cose = this.#allowance(payer, decision.grant);
    const { generation, ceilingMicro, expiresS } = decision.grant;
    const hash = hashOf(cose);
    const held = { generation, hash, ceilingMicro, expiresS, clearThrough: clearThroughOf(body) };
    await book.hold(line.line, held);
    const holdMicro = holdOf([...allowances, held], settledMicro, nowS);
    this.#holds.set(line.party, othersMicro + holdMicro);
    this.result.allowances += 1;
    return cose;
  }

  #allowance(payer: VerifiedPayer, grant: Grant): Uint8Array {
    const { issuer, nowS } = this.#options;
    const { issuer: _issuer, ...facts } = payer.allowance;
    return issueAllowance(issuer, { ...facts, ...grant, issuedS: nowS });
  }

  /** What all lines of a party hold, as far as this round has come. */
  async #partyHold(book: StatementBook, party: string): Promise<bigint> {
    const known = this.#holds.get(party);
    if (known !== undefined) return known;
    const { nowS } = this.#options;
    let sum = 0n;
    let after = '';
    for (;;) {
      const lines = await book.lines(after, BATCH_LINES, party);
      for (const { line, settledMicro } of lines) {
        sum += holdOf(await book.allowances(line, nowS - HOLD_AFTER_EXPIRY_S), settledMicro, nowS);
      }
      after = lines.at(-1)?.line ?? after;
      if (lines.length < BATCH_LINES) break;
    }
    this.#holds.set(party, sum);
    return sum;
  }
}

/**
 * One round over all lines.
 * @throws KiriError STORE_*, and what `hand` throws: the documents stand in the desk's store by then
 */
export const runStatementRound = async (options: RoundOptions): Promise<RoundResult> => {
  const round = new Round(options);
  await round.run();
  return round.result;
};
