import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t from 'tap';
import { clearingConfig } from '../../cli/demo/configs.ts';
import { makeWorld } from '../../cli/demo/identities.ts';
import { Program } from '../../cli/demo/processes.ts';
import { storyPlan } from '../../cli/demo/plan.ts';
import { writeTrust } from '../../cli/demo/trust-folder.ts';
import { ZENGIN_PROFILE, readZenginFile } from '../../sync/clearing/core/zengin-file.ts';
import { enterMerchant } from '../../sync/clearing/merchant-accounts.ts';
import { migrate } from '../../sync/clearing/schema.ts';
import { openSqlite } from '../../sync/clearing/sql.ts';

t.test('the clearing pays merchants by a bank file when it is asked to', async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'kiri-payout-'));
  t.teardown(() => rmSync(folder, { recursive: true, force: true }));
  const stateDir = join(folder, 'state');
  mkdirSync(stateDir);
  const world = makeWorld(storyPlan(), stateDir, Math.floor(Date.now() / 1000));
  const trust = join(folder, 'trust');
  writeTrust(trust, world);
  // No log is read here, so none answers.
  const file = clearingConfig(world, trust, join(folder, 'out'), 'http://127.0.0.1:9');
  const values = JSON.parse(readFileSync(file, 'utf8')) as Record<string, string>;
  const account = { bank: '0005', branch: '007', number: '7654321' };
  writeFileSync(
    join(stateDir, 'payees.json'),
    JSON.stringify([{ merchant: 'TOLL1', ...account, name: 'ﾘｮｳｷﾝｼﾞｮ' }]),
  );
  const payouts = [
    {
      acquirer: 'ab',
      clientCode: '0000012345',
      clientName: 'KIRI',
      account,
      payees: 'payees.json',
    },
  ];
  const [store, out] = [join(folder, 'store'), join(folder, 'out')];
  writeFileSync(file, JSON.stringify({ ...values, folder: store, outFolder: out, payouts }));
  mkdirSync(store);
  const database = openSqlite(join(store, 'clearing.sqlite'));
  await migrate(database);
  await database.transaction((session) =>
    enterMerchant(session, {
      acquirer: 'ab',
      merchant: 'TOLL1',
      currency: 392,
      kind: 'acknowledged',
      amountMicro: 3_850_250_000n,
      reference: 'file 1',
      nowS: 1,
    }),
  );
  await database.close();
  const programs = new Set<Program>();
  const clearing = await Program.start(
    'clearing',
    ['sync', 'clearing', '--config', file],
    programs,
  );
  t.teardown(() => clearing.kill());
  await t.rejects(clearing.request({ do: 'payout', acquirer: 'cd' }), /no such acquirer/);
  await t.rejects(clearing.request({ do: 'payout', transferDay: 'soon' }), /MMDD/);
  const paid = await clearing.request({ do: 'payout', transferDay: '1130' });
  t.match(paid, {
    payouts: [
      {
        acquirer: 'ab',
        files: [{ fileName: /^KIRI\.zengin-sougou\.0000012345\.D\d{6}\.S00001\.T\.txt$/ }],
        carried: [{ merchant: 'TOLL1', payableMicro: '250000', reason: 'remainder' }],
      },
    ],
  });
  const [{ files }] = paid['payouts'] as [{ files: [{ fileName: string }] }];
  const read = readZenginFile(
    readFileSync(join(out, 'payouts', files[0].fileName)),
    ZENGIN_PROFILE,
  );
  t.match(read, {
    ok: true,
    value: { header: { transferDay: '1130' }, transfers: [{ amountYen: 3850n }] },
  });
  t.match(await clearing.request({ do: 'reconcile' }), { reconciles: true });
});
