import { mkdir, rm, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { sha256 } from '@noble/hashes/sha2.js';
import t from 'tap';
import { keyFilesOf } from '../../../cli/verify/key-files.ts';
import { verifyPath } from '../../../cli/verify/verify.ts';
import { nodeVerifier } from '../../../identity/edge/node-signatures.ts';
import { toHex, utf8ToBytes } from '../../../protocol/bytes.ts';
import { signSign1 } from '../../../protocol/cose.ts';
import { parseAnchorTrust } from '../../../sync/ledger/anchor/anchor-trust.ts';
import { encodeCheckpoint } from '../../../sync/ledger/core/checkpoint.ts';
import { cosign } from '../../../sync/ledger/core/cosignature.ts';
import {
  type L3Proof,
  MAX_L3_PROOF_BYTES,
  encodeL3Proof,
  parseL3Proof,
  verifyL3Proof,
} from '../../../sync/ledger/core/l3-proof.ts';
import { encodeNoteLeaf } from '../../../sync/ledger/core/leaf.ts';
import { appendBatch } from '../../../sync/ledger/core/log-batch.ts';
import { encodeVerifierKey } from '../../../sync/ledger/core/note-key.ts';
import { noteVerify } from '../../../sync/ledger/core/note-ports.ts';
import { signNote } from '../../../sync/ledger/core/note.ts';
import { parsePolicy } from '../../../sync/ledger/core/policy.ts';
import { encodeProof, parseProof } from '../../../sync/ledger/core/proof.ts';
import { emptyTree, treeRoot } from '../../../sync/ledger/core/tree.ts';
import { resourceOf, serveLog } from '../../../sync/ledger/log-server.ts';
import { folderSource, httpSource } from '../../../sync/ledger/log-source.ts';
import { anchorsAt, anchorsInFolder, proveAnchored } from '../../../sync/ledger/prove-anchored.ts';
import { prepareLogFolder, writeLogFiles } from '../../../sync/ledger/tile-store.ts';
import { newSigner } from '../../identity/fixture.ts';
import { kiri } from '../../system/command.ts';
import { ORIGIN, realLog, realWitness } from './keys.ts';
import { MadeLog } from './made-log.ts';
import { temporaryFolder } from './rig.ts';

t.setTimeout(120_000);
const ROLL_UP = 'rollup.example/2026';
const [LOG, ROLL_UP_LOG] = [realLog(ORIGIN), realLog(ROLL_UP)];
const WITNESS = realWitness('w.example/1');
const CONSORTIUM = realWitness('consortium.example/anchor');
const COSIGNED_S = 1_800_000_000;
const ANCHORED_S = 1_800_000_060;
const verify = noteVerify(nodeVerifier());
const POLICY_TEXT = [
  `log ${encodeVerifierKey(LOG.key)}`,
  `log ${encodeVerifierKey(ROLL_UP_LOG.key)}`,
  `witness w1 ${encodeVerifierKey(WITNESS.key)}`,
  'quorum w1',
  '',
].join('\n');
const policyIn = (text: string) => {
  const policy = parsePolicy(utf8ToBytes(text));
  if (!policy.ok) throw new Error(policy.reason);
  return policy.value;
};
const PORTS = { policy: policyIn(POLICY_TEXT), verify };
const trustText = (signer = CONSORTIUM): string =>
  JSON.stringify({ kind: 'file', keys: [encodeVerifierKey(signer.key)] });
const anchorsOf = (signer = CONSORTIUM, name = 'by-hand') => {
  const anchor = parseAnchorTrust(utf8ToBytes(trustText(signer)), verify);
  if (!anchor.ok) throw new Error(anchor.reason);
  return new Map([[name, anchor.value]]);
};

const root = await temporaryFolder(t);
const put = async (path: string, bytes: string | Uint8Array): Promise<string> => {
  const target = join(root, path);
  await mkdir(dirname(target), { recursive: true });
  await writeFile(target, bytes);
  return target;
};
const textOf = (note: string): string => note.slice(0, note.indexOf('\n\n') + 1);
const cosigned = (note: string): string => note + cosign(textOf(note), WITNESS, COSIGNED_S);

// The gateway's log was rolled up at 3 and at 300 entries and stands at 310; entry 1 of the roll-up is of another log.
const gateway = new MadeLog(join(root, 'gw'));
for (const count of [3, 297, 10]) await gateway.append(count);
await put('gw/tlog/checkpoint', cosigned(gateway.note()));
const foreign = encodeCheckpoint({ origin: 'gw2.example/1', size: 9, root: new Uint8Array(32) });
const rolled = [
  cosigned(gateway.note(3)),
  cosigned(signNote(foreign, realLog('gw2.example/1'))),
  cosigned(gateway.note(300)),
];
const [tree, bundle] = [emptyTree(), { leaves: [], payloads: [] }];
await prepareLogFolder(join(root, 'rollup'));
for (const note of [...rolled, ...rolled.slice(1, 2)]) {
  const entry = { leaf: encodeNoteLeaf('rollUp', textOf(note)), payload: utf8ToBytes(note) };
  const files = appendBatch(tree, bundle, [{ ...entry, acceptedAtMs: 0 }]);
  await writeLogFiles(join(root, 'rollup'), files);
  const head = { origin: ROLL_UP, size: tree.size, root: treeRoot(tree) };
  const published = cosigned(signNote(encodeCheckpoint(head), ROLL_UP_LOG));
  await put('rollup/tlog/checkpoint', published);
  if (tree.size !== 1 && tree.size !== 3) continue;
  const evidence = published + cosign(textOf(published), CONSORTIUM, ANCHORED_S);
  await put(`rollup/anchors/${tree.size}/checkpoint`, published);
  await put(`rollup/anchors/${tree.size}/by-hand`, evidence);
}
const source = folderSource(join(root, 'gw'));
const rollUp = folderSource(join(root, 'rollup'));
const payloadOf = (index: number): Uint8Array => utf8ToBytes(`one ${index}`);
const nameOf = (index: number): string => toHex(sha256(payloadOf(index)));
const places = await anchorsInFolder(rollUp.place);
const prove = async (index: number): Promise<Uint8Array | undefined> => {
  const names = new Set([nameOf(index)]);
  return (await proveAnchored(source, names, { source: rollUp, places }, PORTS)).get(nameOf(index));
};
const proof = (await prove(100))!;
const taken = (bytes: Uint8Array): L3Proof => {
  const parsed = parseL3Proof(bytes);
  if (!parsed.ok) throw new Error(parsed.reason);
  return parsed.value;
};
const parts = taken(proof);
const judge = (bytes: Uint8Array) => verifyL3Proof(bytes, PORTS, anchorsOf());

t.test(
  'a receipt goes through the first rolled and the first anchored head above it',
  async (t) => {
    const wanted: readonly (readonly [number, number, number, number])[] = [
      [0, 3, 0, 1],
      [2, 3, 0, 1],
      [3, 300, 2, 3],
      [100, 300, 2, 3],
      [299, 300, 2, 3],
    ];
    for (const [index, size, rolledIndex, rolledSize] of wanted) {
      const bytes = (await prove(index))!;
      t.match(
        judge(bytes),
        {
          ok: true,
          value: {
            receiptPayloadHash: sha256(payloadOf(index)),
            receipt: { index, head: { origin: ORIGIN, size } },
            rollUp: { index: rolledIndex, head: { origin: ROLL_UP, size: rolledSize } },
            anchor: 'by-hand',
            anchored: { anchoredAtS: ANCHORED_S },
          },
        },
        `entry ${index}`,
      );
    }
    t.equal(await prove(300), undefined, 'final, and in no rolled-up checkpoint');
    t.equal(await prove(999), undefined, 'in no log');
    const all = new Set([...Array.from({ length: 310 }).keys()].map(nameOf));
    const one = await proveAnchored(source, all, { source: rollUp, places }, PORTS);
    t.equal(one.size, 300);
    t.same(one.get(nameOf(100)), proof, 'many at once are the same');
    const early = { source: rollUp, places: places.filter(({ size }) => size === 1) };
    t.equal((await proveAnchored(source, all, early, PORTS)).size, 3);
  },
);

t.test('no byte of the file or of a part can be changed or cut off', (t) => {
  const held: string[] = [];
  const changed = (bytes: Uint8Array, at: number): Uint8Array => {
    const copy = bytes.slice();
    copy[at]! ^= 1 << (at % 8);
    return copy;
  };
  for (let at = 0; at < proof.length; at += 1) {
    if (judge(changed(proof, at)).ok) held.push(`file ${at}`);
    if (judge(proof.slice(0, at)).ok) held.push(`file cut at ${at}`);
  }
  // Whoever changes a part can make the last line anew.
  for (const name of ['receipt', 'rollUp', 'evidence'] as const) {
    const whole = parts[name];
    for (let at = 0; at < whole.length; at += 1) {
      if (judge(encodeL3Proof({ ...parts, [name]: changed(whole, at) })).ok)
        held.push(`${name} ${at}`);
      if (judge(encodeL3Proof({ ...parts, [name]: whole.slice(0, at) })).ok)
        held.push(`${name} cut at ${at}`);
    }
  }
  t.same(held, []);
  t.ok(judge(proof).ok, 'and as it is, it holds');
  t.end();
});

t.test('other trust, other halves and strange files are refused', async (t) => {
  const stranger = realWitness('stranger.example/s');
  const refused = (bytes: Uint8Array, reason: RegExp, what: string): void => {
    t.match(judge(bytes), { ok: false, reason }, what);
  };
  const under = (text: string) =>
    verifyL3Proof(proof, { ...PORTS, policy: policyIn(text) }, anchorsOf());
  const without = (vkey: string): string =>
    POLICY_TEXT.split('\n')
      .filter((line) => !line.endsWith(vkey))
      .join('\n');
  t.match(verifyL3Proof(proof, PORTS, anchorsOf(stranger)), { ok: false, reason: /^anchor by-h/ });
  t.match(verifyL3Proof(proof, PORTS, new Map()), { ok: false, reason: /nothing is trusted/ });
  t.match(under(without(encodeVerifierKey(LOG.key))), {
    ok: false,
    reason: /^receipt: not signed/,
  });
  t.match(under(without(encodeVerifierKey(ROLL_UP_LOG.key))), {
    ok: false,
    reason: /^roll-up: no/,
  });
  const otherWitness = encodeVerifierKey(stranger.key);
  const strict = POLICY_TEXT.replace(encodeVerifierKey(WITNESS.key), otherWitness);
  t.match(under(strict), { ok: false, reason: /^receipt: / });

  const other = taken((await prove(2))!);
  refused(encodeL3Proof({ ...parts, receipt: other.receipt }), /inclusion path/, 'other receipt');
  refused(encodeL3Proof({ ...parts, rollUp: other.rollUp }), /inclusion path/, 'other roll-up');
  refused(encodeL3Proof({ ...parts, evidence: other.evidence }), /^anchor by-hand/, 'other note');
  refused(encodeL3Proof({ ...parts, anchor: 'other' }), /nothing is trusted/, 'other name');
  const halves = { receipt: parseProof(parts.receipt), rollUp: parseProof(parts.rollUp) };
  if (!halves.receipt.ok || !halves.rollUp.ok) throw new Error('no proofs');
  const { index, path, checkpoint } = halves.receipt.value;
  const bare = encodeProof({ index, path, checkpoint });
  refused(encodeL3Proof({ ...parts, receipt: bare }), /no payload record/, 'no record');
  const extra = encodeProof({ ...halves.rollUp.value, extra: Buffer.of(1) });
  refused(encodeL3Proof({ ...parts, rollUp: extra }), /an extra line/, 'a second extra');

  const text = Buffer.from(proof).toString();
  const lines = text.split('\n');
  const closed = (above: readonly string[]): Uint8Array => {
    const start = above.map((line) => `${line}\n`).join('');
    const digest = Buffer.from(sha256(utf8ToBytes(start))).toString('base64');
    return utf8ToBytes(`${start}sha256 ${digest}\n`);
  };
  const [head = '', receipt = '', roll = '', anchor = ''] = lines;
  t.same(closed([head, receipt, roll, anchor]), proof, 'the last line is of all above');
  for (const [above, reason] of [
    [['kiri/l3-proof/v2', receipt, roll, anchor], /not an L3 proof/],
    [[head, roll, receipt, anchor], /malformed line/],
    [[head, receipt, roll], /cut short/],
    [[head, receipt, roll, anchor, anchor], /or more follows/],
    [[head, receipt, roll, anchor.replace('by-hand', 'checkpoint')], /malformed line/],
    [[head, receipt, roll, anchor.replace('by-hand', 'by/hand')], /malformed line/],
    [[head, receipt, roll, anchor.replace('by-hand ', 'by-hand  ')], /malformed line/],
    [[head, receipt, roll, 'anchor '], /malformed line/],
    [[head, `${receipt}=`, roll, anchor], /malformed line/],
  ] as const) {
    refused(closed(above), reason, above.map((line) => line.slice(0, 20)).join(', '));
  }
  refused(utf8ToBytes(`${text}\n`), /or more follows/, 'one more line');
  refused(utf8ToBytes(text.replaceAll('\n', '\r\n')), /not an L3 proof/, 'other line ends');
  refused(new Uint8Array(0), /not an L3 proof/, 'nothing');
  refused(new Uint8Array(MAX_L3_PROOF_BYTES + 1), /a proof over/, 'too long');
  const much = new Uint8Array(1_048_577);
  refused(encodeL3Proof({ ...parts, evidence: much }), /evidence over/, 'too much evidence');
  t.throws(() => encodeL3Proof({ ...parts, evidence: new Uint8Array(2_000_000) }), RangeError);
  t.throws(() => encodeL3Proof({ ...parts, anchor: 'checkpoint' }), RangeError);
});

t.test('what is missing or not a roll-up stops the making of a proof', async (t) => {
  const names = new Set([nameOf(1)]);
  const place = { size: 2, name: 'by-hand' };
  const at = (one: { size: number; name: string }) =>
    proveAnchored(source, names, { source: rollUp, places: [one] }, PORTS);
  await t.rejects(at(place), { code: 'LOG_INCOMPLETE', message: /anchors\/2\/checkpoint/ });
  await t.rejects(at({ size: 3, name: 'x' }), { code: 'LOG_INCOMPLETE', message: /anchors\/3\/x/ });
  t.equal((await at({ size: 5, name: 'by-hand' })).size, 0, 'beyond what is published');
  await t.rejects(anchorsAt(rollUp), { code: 'LOG_UNREACHABLE' });
  t.same(await anchorsInFolder(join(root, 'gw')), []);
  const stranger = { ...PORTS, policy: { ...PORTS.policy, logs: [] } };
  const asked = proveAnchored(source, names, { source: rollUp, places }, stranger);
  await t.rejects(asked, { code: 'LOG_NOT_FINAL' });
});

t.test('kiri ledger prove --rollup writes it and kiri verify says what it proves', async (t) => {
  const issuer = keyFilesOf(newSigner().key);
  const policy = await put('trust/policy.txt', POLICY_TEXT);
  await put('trust/issuer.cosekey', issuer.cosekey);
  await put('trust/issuer.pem', issuer.pem);
  await put('trust/log.vkey', `${encodeVerifierKey(LOG.key)}\n`);
  await put('trust/witness.vkey', `${encodeVerifierKey(WITNESS.key)}\n`);
  const anchorTrust = await put('trust/anchors/by-hand.json', trustText());
  const signer = newSigner();
  const receipt = await put('receipts/a.receipt.cbor', signSign1(signer, payloadOf(100)));
  const late = await put('receipts/b.receipt.cbor', signSign1(signer, payloadOf(305)));
  const file = join(root, 'receipts/a.l3-proof');

  // Over HTTP, as `kiri sync rollup` serves it; only the newest evidence is told there.
  const anchors = [
    { name: 'by-hand', anchoredSize: 3 },
    { name: 'fresh', anchoredSize: 0 },
  ];
  const server = await serveLog(rollUp.place, 0, { status: () => ({ anchors }) });
  t.teardown(() => server.close());
  const url = `http://127.0.0.1:${server.port}`;
  t.same(await anchorsAt(httpSource(url)), [{ name: 'by-hand', size: 3 }]);
  for (const path of ['/anchors/3/by-hand', '/anchors/3/checkpoint']) {
    t.equal(resourceOf(path)?.path, path.slice(1));
  }
  for (const path of ['3', '03/by-hand', '3/..', '3/a/b', '3/%2e%2e', '../state/anchored', 'x/y']) {
    t.equal(resourceOf(`/anchors/${path}`), undefined, path);
  }
  const base = ['ledger', 'prove', receipt, '--log', source.place, '--policy', policy];
  const made = await kiri([...base, '--rollup', url]);
  t.same([made.code, made.stdout, made.stderr], [0, `${file}\n`, '']);
  const seen = await kiri(['verify', file]);
  t.equal(seen.code, 0, seen.stdout);
  t.match(
    seen.stdout,
    new RegExp(`^L3 proofs +1\\nproven +receipt ${nameOf(100)} is entry 100`, 'm'),
  );
  t.match(seen.stdout, /anchored at by-hand by 2027-01-15T08:01:00\.000Z \(/);

  const both = await kiri([...base, late, '--rollup', rollUp.place, '--anchor', 'by-hand']);
  t.same([both.code, both.stdout], [1, `${file}\nnot anchored yet: ${late}\n`]);
  const none = await kiri([...base, '--rollup', rollUp.place, '--anchor', 'evm']);
  t.match(none, { code: 1, stderr: /NOT_ANCHORED.*not the anchor evm/s });
  t.equal((await kiri([...base, '--anchor', 'by-hand'])).code, 2, '--anchor without --rollup');

  const faults = async (): Promise<readonly string[]> =>
    (await verifyPath(file)).faults.map(({ reason }) => reason);
  t.match((await verifyPath(file)).proven, [/^receipt /]);
  await put('receipts/a.receipt.cbor', signSign1(signer, payloadOf(101)));
  t.match(await faults(), [/which is not the Receipt beside it/]);
  await rm(receipt);
  await put('trust/anchors/by-hand.json', trustText(realWitness('stranger.example/s')));
  t.match(await faults(), [/^anchor by-hand: /]);
  await rm(anchorTrust);
  t.match(await faults(), [/nothing is trusted for the anchor by-hand/]);
});
