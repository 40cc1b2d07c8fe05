import fc from 'fast-check';
import t from 'tap';
import { toHex, utf8ToBytes } from '../../../../protocol/bytes.ts';
import { encodeCheckpoint } from '../../../../sync/ledger/core/checkpoint.ts';
import { cosign } from '../../../../sync/ledger/core/cosignature.ts';
import { verifyFinalCheckpoint } from '../../../../sync/ledger/core/final-checkpoint.ts';
import { encodeLeaf } from '../../../../sync/ledger/core/leaf.ts';
import { EMPTY_ROOT, leafHash, nodeHash } from '../../../../sync/ledger/core/merkle.ts';
import { signNote } from '../../../../sync/ledger/core/note.ts';
import { TYPE_COSIGNATURE, encodeVerifierKey } from '../../../../sync/ledger/core/note-key.ts';
import { parsePolicy, quorumMet } from '../../../../sync/ledger/core/policy.ts';
import { encodeProof, parseProof, verifyProof } from '../../../../sync/ledger/core/proof.ts';
import { encodeBase64 } from '../../../../sync/ledger/core/text.ts';
import {
  ORIGIN,
  fakeWitness,
  policyOf,
  policyText,
  realLog,
  realVerify,
  realWitness,
} from '../keys.ts';

const must = <T>(outcome: { ok: true; value: T } | { ok: false; reason: string }): T => {
  if (!outcome.ok) throw new Error(outcome.reason);
  return outcome.value;
};

const log = realLog();
const [w1, w2, w3] = [
  realWitness('w.example/1'),
  realWitness('w.example/2'),
  realWitness('w.example/3'),
];

t.test('policies with nested groups are evaluated as tlog-policy says', async (t) => {
  const names = ['x1', 'x2', 'x3', 'y1', 'y2', 'y3'];
  const text = [
    '# comment',
    `log ${encodeVerifierKey(log.key)} https://log.example`,
    ...names.map((name) => `\twitness  ${name} ${encodeVerifierKey(fakeWitness(name).key)} `),
    'group X 2 x1 x2 x3',
    'group Y any y1 y2 y3',
    'group both all X Y',
    'quorum both',
    '',
  ].join('\n');
  const policy = must(parsePolicy(utf8ToBytes(text)));
  t.equal(policy.logs[0]?.url, 'https://log.example');
  const { createHash } = await import('node:crypto');
  t.equal(toHex(policy.hash), createHash('sha256').update(text).digest('hex'));
  fc.assert(
    fc.property(fc.subarray(names), (cosigned) => {
      const x = cosigned.filter((name) => name.startsWith('x')).length;
      const y = cosigned.filter((name) => name.startsWith('y')).length;
      return quorumMet(policy, new Set(cosigned)) === (x >= 2 && y >= 1);
    }),
  );
  t.ok(quorumMet(must(parsePolicy(utf8ToBytes('quorum none\n'))), new Set()));
});

t.test('malformed policies are refused with the line that is wrong', async (t) => {
  const vkey = encodeVerifierKey(w1.key);
  const logKey = encodeVerifierKey(log.key);
  for (const [text, why] of [
    ['', 'newline'],
    ['quorum none', 'newline'],
    ['log x\nquorum none\n', 'line 1'],
    [`log ${vkey}\nquorum none\n`, '0x01'],
    [`witness w ${logKey}\nquorum w\n`, '0x04'],
    [`log ${logKey}\nlog ${logKey}\nquorum none\n`, 'duplicate log'],
    [`witness a ${vkey}\nwitness b ${vkey}\nquorum a\n`, 'duplicate witness'],
    [`witness a ${vkey}\nwitness a ${encodeVerifierKey(w2.key)}\nquorum a\n`, 'twice'],
    [`witness none ${vkey}\nquorum none\n`, 'reserved'],
    [`witness a ${vkey}\nquorum b\n`, 'not defined'],
    [`witness a ${vkey}\nquorum a\nquorum a\n`, 'more than one'],
    [`witness a ${vkey}\n`, 'without a quorum'],
    [`witness a ${vkey}\ngroup g 2 a\nquorum g\n`, 'threshold'],
    [`witness a ${vkey}\ngroup g 0 a\nquorum g\n`, 'threshold'],
    [`witness a ${vkey}\ngroup g any\nquorum g\n`, 'members'],
    [`witness a ${vkey}\ngroup g any a a\nquorum g\n`, 'member twice'],
    [`witness a ${vkey}\ngroup g any a\ngroup h any a\nquorum g\n`, 'member twice'],
    [`group g any none\nquorum g\n`, 'not defined'],
    [`witness a ${vkey} u v\nquorum a\n`, 'malformed'],
    ['frobnicate\nquorum none\n', 'unknown'],
    ['quorum\n', 'malformed'],
    ['quorum none\r\n', 'control'],
    [`#${'x'.repeat(70_000)}\nquorum none\n`, 'over'],
  ] as const) {
    const parsed = parsePolicy(utf8ToBytes(text));
    t.match(parsed.ok ? 'taken' : parsed.reason, why, text.slice(0, 40));
  }
  t.notOk(parsePolicy(Uint8Array.of(0xff, 0x0a)).ok);
});

t.test('a proof verifies offline, and fails after any byte of it is changed', async (t) => {
  const entry = encodeLeaf(new Uint8Array(32).fill(3), utf8ToBytes('c'));
  const sibling = leafHash(utf8ToBytes('other'));
  const root = nodeHash(sibling, leafHash(entry));
  const text = encodeCheckpoint({ origin: ORIGIN, size: 2, root });
  const note =
    signNote(text, log) + cosign(text, w1, 1_700_000_000) + cosign(text, w2, 1_700_000_003);
  const policy = policyOf(log, [w1, w2, w3], 'group q 2 w1 w2 w3\nquorum q');
  const bytes = encodeProof({ index: 1, path: [sibling], checkpoint: utf8ToBytes(note) });
  const proven = must(verifyProof(bytes, entry, policy, realVerify));
  t.equal(proven.index, 1);
  t.same(
    [...proven.head.cosignedAtS],
    [
      ['w1', 1_700_000_000],
      ['w2', 1_700_000_003],
    ],
  );
  // The stand-in verifier is exact and fast; one flip in every byte, not only in signed ones.
  let accepted = 0;
  for (let at = 0; at < bytes.length; at += 1) {
    const changed = bytes.slice();
    changed[at] = (changed[at] ?? 0) ^ (1 + (at % 255));
    if (verifyProof(changed, entry, policy, realVerify).ok) accepted += 1;
  }
  t.equal(accepted, 0);
  t.notOk(
    verifyProof(bytes, encodeLeaf(new Uint8Array(32), utf8ToBytes('c')), policy, realVerify).ok,
  );
  t.notOk(
    verifyProof(
      bytes,
      entry,
      policyOf(log, [w1, w2, w3], 'group q all w1 w2 w3\nquorum q'),
      realVerify,
    ).ok,
  );
  t.notOk(
    verifyProof(
      bytes,
      entry,
      policyOf(realLog('other.example/log'), [w1, w2], 'quorum w1'),
      realVerify,
    ).ok,
  );
  const extra = encodeProof({
    index: 1,
    path: [sibling],
    checkpoint: utf8ToBytes(note),
    extra: Uint8Array.of(1, 2),
  });
  t.same(must(parseProof(extra)).extra, Uint8Array.of(1, 2));
});

t.test('malformed proofs and checkpoints are refused', async (t) => {
  const hash = encodeBase64(EMPTY_ROOT);
  const head = 'c2sp.org/tlog-proof@v1\n';
  for (const wrong of [
    '',
    `${head}index 0\n`,
    `c2sp.org/tlog-proof@v2\nindex 0\n\nx`,
    `${head}index 00\n\nx`,
    `${head}\nindex 0\n\nx`,
    `${head}extra !\nindex 0\n\nx`,
    `${head}extra AA==\n${hash}\n\nx`,
    `${head}index 0\n${hash.slice(4)}\n\nx`,
    `${head}index 0\n${`${hash}\n`.repeat(64)}\nx`,
    `${head}index 0\n\n${'x'.repeat(300_000)}`,
  ]) {
    t.notOk(parseProof(utf8ToBytes(wrong)).ok, JSON.stringify(wrong).slice(0, 60));
  }
  const policy = policyOf(log, [w1], 'quorum w1');
  const text = encodeCheckpoint({ origin: ORIGIN, size: 0, root: EMPTY_ROOT });
  const verdict = (note: string): string => {
    const result = verifyFinalCheckpoint(utf8ToBytes(note), policy, realVerify);
    return result.ok ? 'final' : result.reason;
  };
  t.equal(verdict(signNote(text, log) + cosign(text, w1, 7) + cosign(text, w1, 5)), 'final');
  // Another log of the same policy may not speak under this origin.
  const other = realLog('other.example/log');
  const both = policyText(log, [w1], `log ${encodeVerifierKey(other.key)}\nquorum w1`);
  const stolen = utf8ToBytes(signNote(text, other) + cosign(text, w1, 7));
  t.notOk(verifyFinalCheckpoint(stolen, must(parsePolicy(utf8ToBytes(both))), realVerify).ok);
  t.match(verdict(signNote(text, log)), 'policy is not met');
  t.match(verdict(`${text}\n${cosign(text, w1, 7)}`), 'not signed by a log');
  t.match(verdict(signNote('no checkpoint\n', log)), 'origin, size and root');
  t.match(verdict('junk'), 'signature part');
  t.ok(parsePolicy(utf8ToBytes(policyText(log, [w1], 'quorum w1'))).ok);
  t.equal(w1.key.type, TYPE_COSIGNATURE);
});
