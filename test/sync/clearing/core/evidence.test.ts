import t from 'tap';
import fc from 'fast-check';
import { sha256 } from '@noble/hashes/sha2.js';
import { toHex } from '../../../../protocol/bytes.ts';
import {
  aggregateIdOf,
  encodeEvidence,
  verifyEvidence,
} from '../../../../sync/clearing/core/evidence.ts';
import type { Evidence } from '../../../../sync/clearing/core/evidence.ts';
import {
  sumTreeProof,
  sumTreeRoot,
  verifySumProof,
} from '../../../../sync/clearing/core/sum-tree.ts';
import { hashOf, keyWith } from '../sample.ts';

const leaf = (at: number, amountMicro: bigint) => ({
  receiptHash: hashOf(`leaf ${at}`),
  amountMicro,
});

/** Second implementation, written from the rule: leaf = H(0‖hash‖amount), node = H(1‖L‖sumL‖R‖sumR). */
const oracle = (leaves: readonly ReturnType<typeof leaf>[]): { hash: Buffer; sum: bigint } => {
  const u64 = (value: bigint): Buffer => {
    const out = Buffer.alloc(8);
    out.writeBigUInt64BE(value);
    return out;
  };
  if (leaves.length === 1) {
    const [one] = leaves as [ReturnType<typeof leaf>];
    const bytes = Buffer.concat([Buffer.of(0), one.receiptHash, u64(one.amountMicro)]);
    return { hash: Buffer.from(sha256(bytes)), sum: one.amountMicro };
  }
  let split = 1;
  while (split * 2 < leaves.length) split *= 2;
  const left = oracle(leaves.slice(0, split));
  const right = oracle(leaves.slice(split));
  const bytes = Buffer.concat([Buffer.of(1), left.hash, u64(left.sum), right.hash, u64(right.sum)]);
  return { hash: Buffer.from(sha256(bytes)), sum: left.sum + right.sum };
};

t.test(
  'the sum tree equals a recursive second implementation, and every proof verifies',
  async (t) => {
    fc.assert(
      fc.property(
        fc.array(fc.bigInt(0n, 10n ** 15n), { minLength: 1, maxLength: 40 }),
        (amounts) => {
          const leaves = amounts.map((amount, at) => leaf(at, amount));
          const root = sumTreeRoot(leaves);
          const expected = oracle(leaves);
          t.equal(toHex(root.hash), expected.hash.toString('hex'));
          t.equal(root.sumMicro, expected.sum);
          leaves.forEach((one, index) => {
            const proof = sumTreeProof(leaves, index);
            const place = { index, count: leaves.length };
            t.ok(verifySumProof(one, place, proof, root));
            t.notOk(
              verifySumProof({ ...one, amountMicro: one.amountMicro + 1n }, place, proof, root),
            );
          });
        },
      ),
      { numRuns: 40 },
    );
  },
);

t.test('a forged inner sum, a moved leaf and a wrong length of proof fail', async (t) => {
  const leaves = [1n, 2n, 3n, 4n, 5n].map((amount, at) => leaf(at, amount));
  const root = sumTreeRoot(leaves);
  const proof = sumTreeProof(leaves, 0);
  const place = { index: 0, count: 5 };
  const [first, ...rest] = proof as [(typeof proof)[number], ...(typeof proof)[number][]];
  t.notOk(verifySumProof(leaves[0]!, place, [{ ...first, sumMicro: 3n }, ...rest], root));
  t.notOk(verifySumProof(leaves[0]!, place, [{ ...first, sumMicro: -1n }, ...rest], root));
  t.notOk(verifySumProof(leaves[0]!, place, [{ ...first, sumMicro: 1n << 64n }, ...rest], root));
  t.notOk(verifySumProof(leaves[0]!, { index: 1, count: 5 }, proof, root));
  t.notOk(verifySumProof(leaves[0]!, { index: 5, count: 5 }, proof, root));
  t.notOk(verifySumProof(leaves[0]!, place, rest, root));
  t.notOk(verifySumProof(leaves[0]!, place, [...proof, first], root));
  t.notOk(verifySumProof(leaves[0]!, place, proof, { ...root, sumMicro: 16n }));
  const last = sumTreeProof(leaves, 4);
  t.equal(last.length, 1, 'an odd last leaf is promoted, not doubled');
  const tooMuch = [leaf(0, (1n << 64n) - 1n), leaf(1, 1n)];
  t.throws(() => sumTreeRoot(tooMuch), { code: 'INVARIANT_BROKEN' });
  t.throws(() => sumTreeRoot([leaf(0, 1n << 64n)]), { code: 'INVARIANT_BROKEN' });
  t.throws(() => sumTreeProof(leaves, 9), { code: 'INVARIANT_BROKEN' });
  t.equal(toHex(sumTreeRoot([]).hash), toHex(sha256(new Uint8Array(0))));
});

const leaves = [3_850_000n, 150_001n].map((amountMicro, at) => ({
  receiptHash: hashOf(`receipt ${at}`),
  paymentHash: hashOf(`payment ${at}`),
  amountMicro,
  origin: at,
  leafIndex: 2 ** 40 + at,
}));
const good: Evidence = {
  key: { ...keyWith({}), sign: 'debit' },
  lane: 'normal',
  number: 2,
  previous: 'ab'.repeat(32),
  openingMicro: 999_999n,
  amountMinor: 5n,
  closingMicro: 0n,
  firstPaidS: 1_795_000_000,
  lastPaidS: 1_795_000_100,
  root: sumTreeRoot(leaves).hash,
  sumMicro: 4_000_001n,
  origins: ['gateway.example/2026q4', 'intake.example/2026q4'],
  leaves,
  entries: [],
  conflicts: [{ paymentHash: hashOf('a'), otherHash: hashOf('b'), rule: 'SAME_COUNTER' }],
};

t.test('evidence reads back as written and shows its own balance', async (t) => {
  const bytes = encodeEvidence(good);
  const check = verifyEvidence(bytes);
  t.ok(check.ok);
  t.same(check.ok && check.value, good);
  t.equal(check.ok && check.id, aggregateIdOf(bytes));
  const { previous: _, ...firstOne } = good;
  const first = verifyEvidence(encodeEvidence({ ...firstOne, previous: undefined }));
  t.equal(first.ok && first.value.previous, undefined);
});

t.test('evidence that does not add up is refused by name', async (t) => {
  const fault = (part: Partial<Evidence>): string => {
    const check = verifyEvidence(encodeEvidence({ ...good, ...part }));
    return check.ok ? 'accepted' : check.fault;
  };
  t.equal(fault({}), 'accepted');
  t.equal(fault({ amountMinor: 6n }), 'WRONG_BALANCE', 'one yen more than was paid');
  t.equal(fault({ closingMicro: 1n }), 'WRONG_BALANCE');
  t.equal(fault({ openingMicro: 0n }), 'WRONG_BALANCE');
  t.equal(fault({ sumMicro: 4_000_002n }), 'WRONG_SUM');
  t.equal(fault({ root: hashOf('other') }), 'WRONG_ROOT');
  t.equal(fault({ leaves: [leaves[0]!, leaves[0]!] }), 'WRONG_ORDER', 'one payment twice');
  t.equal(fault({ origins: ['one'] }), 'WRONG_ORDER');
  t.equal(fault({ lastPaidS: 1 }), 'WRONG_ORDER');
  t.equal(fault({ key: { ...good.key, currency: 1 } }), 'UNKNOWN_CURRENCY');
  const bytes = encodeEvidence(good);
  t.match(verifyEvidence(bytes.subarray(1)), { ok: false, fault: 'NOT_EVIDENCE' });
  t.match(verifyEvidence(new Uint8Array(0)), { ok: false, fault: 'NOT_EVIDENCE' });
});

t.test('any changed byte changes the name of the aggregate or is refused', async (t) => {
  const bytes = encodeEvidence(good);
  const id = aggregateIdOf(bytes);
  for (let at = 0; at < bytes.length; at++) {
    const damaged = bytes.slice();
    damaged[at] = (damaged[at] as number) ^ 1;
    const check = verifyEvidence(damaged);
    t.notOk(check.ok && check.id === id);
  }
});
