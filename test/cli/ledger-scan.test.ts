import { appendFile, cp, readFile, readdir, rename } from 'node:fs/promises';
import { join } from 'node:path';
import t from 'tap';
import { toHex } from '../../protocol/bytes.ts';
import { encodeCanonical } from '../../protocol/cbor/encode.ts';
import { needlesOf, scanLog, type Needle } from '../../sync/ledger/scan-log.ts';
import { MERCHANT_FACTS, PARTY_FACTS } from '../identity/fixture.ts';
import { temporaryFolder } from '../sync/ledger/rig.ts';
import { kiri } from '../system/command.ts';
import { buildOut, newOutWorld, ORIGIN } from './verify/out.ts';

const needlesBelow = async (folder: string): Promise<Needle[]> => {
  const needles: Needle[] = [];
  for (const name of await readdir(folder, { recursive: true })) {
    if (!/\.(?:cbor|cosekey)$/.test(name)) continue;
    const bytes = new Uint8Array(await readFile(join(folder, name)));
    needles.push(...needlesOf(name, bytes, [ORIGIN]));
  }
  return needles;
};

t.test('a log shows no key, id, reference, name, place or amount of anybody in it', async (t) => {
  const folder = await temporaryFolder(t);
  const out = join(folder, 'out');
  const made = newOutWorld();
  const { paid } = await buildOut(out, [10, 14], made);
  const { signers, line } = made.world;
  const log = join(out, 'ledger', ORIGIN);
  const needles = [
    ...(await needlesBelow(join(out, 'trust'))),
    ...(await needlesBelow(join(out, 'receipts'))),
  ];
  const scanned = await scanLog(log, needles);
  t.same(scanned.finds, []);
  t.ok(scanned.files > 6 && needles.length > 1_000, 'there was something to look for and in');

  // The search would have found each of these, in whatever form it stood there.
  const [one] = paid;
  const plants: readonly (readonly [string, Buffer | string])[] = [
    ['device key', Buffer.from(signers.device.key.point)],
    ['device key in text', Buffer.from(signers.device.key.point).toString('base64')],
    ['key id', signers.device.key.hex],
    ['key id, bytes', Buffer.from(signers.device.key.id)],
    ['payee key id', Buffer.from(signers.payee.key.id)],
    ['line', Buffer.from(line)],
    ['party id', toHex(signers.party.key.id)],
    ['party reference', PARTY_FACTS.reference],
    ['funding account', PARTY_FACTS.fundingAccount],
    ['place', MERCHANT_FACTS.place],
    ['merchant name', MERCHANT_FACTS.name],
    ['merchant id', MERCHANT_FACTS.merchantId],
    ['amount as a message has it', Buffer.from(encodeCanonical(one!.amountMicro))],
    ['amount in digits', one!.amountMicro.toString()],
    ['item', 'lane 1'],
  ];
  const planted = join(folder, 'planted');
  await cp(log, planted, { recursive: true });
  const target = join(planted, 'payload/000');
  const sound = await readFile(target);
  for (const [name, plant] of plants) {
    await cp(join(log, 'payload/000'), target);
    await appendFile(target, plant);
    const { finds } = await scanLog(planted, needles);
    t.ok(
      finds.some(({ path, offset }) => path === 'payload/000' && offset >= sound.length),
      name,
    );
    t.notOk(JSON.stringify(finds).includes(plant.toString('latin1')), 'its value is not repeated');
  }
  await cp(join(log, 'payload/000'), target);
  await rename(target, join(planted, 'payload', signers.device.key.hex));
  t.match((await scanLog(planted, needles)).finds, [{ offset: -1 }], 'a name of a file');

  const trust = ['--trust', join(out, 'trust'), '--trust', join(out, 'receipts')];
  t.match(await kiri(['ledger', 'scan', log, ...trust]), { code: 0, stdout: /^nothing found/ });
  t.match(await kiri(['ledger', 'scan', planted, ...trust]), { code: 1, stdout: /in its name/ });
  t.match(await kiri(['ledger', 'scan', log]), { code: 2 });
});
