import { once } from 'node:events';
import { closeSync, fdatasync, openSync, writeSync } from 'node:fs';
import { connect, type Socket } from 'node:net';
import { join } from 'node:path';
import { nodeVerifier } from '../identity/edge/node-signatures.ts';
import { Child } from './child.ts';
import type { Devices } from './devices.ts';
import type { EchoPort } from './echo-child.ts';
import { section, type Figure } from './figure.ts';
import type { GatewayUnderTest } from './gateway-under-test.ts';
import { quantile } from './measure.ts';

const figure = section('Lone payment (wall time)');
const RECORD_BYTES = 380;
const ECHO_BYTES = 256;

/** One append and one fdatasync of a record on the disk that the gateway's journals are on. */
class SyncProbe {
  readonly #fd: number;
  readonly #record = new Uint8Array(RECORD_BYTES).fill(1);

  constructor(folder: string) {
    this.#fd = openSync(join(folder, 'sync-probe'), 'w');
  }

  run(): Promise<number> {
    const start = performance.now();
    writeSync(this.#fd, this.#record);
    return new Promise((resolve, reject) => {
      fdatasync(this.#fd, (error) => {
        if (error) reject(error);
        else resolve((performance.now() - start) * 1_000);
      });
    });
  }

  close(): void {
    closeSync(this.#fd);
  }
}

async function echo(socket: Socket): Promise<number> {
  const start = performance.now();
  socket.write(new Uint8Array(ECHO_BYTES));
  await once(socket, 'data');
  return (performance.now() - start) * 1_000;
}

/** Payer and gateway, one after the other: two signatures made and two checked. */
function signatures(devices: Devices): number {
  const { signer } = devices.world.gateway;
  const verifier = nodeVerifier();
  const message = new Uint8Array(ECHO_BYTES);
  const made = signer.sign(message);
  verifier.verify(signer.key, message, made);
  const start = performance.now();
  for (let i = 0; i < 2; i += 1) {
    signer.sign(message);
    verifier.verify(signer.key, message, made);
  }
  return (performance.now() - start) * 1_000;
}

/** Payment, sync, echo and signatures in turn, so that all four see the same machine. */
export async function measureLatency(
  gateway: GatewayUnderTest,
  devices: Devices,
  count: number,
): Promise<readonly Figure[]> {
  const child = new Child('echo-child.js');
  const port = await child.ask<EchoPort>({});
  const socket = connect({ host: '127.0.0.1', port, noDelay: true });
  await once(socket, 'connect');
  const probe = new SyncProbe(gateway.folder);
  const taken = { payment: [0], sync: [0], echo: [0], signatures: [0] };
  for (const name of Object.keys(taken) as (keyof typeof taken)[]) taken[name].length = 0;
  const before = gateway.journalBytes();
  const offers = await devices.offers(count, true);
  for (const offer of offers) {
    taken.payment.push(await devices.payOne(offer));
    taken.sync.push(await probe.run());
    taken.echo.push(await echo(socket));
    taken.signatures.push(signatures(devices));
  }
  const after = gateway.journalBytes();
  socket.destroy();
  probe.close();
  await child.close();
  const [p50, p99] = [quantile(taken.payment, 0.5), quantile(taken.payment, 0.99)];
  const [sync50, sync99] = [quantile(taken.sync, 0.5), quantile(taken.sync, 0.99)];
  const floor = sync50 + quantile(taken.echo, 0.5) + quantile(taken.signatures, 0.5);
  return [
    figure('payment p50', p50, 'µs'),
    figure('payment p99', p99, 'µs'),
    figure('append + fdatasync p50', sync50, 'µs'),
    figure('append + fdatasync p99', sync99, 'µs'),
    figure('TCP echo p50', quantile(taken.echo, 0.5), 'µs'),
    figure('2 signatures made + 2 checked, p50', quantile(taken.signatures, 0.5), 'µs'),
    figure('payment p50 ÷ (signatures + fdatasync + echo)', p50 / floor, ''),
    figure('payment p99 ÷ (2 × fdatasync p99 + payment p50)', p99 / (2 * sync99 + p50), ''),
    figure(
      'journal bytes of a lone payment: money + signed',
      (after.money + after.signed - before.money - before.signed) / count,
      'B',
    ),
  ];
}
