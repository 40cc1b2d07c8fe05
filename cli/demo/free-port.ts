import { createServer } from 'node:net';
import { KiriError } from '../../protocol/kiri-error.ts';

/**
 * Below the ephemeral range: a gateway that is killed and started again on its port must not find
 * it taken by an outgoing connection, and a client must not meet itself there.
 */
const FIRST = 20_000;
const LAST = 32_000;
const TRIES = 50;
/** Given out in turn from a random place on: what was asked for twice before the first is listened on must be two ports. */
let next = Math.floor(Math.random() * (LAST - FIRST));

function isFree(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const server = createServer();
    server.once('error', () => resolve(false));
    server.listen(port, '127.0.0.1', () => server.close(() => resolve(true)));
  });
}

/** A loopback port that is free now and that this process was not told before. @throws KiriError PORT_IN_USE */
export async function freePort(): Promise<number> {
  for (let i = 0; i < TRIES; i += 1) {
    const port = FIRST + (next % (LAST - FIRST));
    next += 1;
    if (await isFree(port)) return port;
  }
  throw new KiriError('PORT_IN_USE', `no free port found between ${FIRST} and ${LAST}`);
}
