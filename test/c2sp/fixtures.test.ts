import { createPrivateKey, createPublicKey } from 'node:crypto';
import t from 'tap';
import { utf8ToBytes } from '../../protocol/bytes.ts';
import { ALG_EDDSA } from '../../protocol/public-key.ts';
import { nobleSigner } from '../../identity/core/noble-signatures.ts';
import { parseCheckpoint } from '../../sync/ledger/core/checkpoint.ts';
import { splitCosignature } from '../../sync/ledger/core/cosignature.ts';
import { verifyFinalCheckpoint } from '../../sync/ledger/core/final-checkpoint.ts';
import { leafHash, verifyConsistency, verifyInclusion } from '../../sync/ledger/core/merkle.ts';
import {
  TYPE_COSIGNATURE,
  TYPE_ED25519,
  encodeVerifierKey,
  parseSignerKey,
  parseVerifierKey,
  verifierKey,
} from '../../sync/ledger/core/note-key.ts';
import { parseNote, parseSignatureLines, signNote } from '../../sync/ledger/core/note.ts';
import { verifyNote } from '../../sync/ledger/core/note-verify.ts';
import { parsePolicy, quorumMet } from '../../sync/ledger/core/policy.ts';
import { parseProof } from '../../sync/ledger/core/proof.ts';
import { indexPath, tilesOfTree } from '../../sync/ledger/core/tile.ts';
import { appendLeaves, emptyTree, treeRoot } from '../../sync/ledger/core/tree.ts';
import { stepWitness, witnessState } from '../../sync/ledger/core/witness.ts';
import { realVerify, realWitness } from '../sync/ledger/keys.ts';
import {
  GO,
  MERKLE,
  SIGSUM,
  SPEC_ANSWER,
  SPEC_COSIGNED,
  SPEC_NOTE,
  SPEC_POLICY,
  SPEC_PROOF,
  SPEC_REQUEST,
  SUM_DB,
  TESSERA,
  TORCHWOOD,
} from './fixtures.ts';
import { Tree, hashOfLeaf, isConsistent, rootOfPath } from './merkle.ts';
import { fromBase64, readCheckpoint, readLines, readNote, readVkey, verifiedKeys } from './note.ts';
import { finalCheckpoint, readPolicy } from './policy.ts';
import { judge, pathOfIndex, readProofFile } from './tlog.ts';

const must = <T>(outcome: { ok: true; value: T } | { ok: false; reason: string }): T => {
  if (!outcome.ok) throw new Error(outcome.reason);
  return outcome.value;
};
const hex = (bytes: Uint8Array): string => Buffer.from(bytes).toString('hex');

/** Names of the keys of which each reader says that they signed; undefined where it refuses the note. */
function ours(note: string, vkeys: readonly string[]): readonly string[] | undefined {
  const parsed = parseNote(utf8ToBytes(note));
  if (!parsed.ok) return undefined;
  const keys = vkeys.map((vkey) => must(parseVerifierKey(vkey)));
  const verified = verifyNote(parsed.value, keys, realVerify);
  return verified.ok ? [...new Set(verified.value.map(({ key }) => key.name))] : undefined;
}
function theirs(note: string, vkeys: readonly string[]): readonly string[] | undefined {
  const verdict = judge(() => verifiedKeys(readNote(Buffer.from(note)), vkeys.map(readVkey)));
  return verdict.right ? [...verdict.value.keys()].map(({ name }) => name) : undefined;
}
const vkeyOf = (name: string, type: 1 | 4, publicKeyHex: string): string =>
  encodeVerifierKey(verifierKey(name, type, new Uint8Array(Buffer.from(publicKeyHex, 'hex'))));

t.test('the examples of the specifications are read alike, field by field', async (t) => {
  for (const note of [SPEC_NOTE, SPEC_COSIGNED]) {
    const mine = must(parseNote(utf8ToBytes(note)));
    const other = readNote(Buffer.from(note));
    t.equal(mine.text, other.text);
    const fields = mine.signatures.map((line) => [line.name, hex(line.keyId), hex(line.signature)]);
    t.same(
      fields,
      other.lines.map((line) => [line.name, line.id, hex(line.signature)]),
    );
  }
  const head = readCheckpoint(readNote(Buffer.from(SPEC_COSIGNED)).text);
  t.same(
    [head.origin, head.size, head.root.toString('base64')],
    ['example.com/behind-the-sofa', 20852163, 'CsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I='],
  );
  const mine = must(parseCheckpoint(must(parseNote(utf8ToBytes(SPEC_COSIGNED))).text));
  t.same([mine.origin, mine.size, hex(mine.root)], [head.origin, head.size, hex(head.root)]);
  const cosignature = must(parseNote(utf8ToBytes(SPEC_COSIGNED))).signatures[1]!;
  t.equal(splitCosignature(cosignature.signature)?.timeS, 1679315147);
  t.equal(readLines(SPEC_ANSWER).length, 3);
  t.same(
    must(parseSignatureLines(SPEC_ANSWER)).map((line) => line.name),
    readLines(SPEC_ANSWER).map((line) => line.name),
  );
});

t.test('the example proof and policy', async (t) => {
  const theirProof = readProofFile(Buffer.from(SPEC_PROOF));
  const ourProof = must(parseProof(utf8ToBytes(SPEC_PROOF)));
  t.same([theirProof.index, theirProof.path.length], [73894, 5]);
  t.same([ourProof.index, ourProof.path.map(hex)], [73894, theirProof.path.map(hex)]);
  t.equal(hex(ourProof.checkpoint), hex(theirProof.checkpoint), 'the checkpoint is verbatim');
  t.notOk(parseNote(ourProof.checkpoint).ok, 'elided signatures are none');
  t.notOk(judge(() => readNote(theirProof.checkpoint)).right);
  let key = 0;
  const filled = SPEC_POLICY.replaceAll('<vkey>', () => {
    key += 1;
    return vkeyOf(`k${key}.example`, key === 1 ? TYPE_ED25519 : TYPE_COSIGNATURE, pointOf(key));
  });
  const policy = must(parsePolicy(utf8ToBytes(filled)));
  const other = readPolicy(Buffer.from(filled));
  const names = ['X1', 'X2', 'X3', 'Y1', 'Y2', 'Y3'];
  let met = 0;
  for (let bits = 0; bits < 64; bits += 1) {
    const cosigned = new Set(names.filter((_, at) => (bits >>> at) & 1));
    const [x, y] = ['X', 'Y'].map((of) => [...cosigned].filter((name) => name[0] === of).length);
    const expected = x! >= 2 && y! >= 1;
    t.equal(quorumMet(policy, cosigned), expected, [...cosigned].join(' '));
    t.equal(other.quorum(cosigned), expected);
    if (expected) met += 1;
  }
  t.equal(met, 4 * 7, 'two or three of X, one to three of Y');
});

/** Any valid Ed25519 public key. */
function pointOf(seed: number): string {
  return hex(nobleSigner(ALG_EDDSA, new Uint8Array(32).fill(seed)).key.point);
}

t.test('Go’s notes: both keys, one, none, and every malformed one', async (t) => {
  const { peter, enoch, text, peterLine, enochLine } = GO;
  const both = `${text}\n${peterLine}${enochLine}`;
  const table: readonly (readonly [string, readonly string[], readonly string[] | undefined])[] = [
    [both, [peter, enoch], ['PeterNeumann', 'EnochRoot']],
    [both, [peter], ['PeterNeumann']],
    [both, [], undefined],
    [`${text}\n${peterLine.repeat(101)}`, [peter], undefined],
    [`${text}\n${peterLine.slice(0, 60)}ABCD${peterLine.slice(60)}`, [peter], undefined],
    [
      `${text}\n${peterLine}${peterLine}${enochLine}${enochLine.slice(0, 60)}ABCD${enochLine.slice(60)}`,
      [peter],
      ['PeterNeumann'],
    ],
    [text, [peter], undefined],
    [`${text}\n`, [peter], undefined],
    [`${text}\n${peterLine.slice(0, -1)}`, [peter], undefined],
    [`\u0001${text}\n${peterLine}`, [peter], undefined],
    [`${text}\n${peterLine.replace('PeterNeumann', 'Bad Name')}`, [peter], undefined],
    [`${text}\n${peterLine}Unexpected line.\n`, [peter], undefined],
    [`${text}\n${peterLine.replace('x08g', 'xxxx')}`, [peter], undefined],
    [`${text}\n${peterLine.replace('PeterNeumann', 'CarmenSandiego')}`, [peter], undefined],
  ];
  for (const [note, keys, signed] of table) {
    t.same(ours(note, keys), signed, note.slice(100, 160));
    t.same(theirs(note, keys), signed);
  }
  t.same(ours(SUM_DB.note, [SUM_DB.vkey]), ['sum.golang.org'], 'a checkpoint of the Go database');
  t.same(theirs(SUM_DB.note, [SUM_DB.vkey]), ['sum.golang.org']);
});

t.test('Sigsum’s signed and cosigned checkpoints', async (t) => {
  const pkcs8 = Buffer.from(`302e020100300506032b657004220420${SIGSUM.seed}`, 'hex');
  const privateKey = createPrivateKey({ key: pkcs8, format: 'der', type: 'pkcs8' });
  const spki = createPublicKey(privateKey).export({ format: 'der', type: 'spki' });
  const point = hex(spki.subarray(-32));
  const origin = SIGSUM.signed.split('\n')[0]!;
  const log = vkeyOf(origin, TYPE_ED25519, point);
  t.same(ours(SIGSUM.signed, [log]), [origin]);
  t.same(theirs(SIGSUM.signed, [log]), [origin]);
  const witness = vkeyOf(SIGSUM.witness, TYPE_COSIGNATURE, point);
  const note = `${SIGSUM.cosignedText}\n${SIGSUM.strangers.join('')}${SIGSUM.cosignature}`;
  t.same(ours(note, [witness]), [SIGSUM.witness]);
  t.same([...verifiedKeys(readNote(Buffer.from(note)), [readVkey(witness)]).values()], [1234n]);
  const verified = must(
    verifyNote(must(parseNote(utf8ToBytes(note))), [must(parseVerifierKey(witness))], realVerify),
  );
  t.equal(verified[0]?.timeS, 1234);
  for (const wrong of [
    `${SIGSUM.cosignedText}\n${SIGSUM.strangers.join('')}`,
    `${SIGSUM.cosignedText}\n${SIGSUM.wrongSize}`,
    `${SIGSUM.cosignedText}\n${SIGSUM.cosignature}${SIGSUM.wrongSize}`,
    note.replace('\n10\n', '\n11\n'),
  ]) {
    t.equal(ours(wrong, [witness]), undefined);
    t.equal(theirs(wrong, [witness]), undefined);
  }
});

t.test('Tessera’s test log: every root, every signature, and ours the same bytes', async (t) => {
  const { leaves, vkey, skey, checkpoints } = TESSERA;
  const entries = leaves.map((leaf) => Buffer.from(leaf));
  const policy = `log ${vkey}\nquorum none\n`;
  const ourPolicy = must(parsePolicy(utf8ToBytes(policy)));
  const tree = emptyTree();
  const signer = must(parseSignerKey(skey, (seed) => nobleSigner(ALG_EDDSA, seed).key.point));
  for (const checkpoint of checkpoints) {
    const theirHead = finalCheckpoint(Buffer.from(checkpoint), readPolicy(Buffer.from(policy)));
    const ourHead = must(verifyFinalCheckpoint(utf8ToBytes(checkpoint), ourPolicy, realVerify));
    t.equal(ourHead.size, theirHead.size);
    const { size } = theirHead;
    appendLeaves(
      tree,
      entries.slice(tree.size, size).map((entry) => leafHash(entry)),
    );
    t.equal(hex(treeRoot(tree)), hex(theirHead.root), `our root at ${size}`);
    t.equal(hex(new Tree(entries.map(hashOfLeaf)).mth(0, size)), hex(theirHead.root));
    const again = signNote(ourHead.note.text, {
      key: must(parseVerifierKey(vkey)),
      sign: (message) => nobleSigner(ALG_EDDSA, signer.seed).sign(message),
    });
    t.equal(again, checkpoint, 'Ed25519 is deterministic: the same note');
  }
});

t.test('Merkle vectors, also with every hash of a proof bent or left out', async (t) => {
  const b64 = (text: string): Buffer => fromBase64(text);
  let refused = 0;
  for (const { index, size, root, leaf, proof } of MERKLE.inclusion) {
    const both = (path: readonly Buffer[], at = index): readonly boolean[] => [
      verifyInclusion(at, size, b64(leaf), path, b64(root)),
      rootOfPath(at, size, b64(leaf), path)?.equals(b64(root)) === true,
    ];
    const path = proof.map(b64);
    t.same(both(path), [true, true]);
    const wrong = [
      ...path.map((_hash, out) => path.toSpliced(out, 1)),
      ...path.map((hash, bent) => path.toSpliced(bent, 1, Buffer.from(hash.toReversed()))),
      [...path, b64(root)],
      [b64(root), ...path],
    ];
    for (const bad of wrong) t.same(both(bad), [false, false]);
    for (const at of [index + 1, index - 1, size]) t.same(both(path, at), [false, false]);
    refused += wrong.length + 3;
  }
  for (const { from, to, root1, root2, proof } of MERKLE.consistency) {
    const both = (path: readonly Buffer[], m = from): readonly boolean[] => [
      verifyConsistency(m, to, b64(root1), b64(root2), path),
      isConsistent(m, to, b64(root1), b64(root2), path),
    ];
    const path = proof.map(b64);
    t.same(both(path), [true, true]);
    const wrong = [
      ...path.map((_hash, out) => path.toSpliced(out, 1)),
      ...path.map((hash, bent) => path.toSpliced(bent, 1, Buffer.from(hash.toReversed()))),
      [...path, b64(root1)],
      [b64(root2), ...path],
    ];
    for (const bad of wrong) t.same(both(bad), [false, false]);
    for (const m of [from + 1, to, to + 1]) t.same(both(path, m), [false, false]);
    refused += wrong.length + 3;
  }
  t.equal(refused, 40 + 31);
});

t.test('requests of other logs get the answers that their own witness gives', async (t) => {
  const { origin, publicKey, requests } = TORCHWOOD;
  const key = must(parseVerifierKey(vkeyOf(origin, TYPE_ED25519, publicKey)));
  const signer = realWitness('witness.example/w1');
  const fresh = (): ReturnType<typeof witnessState> => witnessState(new Map([[origin, [key]]]), []);
  let state = fresh();
  let id = 0;
  const ask = (body: string): readonly [number, string] => {
    id += 1;
    const ports = { signer, verify: realVerify };
    const input = { kind: 'addCheckpoint', requestId: id, body: utf8ToBytes(body) } as const;
    let [effect] = stepWitness(state, input, 5_000, ports);
    if (effect?.kind === 'persist') {
      [effect] = stepWitness(state, { kind: 'persisted', requestId: id }, 5_000, ports);
    }
    if (effect?.kind !== 'respond') throw new Error('no answer');
    return [effect.answer.status, effect.answer.body];
  };
  const [one, three, five] = requests;
  t.equal(ask(one)[0], 200);
  const [status, lines] = ask(five);
  t.equal(status, 200, '1 to 5');
  t.same(ask(three), [409, '5\n'], 'the shorter one came too late');
  const text = five.slice(five.indexOf('\n\n') + 2).split('\n\n')[0]!;
  const witness = encodeVerifierKey(signer.key);
  t.same(theirs(`${text}\n\n${lines}`, [witness]), ['witness.example/w1'], 'to a stranger’s eyes');
  state = fresh();
  t.equal(ask(one)[0], 200);
  t.equal(ask(three)[0], 200, '1 to 3');
  state = fresh();
  const tooMany = one.replace('old 0\n', `old 0\n${`${three.split('\n')[1]}\n`.repeat(64)}`);
  t.equal(ask(tooMany)[0], 400, 'more than 63 proof lines');
  t.equal(ask(SPEC_REQUEST)[0], 404, 'the example of the specification: of an unknown log');
});

t.test('paths and tiles as tlog-tiles counts them', async (t) => {
  for (const index of [0, 7, 255, 999, 1000, 70_000, 999_999, 1_000_000, 1234067, 987654321]) {
    t.equal(indexPath(index), pathOfIndex(index));
  }
  t.equal(pathOfIndex(1234067), 'x001/x234/067');
  const count = (size: number): readonly string[] => {
    const levels = new Map<string, number>();
    for (const { level, width } of tilesOfTree(size)) {
      const kind = width === 256 ? `${level} full` : `${level} of ${width}`;
      levels.set(kind, (levels.get(kind) ?? 0) + 1);
    }
    return [...levels].map(([kind, n]) => `${n} × ${kind}`);
  };
  t.same(count(70_000), [
    '273 × 0 full',
    '1 × 0 of 112',
    '1 × 1 full',
    '1 × 1 of 17',
    '1 × 2 of 1',
  ]);
  t.same(count(256), ['1 × 0 full', '1 × 1 of 1']);
});
