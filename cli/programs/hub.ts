import { startHubService } from '../../sync/ledger/hub-service.ts';
import { serve } from '../serve.ts';
import { configFromArgs } from './config.ts';

/** `kiri hub --config FILE`: one upload of a checkpoint becomes a request to each witness. Holds no key and no state. */
export async function runHub(argv: readonly string[]): Promise<number> {
  const config = configFromArgs(argv);
  const hub = await startHubService({
    witnesses: new Map(
      config.parts('witnesses').map((part) => [part.text('name'), part.text('url')]),
    ),
    port: config.port('port'),
  });
  return serve(
    { port: hub.port },
    async () => ({ ...hub.counts() }),
    () => hub.close(),
  );
}
