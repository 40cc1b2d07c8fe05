import { readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import type { Payer, PaymentOutcome } from '../../agent/edge/payer-device.ts';
import { bytesKey } from '../../approval/keys.ts';
import { StatementDelivery, type DeliveryOptions } from '../../fog-gateway/statement-delivery.ts';
import type { Clock } from '../../platform/ports.ts';
import { PRESENT } from '../../protocol/messages/envelopes.ts';
import type { RunningGateway } from '../../fog-gateway/gateway.ts';
import { issueStatement } from '../../identity/core/issue.ts';
import type { Signer } from '../../protocol/public-key.ts';
import { publish } from '../../sync/issuer/publish.ts';
import { JPY, NOW_S, yen } from '../identity/fixture.ts';
import { allowanceOf, newKit, wantOf, type Kit } from './harness.ts';
import { Site } from './site.ts';

const PRICE_MICRO = 38_500_000n;

/** Room for one purchase of 38.50 and no second one. */
const poorKit = (): Kit => {
  const kit = newKit();
  const limits = { ceilingMicro: yen(50), upperMicro: yen(50), lowerMicro: yen(40) };
  const payer = { ...kit.world.payer, allowance: allowanceOf(kit, limits) };
  return { ...kit, world: { ...kit.world, payer } };
};

const statementOf = (
  kit: Kit,
  number: number,
  settled: number,
  signer: Signer = kit.world.signers.issuer,
): Uint8Array => {
  const sumMicro = yen(77 * settled) / 2n;
  const ceilingMicro = yen(50 + 39 * settled);
  return issueStatement(signer, {
    line: kit.world.line,
    issuedS: NOW_S,
    number,
    currency: JPY,
    heads: [],
    recordedThrough: settled,
    except: [],
    settled: [{ from: 1, to: settled, sumMicro: sumMicro as ReturnType<typeof yen> }],
    settledTotalMicro: sumMicro as ReturnType<typeof yen>,
    open: [],
    releasedMicro: yen(0),
    credits: [],
    disputes: [],
    allowance: allowanceOf(kit, {
      generation: number + 1,
      ceilingMicro: ceilingMicro,
      upperMicro: ceilingMicro,
      lowerMicro: yen(40),
    }),
  });
};

const tell = async (gateway: RunningGateway, body: Uint8Array, attempts = 4): Promise<string> => {
  const token = readFileSync(gateway.adminTokenPath, 'latin1').trim();
  const targets = [{ url: `http://127.0.0.1:${gateway.httpPort}`, token }];
  const [said] = await publish({ path: '/statement', body, targets, attempts });
  return `${said?.kind} ${said?.reason}`;
};

t.test('a device whose allowance is used up pays again after its Statement came', async (t) => {
  const kit = poorKit();
  const site = new Site(kit);
  t.teardown(() => site.stop());
  const { gateway, payer } = await site.start();
  const buy = (device: Payer, ref: string): Promise<PaymentOutcome> =>
    device.pay(wantOf(kit, { ref }));
  t.match(await buy(payer, 'first'), { kind: 'accepted', amountMicro: PRICE_MICRO });
  t.match(await buy(payer, 'no room'), { kind: 'refused', code: 'CEILING_EXCEEDED' });

  t.equal(await tell(gateway, statementOf(kit, 1, 1)), 'taken number 1');
  t.match(await buy(payer, 'after the Statement'), { kind: 'accepted', counter: 2 });
  t.match(await buy(payer, 'no room again'), { kind: 'refused', code: 'CEILING_EXCEEDED' });
  t.equal(payer.status().kept, 1, 'the settled purchase is forgotten, the other kept');

  await payer.close();
  await tell(gateway, statementOf(kit, 2, 2));
  t.match(await tell(gateway, statementOf(kit, 2, 2)), /^taken known already/);
  t.match(await tell(gateway, statementOf(kit, 1, 1)), /^refused 422 number 2 is held/);
  const stranger = statementOf(kit, 9, 2, kit.world.signers.stranger);
  t.match(await tell(gateway, stranger), /^refused 422 CREDENTIAL_INVALID/);
  t.match(await tell(gateway, new Uint8Array(100)), /^refused 422/);
  t.match(await tell(gateway, kit.world.payer.allowance), /^refused 422/, 'not a Statement');
  const folder = join(site.folder, 'gateway', 'statements');
  // No file can be made there now, as on a full disk: that is not the gateway's last word.
  renameSync(folder, `${folder}.away`);
  writeFileSync(folder, '');
  t.match(await tell(gateway, statementOf(kit, 3, 2), 1), /^unreachable 503 DISK_/);
  rmSync(folder);
  renameSync(`${folder}.away`, folder);
  t.equal(readdirSync(folder).length, 1, 'the newest of the line alone is kept');
  await gateway.close();
  await site.startGateway();
  const back = await site.startPayer();
  await back.ready();
  // It follows the answer to the documents; what it settled is forgotten once the device has it.
  while (back.status().kept > 0) await new Promise(setImmediate);
  t.match(
    await buy(back, 'again'),
    { kind: 'accepted', counter: 3 },
    'after connecting, over two restarts',
  );
});

t.test('devices that vanish before they are answered make room for those that come', async (t) => {
  const kit = newKit();
  const { world } = kit;
  const sent: string[] = [];
  let arrived: () => void = () => {};
  const folder = t.testdir();
  const devices = ['a', 'b', 'c'].map((name) => `device ${name}`);
  const payer = { device: { hex: devices[2] } };
  const state = { lines: new Map([[bytesKey(world.line), { payer }]]) };
  const delivery = await StatementDelivery.open(folder, world.trust, {
    broker: {
      isListening: () => true,
      send: (to, verb) => {
        sent.push(`${to} ${verb}`);
        arrived();
      },
      flush: () => {},
    },
    clock: { now: () => ({ monotonicMs: 0 }) } as Clock,
    state: () => state as unknown as ReturnType<DeliveryOptions['state']>,
    onFailure: (error) => t.fail(String(error)),
    maxDevices: 2,
  });
  await delivery.take(statementOf(kit, 1, 1));
  sent.splice(0);
  const documents = Object.values(world.payer);
  const present = PRESENT.encode({ documents });
  for (const device of devices) delivery.noteSaid(device, 'present', present);
  delivery.noteSent(devices[0]!, 'presented');
  await new Promise<void>((resolve) => {
    arrived = resolve;
    delivery.noteSent(devices[2]!, 'presented');
  });
  t.same(sent, [`${devices[2]} statement`]);
});
