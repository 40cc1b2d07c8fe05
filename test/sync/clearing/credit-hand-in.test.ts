import { readFileSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import * as issue from '../../../identity/core/issue.ts';
import { nodeVerifier } from '../../../identity/edge/node-signatures.ts';
import type { AmountMicro } from '../../../protocol/amount.ts';
import { signSign1 } from '../../../protocol/cose.ts';
import { toHex } from '../../../protocol/bytes.ts';
import { CLOSE, CREDIT, type Close } from '../../../protocol/messages/after-payment.ts';
import { HAND_IN } from '../../../protocol/messages/envelopes.ts';
import type { Signer } from '../../../protocol/public-key.ts';
import { writeCloses } from '../../../sync/clearing/closes.ts';
import { directoryOf } from '../../../sync/clearing/core/directory.ts';
import { judgeHandIn } from '../../../sync/clearing/core/judge-hand-in.ts';
import { buildRegistry } from '../../../sync/clearing/core/registry.ts';
import { LogPuller } from '../../../sync/clearing/pull-log.ts';
import { hashOf } from '../../approval/kit.ts';
import { MERCHANT_FACTS, NOW_S, newWorld, yen } from '../../identity/fixture.ts';
import { LogInMemory, ORIGIN, documentsOf, handInOf, purchase, worldPayer } from './purchases.ts';
import { inMemory } from './sample.ts';

t.test('a refund handed in with its Payment is judged, logged, verified and booked', async (t) => {
  const world = newWorld();
  const { payee, acquirer, stranger, clearing } = world.signers;
  // Since then the gate was sold: its key stands in the credential of another merchant, which begins later.
  const later = { notBeforeS: NOW_S + 3600, expiresS: NOW_S + 7200 };
  const sold = issue.issueMerchant(acquirer, {
    ...MERCHANT_FACTS,
    ...later,
    merchantId: 'NEWOWNER',
    payeeKeys: [payee.key],
  });
  const registry = buildRegistry(world.trust, [...documentsOf(world), sold]);
  t.same(registry.faults, []);
  const payer = worldPayer(world);
  const bought = [0, 1, 2].map(() => purchase(world, payer));
  const credit = (at: number, refunded: AmountMicro, signer: Signer = payee): Uint8Array => {
    const paymentHash = hashOf(bought[at]?.payment ?? new Uint8Array());
    const text = { reason: 'no charge was given', timeS: NOW_S + 10 };
    return signSign1(signer, CREDIT.encode({ paymentHash, refundedMicro: refunded, ...text }));
  };
  const judge = { registry, verifier: nodeVerifier(), clearing: clearing.key.id };
  const handIn = (at: number, bytes: Uint8Array) => {
    const decoded = HAND_IN.decode(handInOf(bought[at]!));
    return judgeHandIn(
      judge,
      { ...(decoded.ok ? decoded.value : ({} as never)), credit: bytes },
      NOW_S,
    );
  };
  t.match(handIn(0, credit(0, yen(40))), { ok: true });
  t.match(handIn(0, credit(0, yen(40), stranger)), { ok: false, code: 'BAD_SIGNATURE' });
  t.match(handIn(0, credit(1, yen(40))), { ok: false, code: 'MALFORMED' });

  const log = new LogInMemory();
  log.append([
    bought[0]!,
    { ...bought[0]!, credit: credit(0, yen(40)) },
    { ...bought[1]!, credit: credit(1, yen(101)) },
    { ...bought[2]!, credit: credit(2, yen(1), stranger) },
    { ...bought[0]!, credit: credit(0, yen(40)) },
  ]);
  const { service, database } = await inMemory({ directory: directoryOf(registry) });
  const puller = new LogPuller({
    clearing: clearing.key.id,
    sources: [log.source],
    origin: ORIGIN,
    policy: log.policy,
    registry,
    verifier: nodeVerifier(),
    contentKey: log.pair.privateKey,
  });
  const pulled = await puller.pull(service, NOW_S + 60);
  t.match(pulled, { ingested: 5, faultCount: 1, faults: [/leaf 3: BAD_SIGNATURE/] });
  const report = await service.reconcile();
  t.match(report, { receipts: 3, credits: 1, reconciles: true });
  t.same(report.findings.map(({ kind }) => kind).toSorted(), [
    'BAD_SIGNATURE',
    'CREDIT_ABOVE_CHARGE',
  ]);
  const rows = await database.transaction((session) =>
    session.all(
      `SELECT k.merchant, k.sign, c.amount_micro, c.reason FROM credits c
       JOIN keys k ON k.key_id = c.key_id`,
    ),
  );
  t.same(rows, [
    {
      merchant: MERCHANT_FACTS.merchantId,
      sign: 'credit',
      amount_micro: yen(40).toString(),
      reason: 'no charge was given',
    },
  ]);
  await service.close();
});

t.test(
  'a Close that comes by a log is kept as signed and written for the issuer’s desk',
  async (t) => {
    const world = newWorld();
    const { device, stranger, clearing } = world.signers;
    const registry = buildRegistry(world.trust, documentsOf(world));
    const payer = worldPayer(world);
    const bought = [purchase(world, payer), purchase(world, payer)];
    const closeOf = (part: Partial<Close> = {}, signer: Signer = device): Uint8Array => {
      const facts = { lastCounter: 2, totalMicro: yen(200), timeS: NOW_S + 20 };
      const allowanceHash = new Uint8Array(32).fill(7);
      return signSign1(
        signer,
        CLOSE.encode({ line: world.line, allowanceHash, ...facts, ...part }),
      );
    };
    const good = closeOf();
    const judge = { registry, verifier: nodeVerifier(), clearing: clearing.key.id };
    const judged = (close: Uint8Array) => {
      const decoded = HAND_IN.decode(handInOf(bought[0]!));
      return judgeHandIn(judge, { ...(decoded.ok ? decoded.value : ({} as never)), close }, NOW_S);
    };
    t.match(judged(good), { ok: true });
    t.match(judged(closeOf({}, stranger)), { ok: false, code: 'BAD_SIGNATURE' });
    t.match(judged(closeOf({ line: new Uint8Array(16) })), { ok: false, code: 'MALFORMED' });

    const log = new LogInMemory();
    log.append([
      { ...bought[0]!, close: good },
      { ...bought[1]!, close: closeOf({}, stranger) },
      { ...bought[0]!, close: good },
    ]);
    const { service, database } = await inMemory({ directory: directoryOf(registry) });
    const puller = new LogPuller({
      clearing: clearing.key.id,
      sources: [log.source],
      origin: ORIGIN,
      policy: log.policy,
      registry,
      verifier: nodeVerifier(),
      contentKey: log.pair.privateKey,
    });
    t.match(await puller.pull(service, NOW_S + 60), {
      ingested: 3,
      faults: [/leaf 1: BAD_SIGNATURE: the close/],
    });
    t.match(await service.reconcile(), { receipts: 2, reconciles: true }, 'the Payments count');
    const folder = t.testdir();
    t.equal(await writeCloses(database, folder), 1);
    t.equal(await writeCloses(database, folder), 1, 'again: nothing is written over');
    const names = readdirSync(folder);
    t.match(names, [new RegExp(`^${toHex(world.line)}\\.[0-9a-f]{16}\\.cbor$`)]);
    t.same(new Uint8Array(readFileSync(join(folder, names[0]!))), good);
    await service.close();
  },
);
