import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t from 'tap';
import { HANDED_IN_RECORD, OFFER_RECORD } from '../../approval/records.ts';
import { startForwarder } from '../../fog-gateway/hand-in-forwarder.ts';
import { type HttpAnswer, listenLoopback } from '../../platform/http-server.ts';
import { openJournal } from '../../platform/journal.ts';
import { toHex } from '../../protocol/bytes.ts';
import { HAND_IN } from '../../protocol/messages/envelopes.ts';
import { signOffer } from '../approval/kit.ts';
import { newWorld } from '../identity/fixture.ts';
import { challenge, handInOf, purchase, worldPayer } from '../sync/clearing/purchases.ts';

t.test('hand-ins for another approver reach the intake, through outage and restart', async (t) => {
  const folder = await mkdtemp(join(tmpdir(), 'kiri-forward-'));
  t.teardown(() => rm(folder, { recursive: true, force: true }));
  const world = newWorld();
  const payer = worldPayer(world);
  const own = world.signers.stranger.key.id;
  const offer = signOffer(world, challenge, { approver: own });
  const others = Array.from({ length: 3 }, () => handInOf(purchase(world, payer)));
  const mine = handInOf(purchase(world, payer, {}, { offer }));
  const { journal } = await openJournal(join(folder, 'offers'));
  t.teardown(() => journal.close());
  const keep = async (...handIns: Uint8Array[]): Promise<void> => {
    for (const handIn of handIns) {
      journal.append(HANDED_IN_RECORD.encode({ from: new Uint8Array(16), handIn }));
    }
    await journal.commit();
  };
  journal.append(OFFER_RECORD.encode({ offer }));
  await keep(others[0]!, mine, others[1]!);

  const got: string[] = [];
  let answers: number[] = [404, 404, 200, 422];
  let heard: () => void = () => {};
  const intake = await listenLoopback(
    ({ body }): HttpAnswer => {
      const status = answers.shift() ?? 200;
      if (status < 500 && status !== 404) got.push(toHex(body));
      heard();
      return { status, body: '{}' };
    },
    { port: 0, maxBodyBytes: 8_192 },
  );
  t.teardown(() => intake.close());
  const until = (count: number): Promise<void> =>
    new Promise((resolve) => {
      heard = () => {
        if (got.length >= count) resolve();
      };
      heard();
    });
  const events: string[] = [];
  const options = {
    folder,
    intakeUrl: intake.url,
    approver: own,
    onEvent: (event: string) => void events.push(event),
  };
  const first = await startForwarder(options);
  await until(2);
  await first.close();
  t.same(got, [toHex(others[0]!), toHex(others[1]!)], 'in order, its own left out');
  const told = ['hand-ins wait', 'intake refused a hand-in'];
  t.same(events, told, 'only the intake itself has the last word; both are told, waiting once');
  answers = [503];
  const decoded = HAND_IN.decode(mine);
  const closing = decoded.ok ? HAND_IN.encode({ ...decoded.value, close: offer }) : mine;
  await keep(mine, closing, others[2]!);
  const second = await startForwarder(options);
  await until(4);
  await second.close();
  t.same(got.slice(2), [toHex(closing), toHex(others[2]!)], 'its own with a Close goes on too');
});
