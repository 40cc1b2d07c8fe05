import { once } from 'node:events';
import { chmodSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { createServer, type AddressInfo } from 'node:net';
import { join } from 'node:path';
import t from 'tap';
import { SPENT_TOTALS, spentRows } from '../../protocol/messages/spent-totals.ts';
import { startGateway } from '../../fog-gateway/gateway.ts';
import { issueAcknowledgement, issueMandate } from '../../identity/core/issue.ts';
import { fetchBytes } from '../../platform/http-client.ts';
import { nodeJournalFs, type JournalFs } from '../../platform/journal-fs.ts';
import { toHex } from '../../protocol/bytes.ts';
import { verifySign1, decodeSign1 } from '../../protocol/cose.ts';
import { HAND_IN, PAID } from '../../protocol/messages/envelopes.ts';
import { hashOf, newPayer, pay, statusList } from '../approval/kit.ts';
import { JPY, MANDATE_FACTS, newSigner, newWorld, NOW_S, yen } from '../identity/fixture.ts';
import {
  challengesOf,
  gatewayOf,
  offersOf,
  payeeOf,
  payerOf,
  tempFolder,
  worldClock,
} from './kit.ts';

const world = newWorld();

async function get(
  port: number,
  path: string,
  more: Partial<Parameters<typeof fetchBytes>[1]> = {},
): Promise<{ status: number; json: Record<string, unknown> }> {
  const answer = await fetchBytes(`http://127.0.0.1:${port}${path}`, {
    timeoutMs: 5_000,
    maxBytes: 65_536,
    ...more,
  });
  const text = Buffer.from(answer.body).toString();
  return { status: answer.status, json: text.startsWith('{') ? JSON.parse(text) : { text } };
}

t.test('paid over MQTT, told to both sides, the same after a restart', async (t) => {
  const folder = tempFolder(t);
  const payer = newPayer(world);
  const first = await gatewayOf(t, world, folder);
  const payee = await payeeOf(world, first.mqttPort);
  const device = await payerOf(world, payer, first.mqttPort);
  const [offer, unused] = await offersOf(payee, 2);
  const payment = pay(payer, offer!);
  t.match(await device.outcome(payment), { code: 'ACCEPTED', sequence: 1 });
  const paid = PAID.decode((await payee.hear('paid')).payload);
  if (!paid.ok) throw new Error(paid.reason);
  t.same(paid.value.payment, payment);
  const receipt = decodeSign1(paid.value.receipt);
  t.ok(receipt.ok && verifySign1(world.trust.verifier, world.signers.gateway.key, receipt.value));
  await device.say(
    'hand-in',
    HAND_IN.encode({ payment, offer: offer!, outcome: paid.value.receipt }),
  );
  t.match(await device.outcome(payment), { code: 'ACCEPTED', sequence: 1 }, 'a duplicate');
  await Promise.all([payee.link.close(), device.link.close()]);
  await first.close();

  const second = await gatewayOf(t, world, folder);
  const again = await payerOf(world, payer, second.mqttPort);
  t.teardown(() => again.link.close());
  const { json } = await get(second.httpPort, `/lookup?hash=${toHex(hashOf(payment))}`);
  t.same(json, { held: 'accepted', sequence: 1, level: 'L0' });
  const { totals } = (await get(second.httpPort, '/totals')).json as { totals: string[] };
  const sign1 = decodeSign1(Buffer.from(totals[0]!, 'hex'));
  const spent = sign1.ok ? SPENT_TOTALS.decode(sign1.value.payload) : sign1;
  t.match(spent, { ok: true, value: { throughSequence: 1 } });
  const [row, ...others] = (spent.ok ? spentRows(spent.value) : undefined) ?? [];
  t.match(row, { counter: 1, totalMicro: yen(100), unacknowledgedMicro: yen(100) });
  t.same(others, []);
  await again.say('pay', payment);
  t.same((await again.hear('receipt')).payload, paid.value.receipt, 'the very same Receipt');
  const late = pay(payer, unused!);
  t.match(await again.outcome(late), { code: 'OFFER_UNKNOWN' });
  t.match(await again.outcome(late, unused), { code: 'OFFER_EXPIRED', final: true });
  t.equal(second.status().unacknowledgedMicro, yen(100));
});

t.test('every attack over MQTT gets its own answer, and honest devices go on', async (t) => {
  const gateway = await gatewayOf(t, world, tempFolder(t));
  const payee = await payeeOf(world, gateway.mqttPort);
  const devices: { link: { close(): Promise<void> } }[] = [payee];
  t.teardown(() => Promise.all(devices.map(({ link }) => link.close())));
  const enter = async (
    facts: Parameters<typeof newPayer>[1] = {},
  ): Promise<{
    payer: ReturnType<typeof newPayer>;
    device: Awaited<ReturnType<typeof payerOf>>;
  }> => {
    const payer = newPayer(world, facts);
    const device = await payerOf(world, payer, gateway.mqttPort);
    devices.push(device);
    return { payer, device };
  };
  const offers = await offersOf(payee, 20);
  const offer = (): Uint8Array => offers.pop()!;
  const { payer: victim, device: honest } = await enter();

  const replay = pay(victim, offer());
  const receipt = await honest.outcome(replay);
  t.match(receipt, { code: 'ACCEPTED' });
  const mallory = await enter();
  t.same(
    await mallory.device.outcome(replay),
    receipt,
    'a replay gets the first answer, no second line',
  );
  t.equal(gateway.status().accepted, 1);

  const poor = await enter({ ceilingMicro: yen(50) });
  t.match(await poor.device.outcome(pay(poor.payer, offer())), {
    code: 'CEILING_EXCEEDED',
    final: true,
  });
  const rich = await enter({ ceilingMicro: yen(100), paymentLimitMicro: yen(100) });
  t.match(
    await rich.device.outcome(pay(rich.payer, offer(), { totalMicro: yen(101) })),
    { code: 'CEILING_EXCEEDED' },
    '50 shown as 100',
  );

  const junk = pay({ ...victim }, offer(), { signer: mallory.payer.signer });
  t.match(await mallory.device.outcome(junk), { code: 'BAD_SIGNATURE', final: false });
  const elsewhere = pay({ ...victim }, offer(), { approver: newSigner().key.id });
  t.match(await mallory.device.outcome(elsewhere), { code: 'WRONG_GATEWAY' });

  const twice = offer();
  t.match(await honest.outcome(pay(victim, twice)), { code: 'ACCEPTED' });
  t.match(await mallory.device.outcome(pay(mallory.payer, twice)), {
    code: 'OFFER_USED',
    final: true,
  });

  const one = pay({ ...mallory.payer }, offer());
  const two = pay({ ...mallory.payer }, offer());
  t.match(await mallory.device.outcome(one), { code: 'ACCEPTED' });
  t.match(await mallory.device.outcome(two), { code: 'EQUIVOCATION', final: true });

  const clone = await enter();
  t.match(await clone.device.outcome(pay(clone.payer, offer())), { code: 'ACCEPTED' });
  const copy = pay(clone.payer, offer(), { counter: 7, totalMicro: yen(150) });
  t.match(await clone.device.outcome(copy), { code: 'EQUIVOCATION' });

  const stranger = await enter();
  await stranger.device.say('offers', new Uint8Array([1, 2, 3]));
  t.equal((await stranger.device.hear('refusal')).verb, 'refusal');
  t.match(
    await honest.outcome(pay(victim, offer())),
    { code: 'ACCEPTED' },
    'the victim still pays',
  );
  t.equal(gateway.status().blockedLines, 2);
});

t.test(
  'the admin interface shows, and takes signed words of the centre with the token only',
  async (t) => {
    const folder = tempFolder(t);
    const gateway = await gatewayOf(t, world, folder);
    const payee = await payeeOf(world, gateway.mqttPort);
    const payer = newPayer(world);
    const device = await payerOf(world, payer, gateway.mqttPort);
    t.teardown(() => Promise.all([payee.link.close(), device.link.close()]));
    for (const offer of await offersOf(payee, 2)) await device.outcome(pay(payer, offer));
    const { httpPort: port } = gateway;
    t.match(await get(port, '/healthz'), { status: 200 });
    t.match(await get(port, '/status'), {
      status: 200,
      json: {
        accepted: 2,
        unacknowledgedMicro: '200000000',
        connected: 2,
        phase: 'open',
        worstCaseMicro: '1000000000000',
      },
    });
    t.equal(statSync(gateway.adminTokenPath).mode & 0o777, 0o600);
    const bearer = readFileSync(gateway.adminTokenPath, 'utf8').trim();
    const body = issueAcknowledgement(world.signers.issuer, {
      issuedS: NOW_S,
      approver: world.signers.gateway.key.id,
      currency: JPY,
      throughSequence: 1,
      count: 1,
      sumMicro: yen(100),
    });
    t.match(await get(port, '/acknowledgement', { body }), { status: 401 });
    t.match(await get(port, '/acknowledgement', { body, bearer: 'x'.repeat(64) }), { status: 401 });
    t.match(await get(port, '/acknowledgement', { body: body.subarray(1), bearer }), {
      status: 422,
    });
    t.equal(gateway.status().unacknowledgedMicro, yen(200));
    t.match(await get(port, '/acknowledgement', { body, bearer }), {
      status: 200,
      json: { taken: true },
    });
    t.equal(gateway.status().unacknowledgedMicro, yen(100));
    const newer = statusList(world, [4], NOW_S, 9);
    t.match(await get(port, '/status-list', { body: newer, bearer }), { status: 200 });
    const [after] = await offersOf(payee, 1);
    t.match(await device.outcome(pay(payer, after!)), { code: 'REVOKED', final: true });

    const none = Buffer.alloc(32);
    t.match(await get(port, '/lookup', { body: none, method: 'POST' }), {
      json: { held: ['none'] },
    });
    t.match(await get(port, '/lookup', { body: none.subarray(1), method: 'POST' }), {
      status: 400,
    });
    t.match(await get(port, '/lookup?hash=12'), { status: 400 });
    t.match(await get(port, '/nothing'), { status: 404 });
    await gateway.close();
    const again = await gatewayOf(t, world, folder);
    t.match(again.status().lists, [{ version: 9 }], 'the newer list outlives a restart');
    await again.close();
    writeFileSync(gateway.adminTokenPath, 'short');
    await t.rejects(gatewayOf(t, world, folder), { code: 'ADMIN_TOKEN_CORRUPT' });
  },
);

/** A disk that is full, or broken, from the moment the test says so. */
function failingDisk(): { files: JournalFs; fail: { code: string | undefined } } {
  const fail: { code: string | undefined } = { code: undefined };
  const error = (): Error => Object.assign(new Error(`${fail.code}: no luck`), { code: fail.code });
  const files: JournalFs = {
    ...nodeJournalFs,
    write: (fd, bytes, offset, length, position, done) => {
      if (fail.code === 'ENOSPC') done(error(), 0);
      else nodeJournalFs.write(fd, bytes, offset, length, position, done);
    },
    writeNow: (fd, bytes, position) => {
      if (fail.code === 'ENOSPC') throw error();
      nodeJournalFs.writeNow(fd, bytes, position);
    },
    fdatasync: (fd, done) => {
      if (fail.code === 'EIO') done(error());
      else nodeJournalFs.fdatasync(fd, done);
    },
  };
  return { files, fail };
}

t.test(
  'a full disk refuses with DISK_FULL, loses nothing accepted and goes on when there is room',
  async (t) => {
    const { files, fail } = failingDisk();
    const folder = tempFolder(t);
    const gateway = await gatewayOf(t, world, folder, { files });
    const payer = newPayer(world);
    const payee = await payeeOf(world, gateway.mqttPort);
    const device = await payerOf(world, payer, gateway.mqttPort);
    const [first, second, third] = await offersOf(payee, 3);
    const accepted = pay(payer, first!);
    t.match(await device.outcome(accepted), { code: 'ACCEPTED' });
    fail.code = 'ENOSPC';
    const unlucky = pay(payer, second!);
    await device.say('pay', unlucky);
    t.match(await device.outcome(pay(payer, third!)), { code: 'DISK_FULL', final: false });
    t.match(await get(gateway.httpPort, '/healthz'), { status: 503 });
    t.match(await device.outcome(accepted), { code: 'ACCEPTED' }, 'old answers are still given');
    fail.code = undefined;
    const dropped = once(process, 'never').catch(() => {});
    void dropped;
    while ((await get(gateway.httpPort, '/healthz')).status !== 200)
      await new Promise(setImmediate);
    t.equal(gateway.status().accepted, 1, 'what was not durable was never accepted');
    await Promise.all([payee.link.close(), device.link.close()]);
    const payeeBack = await payeeOf(world, gateway.mqttPort);
    const deviceBack = await payerOf(world, payer, gateway.mqttPort);
    t.teardown(() => Promise.all([payeeBack.link.close(), deviceBack.link.close()]));
    t.match(await deviceBack.outcome(accepted), { code: 'ACCEPTED', sequence: 1 });
    t.match(await deviceBack.outcome(unlucky, second), { code: 'OFFER_EXPIRED', final: true });
    const [offer] = await offersOf(payeeBack, 1);
    t.match(await deviceBack.outcome(pay(payer, offer!)), { code: 'ACCEPTED' });
  },
);

t.test(
  'a failing sync stops the gateway at once; nothing of that batch was ever answered',
  async (t) => {
    const { files, fail } = failingDisk();
    const folder = tempFolder(t);
    const gateway = await gatewayOf(t, world, folder, { files });
    const payer = newPayer(world);
    const payee = await payeeOf(world, gateway.mqttPort);
    const device = await payerOf(world, payer, gateway.mqttPort);
    t.teardown(() => Promise.all([payee.link.close(), device.link.close()]));
    const [offer] = await offersOf(payee, 1);
    fail.code = 'EIO';
    void device.say('pay', pay(payer, offer!));
    t.match(await gateway.stopped, { code: 'DISK_FAILED' });
    fail.code = undefined;
    const again = await gatewayOf(t, world, folder);
    t.equal(again.status().accepted, 0);
  },
);

t.test('what stands in the way of a start is named, and everything opened is let go', async (t) => {
  const folder = tempFolder(t);
  const taken = createServer();
  taken.listen(0, '127.0.0.1');
  await once(taken, 'listening');
  t.teardown(() => taken.close());
  const { port } = taken.address() as AddressInfo;
  await t.rejects(gatewayOf(t, world, folder, { mqttPort: port }), { code: 'PORT_IN_USE' });
  await t.rejects(gatewayOf(t, world, folder, { httpPort: port }), { code: 'PORT_IN_USE' });
  const gateway = await gatewayOf(t, world, folder);
  await t.rejects(gatewayOf(t, world, folder), { code: 'FOLDER_LOCKED' });
  await gateway.close();
  await gateway.close();

  const file = join(folder, 'file');
  writeFileSync(file, '');
  await t.rejects(gatewayOf(t, world, join(file, 'below')), { code: /^DISK_/ });
  const unwritable = tempFolder(t);
  chmodSync(unwritable, 0o500);
  if (process.getuid?.() !== 0) {
    await t.rejects(gatewayOf(t, world, unwritable), { code: 'DISK_UNWRITABLE' });
  }
  const mandate = issueMandate(world.signers.issuer, { ...MANDATE_FACTS, key: newSigner().key });
  await t.rejects(gatewayOf(t, world, folder, { mandate }), { code: 'MANDATE_INVALID' });
  await t.rejects(gatewayOf(t, world, folder, { mandate: world.clearing }), {
    code: 'MANDATE_INVALID',
  });
  await t.rejects(gatewayOf(t, world, folder, { clearing: world.mandate }), {
    code: 'CLEARING_INVALID',
  });
  const withClearing = await gatewayOf(t, world, folder, { clearing: world.clearing });
  t.ok(withClearing.httpPort > 0);
  await withClearing.close();
});

t.test('a gateway without a status list refuses to guess', async (t) => {
  const folder = tempFolder(t);
  const events: string[] = [];
  const options = {
    folder,
    signer: world.signers.gateway,
    issuerKey: world.trust.issuerKey,
    mandate: world.mandate,
    mqttPort: 0,
    httpPort: 0,
    clock: worldClock(),
    onEvent: (event: string) => events.push(event),
  };
  const gateway = await startGateway(options);
  const payee = await payeeOf(world, gateway.mqttPort);
  const payer = newPayer(world);
  const device = await payerOf(world, payer, gateway.mqttPort);
  t.equal((await challengesOf(payee, 3)).length, 3);
  const [offer] = await offersOf(payee, 1);
  t.match(await device.outcome(pay(payer, offer!)), { code: 'MANDATE_SILENT', final: false });
  await Promise.all([payee.link.close(), device.link.close()]);
  await gateway.close();
  const other = await startGateway({ ...options, statusList: world.mandate });
  await other.close();
  t.same(events, ['listening', 'status list not taken', 'listening']);
});
