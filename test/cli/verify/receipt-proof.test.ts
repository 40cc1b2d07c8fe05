import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { copyFileSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t from 'tap';
import { Artefacts } from '../../../cli/verify/artefacts.ts';
import { Findings } from '../../../cli/verify/findings.ts';
import { checkInclusionProof, inclusionProofPath } from '../../../cli/verify/inclusion.ts';
import { checkReceipts } from '../../../cli/verify/receipts.ts';
import { loadTrust } from '../../../cli/verify/trust.ts';
import { verifyFolder, verifyPath } from '../../../cli/verify/verify.ts';
import { nodeVerifier } from '../../../identity/edge/node-signatures.ts';
import { toHex } from '../../../protocol/bytes.ts';
import { payloadHash } from '../../../protocol/ids.ts';
import { noteVerify } from '../../../sync/ledger/core/note-ports.ts';
import { parsePolicy } from '../../../sync/ledger/core/policy.ts';
import { folderSource } from '../../../sync/ledger/log-source.ts';
import { proveReceipts } from '../../../sync/ledger/prove-receipts.ts';
import { judgeProof, readProofFile } from '../../c2sp/tlog.ts';
import { entryOf } from '../../c2sp/run.ts';
import { LAUNCHER, kiri } from '../../system/command.ts';
import { ORIGIN, buildOut } from './out.ts';

t.setTimeout(120_000);
const root = mkdtempSync(join(tmpdir(), 'kiri-receipt-proof-'));
t.teardown(() => rmSync(root, { recursive: true, force: true }));
const { paid } = await buildOut(root, [5]);
const trust = join(root, 'trust');
const receipts = join(root, 'receipts');
const one = paid[2]!;
const stem = toHex(payloadHash(one.paymentPayload)).slice(0, 24);
const receiptFile = join(receipts, `${stem}.receipt.cbor`);
const proofFile = join(receipts, inclusionProofPath(stem));

t.test('kiri ledger prove writes it, kiri verify and a second verifier accept it', async (t) => {
  const log = join(root, 'ledger', ORIGIN);
  const policy = join(trust, 'policy.txt');
  const made = await kiri(['ledger', 'prove', receiptFile, '--log', log, '--policy', policy]);
  t.same([made.code, made.stdout, made.stderr], [0, `${proofFile}\n`, '']);
  const proof = readFileSync(proofFile);
  const entry = entryOf(readProofFile(proof).extra ?? Buffer.of());
  t.match(judgeProof(proof, entry, readFileSync(policy)), {
    right: true,
    value: { origin: ORIGIN, index: 2, size: 5 },
  });
  const parsed = parsePolicy(readFileSync(policy));
  if (!parsed.ok) throw new Error(parsed.reason);
  const ports = { policy: parsed.value, verify: noteVerify(nodeVerifier()) };
  const none = await proveReceipts(folderSource(log), new Set(['00'.repeat(32)]), ports);
  t.equal(none.size, 0, 'a receipt that is not there has no proof');
  const stricter = parsePolicy(
    Buffer.from(`log ${readFileSync(join(trust, 'log.vkey'), 'utf8')}quorum none\n`),
  );
  if (!stricter.ok) throw new Error(stricter.reason);
  const foreign = { ...ports, policy: { ...stricter.value, logs: [] } };
  await t.rejects(proveReceipts(folderSource(log), new Set(), foreign), { code: 'LOG_NOT_FINAL' });
  await t.rejects(proveReceipts(folderSource(receipts), new Set(), ports), {
    code: 'LOG_NOT_FINAL',
  });
  for (const [args, code] of [
    [['ledger', 'prove'], 2],
    [['ledger', 'prove', receiptFile, '--policy', policy], 2],
    [['ledger', 'prove', policy, '--log', log, '--policy', policy], 1],
  ] as const) {
    t.equal((await kiri(args)).code, code, args.slice(2).length.toString());
  }
});

/** Makes every way out of the process fail; with nothing to run it fails itself, so that it is known to work. */
const NO_NETWORK = `
import dgram from 'node:dgram';
import dns from 'node:dns';
import net from 'node:net';
import { syncBuiltinESMExports } from 'node:module';
const no = () => { process.stderr.write('a socket was opened'); process.exit(77); };
net.Socket.prototype.connect = no;
net.Server.prototype.listen = no;
for (const name of ['lookup', 'resolve', 'resolve4', 'resolve6']) { dns[name] = no; dns.promises[name] = no; }
dgram.createSocket = no;
syncBuiltinESMExports();
`;

async function withoutNetwork(
  args: readonly string[],
): Promise<readonly [code: number, out: string]> {
  const preload = `data:text/javascript,${encodeURIComponent(NO_NETWORK)}`;
  const child = spawn(process.execPath, ['--import', preload, ...args], { cwd: tmpdir() });
  let out = '';
  child.stdout.on('data', (piece: Buffer) => (out += piece.toString()));
  child.stderr.on('data', (piece: Buffer) => (out += piece.toString()));
  const [code] = (await once(child, 'close')) as [number];
  return [code, out];
}

t.test('receipt and proof hold from the trust files alone, without any network', async (t) => {
  const [code, out] = await withoutNetwork([
    LAUNCHER,
    'verify',
    receiptFile,
    proofFile,
    '--trust',
    trust,
  ]);
  t.equal(code, 0, out);
  t.match(out, /inclusion proofs +1\n/);
  t.match(out, /everything holds/);
  const calls = [
    "net.connect(1, '127.0.0.1')",
    "http.get('http://127.0.0.1:1/')",
    "dns.lookup('x', () => {})",
  ];
  for (const call of calls) {
    const [name = ''] = call.split('.');
    const probe = `import ${name} from 'node:${name}'; ${call};`;
    t.same(
      await withoutNetwork(['--input-type=module', '-e', probe]),
      [77, 'a socket was opened'],
      call,
    );
  }
});

/** A folder's files as they stand, one of them with other bytes: thousands of changes without a disk. */
class BentFiles extends Artefacts {
  readonly #whole = new Map<string, Uint8Array | undefined>();
  bent: readonly [path: string, bytes: Uint8Array] | undefined;

  override read(path: string): Uint8Array | undefined {
    if (this.bent?.[0] === path) return this.bent[1];
    if (!this.#whole.has(path)) this.#whole.set(path, super.read(path));
    return this.#whole.get(path);
  }
}

const flipped = (whole: Uint8Array, at: number): Buffer => {
  const bent = Buffer.from(whole);
  bent[at]! ^= 1 << (at % 8);
  return bent;
};

t.test('one changed byte, at every place of every file, is found', async (t) => {
  const messages = new BentFiles(receipts, new Findings());
  // A proof needs the issuer's key, the policy and the vkeys; without the documents each check takes a millisecond.
  const few = join(root, 'few');
  mkdirSync(few);
  for (const name of ['issuer.cosekey', 'issuer.pem', 'policy.txt', 'log.vkey', 'witness.vkey']) {
    copyFileSync(join(trust, name), join(few, name));
  }
  const roots = new BentFiles(few, new Findings());
  const all = loadTrust(new Artefacts(trust, new Findings()), '', new Findings());
  if (all === undefined) throw new Error('no trust');
  const receiptHolds = (): boolean => {
    const found = new Findings();
    checkReceipts(messages, [stem], all.book, found);
    return found.report().ok;
  };
  const proofHolds = (): boolean => {
    const found = new Findings();
    checkInclusionProof(messages, inclusionProofPath(stem), all, found);
    return found.report().ok;
  };
  const rootsHold = (): boolean => {
    const found = new Findings();
    const store = loadTrust(roots, '', found);
    if (store) checkInclusionProof(messages, inclusionProofPath(stem), store, found);
    return found.report().ok;
  };
  t.same([receiptHolds(), proofHolds(), rootsHold()], [true, true, true]);
  let changed = 0;
  const missed = (files: BentFiles, path: string, isFine: () => boolean): readonly number[] => {
    const whole = files.read(path) ?? new Uint8Array(0);
    const places = Array.from(whole.keys()).filter((at) => {
      files.bent = [path, flipped(whole, at)];
      changed += 1;
      return isFine();
    });
    files.bent = undefined;
    return places;
  };
  for (const kind of ['receipt', 'payment', 'offer']) {
    t.same(missed(messages, `${stem}.${kind}.cbor`, receiptHolds), [], kind);
  }
  t.same(missed(messages, inclusionProofPath(stem), proofHolds), [], 'proof');
  for (const name of ['log.vkey', 'witness.vkey']) {
    t.same(missed(roots, name, rootsHold), [], name);
  }
  // What stands in a comment decides nothing; that the file is not the issuer's is found by the folder's contents.
  const inComment = missed(roots, 'policy.txt', rootsHold);
  t.same(inComment, [1, 2, 3, 4, 5], 'policy: all but the words of its comment');
  t.comment(`${changed} changes`);

  // The same verdicts from files on the disk.
  t.ok((await verifyPath(proofFile, { trustDir: few })).ok);
  for (const file of [proofFile, ...['log.vkey', 'policy.txt'].map((name) => join(few, name))]) {
    const whole = readFileSync(file);
    writeFileSync(file, flipped(whole, whole.length - 9));
    t.notOk((await verifyPath(proofFile, { trustDir: few })).ok, file.slice(root.length));
    writeFileSync(file, whole);
  }
  const policy = join(trust, 'policy.txt');
  const isUnnamed = async (): Promise<boolean> => {
    const { faults } = await verifyFolder(root);
    return !faults.some(({ path }) => path === 'trust/policy.txt');
  };
  const whole = readFileSync(policy);
  for (const at of inComment) {
    writeFileSync(policy, flipped(whole, at));
    t.notOk(await isUnnamed(), `byte ${at} of the comment`);
  }
  writeFileSync(policy, whole);
  t.ok(await isUnnamed());
  rmSync(few, { recursive: true });
});
