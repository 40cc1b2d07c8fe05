// One file that a device needs, without node_modules beside it: build/agent/kiri-agent.js, or the
// path given as the first argument.
import { fileURLToPath } from 'node:url';
import { build } from 'rolldown';

const inRoot = (path) => fileURLToPath(new URL(`../${path}`, import.meta.url));

/**
 * What an MQTT client over TCP on Node never uses: a third of the code and of the start-up time.
 * Only the client class is taken from mqtt (no WebSocket, no SOCKS); Node's own streams and timers
 * stand where mqtt brings copies for browsers; debug output is compiled out.
 */
const REPLACED = {
  mqtt: "import client from 'mqtt/lib/client'; export const MqttClient = client.default ?? client;",
  'readable-stream': "module.exports = require('node:stream');",
  'worker-timers': 'module.exports = { setInterval, clearInterval };',
  debug: 'const off = () => {}; off.enabled = false; module.exports = () => off;',
};

const slim = {
  name: 'slim',
  resolveId: (source) => (source in REPLACED ? `\0slim:${source}` : null),
  load: (id) => {
    if (!id.startsWith('\0slim:')) return null;
    const code = REPLACED[id.slice('\0slim:'.length)];
    return { code, moduleType: 'js' };
  },
};

await build({
  input: inRoot('build/agent/main.js'),
  platform: 'node',
  logLevel: 'warn',
  plugins: [slim],
  output: {
    file: process.argv[2] ?? inRoot('build/agent/kiri-agent.js'),
    format: 'esm',
    minify: true,
    codeSplitting: false,
  },
});
