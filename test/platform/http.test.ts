import { once } from 'node:events';
import { connect, createServer, type AddressInfo } from 'node:net';
import t from 'tap';
import { KiriError } from '../../protocol/kiri-error.ts';
import { fetchBytes } from '../../platform/http-client.ts';
import { listenLoopback } from '../../platform/http-server.ts';

const limits = { timeoutMs: 5_000, maxBytes: 1000 };

t.test('a request reaches the handler and its answer the client', async (t) => {
  const server = await listenLoopback(
    ({ method, path, body }) => ({ status: 201, body: `${method} ${path} ${body.length}` }),
    { port: 0, maxBodyBytes: 100 },
  );
  t.teardown(() => server.close());
  const get = await fetchBytes(`${server.url}/a?b=c`, limits);
  t.equal(get.status, 201);
  t.equal(Buffer.from(get.body).toString(), 'GET /a?b=c 0');
  const post = await fetchBytes(`${server.url}/`, { ...limits, body: new Uint8Array(100) });
  t.equal(Buffer.from(post.body).toString(), 'POST / 100');
});

t.test('a body over the limit is refused, announced or not, and never handed on', async (t) => {
  let calls = 0;
  const handler = (): { status: number } => {
    calls += 1;
    return { status: 200 };
  };
  const server = await listenLoopback(handler, { port: 0, maxBodyBytes: 100 });
  t.teardown(() => server.close());
  const announced = await fetchBytes(server.url, { ...limits, body: new Uint8Array(101) });
  t.equal(announced.status, 413);
  const socket = connect(server.port, '127.0.0.1');
  socket.write('POST / HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n');
  socket.write(`80\r\n${'x'.repeat(128)}\r\n`);
  const [answer] = (await once(socket, 'data')) as [Buffer];
  t.match(answer.toString(), /^HTTP\/1\.1 413/);
  socket.destroy();
  t.equal(calls, 0);
});

t.test('errors have codes: handler, used port, nobody there, no answer, too much', async (t) => {
  const server = await listenLoopback(
    async ({ path }) => {
      if (path === '/kiri') throw new KiriError('SOME_CODE', 'secret detail');
      if (path === '/bug') throw new Error('secret detail');
      if (path === '/never') await new Promise(() => {});
      return { status: 200, body: new Uint8Array(2000) };
    },
    { port: 0, maxBodyBytes: 10 },
  );
  const kiri = await fetchBytes(`${server.url}/kiri`, limits);
  t.same([kiri.status, Buffer.from(kiri.body).toString()], [500, 'SOME_CODE\n']);
  const bug = await fetchBytes(`${server.url}/bug`, limits);
  t.same([bug.status, Buffer.from(bug.body).toString()], [500, 'INTERNAL\n']);
  await t.rejects(fetchBytes(server.url, limits), { code: 'HTTP_TOO_LARGE' });
  await t.rejects(fetchBytes(`${server.url}/never`, { ...limits, timeoutMs: 50 }), {
    code: 'HTTP_TIMEOUT',
  });
  await t.rejects(
    listenLoopback(() => ({ status: 200 }), { port: server.port, maxBodyBytes: 1 }),
    {
      code: 'PORT_IN_USE',
      message: new RegExp(String(server.port)),
    },
  );
  await server.close();
  await t.rejects(fetchBytes(server.url, limits), { code: 'HTTP_UNREACHABLE' });
});

t.test('an answer that breaks off is an error, not a short body', async (t) => {
  const server = createServer((socket) => {
    socket.on('error', () => {});
    socket.once('data', () => socket.end('HTTP/1.1 200 OK\r\ncontent-length: 50\r\n\r\nshort'));
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  await t.rejects(fetchBytes(`http://127.0.0.1:${port}`, limits), { code: 'HTTP_UNREACHABLE' });
  server.close();
});

t.test('a sender that never ends and a reader that never reads are let go', async (t) => {
  const server = await listenLoopback(() => ({ status: 200 }), {
    port: 0,
    maxBodyBytes: 10,
    requestTimeoutMs: 200,
  });
  t.teardown(() => server.close());
  const slow = connect(server.port, '127.0.0.1');
  slow.write('GET / HTTP/1.1\r\nhost: x\r\nx-a: ');
  await once(slow.resume(), 'close');
  t.pass('the sender');
  const narrow = await listenLoopback(
    ({ path }) => ({ status: 200, body: path === '/' ? new Uint8Array(64 << 20) : 'next' }),
    { port: 0, maxBodyBytes: 10, requestTimeoutMs: 200, maxConnections: 1 },
  );
  t.teardown(() => narrow.close());
  const deaf = connect(narrow.port, '127.0.0.1');
  deaf.on('error', () => {}).pause();
  deaf.write('GET / HTTP/1.1\r\nhost: x\r\n\r\n');
  await once(deaf, 'connect');
  // Nothing is read until the server has given up: it has room for one, so before that nobody else is answered.
  const isFree = (): Promise<boolean> =>
    fetchBytes(`${narrow.url}/next`, limits).then(
      () => true,
      () => false,
    );
  while (!(await isFree()));
  let bytes = 0;
  deaf.on('data', (chunk: Buffer) => (bytes += chunk.length));
  deaf.resume();
  await once(deaf, 'close');
  t.ok(bytes < 64 << 20, 'the answer was cut off');
});
