import fc from 'fast-check';
import t from 'tap';
import { nobleSigner } from '../../../../identity/core/noble-signatures.ts';
import { toHex, utf8ToBytes } from '../../../../protocol/bytes.ts';
import { ALG_EDDSA } from '../../../../protocol/public-key.ts';
import { encodeCheckpoint, parseCheckpoint } from '../../../../sync/ledger/core/checkpoint.ts';
import { cosign, splitCosignature } from '../../../../sync/ledger/core/cosignature.ts';
import {
  commitsTo,
  encodeLeaf,
  encodeNoteLeaf,
  parseLeaf,
} from '../../../../sync/ledger/core/leaf.ts';
import { EMPTY_ROOT } from '../../../../sync/ledger/core/merkle.ts';
import { parseNote, parseSignatureLines, signNote } from '../../../../sync/ledger/core/note.ts';
import {
  TYPE_ED25519,
  encodeSignerKey,
  encodeVerifierKey,
  isKeyName,
  parseSignerKey,
  parseVerifierKey,
  verifierKey,
} from '../../../../sync/ledger/core/note-key.ts';
import { verifyNote } from '../../../../sync/ledger/core/note-verify.ts';
import {
  decodeBase64,
  decodeUtf8,
  encodeBase64,
  parseDecimal,
} from '../../../../sync/ledger/core/text.ts';
import {
  encodeBundle,
  indexPath,
  parseBundle,
  parseTile,
  parseTilePath,
  tilePath,
} from '../../../../sync/ledger/core/tile.ts';
import { ORIGIN, fakeVerify, fakeWitness, realLog, realVerify, realWitness } from '../keys.ts';

// golang.org/x/mod/sumdb/note, package documentation and note_test.go.
const GO_VKEY = 'PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW';
const GO_SKEY = 'PRIVATE+KEY+PeterNeumann+c74f20a3+AYEKFALVFGyNhPJEMzD1QIDr+Y7hfZx09iUvxdXHKDFz';
const GO_TEXT =
  "If you think cryptography is the answer to your problem,\nthen you don't know what your problem is.\n";
const GO_LINE =
  '\u2014 PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n';
const GO_NOTE = `${GO_TEXT}\n${GO_LINE}`;

const publicKeyOf = (seed: Uint8Array): Uint8Array => nobleSigner(ALG_EDDSA, seed).key.point;
const must = <T>(outcome: { ok: true; value: T } | { ok: false; reason: string }): T => {
  if (!outcome.ok) throw new Error(outcome.reason);
  return outcome.value;
};

t.test('base64, decimals and UTF-8 have one spelling each', async (t) => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 70 }), (bytes) => {
      const text = encodeBase64(bytes);
      const back = decodeBase64(text);
      return (
        text === Buffer.from(bytes).toString('base64') &&
        back !== undefined &&
        Buffer.from(back).equals(bytes)
      );
    }),
  );
  for (const wrong of [
    'QQ',
    'QQ=',
    'QR==',
    'QUI',
    'QUJ=',
    'Q Q=',
    'QQ==\n',
    '====',
    'QQ-_',
    'Q===',
    '=QQQ',
    'QUJ\u0141',
  ]) {
    t.equal(decodeBase64(wrong), undefined, wrong);
  }
  t.same(['0', '7', '20852163', '9007199254740991'].map(parseDecimal), [
    0,
    7,
    20852163,
    2 ** 53 - 1,
  ]);
  for (const wrong of [
    '',
    '00',
    '01',
    '-1',
    '+1',
    '1.0',
    '1e3',
    ' 1',
    '9007199254740992',
    '99999999999999999',
  ]) {
    t.equal(parseDecimal(wrong), undefined, wrong);
  }
  t.equal(decodeUtf8(utf8ToBytes('霧 — kiri')), '霧 — kiri');
  for (const wrong of [
    [0xc0, 0x80],
    [0xed, 0xa0, 0x80],
    [0xf4, 0x90, 0x80, 0x80],
    [0xe2, 0x80],
    [0xff],
  ]) {
    t.equal(decodeUtf8(Uint8Array.from(wrong)), undefined, toHex(Uint8Array.from(wrong)));
  }
});

t.test(
  'the Go example note and keys are read, verified and reproduced byte for byte',
  async (t) => {
    const vkey = must(parseVerifierKey(GO_VKEY));
    const skey = must(parseSignerKey(GO_SKEY, publicKeyOf));
    t.equal(encodeVerifierKey(vkey), GO_VKEY);
    t.equal(encodeSignerKey(skey, vkey.publicKey), GO_SKEY);
    const signer = {
      key: vkey,
      sign: (text: Uint8Array) => nobleSigner(ALG_EDDSA, skey.seed).sign(text),
    };
    t.equal(signNote(GO_TEXT, signer), GO_NOTE);
    const note = must(parseNote(utf8ToBytes(GO_NOTE)));
    t.equal(note.text, GO_TEXT);
    t.equal(must(verifyNote(note, [vkey], realVerify))[0]?.key.name, 'PeterNeumann');
    t.throws(() => signNote('no newline', signer), RangeError);
    t.throws(() => signNote(GO_TEXT, realWitness('w')), RangeError);
  },
);

t.test('no piece of a vkey or skey and no changed byte is taken for a key', async (t) => {
  for (let from = 0; from < GO_VKEY.length; from += 1) {
    for (let to = from + 1; to <= GO_VKEY.length; to += 1) {
      if (to - from === GO_VKEY.length) continue;
      if (parseVerifierKey(GO_VKEY.slice(from, to)).ok) t.fail(`${from} to ${to}`);
    }
  }
  for (const [text, parse] of [
    [GO_VKEY, (key: string) => parseVerifierKey(key).ok],
    [GO_SKEY, (key: string) => parseSignerKey(key, publicKeyOf).ok],
  ] as const) {
    for (let at = 0; at < text.length; at += 1) {
      const changed =
        text.slice(0, at) + String.fromCharCode(text.charCodeAt(at) + 1) + text.slice(at + 1);
      if (parse(changed)) t.fail(changed);
    }
  }
  t.notOk(
    parseVerifierKey('PeterNeumann+cc469956+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TWBADKEY==')
      .ok,
  );
  t.notOk(
    parseVerifierKey('PeterNeumann+173116ae+ZRpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW').ok,
  );
  t.notOk(parseVerifierKey(`x${'y'.repeat(2_000)}+00000000+AAAA`).ok);
  t.notOk(parseSignerKey(GO_VKEY, publicKeyOf).ok);
  for (const name of ['', 'a b', 'a+b', 'a\u00a0b', 'a\u2003b', 'a\tb', 'a\ud800'])
    t.notOk(isKeyName(name));
  t.throws(() => verifierKey('a b', TYPE_ED25519, new Uint8Array(32)), RangeError);
  t.throws(() => verifierKey('a', TYPE_ED25519, new Uint8Array(31)), RangeError);
});

t.test('malformed notes of every kind are refused', async (t) => {
  const wrong: readonly (string | Uint8Array)[] = [
    '',
    '\n\n',
    GO_TEXT,
    `${GO_TEXT}\n`,
    `${GO_TEXT}\n${GO_LINE.slice(0, -1)}`,
    `\u0001${GO_NOTE}`,
    Uint8Array.from([0xff, ...utf8ToBytes(GO_NOTE)]),
    `${GO_TEXT}\n${GO_LINE.replace('PeterNeumann', 'Bad Name')}`,
    `${GO_NOTE}Unexpected line.\n`,
    `${GO_TEXT}\n${GO_LINE.replace('\u2014', '-')}`,
    `${GO_TEXT}\n${GO_LINE.replace('=', '')}`,
    `${GO_TEXT}\n\u2014 PeterNeumann x08gow==\n`,
    GO_NOTE.replaceAll('\n', '\r\n'),
    `${GO_TEXT}\n${GO_LINE.repeat(65)}`,
    `${'x'.repeat(200_000)}\n\n${GO_LINE}`,
  ];
  for (const note of wrong) {
    t.notOk(
      parseNote(typeof note === 'string' ? utf8ToBytes(note) : note).ok,
      JSON.stringify(note).slice(0, 60),
    );
  }
  t.notOk(parseSignatureLines('').ok);
  t.notOk(parseSignatureLines(GO_LINE.replace('PeterNeumann', 'a\ud800')).ok, 'no UTF-8 says that');
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 300 }), (bytes) => !parseNote(bytes).ok || true),
  );
});

t.test('unknown keys are ignored, a known key with a bad signature spoils the note', async (t) => {
  const log = realLog();
  const text = encodeCheckpoint({ origin: ORIGIN, size: 0, root: EMPTY_ROOT });
  const good = signNote(text, log);
  const check = (note: string, keys = [log.key]): boolean =>
    verifyNote(must(parseNote(utf8ToBytes(note))), keys, realVerify).ok;
  t.ok(check(good + GO_LINE), 'a signature of an unknown key beside ours');
  const others = Array.from({ length: 15 }, (_, at) =>
    GO_LINE.replace('PeterNeumann', `other${at}`),
  );
  t.ok(check(good + others.join('')), '16 signatures');
  t.notOk(check(good, [realLog('other.example/log').key]), 'no known key');
  t.notOk(check(`${text}\n${GO_LINE.replace('PeterNeumann', ORIGIN)}`), 'the name alone is no key');
  const bad = signNote(text, { key: log.key, sign: () => new Uint8Array(64) });
  t.notOk(check(bad));
  t.notOk(check(good + bad.slice(text.length + 1)), 'a good and a bad one of the same key');
  t.notOk(
    check(`${text}\n${cosign(text, fakeWitness('w'), 5)}`, [fakeWitness('w').key]),
    'wrong cosignature',
  );
  const short = signNote(text, { key: log.key, sign: () => new Uint8Array(3) }).replace(
    ORIGIN,
    ORIGIN,
  );
  t.notOk(check(short));
});

t.test('a cosignature covers time and checkpoint in the form of cosignature/v1', async (t) => {
  const witness = fakeWitness('witness.example/w1');
  const text = encodeCheckpoint({ origin: ORIGIN, size: 20852163, root: EMPTY_ROOT });
  let signed = '';
  const spy = {
    key: witness.key,
    sign: (message: Uint8Array): Uint8Array => {
      signed = Buffer.from(message).toString('utf8');
      return witness.sign(message);
    },
  };
  const line = cosign(text, spy, 1679315147);
  t.equal(signed, `cosignature/v1\ntime 1679315147\n${text}`);
  const parsed = must(parseSignatureLines(line))[0];
  t.equal(parsed?.signature.length, 72);
  t.equal(
    toHex(parsed?.signature.slice(0, 8) ?? new Uint8Array(0)),
    '000000006418 50cb'.replace(' ', ''),
  );
  const verified = must(
    verifyNote(must(parseNote(utf8ToBytes(`${text}\n${line}`))), [witness.key], fakeVerify),
  );
  t.equal(verified[0]?.timeS, 1679315147);
  t.equal(splitCosignature(new Uint8Array(71)), undefined);
  t.equal(splitCosignature(new Uint8Array(72).fill(255)), undefined, 'a time beyond 2^53');
  t.throws(() => cosign(text, witness, -1), RangeError);
  t.throws(() => cosign(text, realLog(), 1), RangeError);
});

t.test('checkpoint texts are origin, size and root, and nothing malformed passes', async (t) => {
  const root = encodeBase64(EMPTY_ROOT);
  const head = must(parseCheckpoint(`example.com/behind-the-sofa\n20852163\n${root}\n`));
  t.same([head.origin, head.size], ['example.com/behind-the-sofa', 20852163]);
  t.equal(encodeCheckpoint(head), `example.com/behind-the-sofa\n20852163\n${root}\n`);
  t.ok(parseCheckpoint(`o\n1\n${root}\nextension\n`).ok);
  for (const wrong of [
    '',
    'o\n',
    'o\n1\n',
    `o\n1\n${root}`,
    `\n1\n${root}\n`,
    `o\n01\n${root}\n`,
    `o\n-1\n${root}\n`,
    `o\n1\n${root.slice(4)}\n`,
    `o\n1\n${root}\n\nx\n`,
  ]) {
    t.notOk(parseCheckpoint(wrong).ok, JSON.stringify(wrong));
  }
});

t.test('tile paths are those of tlog-tiles and have one spelling', async (t) => {
  t.equal(indexPath(1234067), 'x001/x234/067');
  t.same([indexPath(0), indexPath(999), indexPath(1000)], ['000', '999', 'x001/000']);
  t.equal(tilePath({ level: 'entries', index: 273, width: 112 }), 'tile/entries/273.p/112');
  fc.assert(
    fc.property(
      fc.oneof(fc.nat({ max: 63 }), fc.constant('entries' as const)),
      fc.maxSafeNat(),
      fc.integer({ min: 1, max: 256 }),
      (level, indexSeed, width) => {
        const index = indexSeed % 1e15;
        const tile = { level, index, width };
        const back = parseTilePath(tilePath(tile));
        return back.ok && JSON.stringify(back.value) === JSON.stringify(tile);
      },
    ),
  );
  for (const wrong of [
    'tile/0/1',
    'tile/00/001',
    'tile/64/001',
    'tile/0/x000/001',
    'tile/0/001/x002',
    'tile/0/x001/2',
    'tile/0/001.p/0',
    'tile/0/001.p/256',
    'tile/0/001.p/01',
    'tile/0/001.p/',
    'tile/0/../001',
    'tile/0/001/',
    '/tile/0/001',
    'tile/entries/x1/000',
    'tile/data/000',
    'tile/0/x999/x999/x999/x999/x999/999',
  ]) {
    t.notOk(parseTilePath(wrong).ok, wrong);
  }
});

t.test('bundles are uint16-prefixed entries, read strictly', async (t) => {
  const entries = [new Uint8Array(0), Uint8Array.of(0x61), new Uint8Array(300).fill(7)];
  const bytes = encodeBundle(entries);
  t.equal(toHex(bytes.slice(0, 7)), '0000000161012c');
  t.same(must(parseBundle(bytes, 3)), entries);
  t.notOk(parseBundle(bytes.slice(0, -1), 3).ok);
  t.notOk(parseBundle(bytes, 4).ok);
  t.notOk(parseBundle(bytes, 2).ok, 'bytes after the last entry');
  t.same(must(parseBundle(bytes, 2, false)), entries.slice(0, 2));
  t.notOk(parseBundle(Uint8Array.of(0), 1).ok);
  t.throws(() => encodeBundle([new Uint8Array(65_536)]), RangeError);
  t.notOk(parseTile(new Uint8Array(33), 1).ok);
});

t.test('a leaf is 33 bytes over receipt hash and ciphertext hash', async (t) => {
  // Version ‖ SHA-256(SHA-256("receipt") ‖ SHA-256("ciphertext")), computed with sha256sum.
  const { createHash } = await import('node:crypto');
  const sha = (bytes: Uint8Array): Buffer => createHash('sha256').update(bytes).digest();
  const [receipt, ciphertext] = [sha(utf8ToBytes('receipt')), utf8ToBytes('ciphertext')];
  const expected = Buffer.concat([Buffer.of(1), sha(Buffer.concat([receipt, sha(ciphertext)]))]);
  t.equal(toHex(encodeLeaf(new Uint8Array(receipt), ciphertext)), expected.toString('hex'));
  t.throws(() => encodeLeaf(new Uint8Array(31), ciphertext), RangeError);
});

t.test(
  'a leaf of version 2 or 3 commits to a checkpoint text, whatever its cosignatures',
  async (t) => {
    const { createHash } = await import('node:crypto');
    const text = `kiri.example/site/2026q3\n5\n${Buffer.alloc(32, 7).toString('base64')}\n`;
    const digest = createHash('sha256').update(text).digest();
    const line = `\u2014 kiri.example/site/2026q3 ${Buffer.alloc(68, 1).toString('base64')}\n`;
    const note = utf8ToBytes(`${text}\n${line}`);
    for (const [kind, version] of [
      ['predecessor', 2],
      ['rollUp', 3],
    ] as const) {
      const leaf = encodeNoteLeaf(kind, text);
      t.equal(toHex(leaf), Buffer.concat([Buffer.of(version), digest]).toString('hex'));
      t.same(parseLeaf(leaf), { kind, commitment: new Uint8Array(digest) });
      t.ok(commitsTo(leaf, note));
      t.ok(commitsTo(leaf, utf8ToBytes(`${text}\n${line}${line}`)), 'one more cosignature');
      t.notOk(commitsTo(leaf, utf8ToBytes(`${text.replace('5', '6')}\n${line}`)));
      t.notOk(commitsTo(leaf, utf8ToBytes(text)), 'no signature part');
    }
    const record = new Uint8Array(40).fill(9);
    const receipt = encodeLeaf(record.subarray(0, 32), record.subarray(32));
    t.equal(parseLeaf(receipt)?.kind, 'receipt');
    t.ok(commitsTo(receipt, record));
    t.notOk(commitsTo(receipt, record.subarray(0, 32)));
    t.notOk(commitsTo(receipt, note));
    t.equal(parseLeaf(new Uint8Array(33).fill(4)), undefined);
    t.equal(parseLeaf(receipt.subarray(1)), undefined);
    t.notOk(commitsTo(new Uint8Array(33).fill(4), record));
  },
);
