import { loadSigner } from '../../identity/edge/key-file.ts';
import { startGateway } from '../../fog-gateway/gateway.ts';
import { serve } from '../serve.ts';
import { configFromArgs } from './config.ts';

/** `kiri gateway --config FILE`: MQTT broker and approver, stopped in order or by a pulled plug. */
export async function runGateway(argv: readonly string[]): Promise<number> {
  const config = configFromArgs(argv);
  const gateway = await startGateway({
    folder: config.path('folder'),
    signer: loadSigner(config.path('keyFile')),
    issuerKey: config.publicKey('issuerKey'),
    mandate: config.bytes('mandate'),
    ...(config.has('clearing') ? { clearing: config.bytes('clearing') } : {}),
    ...(config.has('statusList') ? { statusList: config.bytes('statusList') } : {}),
    ...(config.has('ledgerLevels') ? { ledgerLevels: config.path('ledgerLevels') } : {}),
    ...(config.has('intake') ? { intakeUrl: config.text('intake') } : {}),
    mqttPort: config.port('mqttPort'),
    httpPort: config.port('httpPort'),
  });
  void gateway.stopped.then((error) => {
    process.stderr.write(`${error.code}: ${error.message}\n`);
    process.exit(1);
  });
  return serve(
    {
      mqttPort: gateway.mqttPort,
      httpPort: gateway.httpPort,
      adminTokenPath: gateway.adminTokenPath,
    },
    async () => ({ ...gateway.status() }),
    () => gateway.close(),
  );
}
