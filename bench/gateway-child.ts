import { startGateway, type RunningGateway } from '../fog-gateway/gateway.ts';
import { publicKey } from '../protocol/public-key.ts';
import { answering } from './child.ts';
import { cpuMicros } from './measure.ts';
import { signerOf } from './world.ts';

/** What a gateway needs, as it goes through the pipe. */
export interface GatewayStart {
  readonly kind: 'start';
  readonly folder: string;
  readonly pem: string;
  readonly issuerAlg: number;
  readonly issuerPoint: Uint8Array;
  readonly mandate: Uint8Array;
  readonly statusList: Uint8Array;
}

/** Everything the gateway has used and done so far. */
export interface GatewayMark {
  readonly cpuMicros: number;
  readonly accepted: number;
}

let gateway: RunningGateway | undefined;

async function start(order: GatewayStart): Promise<number> {
  const issuerKey = publicKey(order.issuerAlg as never, order.issuerPoint);
  if (!issuerKey) throw new Error('no issuer key');
  gateway = await startGateway({
    folder: order.folder,
    signer: signerOf(order.pem),
    issuerKey,
    mandate: order.mandate,
    statusList: order.statusList,
    mqttPort: 0,
    httpPort: 0,
  });
  return gateway.mqttPort;
}

answering((question: GatewayStart | { readonly kind: 'mark' }): Promise<number> | GatewayMark => {
  if (question.kind === 'start') return start(question);
  return { cpuMicros: cpuMicros(), accepted: gateway?.status().accepted ?? 0 };
});
process.once('disconnect', () => {
  void (gateway?.close() ?? Promise.resolve()).finally(() => process.exit());
});
