/** A gateway process of its own: options as JSON in argv, its port as one line on stdout. */
import { createPrivateKey } from 'node:crypto';
import { startGateway } from '../../fog-gateway/gateway.ts';
import { nodeSigner } from '../../identity/edge/node-signatures.ts';
import { publicKey } from '../../protocol/public-key.ts';
import { NOW_MS, type ChildOptions } from './child-options.ts';

const hex = (text: string): Uint8Array => new Uint8Array(Buffer.from(text, 'hex'));
const given = process.argv[2];
if (given !== undefined) {
  const options = JSON.parse(given) as ChildOptions;
  const key = Buffer.from(options.key, 'hex');
  const gateway = await startGateway({
    folder: options.folder,
    signer: nodeSigner(createPrivateKey({ key, format: 'der', type: 'pkcs8' })),
    issuerKey: publicKey(options.issuerAlg, hex(options.issuerPoint))!,
    mandate: hex(options.mandate),
    statusList: hex(options.statusList),
    mqttPort: options.port,
    httpPort: 0,
    clock: {
      now: () => ({
        unixMs: NOW_MS + performance.now(),
        monotonicMs: performance.now(),
        timeQuality: 2,
      }),
    },
  });
  // The test may itself be killed: its end closes this pipe.
  process.stdin.on('end', () => process.exit(0)).resume();
  console.log(`${gateway.mqttPort}`);
}
