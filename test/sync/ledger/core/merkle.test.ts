import fc from 'fast-check';
import t from 'tap';
import { fromHex, toHex } from '../../../../protocol/bytes.ts';
import {
  EMPTY_ROOT,
  leafHash,
  verifyConsistency,
  verifyInclusion,
} from '../../../../sync/ledger/core/merkle.ts';
import { parseTile, tilePath, tilesOfTree, tileWidth } from '../../../../sync/ledger/core/tile.ts';
import {
  appendLeaves,
  emptyTree,
  treeFromEdge,
  treeRoot,
} from '../../../../sync/ledger/core/tree.ts';
import {
  type LeafRange,
  consistencyRanges,
  hashRanges,
  inclusionRanges,
  tilesForRanges,
} from '../../../../sync/ledger/core/tree-proof.ts';
import { mth, path, proof } from '../rfc6962.ts';

// Inputs and values of the Certificate Transparency reference tests (RFC 6962).
const CT_INPUTS = [
  '',
  '00',
  '10',
  '2021',
  '3031',
  '40414243',
  '5051525354555657',
  '606162636465666768696a6b6c6d6e6f',
].map(fromHex);
const CT_ROOTS = [
  '6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d',
  'fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125',
  'aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77',
  'd37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7',
  '4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4',
  '76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef',
  'ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c',
  '5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328',
];
const CT_PATH_0_OF_8 = [
  '96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7',
  '5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e',
  '6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4',
];
const CT_PROOF_6_8 = [
  '0ebc5d3437fbe2db158b9f126a1d118e308181031d0a949f8dededebc558ef6a',
  'ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0',
  'd37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7',
];

/** Every tile that a log of these leaves would serve, by path. */
class Tiles {
  readonly tree = emptyTree();
  readonly files = new Map<string, Uint8Array>();

  append(leaves: readonly Uint8Array[]): void {
    const hashes = leaves.map((leaf) => leafHash(leaf));
    for (const tile of appendLeaves(this.tree, hashes)) this.files.set(tilePath(tile), tile.bytes);
  }

  lookup(level: number, index: number, size: number): readonly Uint8Array[] {
    const width = tileWidth(size, level, index);
    const bytes = this.files.get(tilePath({ level, index, width }));
    const hashes = bytes === undefined ? undefined : parseTile(bytes, width);
    if (hashes?.ok !== true) throw new Error(`no tile ${level}/${index} of width ${width}`);
    return hashes.value;
  }

  prove(ranges: readonly LeafRange[], size: number): readonly Uint8Array[] {
    const wanted = new Set(
      tilesForRanges(ranges, size).map((tile) => `${tile.level}/${tile.index}`),
    );
    return hashRanges(ranges, (level, index) => {
      if (!wanted.has(`${level}/${index}`)) throw new Error('a tile that was not announced');
      return this.lookup(level, index, size);
    });
  }
}

const numbered = (count: number): Uint8Array[] =>
  Array.from({ length: count }, (_, at) => Uint8Array.of(at >>> 16, (at >>> 8) & 255, at & 255));
const hex = (hashes: readonly Uint8Array[]): string[] => hashes.map((hash) => toHex(hash));

t.test('roots, paths and consistency proofs are those of the CT reference tests', async (t) => {
  t.equal(toHex(EMPTY_ROOT), 'e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855');
  const tiles = new Tiles();
  CT_INPUTS.forEach((input, at) => {
    tiles.append([input]);
    t.equal(toHex(treeRoot(tiles.tree)), CT_ROOTS[at]);
  });
  t.same(hex(tiles.prove(inclusionRanges(0, 8), 8)), CT_PATH_0_OF_8);
  t.same(hex(tiles.prove(consistencyRanges(6, 8), 8)), CT_PROOF_6_8);
  const root = (size: number): Uint8Array => fromHex(CT_ROOTS[size - 1] ?? '');
  t.ok(verifyConsistency(6, 8, root(6), root(8), CT_PROOF_6_8.map(fromHex)));
  t.notOk(verifyConsistency(6, 8, root(5), root(8), CT_PROOF_6_8.map(fromHex)));
  const leaf = leafHash(fromHex(''));
  t.ok(verifyInclusion(0, 8, leaf, CT_PATH_0_OF_8.map(fromHex), root(8)));
  t.notOk(verifyInclusion(1, 8, leaf, CT_PATH_0_OF_8.map(fromHex), root(8)));
});

t.test(
  'tree, paths and proofs agree with the recursive text of the RFC at every small size',
  async (t) => {
    const leaves = numbered(34);
    const tiles = new Tiles();
    let compared = 0;
    for (let size = 1; size <= leaves.length; size += 1) {
      tiles.append([leaves[size - 1] ?? new Uint8Array(0)]);
      const tree = leaves.slice(0, size);
      const root = mth(tree);
      if (!Buffer.from(treeRoot(tiles.tree)).equals(root)) t.fail(`root of ${size}`);
      for (let index = 0; index < size; index += 1) {
        const built = tiles.prove(inclusionRanges(index, size), size);
        if (hex(built).join() !== hex(path(index, tree)).join()) t.fail(`path ${index} of ${size}`);
        const leaf = leafHash(tree[index] ?? new Uint8Array(0));
        if (!verifyInclusion(index, size, leaf, built, root))
          t.fail(`inclusion ${index} of ${size}`);

        compared += 1;
      }
      for (let old = 1; old <= size; old += 1) {
        const built = tiles.prove(consistencyRanges(old, size), size);
        if (hex(built).join() !== hex(proof(old, tree)).join()) t.fail(`proof ${old} to ${size}`);
        const oldRoot = mth(leaves.slice(0, old));
        if (!verifyConsistency(old, size, oldRoot, root, built))
          t.fail(`consistency ${old} ${size}`);
        compared += 1;
      }
    }
    t.equal(compared, 34 * 35);
  },
);

t.test(
  'proofs over several tile levels agree with the RFC, and any changed byte breaks them',
  async (t) => {
    const leaves = numbered(1_200);
    const tiles = new Tiles();
    const sizes = [1, 255, 256, 257, 511, 512, 700, 1_024, 1_200];
    const roots = new Map<number, Uint8Array>();
    for (const size of sizes) {
      tiles.append(leaves.slice(tiles.tree.size, size));
      roots.set(size, mth(leaves.slice(0, size)));
      t.equal(toHex(treeRoot(tiles.tree)), toHex(roots.get(size) ?? EMPTY_ROOT));
    }
    const byte = fc.nat({ max: 31 });
    fc.assert(
      fc.property(
        fc.constantFrom(...sizes),
        fc.nat(),
        fc.nat(),
        byte,
        fc.integer({ min: 1, max: 255 }),
        (size, indexSeed, at, where, flip) => {
          const index = indexSeed % size;
          const root = roots.get(size) ?? EMPTY_ROOT;
          const built = tiles.prove(inclusionRanges(index, size), size).map((hash) => hash.slice());
          const leaf = leafHash(leaves[index] ?? new Uint8Array(0));
          if (!verifyInclusion(index, size, leaf, built, root)) return false;
          const changed = built[at % Math.max(1, built.length)] ?? leaf;
          changed[where] = (changed[where] ?? 0) ^ flip;
          return !verifyInclusion(index, size, leaf, built, root);
        },
      ),
    );
    for (const old of sizes) {
      for (const size of sizes.filter((later) => later >= old)) {
        const built = tiles.prove(consistencyRanges(old, size), size);
        const [oldRoot, root] = [roots.get(old) ?? EMPTY_ROOT, roots.get(size) ?? EMPTY_ROOT];
        t.ok(verifyConsistency(old, size, oldRoot, root, built), `${old} to ${size}`);
        t.notOk(verifyConsistency(old, size, oldRoot, root, [...built, root]), 'one hash too many');
        if (built.length === 0) continue;
        t.notOk(verifyConsistency(old, size, oldRoot, root, built.slice(1)), 'one hash too few');
        t.notOk(verifyConsistency(old, size, root, root, built), 'another old root');
      }
    }
  },
);

t.test('a tree rebuilt from its rightmost tiles goes on as if it had never stopped', async (t) => {
  fc.assert(
    fc.property(
      fc.integer({ min: 0, max: 900 }),
      fc.integer({ min: 0, max: 300 }),
      (before, more) => {
        const leaves = numbered(before + more).map((leaf) => leafHash(leaf));
        const whole = emptyTree();
        appendLeaves(whole, leaves);
        const first = emptyTree();
        appendLeaves(first, leaves.slice(0, before));
        const rebuilt = treeFromEdge(before, first.edge);
        appendLeaves(rebuilt, leaves.slice(before));
        return toHex(treeRoot(rebuilt)) === toHex(treeRoot(whole)) && rebuilt.size === whole.size;
      },
    ),
    { numRuns: 40 },
  );
  t.throws(() => treeFromEdge(3, [[EMPTY_ROOT]]), RangeError);
  t.throws(() => treeFromEdge(0, [[EMPTY_ROOT]]), RangeError);
});

t.test('the strict verifiers refuse sizes and hashes that no tree has', async (t) => {
  const root = EMPTY_ROOT;
  t.notOk(verifyConsistency(0, 8, root, root, []), 'old size 0 is the witness’s own rule');
  t.notOk(verifyConsistency(9, 8, root, root, []));
  t.notOk(verifyConsistency(1.5, 8, root, root, []));
  t.notOk(verifyConsistency(3, 8, root, root, [root.slice(1)]));
  t.ok(verifyConsistency(4, 4, root, root, []));
  t.notOk(verifyConsistency(4, 4, root, root, [root]));
  t.notOk(verifyInclusion(8, 8, root, [], root));
  t.notOk(verifyInclusion(-1, 8, root, [], root));
  t.notOk(verifyInclusion(0, Infinity, root, [], root));
  t.notOk(verifyInclusion(0, 2, root, [root.slice(1)], root));
  t.throws(() => inclusionRanges(3, 3), RangeError);
  t.throws(() => consistencyRanges(4, 3), RangeError);
  t.same(consistencyRanges(0, 3), [], 'from nothing an empty proof');
});

t.test('a tree of 70,000 has the tiles that tlog-tiles counts', async (t) => {
  const tiles = tilesOfTree(70_000);
  const count = (level: number, full: boolean): number =>
    tiles.filter((tile) => tile.level === level && (tile.width === 256) === full).length;
  t.same(
    [count(0, true), count(0, false), count(1, true), count(1, false), count(2, false)],
    [273, 1, 1, 1, 1],
  );
  t.same(
    tiles.filter((tile) => tile.width < 256).map((tile) => tile.width),
    [112, 17, 1],
  );
  t.same(tilesOfTree(256).map(tilePath), ['tile/0/000', 'tile/1/000.p/1']);
});
