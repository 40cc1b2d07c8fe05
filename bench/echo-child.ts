import { createServer, type AddressInfo } from 'node:net';
import { answering } from './child.ts';

/** Where the echo listens. */
export type EchoPort = number;

/** Sends back what it gets: the network's share of a lone payment. */
const server = createServer({ noDelay: true }, (socket) => {
  socket.on('error', () => {});
  socket.pipe(socket);
});

answering(
  () =>
    new Promise<EchoPort>((resolve) => {
      server.listen(0, '127.0.0.1', () => resolve((server.address() as AddressInfo).port));
    }),
);
process.once('disconnect', () => process.exit());
