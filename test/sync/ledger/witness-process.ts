/** A witness as a process of its own, to be killed: prints its address, serves until its end. */
import { systemClock } from '../../../platform/system-clock.ts';
import { startWitnessService } from '../../../sync/ledger/witness-service.ts';
import { ORIGIN, realLog, realVerify, realWitness } from './keys.ts';
import { WITNESS } from './rig.ts';

const [, , root = '.'] = process.argv;
const service = await startWitnessService({
  root,
  ports: { signer: realWitness(WITNESS), verify: realVerify },
  logs: new Map([[ORIGIN, [realLog().key]]]),
  port: 0,
  clock: systemClock(),
});
process.stdout.write(`${service.url}\n`);
