/** Plays a history against the clearing and the second bookkeeper, and compares them after every step. */
import { generateKeyPairSync } from 'node:crypto';
import { nodeSigner } from '../../../identity/edge/node-signatures.ts';
import { ClearingService } from '../../../sync/clearing/clearing-service.ts';
import { JST } from '../../../sync/clearing/core/civil-time.ts';
import type { WriteFile } from '../../../sync/clearing/cut-file.ts';
import { deleteExpired } from '../../../sync/clearing/delete-expired.ts';
import type { Inbound } from '../../../sync/clearing/read-back.ts';
import { SEAL_AFTER_DAYS, checkSegment } from '../../../sync/clearing/seal-segments.ts';
import type { SqlDatabase, SqlRow } from '../../../sync/clearing/sql.ts';
import { bounceOf } from './bank-deeds.ts';
import { Crash, Fuse, failingDatabase, failingWriter } from './failing-store.ts';
import { GATEWAY, HistoryWorld, PAYOUT_TERMS, TERMS, directory, itemOf } from './history-world.ts';
import { IssuerDeeds } from './issuer-deeds.ts';
import { historyOf, printSteps, shrink } from './histories.ts';
import type { Step } from './histories.ts';
import { DAY_S, NOON_S, anchors, policyHash } from './sample.ts';
import { SecondBooks } from './second-books.ts';
import { accountText } from './second-facts.ts';
import { giveBack, takeStore } from './spare-store.ts';
import { filesBooked, filesFound, payoutsBooked, payoutsFound } from './written-files.ts';

const signer = nodeSigner(generateKeyPairSync('ed25519').privateKey);

/** The clearing's ports, bent: to see that the comparison finds what it must. */
export type Bend = {
  readonly database?: (database: SqlDatabase) => SqlDatabase;
  readonly writeFile?: (write: WriteFile) => WriteFile;
  /** What of a document comes, and how often. */
  readonly inbound?: (inbound: Inbound) => readonly Inbound[];
};

/** A month is over, and the hand-in horizon behind it. */
const SEAL_WAIT_S = 62 * DAY_S;

/** Alerts that no step is about. */
const ABOUT_DOCUMENTS: ReadonlySet<string> = new Set([
  'MESSAGE_REFUSED',
  'NUMBER_GAP',
  'QUARANTINED',
]);

const text = (row: SqlRow, column: string): string => String(row[column]);

/** Our word for each sum of a merchant's account. */
const MERCHANT_SUMS = [
  ['acknowledged', 'acknowledged_micro'],
  ['borne', 'borne_micro'],
  ['chargedBack', 'charged_back_micro'],
  ['fees', 'fees_micro'],
  ['paid', 'paid_micro'],
  ['payable', 'payable_micro'],
  ['due', 'fee_due_e4'],
] as const;

const merchantLines = (row: SqlRow): string[] =>
  MERCHANT_SUMS.map(
    ([part, column]) =>
      `${text(row, 'merchant')} ${text(row, 'currency')} merchant ${part} ${text(row, column)}`,
  );

const sorted = (lines: Iterable<string>): string => [...lines].toSorted().join('\n');

class Player {
  readonly #real = takeStore();
  readonly #fuse = new Fuse();
  readonly #files = new Map<string, Buffer>();
  readonly #world = new HistoryWorld();
  readonly #books = new SecondBooks(TERMS);
  readonly #issuer = new IssuerDeeds(
    this.#books,
    (inbound) => this.#bend.inbound?.(inbound) ?? [inbound],
  );
  readonly #bend: Bend;
  #clearing: ClearingService | undefined;
  #nowS = NOON_S;
  #evidence = 0;

  constructor(bend: Bend) {
    this.#bend = bend;
  }

  async close(): Promise<void> {
    await giveBack(this.#real);
  }

  async #open(): Promise<ClearingService> {
    const watched = failingDatabase(this.#real, this.#fuse);
    const write = failingWriter(this.#files, this.#fuse);
    this.#clearing = await ClearingService.open(
      {
        database: this.#bend.database?.(watched) ?? watched,
        writeFile: this.#bend.writeFile?.(write) ?? write,
        signer,
        outFolder: 'out',
        directory,
        policyHash,
        mode: 'T',
      },
      this.#nowS,
    );
    return this.#clearing;
  }

  /** The store's own rows, as text: account, bucket, sum. */
  async #standing(): Promise<string> {
    const { balances, keys, merchants } = await this.#real.transaction(async (session) => ({
      merchants: await session.all('SELECT * FROM merchant_accounts'),
      keys: await session.all('SELECT * FROM keys'),
      balances: await session.all('SELECT key_id, bucket, amount_micro FROM balances'),
    }));
    const names = new Map(
      keys.map((row) => {
        const { merchant, account, programme, currency, sign } = row;
        return [text(row, 'key_id'), [merchant, account, programme, currency, sign].join(' ')];
      }),
    );
    return sorted(
      [
        ...merchants.flatMap(merchantLines),
        ...keys.map(
          (row) => `${names.get(text(row, 'key_id'))} source ${text(row, 'source_micro')}`,
        ),
        ...balances.map(
          (row) =>
            `${names.get(text(row, 'key_id'))} ${text(row, 'bucket')} ${text(row, 'amount_micro')}`,
        ),
      ].filter((line) => !line.endsWith(' 0')),
    );
  }

  #expected(): string {
    const lines: string[] = [];
    for (const [name, buckets] of this.#books.balances()) {
      for (const [bucket, sum] of buckets) lines.push(`${name} ${bucket} ${sum}`);
    }
    for (const [name, sums] of this.#books.lines.merchants) {
      for (const [part, sum] of Object.entries(sums)) {
        if (sum !== 0n) lines.push(`${name} merchant ${part} ${sum}`);
      }
      const payable = sums.acknowledged + sums.borne - sums.chargedBack - sums.fees - sums.paid;
      if (payable !== 0n) lines.push(`${name} merchant payable ${payable}`);
    }
    return sorted(lines);
  }

  /** DESIGN section 6 per key and in total, from the store's rows alone. */
  #checkInvariant(standing: string): void {
    const perKey = new Map<string, bigint>();
    let total = 0n;
    for (const line of standing.split('\n').filter((one) => one && !one.includes(' merchant '))) {
      const words = line.split(' ');
      const micro = BigInt(words.pop()!);
      const isSource = words.pop() === 'source';
      const signed = words.at(-1) === 'debit' ? micro : -micro;
      const name = words.join(' ');
      perKey.set(name, (perKey.get(name) ?? 0n) + (isSource ? micro : -micro));
      total += isSource ? signed : -signed;
    }
    for (const [name, left] of perKey) {
      if (left !== 0n) throw new Error(`${name}: ${left} micro-units stand nowhere`);
    }
    if (total !== 0n) throw new Error(`${total} micro-units in total stand nowhere`);
  }

  async #act(step: Step): Promise<void> {
    const clearing = this.#clearing ?? (await this.#open());
    if (this.#deed) await this.#deed.act(clearing);
    else if (step.kind === 'cut' || step.kind === 'close') {
      await clearing.cut(this.#nowS, anchors, step.kind === 'close');
    } else if (step.kind === 'fork') {
      const root = new Uint8Array(32).fill(1);
      const common = { origin: GATEWAY, size: this.#forkSize, root };
      const fork = { origin: GATEWAY, first: common, second: common, common };
      await clearing.stopLog(fork, `fork ${this.#evidence}`, this.#nowS);
    } else if (step.kind === 'lift') await clearing.liftStop(GATEWAY, this.#nowS);
    else if (step.kind === 'payout') await clearing.payout(PAYOUT_TERMS, '1130', this.#nowS);
    else if (step.kind === 'look') await this.#look(clearing);
    else if (step.kind === 'seal') await this.#seal(clearing);
    else if (step.kind === 'rebuild') await this.#rebuild(clearing);
    else await clearing.ingestBatch(this.#deeds.map(itemOf), this.#nowS);
  }

  /** Receipts of past months leave the hot table. */
  async #seal(clearing: ClearingService): Promise<void> {
    const sealed = await clearing.seal(SEAL_AFTER_DAYS, this.#nowS);
    for (const { name } of sealed) {
      const { isIntact } = await this.#real.transaction((session) => checkSegment(session, name));
      if (!isIntact) throw new Error(`segment ${name} is not what was sealed`);
    }
  }

  /** The alerts, by their kind; what concerns documents themselves is left to tests of its own. */
  async #look(clearing: ClearingService): Promise<void> {
    const { counts } = await clearing.alerts(this.#nowS);
    const found = Object.entries(counts).filter(([kind]) => !ABOUT_DOCUMENTS.has(kind));
    const wanted = this.#books.desk.open(this.#nowS, DAY_S);
    const say = (list: Iterable<[string, number]>): string =>
      sorted([...list].map(([kind, number]) => `${kind} ${number}`));
    this.#compare(say(found), [say(wanted)], 'the alerts');
  }

  #deeds: ReturnType<HistoryWorld['deeds']> = [];
  #forkSize = 0;
  #deed: ReturnType<IssuerDeeds['deed']>;

  /** The same, told to the second bookkeeper. */
  #tell(step: Step): void {
    const { kind } = step;
    if (this.#deed) this.#deed.tell();
    else if (kind === 'cut' || kind === 'close') this.#books.cut(this.#nowS, kind === 'close');
    else if (kind === 'fork') this.#books.stop(GATEWAY, this.#forkSize, this.#nowS);
    else if (kind === 'lift') this.#books.lift(GATEWAY, this.#nowS);
    else if (kind === 'payout') {
      const { payees, minimumYen } = PAYOUT_TERMS;
      this.#books.desk.payout(new Set(payees.keys()), minimumYen);
    }
    for (const deed of this.#deeds) {
      if (deed.kind === 'refund') this.#books.refund(deed.refund, this.#nowS);
      else if (deed.kind === 'void') this.#books.voided(deed.fact.name, this.#nowS);
      else this.#books.receipt(deed.fact, this.#nowS);
    }
  }

  async step(step: Step): Promise<void> {
    this.#nowS += step.waitS + (step.kind === 'seal' ? SEAL_WAIT_S : 0);
    this.#deeds = this.#world.deeds(step, this.#nowS);
    const bounce = bounceOf(step, this.#books.desk, this.#files.keys(), this.#nowS);
    this.#deed = bounce ?? this.#issuer.deed(step, this.#nowS);
    this.#forkSize = step.pick % (this.#world.logSize(GATEWAY) + 1);
    if (step.kind === 'fork') {
      this.#evidence += 1;
      this.#world.stop(GATEWAY);
    }
    if (step.kind === 'lift') this.#world.lift(GATEWAY);
    const before = step.crashAt > 0 ? this.#expected() : '';
    this.#tell(step);
    const after = this.#expected();
    this.#fuse.arm(step.crashAt > 0 ? step.crashAt : Infinity);
    try {
      await this.#act(step);
    } catch (error) {
      if (!(error instanceof Crash)) throw error;
      await this.#recover(step, before, after);
    }
    this.#fuse.arm(Infinity);
    const standing = await this.#standing();
    this.#checkInvariant(standing);
    this.#compare(standing, [after], 'the books');
    await this.#readFiles();
  }

  /** The issuer gets what is new on the disk. */
  async #readFiles(): Promise<void> {
    if (this.#filesRead === this.#files.size) return;
    this.#filesRead = this.#files.size;
    const rows = await this.#real.transaction((session) =>
      session.all(
        'SELECT p.arn, a.lane FROM presentments p JOIN aggregates a ON a.aggregate_id = p.aggregate_id',
      ),
    );
    const lanes = new Map(rows.map((row) => [text(row, 'arn'), text(row, 'lane')]));
    this.#issuer.learn(this.#files, (arn) => lanes.get(arn));
  }

  #filesRead = 0;

  /** A new process over the same store and disk: it finds the state before or after the step, and repeats the step. */
  async #recover(step: Step, before: string, after: string): Promise<void> {
    // Every other recovery is interrupted too.
    this.#fuse.arm(step.how & 1 ? 1 + (step.how >> 9) : Infinity);
    try {
      await this.#open();
    } catch (error) {
      if (!(error instanceof Crash)) throw error;
    }
    this.#fuse.arm(Infinity);
    await this.#open();
    this.#compare(await this.#standing(), [before, after], 'after a crash');
    await this.#act(step);
  }

  #compare(found: string, wanted: readonly string[], what: string): void {
    if (wanted.includes(found)) return;
    const [mine = ''] = wanted;
    const extra = found.split('\n').filter((line) => !mine.includes(line));
    const lacking = mine.split('\n').filter((line) => !found.includes(line));
    throw new Error(`${what}: found ${extra.join('; ')} where ${lacking.join('; ')} was expected`);
  }

  async #rebuild(clearing: ClearingService): Promise<void> {
    const left = new Set(this.#files.keys());
    const evidence = new Set<string>();
    for (const [path, bytes] of this.#files) {
      if (path.startsWith('out/evidence/')) evidence.add(bytes.toString('hex'));
    }
    for (const [path, bytes] of this.#files) {
      // The answer to a retrieval request is the evidence of the line, and a page of it.
      const isAnswer = path.startsWith('out/retrieval/');
      if (isAnswer && (path.endsWith('.html') || evidence.has(bytes.toString('hex')))) {
        left.delete(path);
      }
      const [, folder, name] = /^out\/(clearing|payouts)\/(.+)\.(?:ipm|txt)$/.exec(path) ?? [];
      if (name === undefined) continue;
      const artefacts =
        folder === 'payouts' ? await clearing.rebuildPayout(name) : await clearing.rebuild(name);
      for (const artefact of artefacts) {
        const written = this.#files.get(`out/${artefact.path}`);
        if (!written?.equals(Buffer.from(artefact.bytes))) {
          throw new Error(`${artefact.path} does not rebuild as it was written`);
        }
        left.delete(`out/${artefact.path}`);
      }
    }
    if (left.size > 0) throw new Error(`no file of the store: ${[...left].join(' ')}`);
  }

  /** Every receipt in exactly one aggregate of one file, or where the second bookkeeper has it. */
  async #checkReceipts(): Promise<void> {
    const rows = await this.#real.transaction((session) =>
      session.all(
        `SELECT k.merchant, k.account, k.programme, k.currency, k.sign, r.charge_micro, r.lane,
           CASE WHEN a.aggregate_id IS NULL THEN r.state ELSE 'aggregated' END AS stand
         FROM all_receipts r JOIN keys k ON k.key_id = r.key_id
         LEFT JOIN aggregates a ON a.aggregate_id = r.aggregate_id
         LEFT JOIN files f ON f.file_name = a.file_name`,
      ),
    );
    const found = rows.map((row) => {
      const { merchant, account, programme, currency, sign, stand, lane } = row;
      const words = [merchant, account, programme, currency, sign, row['charge_micro']];
      return [...words, stand === 'awaitingL2' ? 'awaiting' : stand, lane ?? ''].join(' ');
    });
    const debits = [...this.#books.state.paid.values()].filter(
      ({ fact }) => fact.account.sign === 'debit',
    );
    const wanted = debits.map(({ fact, stand, lane }) =>
      [accountText(fact.account), fact.charge, stand, lane ?? ''].join(' '),
    );
    this.#compare(sorted(found), [sorted(wanted)], 'the receipts');
  }

  /** Years later what nobody has to keep is deleted; where money stands does not change by that. */
  async #forget(clearing: ClearingService): Promise<void> {
    const writeFile = failingWriter(this.#files, this.#fuse);
    const removeFile = async (path: string): Promise<void> => void this.#files.delete(path);
    const options = { signer, terms: { zone: JST }, outFolder: 'out', writeFile, removeFile };
    await deleteExpired(this.#real, options, this.#nowS + 12 * 366 * DAY_S);
    const standing = await this.#standing();
    this.#checkInvariant(standing);
    this.#compare(standing, [this.#expected()], 'the books after deletion');
    const { reconciles, differences } = await clearing.reconcile();
    if (!reconciles) throw new Error(`after deletion: ${differences.join('; ')}`);
  }

  async end(): Promise<void> {
    const clearing = this.#clearing ?? (await this.#open());
    const { reconciles, differences } = await clearing.reconcile();
    if (!reconciles) throw new Error(`reconcile: ${differences.join('; ')}`);
    const { lines, desk } = this.#books;
    const twice = lines.paidBackTwice();
    if (twice.length > 0) throw new Error(`refunded and charged back: ${twice.join(' ')}`);
    this.#compare(filesFound(this.#files), [filesBooked(lines)], 'the files');
    this.#compare(payoutsFound(this.#files), [payoutsBooked(desk)], 'the payouts');
    await this.#checkReceipts();
    await this.#rebuild(clearing);
    if (lines.files.length > 1) await this.#forget(clearing);
  }
}

/** What went wrong in a history, with the step; undefined if nothing did. */
export const faultOf = async (
  steps: readonly Step[],
  bend: Bend = {},
): Promise<string | undefined> => {
  const player = new Player(bend);
  let at = 0;
  try {
    for (const step of steps) {
      at += 1;
      await player.step(step);
    }
    at += 1;
    await player.end();
    return undefined;
  } catch (error) {
    const place = at > steps.length ? 'at the end' : `step ${at} (${steps[at - 1]!.kind})`;
    return `${place}: ${error instanceof Error ? error.message : String(error)}`;
  } finally {
    await player.close();
  }
};

/** What a seed's history shows, with the shortest list of steps that still shows it; undefined if all is well. */
export const verdictOn = async (seed: number): Promise<string | undefined> => {
  const steps = historyOf(seed);
  if ((await faultOf(steps)) === undefined) return undefined;
  const short = await shrink(steps, async (part) => (await faultOf(part)) !== undefined);
  return `seed ${seed}: ${await faultOf(short)}\n${printSteps(short)}`;
};
