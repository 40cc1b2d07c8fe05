import fc from 'fast-check';
import t from 'tap';
import type { ClearingService } from '../../../sync/clearing/clearing-service.ts';
import type { InboundBody } from '../../../sync/clearing/core/inbound-message.ts';
import type { Inbound } from '../../../sync/clearing/read-back.ts';
import type { SqlDatabase } from '../../../sync/clearing/sql.ts';
import { IssuerSide, chargeback, fileReject, messageReject } from './issuer-side.ts';
import type { GotFile } from './issuer-side.ts';
import { SERVER } from './store.ts';
import { LineOfReceipts, NOON_S, anchors, hashOf, inMemory, keyWith } from './sample.ts';

/** Everything that a repeated document must leave as it is. */
const snapshot = async (database: SqlDatabase): Promise<string> =>
  database.transaction(async (session) => {
    const tables = [
      'SELECT * FROM balances ORDER BY key_id, bucket',
      'SELECT * FROM presentments ORDER BY aggregate_id',
      'SELECT * FROM files ORDER BY file_name',
      'SELECT * FROM file_lines ORDER BY file_name, number',
      'SELECT * FROM disputes ORDER BY aggregate_id',
      'SELECT * FROM books_journal ORDER BY id',
      'SELECT * FROM merchant_accounts ORDER BY acquirer, merchant, currency',
      'SELECT * FROM declined ORDER BY account, party',
      'SELECT * FROM inbound ORDER BY issuer, number',
      'SELECT * FROM inbound_messages ORDER BY issuer, number, record',
      'SELECT * FROM positions ORDER BY issuer, number, record',
      'SELECT * FROM retrievals ORDER BY issuer, number, record',
    ];
    const rows: unknown[] = [];
    for (const sql of tables) rows.push(await session.all(sql));
    return JSON.stringify(rows, (_name, value: unknown) =>
      typeof value === 'bigint' ? `${value}n` : value,
    );
  });

const KINDS = [
  'pay',
  'pay',
  'cut',
  'cut',
  'accepted',
  'partly',
  'rejected',
  'fileReject',
  'messageReject',
  'messageReject',
  'position',
  'chargeback',
  'chargeback',
  'chargeback',
  'arbitration',
  'represent',
  'represent',
  'accept',
  'requeue',
  'park',
  'release',
  'resubmit',
  'retrieval',
] as const;

type Step = {
  readonly kind: (typeof KINDS)[number];
  readonly file: number;
  readonly line: number;
  readonly part: number;
};

const step: fc.Arbitrary<Step> = fc.record({
  kind: fc.constantFrom(...KINDS),
  file: fc.nat(),
  line: fc.nat(),
  part: fc.integer({ min: 1, max: 120 }),
});

/** A dispute of one line in a row, so that most histories get as far as a second presentment. */
const dispute: fc.Arbitrary<readonly Step[]> = step.map((one) =>
  (['chargeback', 'represent', 'cut'] as const).map((kind) => ({ ...one, part: 40, kind })),
);

const steps: fc.Arbitrary<readonly Step[]> = fc
  .array(
    fc.oneof(
      { arbitrary: step.map((one) => [one]), weight: 12 },
      { arbitrary: dispute, weight: 1 },
    ),
    {
      minLength: 8,
      maxLength: 30,
    },
  )
  .map((list) => list.flat());

/** A server answers over a socket. */
const RUNS = SERVER === undefined ? 25 : 10;

class History {
  readonly #service: ClearingService;
  readonly #database: SqlDatabase;
  readonly #files: Map<string, string>;
  readonly #issuer: IssuerSide;
  readonly #sent: Inbound[] = [];
  #nowS = NOON_S;
  #paid = 0;
  #second = 0;

  constructor(service: ClearingService, database: SqlDatabase, files: Map<string, string>) {
    this.#service = service;
    this.#database = database;
    this.#files = files;
    this.#issuer = new IssuerSide(service, files);
  }

  get second(): number {
    return this.#second;
  }

  #pick({ file: at }: Step): GotFile | undefined {
    const names = [...this.#files.keys()].filter((path) => path.endsWith('.ipm')).toSorted();
    const path = names[at % Math.max(1, names.length)];
    return path === undefined ? undefined : this.#issuer.got(path.slice('out/clearing/'.length));
  }

  async #take(inbound: Inbound): Promise<void> {
    this.#sent.push(inbound);
    await this.#service.readBack(inbound, this.#nowS);
  }

  async #send(body: InboundBody): Promise<void> {
    const written = this.#issuer.file([body], this.#nowS);
    await this.#take(this.#issuer.openedFile(written, this.#nowS));
  }

  async #pay({ line, part }: Step): Promise<void> {
    this.#paid += 1;
    const key = keyWith({ account: `ACC-${line % 3}`, party: `party-${line % 3}` });
    const paid = new LineOfReceipts(`car ${this.#paid}`).next(BigInt(part) * 1_234_567n, { key });
    await this.#service.ingestBatch(
      [{ ...paid, approver: hashOf(`${this.#paid}`).subarray(0, 16) }],
      this.#nowS,
    );
  }

  async #aboutFile(one: Step, file: GotFile): Promise<void> {
    const at = one.line % file.lines.length;
    const line = file.lines[at];
    if (!line) return;
    const { arn } = line;
    // Now and then above what was presented.
    const amountMinor = (line.amountMinor * BigInt(one.part)) / 100n || 1n;
    switch (one.kind) {
      case 'accepted':
      case 'partly':
      case 'rejected': {
        const cose = this.#issuer.acknowledgement(file, one.kind, this.#nowS);
        return this.#take(this.#issuer.opened(cose, this.#nowS));
      }
      case 'fileReject':
        return this.#send(fileReject(file));
      case 'messageReject':
        return this.#send(messageReject(file, at + 2, one.part % 2 === 0 ? '2001' : '2003'));
      case 'position':
        return this.#send({
          kind: 'reconciliation',
          position: one.part % 2 === 0 ? 'financial' : 'settlement',
          sourceFileId: file.fileId,
          currency: '392',
          debit: { count: one.part % 4, amountMinor },
          credit: { count: 0, amountMinor: 0n },
        });
      case 'chargeback':
      case 'arbitration': {
        const cycle = one.kind === 'chargeback' ? 'first' : 'arbitration';
        const originalMinor = line.second?.originalMinor ?? line.amountMinor;
        const stated = amountMinor > originalMinor ? amountMinor : originalMinor;
        return this.#send(chargeback(line, amountMinor, { cycle, originalMinor: stated }));
      }
      case 'represent': {
        const answer = { arn, reason: '4853', ...(one.part % 2 === 0 ? {} : { amountMinor }) };
        await this.#service.represent(answer, this.#nowS);
        return;
      }
      case 'accept':
      case 'requeue':
      case 'park':
      case 'release':
        await this.#service.decideLine(arn, one.kind, this.#nowS);
        return;
      case 'resubmit':
        await this.#service.resubmit(file.fileName.replace('.ipm', ''), this.#nowS);
        return;
      case 'retrieval':
        return this.#send({ kind: 'retrieval', arn, reason: '6323' });
      case 'pay':
      case 'cut':
        return;
    }
  }

  async run(one: Step): Promise<void> {
    this.#nowS += 600;
    const file = this.#pick(one);
    if (one.kind === 'pay') await this.#pay(one);
    else if (one.kind === 'cut') await this.#service.cut(this.#nowS, anchors, true);
    else if (file) await this.#aboutFile(one, file);
    const report = await this.#service.reconcile();
    if (!report.reconciles) throw new Error(`${one.kind}: ${report.differences.join('; ')}`);
    // Any document once more, however much has happened since.
    const old = this.#sent[one.part % Math.max(1, this.#sent.length)];
    if (!old) return;
    const before = await snapshot(this.#database);
    const again = await this.#service.readBack(old, this.#nowS);
    if (again.kind !== 'repeated') throw new Error(`taken twice: ${JSON.stringify(again)}`);
    if ((await snapshot(this.#database)) !== before)
      throw new Error('a repetition changed the books');
  }

  /** Every file comes out of the store as it was written. */
  async rebuild(): Promise<void> {
    const names = [...this.#files.keys()].filter((path) => path.endsWith('.ipm'));
    for (const name of names) {
      const base = name.slice('out/clearing/'.length, -'.ipm'.length);
      for (const { path, bytes } of await this.#service.rebuild(base)) {
        if (this.#files.get(`out/${path}`) !== Buffer.from(bytes).toString('hex')) {
          throw new Error(`${path} rebuilds differently`);
        }
        if (
          path.endsWith('.ipm') &&
          this.#issuer.got(`${base}.ipm`).lines.some((line) => line.second)
        ) {
          this.#second += 1;
        }
      }
    }
  }
}

const told = (...kinds: readonly Step['kind'][]): Step[] => {
  return kinds.map((kind) => ({ kind, file: 0, line: 0, part: 1 }));
};

t.test(
  'whatever an issuer sends, in any order: the books reconcile, repetitions move nothing',
  async (t) => {
    let second = 0;
    await fc.assert(
      fc.asyncProperty(steps, async (list) => {
        const { service, database, files } = await inMemory();
        const history = new History(service, database, files);
        const start = (['pay', 'pay', 'cut'] as const).map((kind) => ({
          kind,
          file: 0,
          line: 0,
          part: 100,
        }));
        for (const one of [...start, ...list]) await history.run(one);
        await history.rebuild();
        second += history.second;
        await service.close();
      }),
      {
        numRuns: RUNS,
        examples: [
          // A second presentment that leaves, and one of a file that is rejected before it could.
          [told('cut', 'chargeback', 'represent', 'cut')],
          [told('cut', 'chargeback', 'represent', 'rejected', 'resubmit')],
        ],
      },
    );
    t.ok(second > 0, `${second} files with second presentments were among them`);
  },
);
