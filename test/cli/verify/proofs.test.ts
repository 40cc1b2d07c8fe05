import { randomBytes } from 'node:crypto';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t from 'tap';
import { checkProof } from '../../../cli/verify/proofs.ts';
import { DocumentBook } from '../../../cli/verify/documents.ts';
import { keyFilesOf, keyOfCose, keyOfPem } from '../../../cli/verify/key-files.ts';
import { verifyPath } from '../../../cli/verify/verify.ts';
import * as issue from '../../../identity/core/issue.ts';
import { amountMicro } from '../../../protocol/amount.ts';
import { signSign1 } from '../../../protocol/cose.ts';
import { lineId, payloadHash } from '../../../protocol/ids.ts';
import { MISBEHAVIOUR_PROOF } from '../../../protocol/messages/evidence.ts';
import type { Signer } from '../../../protocol/public-key.ts';
import { CHECKPOINT_PATH } from '../../../sync/ledger/core/log-batch.ts';
import { encodeProof } from '../../../sync/ledger/core/proof.ts';
import { inclusionProof, readPayloads } from '../../../sync/ledger/log-folder.ts';
import { folderSource } from '../../../sync/ledger/log-source.ts';
import { BINDING_FACTS, JPY, newSigner } from '../../identity/fixture.ts';
import { ORIGIN, buildOut, newOutWorld, pay, paymentBy, type OutWorld } from './out.ts';

const bookOf = (out: OutWorld): DocumentBook => {
  const { world, tariff } = out;
  const book = new DocumentBook(world.trust);
  const { party, registrar, binding, allowance } = world.payer;
  const { acquirer, merchant } = world.payee;
  for (const cose of [
    party,
    registrar,
    acquirer,
    merchant,
    world.mandate,
    binding,
    allowance,
    tariff,
  ]) {
    const added = book.add(cose);
    if (!added.ok) throw new Error(added.reason);
  }
  return book;
};

interface Facts {
  readonly counter: number;
  readonly amount: bigint;
  readonly total: bigint;
  readonly timeS?: number;
}

for (const kind of ['ed25519', 'p256'] as const) {
  t.test(
    `a proof holds for what no honest device signs, and for nothing else (${kind})`,
    async (t) => {
      const out = newOutWorld(kind);
      const book = bookOf(out);
      const { device, stranger, party, registrar } = out.world.signers;
      const sign = ({ counter, amount, total, timeS }: Facts, by: Signer = device): Uint8Array =>
        paymentBy(out, by, {
          counter,
          amountMicro: amountMicro(amount),
          totalMicro: amountMicro(total),
          ...(timeS === undefined ? {} : { timeS }),
        }).cose;
      const judge = (earlier: Uint8Array, later: Uint8Array, binding = out.world.payer.binding) =>
        checkProof(book, MISBEHAVIOUR_PROOF.encode({ earlier, later, binding }));
      const first = { counter: 5, amount: 10n, total: 100n };
      // (a) one counter, two payloads.
      t.match(judge(sign(first), sign({ ...first, timeS: 7 })), {
        ok: true,
        value: { rule: 'SAME_COUNTER' },
      });
      // (b) 105 − 10 < 100: the later one does not know what the earlier one spent.
      t.match(judge(sign(first), sign({ counter: 8, amount: 10n, total: 105n })), {
        ok: true,
        value: { rule: 'BROKEN_TOTAL' },
      });
      // 110 − 10 = 100: exactly what an honest device signs, with a gap in the counters as well.
      t.notOk(judge(sign(first), sign({ counter: 6, amount: 10n, total: 110n })).ok, 'honest');
      t.notOk(judge(sign(first), sign({ counter: 900, amount: 10n, total: 9000n })).ok, 'gap only');
      t.notOk(judge(sign(first), sign(first)).ok, 'a replay');
      const again = sign(first);
      t.notOk(judge(again, again).ok, 'the same bytes twice');
      t.notOk(
        judge(sign({ counter: 8, amount: 10n, total: 105n }), sign(first)).ok,
        'in the wrong order',
      );
      t.match(judge(sign(first), sign({ ...first, timeS: 7 }, stranger)), {
        ok: false,
        code: 'BAD_SIGNATURE',
      });
      // Another device's own Payment, and another device's binding over this one's Payments.
      const twin = newSigner();
      const line = lineId(twin.key.id, party.key.id, JPY);
      const foreign = paymentBy(out, twin, {
        line,
        counter: 5,
        amountMicro: amountMicro(1n),
        totalMicro: amountMicro(1n),
      }).cose;
      t.notOk(judge(sign(first), foreign).ok, 'another line');
      const binding = issue.issueBinding({ device: twin, party, registrar }, BINDING_FACTS);
      t.notOk(judge(sign(first), sign({ ...first, timeS: 7 }), binding).ok, 'another binding');
      const selfMade = issue.issueBinding(
        { device, party: stranger, registrar: newSigner() },
        BINDING_FACTS,
      );
      t.notOk(judge(sign(first), sign({ ...first, timeS: 7 }), selfMade).ok, 'a binding of nobody');
      t.notOk(judge(signSign1(device, randomBytes(100)), sign(first)).ok, 'no Payment at all');
      for (const length of [0, 1, 50, 400]) t.notOk(checkProof(book, randomBytes(length)).ok);
    },
  );
}

t.test('key files are read in their one form only', async (t) => {
  for (const kind of ['ed25519', 'p256'] as const) {
    const { key } = newSigner(kind);
    const { cosekey, pem } = keyFilesOf(key);
    t.equal(keyOfCose(cosekey)?.hex, key.hex);
    t.equal(keyOfPem(Buffer.from(pem))?.hex, key.hex);
    t.equal(keyOfPem(Buffer.from(`${pem}\n`)), undefined, 'one more newline');
    t.equal(keyOfPem(Buffer.from(pem.replaceAll('\n', '\r\n'))), undefined, 'other newlines');
    t.equal(keyOfCose(Buffer.concat([cosekey, Buffer.alloc(1)])), undefined, 'a byte too many');
  }
  // The identity element of Ed25519: a key under which anything verifies in lenient libraries.
  const weak = new Uint8Array(32);
  weak[0] = 1;
  t.equal(keyOfCose(Buffer.concat([Buffer.from('a301012006215820', 'hex'), weak])), undefined);
});

t.test('an inclusion proof is held against policy, entry and the Receipt beside it', async (t) => {
  const root = await mkdtemp(join(tmpdir(), 'kiri-verify-'));
  t.teardown(() => rm(root, { recursive: true, force: true }));
  const { out, paid } = await buildOut(root, [3]);
  const source = folderSource(join(root, 'ledger', ORIGIN));
  const checkpoint = (await source.read(CHECKPOINT_PATH))!;
  const records = await readPayloads(source, 0, 3);
  const path = await inclusionProof(source, 1, 3);
  const trust = join(root, 'trust');
  const file = join(root, 'x.tlog-proof');
  const judge = async (extra: Uint8Array | undefined, index = 1): Promise<boolean> => {
    const proof = encodeProof({ index, path, checkpoint, ...(extra ? { extra } : {}) });
    await writeFile(file, proof);
    return (await verifyPath(file, { trustDir: trust })).ok;
  };
  t.ok(await judge(records[1]));
  t.notOk(await judge(records[1], 2), 'another index');
  t.notOk(await judge(records[0]), 'another entry');
  t.notOk(await judge(undefined), 'no entry');
  await judge(records[1]);
  await writeFile(join(root, 'x.receipt.cbor'), paid[1]!.receipt);
  t.ok((await verifyPath(file, { trustDir: trust })).ok);
  await writeFile(join(root, 'x.receipt.cbor'), pay(out, 9, 0n, 1n).receipt);
  t.notOk((await verifyPath(file, { trustDir: trust })).ok, 'another Receipt');
  const whole = await readFile(file);
  whole[whole.length - 10]! ^= 1;
  await writeFile(file, whole);
  t.notOk((await verifyPath(file, { trustDir: trust })).ok, 'a changed cosignature');
  t.equal(payloadHash(paid[1]!.receiptPayload).length, 32);
});
