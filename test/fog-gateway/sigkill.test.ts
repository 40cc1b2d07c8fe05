import { spawn, type ChildProcess } from 'node:child_process';
import { generateKeyPairSync } from 'node:crypto';
import { once } from 'node:events';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import t, { type Test } from 'tap';
import { ACCEPTED_RECORD } from '../../approval/records.ts';
import { issueMandate } from '../../identity/core/issue.ts';
import { nodeSigner } from '../../identity/edge/node-signatures.ts';
import { openJournal } from '../../platform/journal.ts';
import { amountMicro } from '../../protocol/amount.ts';
import { toHex } from '../../protocol/bytes.ts';
import { RECEIPT } from '../../protocol/messages/receipt.ts';
import { PRESENT } from '../../protocol/messages/envelopes.ts';
import { hashOf, newPayer, pay, payloadOf, statusList, type Payer } from '../approval/kit.ts';
import { MANDATE_FACTS, newWorld, yen, type World } from '../identity/fixture.ts';
import type { ChildOptions } from './child-options.ts';
import { offersOf, payeeOf, payerOf, tempFolder, type Device } from './kit.ts';
import '../plain-children.ts';

/** `npm run soak` makes it 50. */
const KILLS = Number(process.env['KIRI_GATEWAY_KILLS'] ?? 8);
const CHILD = fileURLToPath(new URL('gateway-child.js', import.meta.url));

function newRun(folder: string): { world: World; options: ChildOptions } {
  const { privateKey } = generateKeyPairSync('ed25519');
  const base = newWorld();
  const world = { ...base, signers: { ...base.signers, gateway: nodeSigner(privateKey) } };
  const { issuer, gateway } = world.signers;
  const mandate = issueMandate(issuer, {
    ...MANDATE_FACTS,
    key: gateway.key,
    deviceLimitMicro: yen(1_000_000),
    partyLimitMicro: yen(1_000_000),
  });
  const options = {
    folder,
    port: 0,
    key: privateKey.export({ format: 'der', type: 'pkcs8' }).toString('hex'),
    issuerAlg: issuer.key.alg,
    issuerPoint: toHex(issuer.key.point),
    mandate: toHex(mandate),
    statusList: toHex(statusList(world)),
  };
  return { world, options };
}

async function start(
  t: Test,
  options: ChildOptions,
): Promise<{ child: ChildProcess; port: number }> {
  const child = spawn(process.execPath, [CHILD, JSON.stringify(options)], {
    stdio: ['pipe', 'pipe', 'inherit'],
  });
  t.teardown(() => child.kill('SIGKILL'));
  const [line] = (await once(createInterface(child.stdout), 'line')) as [string];
  return { child, port: Number(line) };
}

/** Payments one behind the other without waiting for answers; `turn` comes after each. */
async function send(
  payer: Payer,
  device: Device,
  offers: readonly Uint8Array[],
  turn: (payment: Uint8Array, index: number) => void,
): Promise<void> {
  for (const [index, offer] of offers.entries()) {
    const payment = pay(payer, offer);
    void device.say('pay', payment);
    turn(payment, index);
    await new Promise(setImmediate);
  }
}

/** Keeps every Receipt until the gateway is gone. */
async function listen(device: Device, keep: (receipt: Uint8Array) => void): Promise<void> {
  for (;;) {
    const { verb, payload } = await device.hear('receipt', 'closed');
    if (verb === 'closed') return;
    keep(payload);
  }
}

/** Hears this Receipt again; others may come first, for Payments that the link sent once more. */
async function hearAgain(device: Device, receipt: Uint8Array): Promise<void> {
  for (;;) {
    const { payload } = await device.hear('receipt');
    if (Buffer.from(payload).equals(receipt)) return;
  }
}

function paymentHashOf(receipt: Uint8Array): string {
  const decoded = RECEIPT.decode(payloadOf(receipt));
  if (!decoded.ok) throw new Error(decoded.reason);
  return toHex(decoded.value.paymentHash);
}

// Each life of the gateway is a process start; fifty take minutes on a busy machine.
t.setTimeout(900_000);

t.test(`${KILLS} SIGKILLs under load: no acceptance is lost, none is doubled`, async (t) => {
  const folder = tempFolder(t);
  const { world, options } = newRun(folder);
  const first = await start(t, options);
  const again = { ...options, port: first.port };
  let { child } = first;
  const payee = await payeeOf(world, first.port);
  const payer = newPayer(world, { upperMicro: yen(15_000), ceilingMicro: yen(15_000) });
  const device = await payerOf(world, payer, first.port);
  t.teardown(() => Promise.all([payee.link.close(), device.link.close()]));
  const held = new Map<string, Uint8Array>();
  const sent = new Map<string, Uint8Array>();
  const note = (payment: Uint8Array): void => {
    sent.set(toHex(hashOf(payment)), payment);
  };
  let resent = 0;
  for (let kill = 0; kill < KILLS; kill += 1) {
    const before = held.size;
    if (kill > 0) {
      ({ child } = await start(t, again));
      await Promise.all([payee.up, device.up]);
      device.clear();
      await Promise.all([present(payee), device.present(payer.present)]);
      const [key, receipt] = [...held].at(-1)!;
      await device.say('pay', sent.get(key)!);
      await hearAgain(device, receipt);
      resent += 1;
    }
    const offers = await offersOf(payee, 16, { amountMicro: amountMicro(1_000n) });
    const exited = once(child, 'exit');
    const listening = listen(device, (receipt) => held.set(paymentHashOf(receipt), receipt));
    // The first is answered before the kill, so that every life leaves something to be known.
    await send(payer, device, offers.slice(0, 1), note);
    while (held.size === before) await new Promise(setImmediate);
    const killAt = 1 + ((kill * 7) % 14);
    await send(payer, device, offers.slice(1), (payment, index) => {
      note(payment);
      if (index === killAt) child.kill('SIGKILL');
    });
    await exited;
    device.giveUp();
    await listening;
  }
  t.equal(resent, KILLS - 1, 'after every kill the last Receipt is given again, byte for byte');
  const { accepted, doubled } = await journalled(folder);
  t.equal(doubled, 0);
  const lost = [...held].filter(([key, receipt]) => {
    return accepted.get(key) !== toHex(payloadOf(receipt));
  });
  t.equal(lost.length, 0);
  t.ok(held.size >= KILLS, `${held.size} Receipts held, ${accepted.size} acceptances journalled`);
});

async function present(payee: Device): Promise<void> {
  const { acquirer, merchant } = payee.world.payee;
  await payee.present(PRESENT.encode({ documents: [acquirer, merchant] }));
}

/** Receipt payload by Payment hash, as the money journal on the disk has them. */
async function journalled(
  folder: string,
): Promise<{ accepted: ReadonlyMap<string, string>; doubled: number }> {
  const { journal } = await openJournal(join(folder, 'money'));
  const accepted = new Map<string, string>();
  let doubled = 0;
  for (const { record } of journal.records()) {
    const row = ACCEPTED_RECORD.decode(record);
    if (!row.ok) continue;
    const key = toHex(hashOf(row.value.payment));
    if (accepted.has(key)) doubled += 1;
    accepted.set(key, toHex(row.value.receiptPayload));
  }
  await journal.close();
  return { accepted, doubled };
}
