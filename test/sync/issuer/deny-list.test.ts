import { readFileSync } from 'node:fs';
import t from 'tap';
import {
  issueAllowance,
  issueBinding,
  issueParty,
  issueStatusList,
} from '../../../identity/core/issue.ts';
import { packStatuses } from '../../../identity/edge/status-zlib.ts';
import { verifyStatusList } from '../../../identity/core/centre.ts';
import { inflateStatusList } from '../../../identity/edge/status-zlib.ts';
import { statusAt } from '../../../identity/core/status-list.ts';
import { lineId } from '../../../protocol/ids.ts';
import { PRESENT } from '../../../protocol/messages/envelopes.ts';
import { readDeclined } from '../../../sync/clearing/declined.ts';
import { buildRegistry } from '../../../sync/clearing/core/registry.ts';
import type { SqlDatabase } from '../../../sync/clearing/sql.ts';
import { listenLoopback, type HttpAnswer } from '../../../platform/http-server.ts';
import { publish, publishUrl, type PublishOutcome } from '../../../sync/issuer/publish.ts';
import {
  openStatementBook,
  StatementBook,
  type DeclinedKind,
} from '../../../sync/issuer/statement-book.ts';
import { nextStatusList, type NewStatusList } from '../../../sync/issuer/status-desk.ts';
import { pay, statusList, type Payer } from '../../approval/kit.ts';
import { gatewayOf, offersOf, payeeOf, payerOf, tempFolder } from '../../fog-gateway/kit.ts';
import {
  ALLOWANCE_FACTS,
  BINDING_FACTS,
  JPY,
  LIST,
  newSigner,
  newWorld,
  NOW_S,
  PARTY_FACTS,
  type World,
} from '../../identity/fixture.ts';
import { chargeback, IssuerSide, lineOf, outcomes } from '../clearing/issuer-side.ts';
import { anchors, inMemory, keyWith, LineOfReceipts, NOON_S } from '../clearing/sample.ts';
import { openTestStore } from '../clearing/store.ts';

/** A party with one device and places of its own in the status list: the party's, and the next for its binding. */
const partyWith = (
  world: World,
  index: number,
): { payer: Payer; documents: Uint8Array[]; partyHex: string; lineHex: string } => {
  const { issuer, registrar, clearing } = world.signers;
  const [party, device] = [newSigner(), newSigner()];
  const line = lineId(device.key.id, party.key.id, JPY);
  const at = (place: number): { status: { uri: string; index: number } } => ({
    status: { uri: LIST, index: place },
  });
  const documents = [
    issueParty(issuer, { ...PARTY_FACTS, ...at(index), key: party.key }),
    world.payer.registrar,
    issueBinding({ device, party, registrar }, { ...BINDING_FACTS, ...at(index + 1) }),
    issueAllowance(issuer, {
      ...ALLOWANCE_FACTS,
      line,
      policyHash: world.policyHash,
      clearing: clearing.key.id,
    }),
  ];
  const present = PRESENT.encode({ documents });
  const payer = { signer: device, party, line, present, counter: 0, totalMicro: 0n };
  return { payer, documents, partyHex: party.key.hex, lineHex: Buffer.from(line).toString('hex') };
};

class Office {
  readonly world: World;
  readonly database: SqlDatabase;
  readonly documents: readonly Uint8Array[];

  constructor(world: World, database: SqlDatabase, documents: readonly Uint8Array[]) {
    this.world = world;
    this.database = database;
    this.documents = documents;
  }

  async decline(kind: DeclinedKind, id: string, isDeclined = true): Promise<boolean> {
    await openStatementBook(this.database);
    return this.database.transaction((session) => {
      const book = new StatementBook(session);
      const entry = { kind, id, sinceS: NOW_S, reason: '4837' };
      return isDeclined ? book.decline(entry) : book.recover(kind, id);
    });
  }

  next(base?: Uint8Array): Promise<NewStatusList> {
    const { trust, signers } = this.world;
    return nextStatusList({
      database: this.database,
      issuer: signers.issuer,
      trust,
      registry: buildRegistry(trust, this.documents),
      documents: this.documents,
      nowS: NOW_S,
      ...(base ? { base } : {}),
    });
  }

  /** What stands in a list, as a gateway reads it. */
  revoked(cose: Uint8Array): number[] {
    const token = verifyStatusList(this.world.trust, cose);
    const list = token.ok ? inflateStatusList(token.value.value) : token;
    if (!list.ok) throw new Error(list.reason);
    return Array.from({ length: list.value.bytes.length * 8 }, (_, index) => index).filter(
      (index) => statusAt(list.value, index) !== 0,
    );
  }
}

const told = (outcomesOf: readonly PublishOutcome[]): string[] =>
  outcomesOf.map(({ kind }) => kind);

t.test('from the chargeback that declines to the refusal at the gateway', async (t) => {
  const world = newWorld();
  const [poor, good] = [partyWith(world, 11), partyWith(world, 21)];
  const desk = await openTestStore();
  t.teardown(() => desk.close());
  const office = new Office(world, desk, [
    ...poor.documents,
    ...good.documents.slice(2),
    good.documents[0]!,
  ]);
  const folder = tempFolder(t);
  const gateway = await gatewayOf(t, world, folder);
  const payee = await payeeOf(world, gateway.mqttPort);
  const [poorCar, goodCar] = [
    await payerOf(world, poor.payer, gateway.mqttPort),
    await payerOf(world, good.payer, gateway.mqttPort),
  ];
  t.teardown(() => Promise.all([payee, poorCar, goodCar].map(({ link }) => link.close())));
  const offers = await offersOf(payee, 6);
  const next = (): Uint8Array => offers.pop()!;
  t.match(await poorCar.outcome(pay(poor.payer, next())), { code: 'ACCEPTED' });
  t.match(await goodCar.outcome(pay(good.payer, next())), { code: 'ACCEPTED' });

  const { service, files } = await inMemory();
  t.teardown(() => service.close());
  const key = keyWith({ account: 'ACC-POOR', party: poor.partyHex });
  await service.ingestBatch([new LineOfReceipts('car').next(100_000_000n, { key })], NOON_S);
  const cut = await service.cut(NOON_S, anchors, true);
  const issuer = new IssuerSide(service, files);
  const line = lineOf(issuer.got(cut.files[0]?.fileName ?? ''), 100n);
  const inbound = issuer.file([chargeback(line, 100n, { reason: '4837' })], NOON_S + 60);

  const beganMs = performance.now();
  t.same(outcomes(await service.readBack(issuer.openedFile(inbound, NOON_S + 60), NOON_S + 60)), [
    'moved',
  ]);
  for (const { party } of await service.within(readDeclined)) await office.decline('party', party);
  const list = await office.next(statusList(world));
  t.match(list, { version: 8, declined: 1, faults: [] });
  const token = readFileSync(gateway.adminTokenPath, 'latin1').trim();
  const targets = [{ url: publishUrl(`http://127.0.0.1:${gateway.httpPort}`), token }];
  const taken = await publish({ path: '/status-list', body: list.cose, targets });
  t.match(taken, [{ kind: 'taken', reason: 'version 8', attempts: 1 }]);
  const refused = await poorCar.outcome(pay(poor.payer, next()));
  t.comment(`inbound file to refusal: ${(performance.now() - beganMs).toFixed(1)} ms`);
  t.match(refused, { code: 'REVOKED', final: true });
  t.match(await goodCar.outcome(pay(good.payer, next())), { code: 'ACCEPTED' }, 'another party');

  t.equal(await office.decline('party', poor.partyHex, false), true);
  const cleared = await office.next();
  t.match(cleared, { version: 9, declined: 0 });
  t.same(told(await publish({ path: '/status-list', body: cleared.cose, targets })), ['taken']);
  t.match(await poorCar.outcome(pay(poor.payer, next())), { code: 'ACCEPTED' }, 'after the debt');
  const older = await publish({ path: '/status-list', body: list.cose, targets });
  t.match(older, [{ kind: 'refused', attempts: 1, reason: /version 9 is held, this is 8/ }]);
});

t.test(
  'the version only rises, bits of others stay, and a line can be declined alone',
  async (t) => {
    const world = newWorld();
    const [one, two] = [partyWith(world, 11), partyWith(world, 21)];
    // The credential of the first party was renewed: both copies are out there.
    const renewed = issueParty(world.signers.issuer, {
      ...PARTY_FACTS,
      status: { uri: LIST, index: 90 },
      key: one.payer.party.key,
    });
    const database = await openTestStore();
    t.teardown(() => database.close());
    const office = new Office(world, database, [
      ...one.documents,
      ...two.documents.slice(2),
      two.documents[0]!,
      renewed,
    ]);
    await t.rejects(office.next(), { code: 'STATUS_LIST_MISSING' });
    const base = statusList(world, [5]);
    const first = await office.next(base);
    t.same([first.version, office.revoked(first.cose)], [8, [5]]);
    await office.decline('line', two.lineHex);
    await office.decline('party', one.partyHex);
    await office.decline('party', 'ab'.repeat(16));
    const second = await office.next(base);
    t.equal(second.version, 9, 'the first base given again changes nothing');
    t.same(office.revoked(second.cose), [5, 11, 22, 90], 'beyond the 64 places of the base too');
    t.match(second.faults, [/party abab.*no document/]);
    t.same(
      office.revoked((await office.next(second.cose)).cose),
      [5, 11, 22, 90],
      'nor one of its own',
    );
    t.equal(await office.decline('party', one.partyHex, false), true);
    const third = await office.next();
    t.same([third.version, office.revoked(third.cose)], [11, [5, 22]]);
    await t.rejects(office.next(statusList(world, [6], NOW_S, 10)), { code: 'STATUS_LIST_OLD' });
    const elsewhere = await office.next(statusList(world, [6], NOW_S + 50, 40));
    t.same([elsewhere.version, office.revoked(elsewhere.cose)], [41, [6, 22]]);
    const stranger = { ...world, signers: { ...world.signers, issuer: world.signers.stranger } };
    await t.rejects(office.next(statusList(stranger, [], NOW_S, 99)), { code: 'DOCUMENT_INVALID' });
    const { issuer } = world.signers;
    const two2 = issueStatusList(issuer, {
      uri: LIST,
      issuedS: NOW_S,
      expiresS: NOW_S + 60,
      ttlS: 60,
      version: 99,
      packed: { ...packStatuses(64, []), bits: 2 },
    });
    await t.rejects(office.next(two2), { code: 'STATUS_BITS' });
    t.equal((await office.next()).version, 42, 'what was refused used up no version');
  },
);

t.test('a gateway that is away or refuses is named, and holds up no other', async (t) => {
  const world = newWorld();
  const gateway = await gatewayOf(t, world, tempFolder(t));
  const token = readFileSync(gateway.adminTokenPath, 'latin1').trim();
  const url = `http://127.0.0.1:${gateway.httpPort}`;
  const targets = [
    { url: 'http://127.0.0.1:1', token },
    { url, token: '0'.repeat(64) },
    { url, token },
  ];
  const body = statusList(world, [], NOW_S, 8);
  const said = await publish({ path: '/status-list', body, targets, attempts: 3, pauseMs: 1 });
  t.match(said, [
    { url: targets[0]!.url, kind: 'unreachable', attempts: 3 },
    { kind: 'refused', reason: /^401 /, attempts: 1 },
    { kind: 'taken', attempts: 1 },
  ]);
  const waited: number[] = [];
  const wait = async (ms: number): Promise<void> => void waited.push(ms);
  const answers: readonly HttpAnswer[] = [
    { status: 503, body: '{"taken":false,"reason":"DISK_FULL"}', retryAfterS: 5 },
    { status: 503, body: 'starting', retryAfterS: 86_400 },
    { status: 502, body: 'a proxy' },
    { status: 200, body: '{"taken":true,"reason":"version 8"}' },
  ];
  let asked = 0;
  const full = await listenLoopback(() => answers[asked++]!, { port: 0, maxBodyBytes: 65_536 });
  t.teardown(() => full.close());
  const later = [{ url: full.url, token }];
  t.match(await publish({ path: '/statement', body, targets: later, pauseMs: 1, wait }), [
    { kind: 'taken', reason: 'version 8', attempts: 4 },
  ]);
  t.same(waited, [5_000, 30_000, 4], 'as long as it asks for, within a limit');
  asked = 0;
  t.match(await publish({ path: '/statement', body, targets: later, attempts: 1 }), [
    { kind: 'unreachable', reason: '503 DISK_FULL' },
  ]);
  for (const wrong of ['http://gateway.example:80', 'ftp://127.0.0.1', 'gateway']) {
    t.throws(() => publishUrl(wrong), { code: 'URL_INVALID' }, wrong);
  }
  t.equal(publishUrl('https://gateway.example:8443/x'), 'https://gateway.example:8443');
});
