import { mkdtemp, readFile, readdir, rm, unlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t from 'tap';
import { Artefacts } from '../../../cli/verify/artefacts.ts';
import { Findings } from '../../../cli/verify/findings.ts';
import { checkPayout } from '../../../cli/verify/payout-files.ts';
import { loadTrust } from '../../../cli/verify/trust.ts';
import { verifyFolder, verifyPath, writeContents } from '../../../cli/verify/verify.ts';
import { sha256 } from '@noble/hashes/sha2.js';
import { decodeSign1, signSign1 } from '../../../protocol/cose.ts';
import type { Signer } from '../../../protocol/public-key.ts';
import { ClearingService } from '../../../sync/clearing/clearing-service.ts';
import {
  CLOSED_LIST,
  CLOSED_STATEMENT,
  signClosedBooks,
} from '../../../sync/clearing/core/closed-books.ts';
import type { ClosedBooks } from '../../../sync/clearing/core/closed-books.ts';
import {
  PAYOUT_MANIFEST,
  PAYOUT_MANIFEST_TYP,
} from '../../../sync/clearing/core/payout-manifest.ts';
import type { PayoutManifest } from '../../../sync/clearing/core/payout-manifest.ts';
import type { PayoutTerms } from '../../../sync/clearing/core/payout-terms.ts';
import { ZENGIN_PROFILE } from '../../../sync/clearing/core/zengin-file.ts';
import { enterMerchant } from '../../../sync/clearing/merchant-accounts.ts';
import { setHold } from '../../../sync/clearing/retention.ts';
import { openSqlite } from '../../../sync/clearing/sql.ts';
import { NOW_S } from '../../identity/fixture.ts';
import { directoryOf, programme } from '../../sync/clearing/sample.ts';
import { buildOut } from './out.ts';

const root = await mkdtemp(join(tmpdir(), 'kiri-payouts-'));
t.teardown(() => rm(root, { recursive: true, force: true }));
const database = openSqlite(':memory:');
const kept = { ...database, close: async () => {} };
t.teardown(() => database.close());
const { out } = await buildOut(root, [3, 3], undefined, { database: kept }, 3);
const { clearing, issuer } = out.world.signers;

const account = { bank: '0005', bankName: '', branch: '007', branchName: '', kind: '1' } as const;
const merchants = ['A', 'B', 'C'];
const terms: PayoutTerms = {
  acquirer: 'acquirer-1',
  profile: ZENGIN_PROFILE,
  clientCode: '0000012345',
  clientName: 'KIRI',
  account: { ...account, number: '1234567' },
  minimumYen: 1n,
  payees: new Map(
    merchants.map((one, at) => [
      one,
      { account: { ...account, number: `000000${at}` }, name: `MISE ${one}`, reference: '' },
    ]),
  ),
};
const service = await ClearingService.open(
  {
    database: kept,
    signer: clearing,
    outFolder: root,
    directory: directoryOf({ ...programme }),
    policyHash: new Uint8Array(32),
    mode: 'T',
  },
  NOW_S,
);
for (const [at, merchant] of merchants.entries()) {
  await service.within((session) =>
    enterMerchant(session, {
      acquirer: 'acquirer-1',
      merchant,
      currency: 392,
      kind: 'acknowledged',
      amountMicro: BigInt(at + 1) * 1_000_000_000n,
      reference: `line ${merchant}`,
      nowS: NOW_S,
    }),
  );
}
const payout = await service.payout(terms, '1124', NOW_S);
const base = (payout.files[0]?.fileName ?? '').replace('.txt', '');
const at = (ending: string): string => join(root, 'payouts', `${base}.${ending}`);

const faultsOf = async (): Promise<string[]> => {
  await writeContents(root, clearing);
  const { faults } = await verifyFolder(root);
  return faults.map(({ path, reason }) => `${path.replace(base, 'X')} ${reason}`);
};

const store = loadTrust(new Artefacts(join(root, 'trust'), new Findings()), '', new Findings());
if (!store) throw new Error('no trust');

/** What the check of the payout alone says: without the signed contents, which would find any change too. */
const judged = (): string[] => {
  const findings = new Findings();
  const files = new Artefacts(join(root, 'payouts'), findings, false);
  checkPayout({ files, store, findings, nowS: NOW_S + 7_200, numbers: new Map() }, base);
  return findings.report().faults.map(({ path, reason }) => `${path.replace(base, 'X')} ${reason}`);
};

t.test('a payout as it was made holds, in its folder and by itself', async (t) => {
  t.same(await faultsOf(), []);
  const { checked } = await verifyFolder(root);
  t.match(checked, { payouts: 1, 'transfers to merchants': 3 });
  for (const ending of ['txt', 'lines.jsonl', 'manifest']) {
    const report = await verifyPath(at(ending));
    t.match(report, { ok: true, checked: { payouts: 1 } }, ending);
  }
});

t.test('any changed byte of any part is found, and the part named', async (t) => {
  const named = (): string[] => judged().map((fault) => fault.split(' ')[0] ?? '');
  t.same(named(), []);
  for (const ending of ['txt', 'lines.jsonl', 'manifest']) {
    const whole = await readFile(at(ending));
    const missed: number[] = [];
    for (let place = 0; place < whole.length; place += 2) {
      const changed = Buffer.from(whole);
      changed[place] = (changed[place] ?? 0) ^ (1 << (place % 8));
      await writeFile(at(ending), changed);
      if (!named().includes(`X.${ending}`)) missed.push(place);
    }
    t.same(missed, [], `${ending}: ${whole.length} bytes`);
    await writeFile(at(ending), whole.subarray(0, -1));
    t.ok(named().includes(`X.${ending}`), `${ending} cut short`);
    await writeFile(at(ending), whole);
  }
});

/** Writes a part with a manifest that fits its bytes and says otherwise what it is told to. */
const signedAnew = async (
  parts: Readonly<Record<string, Buffer>>,
  stated: Partial<PayoutManifest> = {},
  by: Signer = clearing,
): Promise<string[]> => {
  const before = new Map<string, Buffer>();
  for (const ending of ['txt', 'lines.jsonl', 'manifest']) {
    before.set(ending, await readFile(at(ending)));
  }
  const sign1 = decodeSign1(new Uint8Array(before.get('manifest') ?? []));
  const decoded = sign1.ok ? PAYOUT_MANIFEST.decode(sign1.value.payload) : sign1;
  if (!decoded.ok) throw new Error(decoded.reason);
  for (const [ending, bytes] of Object.entries(parts)) await writeFile(at(ending), bytes);
  const [txt, lines] = [await readFile(at('txt')), await readFile(at('lines.jsonl'))];
  const manifest = {
    ...decoded.value,
    fileSha256: sha256(txt),
    fileBytes: txt.length,
    linesSha256: sha256(lines),
    ...stated,
  };
  const header = { kid: by.key.id, typ: PAYOUT_MANIFEST_TYP };
  await writeFile(at('manifest'), signSign1(by, PAYOUT_MANIFEST.encode(manifest), header));
  const faults = judged();
  for (const [ending, bytes] of before) await writeFile(at(ending), bytes);
  return faults;
};

t.test('a wrong payout is found though its clearing signed it', async (t) => {
  const txt = await readFile(at('txt'));
  const lines = (await readFile(at('lines.jsonl'))).toString();
  t.same(await signedAnew({}), []);
  t.match(await signedAnew({}, { totalYen: '5999' }), [/X.txt sum of the transfers is not/]);
  t.match(await signedAnew({}, { transfers: 2 }), [/X.txt number of transfers is not/]);
  t.match(await signedAnew({}, { cutS: NOW_S + 7_200 }), [/X.txt its name has another date/]);
  t.match(await signedAnew({}, { fileName: 'other.txt' }), [/X.manifest is the manifest of other/]);
  t.match(await signedAnew({}, { lineEnd: 'lf' }), [/X.manifest there is no line end/]);
  t.match(await signedAnew({}, {}, issuer), [/X.manifest not signed by a clearing/]);
  t.match(await signedAnew({}, { cutS: NOW_S + 7_201 }), [/X.manifest is of the future/]);
  // One digit of an amount, and the trailer with it: the lines know what each merchant is paid.
  const [amountAt, totalAt] = [2 * 120 + 89, 4 * 120 + 18];
  const moved = Buffer.from(txt);
  moved[amountAt] = (moved[amountAt] ?? 0) + 1;
  t.match(await signedAnew({ txt: moved }), [/X.txt WRONG_VALUE trailer.total/]);
  moved[totalAt] = (moved[totalAt] ?? 0) + 1;
  t.match(await signedAnew({ txt: moved }, { totalYen: '6001' }), [
    /X.lines.jsonl line 2 pays another sum/,
  ]);
  const other = Buffer.from(txt);
  other[13] = 0x36;
  t.match(await signedAnew({ txt: other }), [/X.txt its name has another client code/]);
  const changed = async (from: string, to: string): Promise<string[]> =>
    signedAnew({ 'lines.jsonl': Buffer.from(lines.replace(from, to)) });
  t.match(await changed('"B"', '"A"'), [/line 2: its merchant stands twice/]);
  t.match(await changed('"number":3', '"number":4'), [/line 3 is not a transfer/]);
  t.match(await changed('{"number":1', '{"x":0,"number":1'), [/line 1 is not a transfer/]);
  t.match(await changed(lines.split('\n')[2] ?? '', ''), [/line 3 is not a transfer/]);
  t.match(await changed(`${lines.split('\n')[2]}\n`, ''), [/2 lines for 3 transfers/]);
});

t.test('no number goes to a bank twice, and nothing else lies among payouts', async (t) => {
  const copy = base.replace('.T', '.P');
  for (const ending of ['txt', 'lines.jsonl', 'manifest']) {
    await writeFile(join(root, 'payouts', `${copy}.${ending}`), await readFile(at(ending)));
  }
  await writeFile(join(root, 'payouts', 'note.txt'), 'pay them');
  const faults = await faultsOf();
  t.ok(faults.some((fault) => /has the number of/.test(fault)));
  t.ok(faults.some((fault) => fault.startsWith('payouts/note.txt is no part of a payout')));
  for (const name of await readdir(join(root, 'payouts'))) {
    if (!name.startsWith(base)) await unlink(join(root, 'payouts', name));
  }
  await unlink(at('manifest'));
  t.match(await faultsOf(), [/X.manifest missing/]);
});

t.test('what was deleted after its years is missing with a reason, and only that', async (t) => {
  const names = (await readdir(join(root, 'clearing')))
    .filter((name) => name.endsWith('.ipm'))
    .map((name) => name.replace('.ipm', ''))
    .toSorted();
  const hold = { kind: 'file', reference: names[2] ?? '', reason: 'court' };
  await service.within((session) => setHold(session, hold, NOW_S));
  const later = NOW_S + 20 * 366 * 86_400;
  const run = await service.deleteExpired({}, later);
  t.match(run, { files: 3, kept: { held: 1 } }, 'two files and the payout');
  const left = await readdir(join(root, 'clearing'));
  t.ok(left.length > 0 && left.every((name) => name.startsWith(names[2] ?? '')));
  // What the summary of the folder counts is another matter: it names the deleted files.
  const others = async (): Promise<string[]> =>
    (await faultsOf()).filter((fault) => !fault.startsWith('summary.json'));
  const [list = '', statement = ''] = [CLOSED_LIST, CLOSED_STATEMENT].map((one) => join(root, one));
  t.match(
    await others(),
    [/closed-books.statement kiri\/clearing: expired/, /does not go on/],
    'a clearing that is no longer credentialed explains nothing',
  );
  const text = await readFile(list, 'utf8');
  const listSha256 = sha256(Buffer.from(text));
  const stated = { atS: NOW_S, throughS: run.throughS, files: 3, listSha256 };
  const say = (part: Partial<ClosedBooks> = {}, by: Signer = clearing): Promise<void> =>
    writeFile(statement, signClosedBooks(by, { ...stated, ...part }));
  await say();
  t.same(await others(), []);
  const { checked } = await verifyFolder(root);
  t.match(checked, { 'deleted files': 3, 'evidence that goes on from an earlier archive': 1 });
  await say({}, issuer);
  t.match(await others(), [/not signed by a clearing/, /does not go on/]);
  await say({ files: 2 });
  t.match(await others(), [/another number of files/]);
  await say();
  await writeFile(list, text.replaceAll(/aggregate .*\n/g, ''));
  t.match(await others(), [/closed-books.txt is not the list/, /does not go on/]);
  await unlink(statement);
  t.match(await others(), [/closed-books.statement missing/, /does not go on/]);
  await service.close();
});
