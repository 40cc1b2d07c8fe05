// One file that a device needs, without node_modules beside it: build/agent/kiri-agent.cjs, or the
// path given as the first argument. Beside it a code cache (.cache), which only saves time.
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { Script } from 'node:vm';
import { Aedes } from 'aedes';
import { build } from 'rolldown';
import { encodeCanonical } from '../build/protocol/cbor/encode.js';
import { coseKeyOf } from '../build/protocol/public-key.js';
import { createKeyFile } from '../build/identity/edge/key-file.js';
import { makeWorld } from '../build/bench/world.js';

const inRoot = (path) => fileURLToPath(new URL(`../${path}`, import.meta.url));

/**
 * What an MQTT client over TCP on Node never uses: a third of the code and of the start-up time.
 * Only the client class is taken from mqtt (no WebSocket, no SOCKS); Node's own streams and timers
 * stand where mqtt brings copies for browsers; debug output is compiled out, and so is the memory of
 * topic aliases, which are of MQTT 5.
 */
const REPLACED = {
  mqtt: "import client from 'mqtt/lib/client'; export const MqttClient = client.default ?? client;",
  'readable-stream': "module.exports = require('node:stream');",
  'worker-timers': 'module.exports = { setInterval, clearInterval };',
  'lru-cache': 'export class LRUCache {}',
  debug: 'const off = () => {}; off.enabled = false; module.exports = () => off;',
};

/** After the link is up: what follows it is in the cache too. */
const SETTLE_MS = 300;
const START_TIMEOUT_MS = 30_000;

const soon = (emitter, event) =>
  once(emitter, event, { signal: AbortSignal.timeout(START_TIMEOUT_MS) });

const slim = {
  name: 'slim',
  resolveId: (source) => (source in REPLACED ? `\0slim:${source}` : null),
  load: (id) => {
    if (!id.startsWith('\0slim:')) return null;
    const code = REPLACED[id.slice('\0slim:'.length)];
    return { code, moduleType: 'js' };
  },
};

/**
 * Runs `source`, from the code cache beside this file if that is whole and was made with it: V8
 * itself compares no more than the length of the source, its own version and its flags, and damage
 * inside ends the process.
 */
const LAUNCHER = `
const { createHash } = require('node:crypto');
const { readFileSync } = require('node:fs');
const { Script } = require('node:vm');
let cachedData;
try {
  const cache = readFileSync(__filename.replace(/\\.\\w+$/, '.cache'));
  if (createHash('sha256').update(cache).digest('hex') === digest) cachedData = cache;
} catch {}
new Script(source, { filename: __filename, cachedData }).runInThisContext()(require);
`;

/**
 * What V8 has compiled of the script by a start up to the connection, in a form that it can read in
 * again. Started here and in earnest: a payer with its documents, against a broker of its own.
 */
async function warmCache(source) {
  const folder = mkdtempSync(join(tmpdir(), 'kiri-bundle-'));
  const broker = await Aedes.createBroker();
  const server = createServer(broker.handle);
  await soon(server.listen(0, '127.0.0.1'), 'listening');
  const { signer } = createKeyFile(join(folder, 'key'));
  const world = makeWorld(0);
  writeFileSync(join(folder, 'public'), encodeCanonical(coseKeyOf(world.issuer.key)));
  const documents = [...world.enrol(signer).documents, world.mandate].map((bytes, i) => {
    writeFileSync(join(folder, `document-${i}`), bytes);
    return `document-${i}`;
  });
  const config = {
    role: 'payer',
    folder: 'data',
    keyFile: 'key',
    gateway: { host: '127.0.0.1', port: server.address().port },
    issuerKey: 'public',
    approverKey: 'public',
    documents,
  };
  writeFileSync(join(folder, 'config'), JSON.stringify(config));
  const script = new Script(source, { filename: 'kiri-agent' });
  const subscribed = soon(broker, 'subscribe');
  process.argv.splice(2, Infinity, '--config', join(folder, 'config'));
  script.runInThisContext()(createRequire(import.meta.url));
  await subscribed;
  await setTimeout(SETTLE_MS);
  const cachedData = script.createCachedData();
  const left = soon(broker, 'clientDisconnect');
  process.emit('SIGTERM');
  await left;
  broker.close();
  server.close();
  process.once('exit', () => rmSync(folder, { recursive: true, force: true }));
  return cachedData;
}

const file = process.argv[2] ?? inRoot('build/agent/kiri-agent.cjs');
const { output } = await build({
  input: inRoot('build/agent/main.js'),
  platform: 'node',
  logLevel: 'warn',
  plugins: [slim],
  write: false,
  output: { format: 'cjs', minify: true, codeSplitting: false },
});
// One character beyond Latin-1 would double the memory of the whole source.
const code = output[0].code.replace(
  /[^\0-\x7f]/g,
  (unit) => `\\u${unit.charCodeAt(0).toString(16).padStart(4, '0')}`,
);
const source = `(function (require) {${code}\n})`;
const cache = await warmCache(source);
const digest = createHash('sha256').update(cache).digest('hex');
writeFileSync(file.replace(/\.\w+$/, '.cache'), cache);
writeFileSync(
  file,
  `'use strict';\nconst digest = '${digest}';\nconst source = ${JSON.stringify(source)};${LAUNCHER}`,
);
