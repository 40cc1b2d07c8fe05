/** A mirror as a process of its own, to be killed: prints its address, serves until its end. */
import { systemClock } from '../../../platform/system-clock.ts';
import { httpSource } from '../../../sync/ledger/log-source.ts';
import { startMirrorService } from '../../../sync/ledger/mirror-service.ts';
import { ORIGIN, realLog, realVerify, realWitness } from './keys.ts';
import { MIRROR } from './rig.ts';

const [, , root = '.', logUrl = ''] = process.argv;
const service = await startMirrorService({
  root,
  ports: { signer: realWitness(MIRROR), verify: realVerify },
  logs: new Map([[ORIGIN, { keys: [realLog().key], source: httpSource(logUrl) }]]),
  port: 0,
  clock: systemClock(),
});
process.stdout.write(`${service.url}\n`);
