import { chmodSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { inspect } from 'node:util';
import t from 'tap';
import {
  KEY_STORE_PLAIN_FILE,
  KEY_STORE_SEALED_FILE,
  type KeyStore,
} from '../../identity/core/key-store.ts';
import { createKeyFile, loadSigner, openKeyFile } from '../../identity/edge/key-file.ts';
import { nodeVerifier } from '../../identity/edge/node-signatures.ts';
import { utf8ToBytes } from '../../protocol/bytes.ts';
import { ALG_EDDSA, ALG_ES256 } from '../../protocol/public-key.ts';

const MESSAGE = utf8ToBytes('hello');
const verifier = nodeVerifier();

void t.test('a new key is in a file of mode 0600 and signs after loading', async (t) => {
  const folder = t.testdir();
  for (const alg of [ALG_EDDSA, ALG_ES256] as const) {
    for (const passphrase of [undefined, 'rain on Shibuya']) {
      const path = join(folder, `${alg}-${passphrase ? 'sealed' : 'plain'}.key`);
      const options = passphrase === undefined ? {} : { passphrase };
      const made = createKeyFile(path, alg, options);
      t.equal(statSync(path).mode & 0o777, 0o600);
      t.equal(made.level, passphrase ? KEY_STORE_SEALED_FILE : KEY_STORE_PLAIN_FILE);
      const loaded = openKeyFile(path, options);
      t.equal(loaded.level, made.level);
      t.equal(loaded.signer.key.hex, made.signer.key.hex);
      t.ok(verifier.verify(made.signer.key, MESSAGE, loadSigner(path, options).sign(MESSAGE)));
    }
  }
  t.equal(readdirSync(folder).length, 4, 'no drafts left behind');
  const keys = readdirSync(folder).map((name) =>
    JSON.parse(readFileSync(join(folder, name), 'utf8')),
  );
  t.equal(new Set(keys.map(({ id }: { id: string }) => id)).size, 4, 'each its own key');
});

void t.test('every looser mode is refused and the message says what to do', async (t) => {
  const path = join(t.testdir(), 'device.key');
  createKeyFile(path);
  for (const mode of [0o640, 0o604, 0o660, 0o644, 0o610, 0o601]) {
    chmodSync(path, mode);
    t.throws(() => loadSigner(path), { code: 'KEY_FILE_MODE', message: /chmod 600/ });
  }
  chmodSync(path, 0o400);
  t.ok(loadSigner(path), 'stricter is fine');
});

void t.test('an existing key is never written over; a draft left by a crash is', async (t) => {
  const path = join(t.testdir(), 'device.key');
  writeFileSync(`${path}.new`, 'half a k', { mode: 0o644 });
  const first = createKeyFile(path);
  t.equal(statSync(path).mode & 0o777, 0o600, 'the mode of the draft is not inherited');
  t.throws(() => createKeyFile(path), { code: 'KEY_FILE_EXISTS' });
  t.equal(loadSigner(path).key.hex, first.signer.key.hex);
  t.throws(() => createKeyFile(join(path, 'no', 'folder.key')), { code: 'KEY_FILE_UNWRITABLE' });
  t.throws(() => loadSigner(`${path}.none`), { code: 'KEY_FILE_UNREADABLE' });
});

void t.test('a sealed file opens with its passphrase only, and with no byte changed', async (t) => {
  const path = join(t.testdir(), 'party.key');
  createKeyFile(path, ALG_EDDSA, { passphrase: 'correct' });
  t.throws(() => loadSigner(path), { code: 'KEY_FILE_SEALED', message: /needs its passphrase/ });
  t.throws(() => loadSigner(path, { passphrase: 'wrong' }), { code: 'KEY_FILE_SEALED' });
  const file = JSON.parse(readFileSync(path, 'utf8')) as { data: string; id: string };
  const data = Buffer.from(file.data, 'base64');
  const open = { passphrase: 'correct' };
  for (const at of [0, 20, 30, data.length - 1]) {
    const changed = Buffer.from(data);
    changed[at]! ^= 1;
    writeFileSync(path, JSON.stringify({ ...file, data: changed.toString('base64') }));
    t.throws(() => loadSigner(path, open), { code: 'KEY_FILE_SEALED' }, `byte ${at}`);
  }
  writeFileSync(path, JSON.stringify({ ...file, id: '0'.repeat(32) }));
  t.throws(() => loadSigner(path, open), { code: 'KEY_FILE_SEALED' }, 'the id is sealed in too');
  writeFileSync(path, JSON.stringify({ ...file, data: 'AAAA' }));
  t.throws(() => loadSigner(path, open), { code: 'KEY_FILE_SEALED' });
});

void t.test('what is not a key file is refused without quoting it', async (t) => {
  const path = join(t.testdir(), 'bad.key');
  const good = createKeyFile(`${path}.good`);
  const file = JSON.parse(readFileSync(`${path}.good`, 'utf8')) as { data: string };
  const bad = [
    '',
    'null',
    '[]',
    '{',
    JSON.stringify({ ...file, format: 'kiri-key/9' }),
    JSON.stringify({ ...file, sealed: 1 }),
    JSON.stringify({ ...file, data: 'AAAA' }),
    JSON.stringify({ ...file, id: '0'.repeat(32) }),
    `{"secret-${'x'.repeat(5000)}`,
  ];
  for (const text of bad) {
    writeFileSync(path, text, { mode: 0o600 });
    try {
      loadSigner(path);
      t.fail(`accepted ${text.slice(0, 40)}`);
    } catch (error) {
      t.match(error, { code: 'KEY_FILE_CORRUPT' });
      t.notMatch(inspect(error), /secret-|AAAA/);
    }
  }
  t.ok(good);
});

void t.test('neither a key store nor a sealed file shows the secret (R-017)', async (t) => {
  const folder = t.testdir();
  const plainPath = join(folder, 'plain.key');
  const sealedPath = join(folder, 'sealed.key');
  const stores: KeyStore[] = [
    createKeyFile(plainPath),
    openKeyFile(plainPath),
    createKeyFile(sealedPath, ALG_EDDSA, { passphrase: 'p' }),
  ];
  const { data } = JSON.parse(readFileSync(plainPath, 'utf8')) as { data: string };
  const secret = Buffer.from(data, 'base64').subarray(-32);
  for (const store of stores) {
    const shown = JSON.stringify(store) + inspect(store, { depth: null, showHidden: true });
    t.notMatch(shown, secret.toString('hex'));
    t.notMatch(shown, secret.subarray(0, 6).join(', '));
  }
  t.notMatch(readFileSync(sealedPath, 'latin1'), /MC4CAQAw/, 'no PKCS #8 head in a sealed file');
  t.match(data, /^MC4CAQAw/, 'which a plain one has');
});
