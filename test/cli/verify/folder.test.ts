import {
  copyFile,
  cp,
  mkdtemp,
  readFile,
  readdir,
  rm,
  stat,
  unlink,
  writeFile,
} from 'node:fs/promises';
import { createHash } from 'node:crypto';
import { tmpdir } from 'node:os';
import { join, sep } from 'node:path';
import t from 'tap';
import type { Test } from 'tap';
import { runVerify, verifyFolder, verifyPath, writeContents } from '../../../cli/verify/verify.ts';
import { UsageError } from '../../../cli/command.ts';
import { issueClearing } from '../../../identity/core/issue.ts';
import { toHex } from '../../../protocol/bytes.ts';
import { payloadHash } from '../../../protocol/ids.ts';
import { cosign } from '../../../sync/ledger/core/cosignature.ts';
import { witnessSigner } from '../../../sync/ledger/core/note-ports.ts';
import { LIST, NOW_S } from '../../identity/fixture.ts';
import { ORIGIN, buildOut, pay } from './out.ts';

const newFolder = async (t: Test): Promise<string> => {
  const root = await mkdtemp(join(tmpdir(), 'kiri-verify-'));
  t.teardown(() => rm(root, { recursive: true, force: true }));
  return root;
};

const filesOf = async (root: string): Promise<string[]> => {
  const names = await readdir(root, { recursive: true, withFileTypes: true });
  return names
    .filter((one) => one.isFile())
    .map((one) =>
      join(one.parentPath, one.name)
        .slice(root.length + 1)
        .split(sep)
        .join('/'),
    )
    .toSorted();
};

/** tap's own comparison of error classes looks at names, which these do not set. */
const isUsage = async (t: Test, work: Promise<unknown>): Promise<void> => {
  const error: unknown = await work.catch((thrown: unknown) => thrown);
  t.ok(error instanceof UsageError, String(error));
};

const namesIt = async (root: string, path: string): Promise<boolean> =>
  (await verifyFolder(root)).faults.some((fault) => fault.path === path);

/** Places that a test changes, drawn anew in every run: the more runs, the more of them. */
const placesIn = (length: number, count: number): number[] =>
  Array.from({ length: count }, () => Math.floor(Math.random() * length));

/** Changes one byte of one file after the other and gives back what was not found. */
const missedChanges = async (
  root: string,
  paths: readonly string[],
  count: number,
): Promise<{ tried: number; missed: string[] }> => {
  const missed: string[] = [];
  let tried = 0;
  for (const path of paths) {
    const whole = await readFile(join(root, path));
    for (const at of placesIn(whole.length, count)) {
      const changed = Buffer.from(whole);
      changed[at]! ^= 1 << Math.floor(Math.random() * 8);
      await writeFile(join(root, path), changed);
      tried += 1;
      if (!(await namesIt(root, path)))
        missed.push(`${path} byte ${at}: ${whole[at]} to ${changed[at]}`);
    }
    await writeFile(join(root, path), whole);
  }
  return { tried, missed };
};

t.test('a sound folder verifies and says who is liable', async (t) => {
  const root = await newFolder(t);
  const { out } = await buildOut(root, [3, 2]);
  const report = await verifyFolder(root);
  t.same(report.faults, []);
  t.ok(report.ok);
  t.match(report.checked, { receipts: 5, 'settlement files': 2, evidence: 2, 'log entries': 5 });
  // 2 + 3 + 4 + 5 + 6 units at 3.85 yen.
  const liable = { party: out.world.signers.party.key.hex, reference: 'party-0001', receipts: 5 };
  t.match(report.liable, [{ ...liable, amountMicro: 77_000_000n, currency: 392 }]);
  const contents = await readFile(join(root, 'CONTENTS.sha256'), 'utf8');
  const listed = contents
    .split('\n')
    .slice(0, -1)
    .map((line) => line.slice(66));
  t.same(
    listed,
    (await filesOf(root)).filter((path) => !path.startsWith('CONTENTS')),
  );
});

t.test('a changed byte in any file is found and the file named', async (t) => {
  const root = await newFolder(t);
  await buildOut(root, [1, 1]);
  const { tried, missed } = await missedChanges(root, await filesOf(root), 1);
  t.ok(tried >= 45, `${tried} changes`);
  t.same(missed, []);
});

t.test(
  'without the contents files, meaning alone finds every change of what is signed',
  async (t) => {
    const root = await newFolder(t);
    await buildOut(root, [1, 1]);
    await unlink(join(root, 'CONTENTS.sha256'));
    await unlink(join(root, 'CONTENTS.sig'));
    // The measurements in summary.json mean nothing else than themselves: only its totals are computed again.
    const paths = (await filesOf(root)).filter((path) => path !== 'summary.json');
    const { missed } = await missedChanges(root, paths, 1);
    t.same(missed, []);
  },
);

t.test(
  'every twelfth byte of a receipt, a checkpoint and a manifest is watched by its meaning',
  async (t) => {
    const root = await newFolder(t);
    await buildOut(root, [1, 1]);
    await unlink(join(root, 'CONTENTS.sha256'));
    await unlink(join(root, 'CONTENTS.sig'));
    const all = await filesOf(root);
    const one = (pattern: RegExp): string => all.find((path) => pattern.test(path))!;
    const shift = Math.floor(Math.random() * 12);
    const paths = [one(/\.receipt\.cbor$/), one(/checkpoint$/), one(/\.manifest$/)];
    const missed: string[] = [];
    for (const path of paths) {
      const whole = await readFile(join(root, path));
      for (const [at, byte] of whole.entries()) {
        if (at % 12 !== shift) continue;
        const changed = Buffer.from(whole);
        changed[at] = byte ^ (1 << (at % 8));
        await writeFile(join(root, path), changed);
        if (!(await namesIt(root, path))) missed.push(`${path} byte ${at}`);
      }
      await writeFile(join(root, path), whole);
    }
    t.same(missed, []);
  },
);

t.test('missing, additional and linked files are faults', async (t) => {
  const root = await newFolder(t);
  const { out } = await buildOut(root, [2]);
  for (const path of await filesOf(root)) {
    const whole = await readFile(join(root, path));
    await unlink(join(root, path));
    if (!(await namesIt(root, path))) t.fail(`${path} was removed unseen`);
    await writeFile(join(root, path), whole);
  }
  for (const path of ['note.txt', 'receipts/one.cbor', 'clearing/x.txt', 'ledger/gw1.example/a']) {
    await writeFile(join(root, path), 'x');
    t.ok(await namesIt(root, path), path);
    await unlink(join(root, path));
  }
  // A list that is signed again does not make an artefact mean anything else.
  const [receipt] = (await filesOf(root)).filter((path) => path.endsWith('.receipt.cbor'));
  await unlink(join(root, receipt!));
  await writeContents(root, out.world.signers.clearing);
  t.ok(await namesIt(root, receipt!));
});

t.test(
  'a genuine receipt that no log holds, and a stranger’s signature line, are named',
  async (t) => {
    const root = await newFolder(t);
    const { out, paid } = await buildOut(root, [2]);
    const more = pay(out, 3, paid[1]!.totalMicro, 1n);
    const stem = `receipts/${toHex(payloadHash(more.paymentPayload)).slice(0, 24)}`;
    for (const kind of ['payment', 'offer', 'receipt'] as const) {
      await writeFile(join(root, `${stem}.${kind}.cbor`), more[kind]);
    }
    const path = `ledger/${ORIGIN}/tlog/checkpoint`;
    const name = 'stranger.example/w9';
    const note = await readFile(join(root, path), 'utf8');
    const text = note.slice(0, note.indexOf('\n\n') + 1);
    const line = cosign(text, witnessSigner(name, out.world.signers.stranger), 1);
    await writeFile(join(root, path), note + line);
    await writeContents(root, out.world.signers.clearing);
    const named = new Set((await verifyFolder(root)).faults.map((fault) => fault.path));
    // The summary, too, no longer counts what is there.
    t.same([...named].toSorted(), [path, `${stem}.receipt.cbor`, 'summary.json']);
  },
);

t.test(
  'a retired log tells of no receipt and blames nobody; its tree is still checked',
  async (t) => {
    const root = await newFolder(t);
    const { out, paid } = await buildOut(root, [3]);
    const log = join(root, 'ledger', ORIGIN);
    const retention = 'kiri-retention/1\npayload-days 60\ntree-years 10\n';
    const hash = createHash('sha256').update(retention).digest('hex');
    // 60 days after 2026q4.
    const dueS = Date.UTC(2027, 2, 2) / 1_000;
    await writeFile(join(log, 'retention'), retention);
    const record = `kiri-retired/1\norigin ${ORIGIN}\nsize 3\nretention ${hash}\nretired ${dueS}\n`;
    await writeFile(join(log, 'retired'), record);
    const now = t.capture(Date, 'now', () => dueS * 1_000);
    const left = await writeContents(root, out.world.signers.clearing).then(() =>
      verifyFolder(root),
    );
    t.match(left.faults, [{ reason: /retired and still there/ }, { reason: /retired and still/ }]);
    await rm(join(log, 'payload'), { recursive: true });
    await rm(join(log, 'keys'), { recursive: true });
    await writeContents(root, out.world.signers.clearing);
    const report = await verifyFolder(root);
    t.same(report.faults, []);
    t.equal(report.checked['receipts that only a retired log can hold'], paid.length);
    t.equal(report.checked['retired logs'], 1);
    await writeFile(join(log, 'tlog/tile/0/000.p/3'), Buffer.alloc(96));
    t.ok(await namesIt(root, `ledger/${ORIGIN}/tlog/tile/0/000.p/3`));
    now.restore();
    t.ok(await namesIt(root, `ledger/${ORIGIN}/retired`), 'of a time to come');
  },
);

t.test('a receipt missing from its log past the merge delay names its operator', async (t) => {
  const root = await newFolder(t);
  const { out, paid } = await buildOut(root, [2]);
  const more = pay(out, 3, paid[1]!.totalMicro, 1n);
  const stem = `receipts/${toHex(payloadHash(more.paymentPayload)).slice(0, 24)}`;
  for (const kind of ['payment', 'offer', 'receipt'] as const) {
    await writeFile(join(root, `${stem}.${kind}.cbor`), more[kind]);
  }
  const path = join(root, `ledger/${ORIGIN}/tlog/checkpoint`);
  const note = await readFile(path, 'utf8');
  const text = note.slice(0, note.indexOf('\n\n') + 1);
  const [own = ''] = note.slice(text.length + 1).split('\n');
  const reasonAt = async (timeS: number): Promise<string | undefined> => {
    const line = cosign(text, witnessSigner('witness.example/w1', out.witness), timeS);
    await writeFile(path, `${text}\n${own}\n${line}`);
    const { faults } = await verifyFolder(root);
    return faults.find(({ reason }) => reason.startsWith('is in no log'))?.reason;
  };
  // The longest outage of 30 days and a day with a line, after the Receipt's time.
  const limitS = NOW_S + 31 * 86_400;
  t.equal(await reasonAt(limitS), 'is in no log of this folder');
  t.equal(
    await reasonAt(limitS + 10),
    'is in no log of this folder: MERGE_DELAY_PASSED, its operator Ring Road answers for it',
  );
});

t.test('a whole foreign world does not pass under a pinned issuer', async (t) => {
  const [root, other] = [await newFolder(t), await newFolder(t)];
  await buildOut(root, [2]);
  await buildOut(other, [2]);
  t.ok((await verifyFolder(root, { trustDir: join(root, 'trust') })).ok);
  const report = await verifyFolder(root, { trustDir: join(other, 'trust') });
  const named = new Set(report.faults.map((fault) => fault.path));
  for (const path of ['trust/issuer.cosekey', 'trust/issuer.pem', 'trust/policy.txt']) {
    t.ok(named.has(path), path);
  }
  t.ok(named.has('trust/documents/party-1.cbor'));
  // The other issuer's key alone, put in place of the right one.
  await copyFile(join(other, 'trust/issuer.cosekey'), join(root, 'trust/issuer.cosekey'));
  await copyFile(join(other, 'trust/issuer.pem'), join(root, 'trust/issuer.pem'));
  const swapped = await verifyFolder(root);
  t.ok(swapped.faults.some((fault) => fault.path === 'trust/issuer.cosekey'));
  t.notOk(swapped.ok);
});

t.test('artefacts of another run do not pass in this one', async (t) => {
  const [root, other] = [await newFolder(t), await newFolder(t)];
  const { out } = await buildOut(root, [2]);
  await buildOut(other, [3], out);
  // Same keys throughout: only the links between the artefacts tell.
  for (const part of ['receipts', 'ledger', 'clearing', 'evidence']) {
    const mixed = await newFolder(t);
    await cp(root, mixed, { recursive: true });
    await rm(join(mixed, part), { recursive: true });
    await cp(join(other, part), join(mixed, part), { recursive: true });
    await writeContents(mixed, out.world.signers.clearing);
    const report = await verifyFolder(mixed);
    t.notOk(report.ok, part);
  }
});

t.test('a manifest that a clearing signed outside its time is none', async (t) => {
  const root = await newFolder(t);
  const { out } = await buildOut(root, [2]);
  const { issuer, clearing } = out.world.signers;
  const credential = (notBeforeS: number, expiresS: number): Uint8Array =>
    issueClearing(issuer, {
      issuedS: notBeforeS,
      status: { uri: LIST, index: 7 },
      key: clearing.key,
      reference: 'clearing-0001',
      notBeforeS,
      expiresS,
    });
  const path = join(root, 'trust/documents/clearing.cbor');
  const manifests = (await filesOf(root)).filter((one) => one.endsWith('.manifest'));
  await writeFile(path, credential(NOW_S - 9_000, NOW_S - 1_000));
  await writeContents(root, clearing);
  t.same(
    (await verifyFolder(root)).faults.map((fault) => fault.path),
    manifests,
    'expired before the cut',
  );
  await writeFile(
    join(root, 'trust/documents/clearing-2.cbor'),
    credential(NOW_S, NOW_S + 900_000),
  );
  await writeContents(root, clearing);
  t.ok((await verifyFolder(root)).ok, 'and renewed before it');
});

t.test('single artefacts verify with the trust folder above them', async (t) => {
  const root = await newFolder(t);
  await buildOut(root, [2, 3]);
  const paths = (await filesOf(root)).filter((path) =>
    /^(?:receipts|clearing|evidence)\/|checkpoint$/.test(path),
  );
  for (const path of [...paths, 'ledger/gw1.example/2026q4']) {
    const report = await verifyPath(join(root, path));
    if (!report.ok) t.fail(`${path}: ${JSON.stringify(report.faults)}`);
    const isFile = (await stat(join(root, path))).isFile();
    if (!isFile) continue;
    const whole = await readFile(join(root, path));
    const changed = Buffer.from(whole);
    changed[Math.floor(Math.random() * whole.length)]! ^= 0x10;
    await writeFile(join(root, path), changed);
    const { faults } = await verifyPath(join(root, path));
    const name = path.slice(path.lastIndexOf('/') + 1);
    if (!faults.some((fault) => fault.path === name)) t.fail(`${path}: change not found`);
    await writeFile(join(root, path), whole);
  }
  t.pass(`${paths.length} artefacts`);
  for (const path of ['trust/policy.txt', 'receipts', 'nothing']) {
    await isUsage(t, verifyPath(join(root, path)));
  }
});

t.test('hostile bytes in place of any artefact never throw', async (t) => {
  const root = await newFolder(t);
  await buildOut(root, [2]);
  const junk = [
    Buffer.alloc(0),
    Buffer.alloc(300, 0xff),
    Buffer.from('d28440a040', 'hex'),
    Buffer.from('{"a":[]}\n'),
  ];
  for (const [number, path] of (await filesOf(root)).entries()) {
    const whole = await readFile(join(root, path));
    await writeFile(join(root, path), junk[number % junk.length]!);
    if (!(await namesIt(root, path))) t.fail(`${path}: junk not found`);
    await writeFile(join(root, path), whole);
  }
  t.ok((await verifyFolder(root)).ok);
});

t.test('the command: exit codes and both forms of output', async (t) => {
  const root = await newFolder(t);
  await buildOut(root, [2]);
  const said: string[] = [];
  const run = (...argv: string[]): Promise<number> => runVerify(argv, (text) => said.push(text));
  t.equal(await run(root), 0);
  t.equal(await run(root, '--json'), 0);
  await writeFile(join(root, 'summary.json'), '{"reconciles":false}');
  t.equal(await run(root, '--trust', join(root, 'trust')), 1);
  await isUsage(t, run());
  await isUsage(t, run('--wrong', root));
  await isUsage(t, run(root, join(root, 'receipts')));
  t.match(said[0], /everything holds\n$/);
  t.match(JSON.parse(said[1]!), { ok: true, faults: [], liable: [{ receipts: 2 }] });
  t.match(said[2], /FAULT summary\.json: /);
});
