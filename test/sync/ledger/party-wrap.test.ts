import { createECDH, createPrivateKey, type KeyObject } from 'node:crypto';
import { readFile, readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { sha256 } from '@noble/hashes/sha2.js';
import t from 'tap';
import { toHex, utf8ToBytes } from '../../../protocol/bytes.ts';
import { ALG_ES256, publicKey, type PublicKey } from '../../../protocol/public-key.ts';
import { openContentKeys } from '../../../sync/ledger/content-keys.ts';
import {
  contentKeyId,
  recipientCount,
  unwrapContentKey,
  wrapContentKey,
} from '../../../sync/ledger/key-wrap.ts';
import { sealPayload } from '../../../sync/ledger/payload-record.ts';
import { openRecord, openWrapped } from './rfc-unwrap.ts';
import { temporaryFolder } from './rig.ts';

interface Holder {
  readonly secret: Buffer;
  readonly privateKey: KeyObject;
  readonly key: PublicKey;
}

/** A P-256 key as the scalar and as what the code under test takes. */
const holder = (seed: number): Holder => {
  const secret = Buffer.alloc(32, seed);
  const ecdh = createECDH('prime256v1');
  ecdh.setPrivateKey(secret);
  const point = ecdh.getPublicKey().subarray(1);
  const [x, y, d] = [point.subarray(0, 32), point.subarray(32), secret].map((part) =>
    part.toString('base64url'),
  );
  const jwk = { kty: 'EC', crv: 'P-256', x: x!, y: y!, d: d! };
  return {
    secret,
    privateKey: createPrivateKey({ key: jwk, format: 'jwk' }),
    key: publicKey(ALG_ES256, new Uint8Array(point))!,
  };
};

const [issuer, party, stranger] = [holder(1), holder(2), holder(3)];
const contentKey = new Uint8Array(32).fill(7);

t.test('issuer and party each open the content key, by the RFCs alone; nobody else', async (t) => {
  const wrapped = wrapContentKey(contentKey, issuer.key, party.key);
  t.match(openWrapped(wrapped, issuer.secret), { recipients: 2, openedAt: 0 });
  t.match(openWrapped(wrapped, party.secret), { recipients: 2, openedAt: 1 });
  t.same(openWrapped(wrapped, party.secret).contentKey, Buffer.from(contentKey));
  t.equal(openWrapped(wrapped, stranger.secret).openedAt, -1);
  for (const one of [issuer, party]) {
    t.same(unwrapContentKey(wrapped, one.privateKey).contentKey, contentKey);
  }
  t.throws(() => unwrapContentKey(wrapped, stranger.privateKey), { code: 'KEY_UNREADABLE' });
  t.equal(recipientCount(wrapped), 2);
  t.equal(recipientCount(wrapContentKey(contentKey, issuer.key)), 1);
  t.equal(recipientCount(wrapped.subarray(1)), undefined);
});

t.test('a key file names the issuer and never the party', async (t) => {
  const [one, other] = [1, 2].map(() => wrapContentKey(contentKey, issuer.key, party.key));
  t.same(openWrapped(one!, party.secret).kids, [issuer.key.hex]);
  const hex = toHex(one!);
  for (const needle of [party.key.id, party.key.point.subarray(0, 32), contentKey]) {
    t.notOk(hex.includes(toHex(needle)));
  }
  t.not(toHex(contentKeyId(one!)), toHex(contentKeyId(other!)), 'two months tie to nothing');
});

t.test('no byte of a two-recipient file may change without its id changing too', async (t) => {
  const wrapped = wrapContentKey(contentKey, issuer.key, party.key);
  const kid = toHex(contentKeyId(wrapped));
  for (let at = 0; at < wrapped.length; at += 1) {
    const changed = wrapped.slice();
    changed[at] = (changed[at] ?? 0) ^ 1;
    if (toHex(contentKeyId(changed)) === kid) t.fail(`byte ${at} is in no id`);
  }
  for (let length = 0; length < wrapped.length; length += 1) {
    t.throws(() => unwrapContentKey(wrapped.slice(0, length), party.privateKey));
  }
});

t.test('a payload record is opened by the RFCs alone, and its size tells little', async (t) => {
  const key = { kid: new Uint8Array(16).fill(9), key: contentKey };
  const hash = sha256(utf8ToBytes('receipt'));
  for (const length of [0, 1, 127, 128, 400, 5_000]) {
    const plain = new Uint8Array(length).fill(0x80);
    t.same(openRecord(sealPayload(plain, hash, key), Buffer.from(contentKey)), Buffer.from(plain));
  }
  const sizes = new Set(
    Array.from({ length: 100 }, (_, at) => sealPayload(new Uint8Array(512 + at), hash, key).length),
  );
  t.equal(sizes.size, 1, 'payloads of 512 to 611 bytes look alike');
});

t.test('one key per party and month, made for the party where it has a key', async (t) => {
  const root = await temporaryFolder(t);
  const keys = openContentKeys(root, issuer.key);
  const november = Date.UTC(2026, 10, 15);
  const partyRef = utf8ToBytes('party');
  const first = await keys.keyFor({ partyRef, partyKey: party.key, acceptedAtMs: november });
  const again = await keys.keyFor({ partyRef, acceptedAtMs: november + 1 });
  t.same(again, first);
  const december = await keys.keyFor({ partyRef, acceptedAtMs: Date.UTC(2026, 11, 15) });
  t.not(toHex(december.kid), toHex(first.kid));
  const files = await readdir(join(root, 'keys'));
  t.same(files.toSorted(), [first, december].map(({ kid }) => toHex(kid)).toSorted());
  const counts = new Map<string, number | undefined>();
  for (const name of files) {
    const wrapped = await readFile(join(root, 'keys', name));
    counts.set(name, recipientCount(new Uint8Array(wrapped)));
    const opened = openWrapped(wrapped, issuer.secret).contentKey;
    const own = name === toHex(first.kid) ? first : december;
    t.same(opened, Buffer.from(own.key), 'the issuer opens both');
  }
  t.equal(counts.get(toHex(first.kid)), 2);
  t.equal(counts.get(toHex(december.kid)), 1, 'without a key of the party: the issuer alone');
  // Another process finds the key on disk.
  const reopened = await openContentKeys(root, issuer.key).keyFor({
    partyRef,
    acceptedAtMs: november,
  });
  t.same(reopened, first);
});
