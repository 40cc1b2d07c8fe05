import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t from 'tap';
import { amountMicro } from '../../protocol/amount.ts';
import { toHex } from '../../protocol/bytes.ts';
import { issueStatusList } from '../../identity/core/issue.ts';
import { packStatuses } from '../../identity/edge/status-zlib.ts';
import type { Clock } from '../../platform/ports.ts';
import { startGateway, type RunningGateway } from '../../fog-gateway/gateway.ts';
import { startPayee, type Payee } from '../../agent/edge/payee-device.ts';
import { startPayer, type Payer, type PaymentOutcome } from '../../agent/edge/payer-device.ts';
import type { Sale } from '../../agent/core/payee.ts';
import { LIST, NOW_S, VALID } from '../identity/fixture.ts';
import { documentsOf, newKit, payeeDocumentsOf, wantOf } from './harness.ts';

const kit = newKit();
const { signers, trust } = kit.world;
const clock: Clock = {
  now: () => {
    const monotonicMs = performance.now();
    return { unixMs: NOW_S * 1_000 + monotonicMs, monotonicMs, timeQuality: 1 };
  },
};

/** Gateway, payee and payer over real sockets and files, each in a folder of its own. */
class Rig {
  readonly folder = mkdtempSync(join(tmpdir(), 'kiri-agent-'));
  readonly sales: Sale[] = [];
  readonly notices: string[] = [];
  gateway: RunningGateway | undefined;
  payee: Payee | undefined;
  payer: Payer | undefined;
  port = 0;
  #onSale: () => void = () => {};

  /** A sale reaches the payee on its own way, after the payer's Receipt perhaps. */
  async sold(count: number): Promise<void> {
    while (this.sales.length < count) {
      await new Promise<void>((resolve) => {
        this.#onSale = resolve;
      });
    }
  }

  async startGateway(): Promise<RunningGateway> {
    const statusList = issueStatusList(signers.issuer, {
      issuedS: NOW_S,
      expiresS: VALID.expiresS,
      uri: LIST,
      version: 1,
      ttlS: 86_400,
      packed: packStatuses(64, []),
    });
    this.gateway = await startGateway({
      folder: join(this.folder, 'gateway'),
      signer: signers.gateway,
      issuerKey: trust.issuerKey,
      mandate: kit.world.mandate,
      statusList,
      mqttPort: this.port,
      httpPort: 0,
      host: '127.0.0.1',
      clock,
    });
    this.port = this.gateway.mqttPort;
    return this.gateway;
  }

  async startDevices(): Promise<{ payer: Payer; payee: Payee }> {
    const gateway = { host: '127.0.0.1', port: this.port, approver: signers.gateway.key.id };
    const common = { gateway, clock, issuerKey: trust.issuerKey };
    const onNotice = (code: string, reason: string): void => {
      this.notices.push(`${code}: ${reason}`);
    };
    this.payee = await startPayee({
      ...common,
      dataDir: join(this.folder, 'payee'),
      documents: payeeDocumentsOf(kit),
      signer: signers.payee,
      onSale: (sale) => {
        this.sales.push(sale);
        this.#onSale();
      },
      onNotice,
    });
    this.payer = await startPayer({
      ...common,
      dataDir: join(this.folder, 'payer'),
      documents: documentsOf(kit),
      signer: signers.device,
      onNotice,
    });
    return { payer: this.payer, payee: this.payee };
  }

  async stop(): Promise<void> {
    await this.payer?.close();
    await this.payee?.close();
    await this.gateway?.close();
    rmSync(this.folder, { recursive: true, force: true });
  }
}

async function collect<T>(from: AsyncIterable<T>): Promise<T[]> {
  const all: T[] = [];
  for await (const entry of from) all.push(entry);
  return all;
}

function want(ref: string, changes: Parameters<typeof wantOf>[1] = {}): ReturnType<typeof wantOf> {
  return wantOf(kit, { ref, ...changes });
}

t.test('payer and payee at a real gateway, which is restarted in between', async (t) => {
  const rig = new Rig();
  t.teardown(() => rig.stop());
  const gateway = await rig.startGateway();
  const { payer, payee } = await rig.startDevices();
  await Promise.all([payer.ready(), payee.ready()]);

  const first = await payer.pay(want('first'));
  t.match(first, { kind: 'accepted', counter: 1, amountMicro: 38_500_000n });
  const { offerMs, signMs, approvalMs } = first.timings;
  t.ok(Number(offerMs) > 0 && Number(signMs) > 0 && Number(approvalMs) > 0, 'it was timed');
  t.match(await payer.pay(want('first')), { kind: 'accepted', counter: 1 }, 'the same ref again');

  const many = await Promise.all(
    Array.from({ length: 20 }, (_, i) => payer.pay(want(`many-${i}`, { quantity: 1 + (i % 2) }))),
  );
  t.same(
    many.map(({ kind }) => kind),
    many.map(() => 'accepted'),
    'twenty at once',
  );

  // The gateway goes away; a want waits, and is served after the restart on the same port.
  const total = gateway.status();
  await gateway.close();
  const waiting = payer.pay(want('during the restart'));
  await rig.startGateway();
  t.match(await waiting, { kind: 'accepted' }, 'a want over the restart');
  t.equal(total.accepted, 21);
  await rig.sold(22);

  const receipts = await collect(payer.receipts());
  t.equal(receipts.length, 22);
  t.ok(receipts.every(({ state }) => state === 'accepted'));
  const sales = await collect(payee.receipts());
  t.ok(
    sales.every(({ offerCose }) => offerCose !== undefined),
    'with their Offers',
  );
  t.same(
    new Set(sales.map(({ paymentHash }) => toHex(paymentHash))),
    new Set(receipts.map(({ paymentHash }) => toHex(paymentHash))),
    'payer and payee hold the same purchases',
  );
  t.equal(
    new Set(rig.sales.map(({ paymentHash }) => toHex(paymentHash))).size,
    22,
    'each released',
  );
  t.equal(rig.sales.length, 22, 'and once');
  const paid = rig.sales.reduce((sum, { amountMicro: amount }) => sum + amount, 0n);
  t.equal(payer.status().totalMicro, paid, 'the line’s total is the sum of what was paid');

  await payer.close();
  rig.payer = undefined;
  const again = await startPayer({
    dataDir: join(rig.folder, 'payer'),
    gateway: { host: '127.0.0.1', port: rig.port, approver: signers.gateway.key.id },
    documents: documentsOf(kit),
    signer: signers.device,
    issuerKey: trust.issuerKey,
    clock,
  });
  rig.payer = again;
  t.equal(again.status().totalMicro, paid, 'an orderly restart jumps over nothing');
  t.match(await again.pay(want('after a restart')), { kind: 'accepted', counter: 23 });
  t.equal(await again.handIn(), 23, 'and everything can be handed in');
  t.same(rig.notices, [], 'nothing to complain about');
});

t.test('what the gateway refuses for good is a Void that gives the amount back', async (t) => {
  const rig = new Rig();
  t.teardown(() => rig.stop());
  await rig.startGateway();
  const { payer, payee } = await rig.startDevices();
  await Promise.all([payer.ready(), payee.ready()]);
  // 5,000 JPY is the gateway's limit for one device; the allowance would take 10,000.
  const outcomes: PaymentOutcome[] = [];
  for (let i = 0; i < 6; i += 1) {
    outcomes.push(
      await payer.pay(
        want(`big-${i}`, { quantity: 260, maxAmountMicro: amountMicro(2_000_000_000n) }),
      ),
    );
  }
  t.same(
    outcomes.map((outcome) => (outcome.kind === 'refused' ? outcome.code : outcome.kind)),
    ['accepted', 'accepted', 'accepted', 'accepted', 'DEVICE_EXPOSURE', 'DEVICE_EXPOSURE'],
  );
  t.equal(payer.status().releasedMicro, 2n * 1_001_000_000n);
  await rig.sold(4);
  t.equal(payee.status().sales, 4);
});

t.test('metered use: the meter’s quantity is paid, not the ask’s', async (t) => {
  const rig = new Rig();
  t.teardown(() => rig.stop());
  await rig.startGateway();
  const { payer, payee } = await rig.startDevices();
  await Promise.all([payer.ready(), payee.ready()]);
  const readingHash = new Uint8Array(32).fill(5);
  payee.usage({ item: 'bay 4', localMinuteOfDay: 400, metered: { quantity: 7, readingHash } });
  const outcome = await payer.pay(want('metered', { quantity: 1 }));
  t.match(outcome, { kind: 'accepted', amountMicro: 35_000_000n }, '7 minutes at 5 JPY');
  await rig.sold(1);
  t.match(rig.sales[0], { item: 'bay 4', quantity: 7, amountMicro: 35_000_000n });
});
