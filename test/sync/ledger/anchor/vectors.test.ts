import { readFileSync } from 'node:fs';
import fc from 'fast-check';
import t from 'tap';
import { fromHex, toHex, utf8ToBytes } from '../../../../protocol/bytes.ts';
import { parseAnchorTrust } from '../../../../sync/ledger/anchor/anchor-trust.ts';
import { parseCertificate } from '../../../../sync/ledger/core/anchor-certificate.ts';
import {
  decodeDer,
  encodeOid,
  readOid,
  readTime,
} from '../../../../sync/ledger/core/anchor-der.ts';
import { parseEvmEvidence, parseHeader } from '../../../../sync/ledger/core/anchor-evm.ts';
import type { VerifyAnchor } from '../../../../sync/ledger/core/anchor-port.ts';
import { type RlpItem, decodeRlp, encodeRlp } from '../../../../sync/ledger/core/anchor-rlp.ts';
import {
  answersNonce,
  encodeTimeStampReq,
  parseTimeStampResp,
} from '../../../../sync/ledger/core/anchor-timestamp.ts';
import { verifyTrieProof } from '../../../../sync/ledger/core/anchor-trie.ts';
import { encodeCheckpoint } from '../../../../sync/ledger/core/checkpoint.ts';
import { cosign } from '../../../../sync/ledger/core/cosignature.ts';
import { signNote } from '../../../../sync/ledger/core/note.ts';
import { realLog, realVerify, realWitness } from '../keys.ts';

t.setTimeout(120_000);
const VECTORS = new URL('../../../../../test/vectors/anchors/', import.meta.url);
const NAMES = ['evm', 'rfc3161-rsa', 'rfc3161-ec', 'file'] as const;
type Name = (typeof NAMES)[number];

interface Vector {
  readonly note: Uint8Array;
  readonly evidence: Uint8Array;
  readonly trust: Readonly<Record<string, unknown>>;
  readonly verify: VerifyAnchor;
}

const read = (name: Name, file: string): Uint8Array =>
  new Uint8Array(readFileSync(new URL(`${name}/${file}`, VECTORS)));

const under = (trust: unknown): VerifyAnchor => {
  const parsed = parseAnchorTrust(utf8ToBytes(JSON.stringify(trust)), realVerify);
  if (!parsed.ok) throw new Error(parsed.reason);
  return parsed.value;
};

const vector = (name: Name): Vector => {
  const trust = JSON.parse(Buffer.from(read(name, 'trust.json')).toString()) as Vector['trust'];
  const [note, evidence] = [read(name, 'checkpoint'), read(name, 'evidence')];
  return { note, evidence, trust, verify: under(trust) };
};

const ORIGIN = 'rollup.example/2026';
const noteOf = (size: number, fill: number, origin = ORIGIN): Uint8Array => {
  const root = new Uint8Array(32).fill(fill);
  return utf8ToBytes(signNote(encodeCheckpoint({ origin, size, root }), realLog(origin)));
};

for (const name of NAMES) {
  t.test(`${name}: holds for its note alone, and not cut or changed at any byte`, (t) => {
    const { note, evidence, verify } = vector(name);
    t.match(verify(evidence, note), { ok: true });
    const others = [noteOf(8, 7), noteOf(7, 8), noteOf(7, 7, 'other.example'), note.slice(1)];
    for (const other of others) t.match(verify(evidence, other), { ok: false });
    const cuts: number[] = [];
    const changes: number[] = [];
    for (let at = 0; at < evidence.length; at += 1) {
      if (verify(evidence.slice(0, at), note).ok) cuts.push(at);
      const changed = evidence.slice();
      changed[at] = (changed[at] ?? 0) ^ (1 << (at % 8));
      if (verify(changed, note).ok) changes.push(at);
    }
    t.same(cuts, [], 'cut');
    // The eighth byte of a TimeStampResp is its status: "granted" there becomes "granted with modifications".
    t.same(changes, name.startsWith('rfc3161') ? [8] : [], 'changed');
    t.match(verify(Buffer.concat([evidence, Buffer.of(0)]), note), { ok: false }, 'one more byte');
    t.end();
  });

  t.test(`${name}: bytes of any kind are refused and throw nothing`, (t) => {
    const { note, evidence, verify } = vector(name);
    const spliced = fc
      .tuple(fc.nat(evidence.length), fc.nat(64), fc.uint8Array({ maxLength: 64 }))
      .map(([at, gone, more]) =>
        Buffer.concat([evidence.subarray(0, at), more, evidence.subarray(at + gone)]),
      );
    fc.assert(
      fc.property(fc.oneof(fc.uint8Array({ maxLength: 200 }), spliced), (bytes) => {
        const isSame = Buffer.from(evidence).equals(bytes);
        const isStatus = name.startsWith('rfc3161') && bytes[8] === 1;
        return isSame || isStatus || !verify(bytes, note).ok;
      }),
      { numRuns: 300 },
    );
    t.match(verify(new Uint8Array(1_048_577), note), { ok: false }, 'too large');
    t.end();
  });
}

t.test('EVM evidence rests on every line of its trust file', (t) => {
  const { note, evidence, trust } = vector('evm');
  const zeros = (bytes: number): string => `0x${'00'.repeat(bytes)}`;
  const cases: readonly (readonly [object, RegExp])[] = [
    [{ chainId: 1 }, /another chain/],
    [{ contract: zeros(20) }, /another contract/],
    [{ sender: zeros(20) }, /another sender/],
    [{ blocks: [] }, /name no block of 11 to 13; ask a node .* block 13 is 0x[0-9a-f]{64}/],
    [{ blocks: [zeros(32)] }, /name no block/],
  ];
  for (const [part, reason] of cases) {
    t.match(under({ ...trust, ...part })(evidence, note), { ok: false, reason });
  }
  const parsed = parseEvmEvidence(evidence);
  if (!parsed.ok) return t.fail(parsed.reason);
  t.ok(parsed.value.accountProof.length > 1, 'the account is below a branch');
  t.ok(parsed.value.sizeProof.length > 1, 'and so is the slot');
  for (const header of parsed.value.headers) {
    const found = parseHeader(header);
    const blocks = found.ok ? [`0x${toHex(found.value.hash)}`] : [];
    t.ok(under({ ...trust, blocks })(evidence, note).ok, 'any one of the headers may be named');
  }
  const text = Buffer.from(evidence).toString();
  const stranger = text.replace(String(trust['sender']), zeros(20));
  t.match(under({ ...trust, sender: zeros(20) })(utf8ToBytes(stranger), note), {
    ok: false,
    reason: /size in the contract/,
  });
  for (const changed of [
    text.trimEnd(),
    ` ${text}`,
    text.replace('"chainId":31337', '"chainId":"1"'),
    '[]',
    'null',
  ]) {
    t.match(parseEvmEvidence(utf8ToBytes(changed)), { ok: false });
  }
  return t.end();
});

t.test('a time stamp answers one request, and rests on its roots and policies', (t) => {
  for (const name of ['rfc3161-rsa', 'rfc3161-ec'] as const) {
    const { note, evidence, trust } = vector(name);
    const token = parseTimeStampResp(evidence);
    if (!token.ok) return t.fail(token.reason);
    const nonce = fromHex(Buffer.from(read(name, 'nonce')).toString().trim());
    t.ok(answersNonce(token.value.info, nonce));
    t.notOk(answersNonce(token.value.info, nonce.toReversed()), 'another nonce');
    const { nonce: _gone, ...without } = token.value.info;
    t.notOk(answersNonce(without, nonce), 'no nonce');
    const other = name === 'rfc3161-ec' ? 'rfc3161-rsa' : 'rfc3161-ec';
    const { roots } = vector(other).trust;
    t.match(under({ ...trust, roots })(evidence, note), { ok: false, reason: /leads to no root/ });
    t.match(under({ ...trust, policies: ['1.2.3'] })(evidence, note), {
      ok: false,
      reason: /policy 1\.2\.3\.4\.1 is not accepted/,
    });
    for (const der of token.value.certificates) {
      t.match(parseCertificate(der), { ok: true });
      for (let at = 0; at < der.length; at += 1) parseCertificate(der.slice(0, at));
    }
  }
  t.throws(() => encodeTimeStampReq(new Uint8Array(1), new Uint8Array(7)), RangeError);
  return t.end();
});

t.test('a countersignature counts only under the note that it was asked for', (t) => {
  const { note, evidence, trust } = vector('file');
  const line = (name: string, timeS: number): string =>
    cosign(Buffer.from(note).toString().split('\n\n')[0] + '\n', realWitness(name), timeS);
  const keys = [...(trust['keys'] as string[])];
  const strange = utf8ToBytes(Buffer.from(note).toString() + line('stranger.example/s', 5));
  t.match(under({ ...trust, keys })(strange, note), { ok: false });
  t.match(under(trust)(note, note), { ok: false }, 'no countersignature at all');
  const twice = Buffer.concat([evidence, utf8ToBytes(line('consortium.example/b', 5))]);
  t.match(under(trust)(twice, note), { ok: true, value: { anchoredAtS: 1_800_000_000 } });
  t.end();
});

t.test('RLP has one form for every item', (t) => {
  // Examples of the Ethereum wiki's "RLP" page.
  const dog = utf8ToBytes('dog');
  t.equal(toHex(encodeRlp(dog)), '83646f67');
  t.equal(toHex(encodeRlp([utf8ToBytes('cat'), dog])), 'c88363617483646f67');
  t.equal(toHex(encodeRlp(new Uint8Array(0))), '80');
  t.equal(toHex(encodeRlp([])), 'c0');
  t.equal(toHex(encodeRlp([[], [[]], [[], [[]]]])), 'c7c0c1c0c3c0c1c0');
  const long = encodeRlp(utf8ToBytes('Lorem ipsum dolor sit amet, consectetur adipisicing elit'));
  t.equal(toHex(long.slice(0, 2)), 'b838');
  const refused = [
    '',
    '8100',
    'b80100',
    'b900ff',
    'c1',
    'c281',
    '8361',
    'c7c6c5c4c3c2c1c0',
    '83646f6700',
    'bf',
  ];
  for (const hex of refused) t.match(decodeRlp(fromHex(hex)), { ok: false }, hex);
  const { item } = fc.letrec<{ item: RlpItem }>((tie) => ({
    item: fc.oneof(
      { maxDepth: 2 },
      fc.uint8Array({ maxLength: 300 }),
      fc.array(tie('item'), { maxLength: 4 }),
    ),
  }));
  fc.assert(
    fc.property(item, (value) => {
      const decoded = decodeRlp(encodeRlp(value));
      t.same(decoded.ok && decoded.value, value);
    }),
    { numRuns: 100 },
  );
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 80 }), (bytes) => {
      const decoded = decodeRlp(bytes);
      return !decoded.ok || Buffer.from(encodeRlp(decoded.value)).equals(bytes);
    }),
  );
  t.end();
});

t.test('a trie proof that is none is refused', (t) => {
  const root = new Uint8Array(32).fill(1);
  const key = new Uint8Array(20);
  t.match(verifyTrieProof(root, key, []), { ok: false, reason: /too short/ });
  t.match(verifyTrieProof(root, key, [key]), { ok: false, reason: /not the one/ });
  const many = Array.from({ length: 66 }, () => key);
  t.match(verifyTrieProof(root, key, many), { ok: false, reason: /more than 65/ });
  t.match(verifyTrieProof(key, key, [key]), { ok: false, reason: /not in the trie/ });
  t.end();
});

t.test('DER is read in its one form only', (t) => {
  const refused = [
    '',
    '30',
    '3080',
    '308100',
    '30820001',
    '1f8101',
    '0201',
    '30030201',
    '020100ff',
    '3085000000000100',
  ];
  for (const hex of refused) {
    t.match(decodeDer(fromHex(hex)), { ok: false }, hex);
  }
  const deep = Array.from({ length: 30 }).reduce<Uint8Array>(
    (inner) => Buffer.concat([Buffer.of(0x30, inner.length), inner]),
    new Uint8Array(0),
  );
  t.match(decodeDer(deep), { ok: false }, 'thirty sequences in one another');
  for (const dotted of ['1.2.840.113549.1.9.16.1.4', '2.999.3', '2.5.29.37', '0.9.2342']) {
    const node = decodeDer(encodeOid(dotted));
    t.equal(node.ok && readOid(node.value), dotted);
  }
  for (const hex of ['0600', '06028001', '060181', '0609ffffffffffffffffff', '0201ff']) {
    const node = decodeDer(fromHex(hex));
    t.equal(node.ok ? readOid(node.value) : 'malformed', undefined, hex);
  }
  t.end();
});

t.test('times of certificates and stamps are those of the calendar', (t) => {
  const timeOf = (tag: number, text: string): number | undefined => {
    const node = decodeDer(Buffer.concat([Buffer.of(tag, text.length), Buffer.from(text)]));
    return node.ok ? readTime(node.value) : undefined;
  };
  const dates = fc.date({
    min: new Date('1970-01-01T00:00:00Z'),
    max: new Date('2200-12-31T23:59:59Z'),
    noInvalidDate: true,
  });
  fc.assert(
    fc.property(dates, (date) => {
      const digits = date.toISOString().slice(0, 19).replaceAll(/\D/g, '');
      const seconds = Math.floor(date.getTime() / 1000);
      t.equal(timeOf(0x18, `${digits}Z`), seconds);
      if (date.getUTCFullYear() < 2050) t.equal(timeOf(0x17, `${digits.slice(2)}Z`), seconds);
    }),
  );
  t.equal(timeOf(0x18, '20261122020213.5Z'), timeOf(0x18, '20261122020213Z'), 'a fraction');
  const wrong = [
    '20260229000000Z',
    '20261301000000Z',
    '20260100000000Z',
    '20260101240000Z',
    '20260101006000Z',
    '20260101000060Z',
    '20260101000000',
    '20260101000000.0Z',
    '20260101000000+0900',
  ];
  for (const text of wrong) t.equal(timeOf(0x18, text), undefined, text);
  t.equal(timeOf(0x02, '20260101000000Z'), undefined, 'no time by its tag');
  t.equal(readTime(undefined), undefined);
  t.end();
});
