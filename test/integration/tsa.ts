/** A stamping authority of the real program: `openssl ts` behind a small HTTP server, with a CA of its own. */
import { execFile } from 'node:child_process';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';

const run = promisify(execFile);

const CONFIG = `
[req]
distinguished_name = dn
prompt = no
[dn]
CN = test
[ca]
basicConstraints = critical,CA:true
keyUsage = critical,keyCertSign,cRLSign
subjectKeyIdentifier = hash
[middle]
basicConstraints = critical,CA:true,pathlen:0
keyUsage = critical,keyCertSign
[stamper]
basicConstraints = critical,CA:false
keyUsage = critical,digitalSignature
extendedKeyUsage = critical,timeStamping
[server]
extendedKeyUsage = critical,serverAuth
[tsa]
default_tsa = stamping
[stamping]
serial = FOLDER/serial
crypto_device = builtin
signer_digest = sha256
default_policy = 1.2.3.4.1
other_policies = 1.2.3.4.2
digests = sha256, sha512
ordering = no
tsa_name = yes
ess_cert_id_chain = no
ess_cert_id_alg = sha256
`;

export interface Tsa {
  readonly folder: string;
  readonly url: string;
  /** Root certificate in PEM. */
  readonly rootPem: string;
  /** What the next requests are answered with instead; undefined for the truth. */
  instead: ((request: Uint8Array) => Promise<{ status?: number; body: Uint8Array }>) | undefined;
  requests: number;
  reply(request: Uint8Array, signer?: string): Promise<Uint8Array>;
  openssl(...args: readonly string[]): Promise<string>;
  stop(): Promise<void>;
}

/** Makes root, intermediate and authority; `rsa` or `ec` keys. */
export const startTsa = async (kind: 'rsa' | 'ec'): Promise<Tsa> => {
  const folder = await mkdtemp(join(tmpdir(), 'kiri-tsa-'));
  const config = join(folder, 'openssl.cnf');
  await writeFile(config, CONFIG.replaceAll('FOLDER', folder));
  const openssl = async (...args: readonly string[]): Promise<string> =>
    (
      await run('openssl', [...args], {
        cwd: folder,
        env: { ...process.env, OPENSSL_CONF: config },
      })
    ).stdout;
  const key = async (name: string): Promise<void> => {
    const algorithm =
      kind === 'rsa'
        ? ['-algorithm', 'RSA', '-pkeyopt', 'rsa_keygen_bits:2048']
        : ['-algorithm', 'EC', '-pkeyopt', 'ec_paramgen_curve:P-256'];
    await openssl('genpkey', ...algorithm, '-out', `${name}.key`);
  };
  const issue = async (name: string, by: string, extensions: string, days: string) => {
    await key(name);
    await openssl(
      'req',
      '-new',
      '-key',
      `${name}.key`,
      '-subj',
      `/O=Kiri test/CN=${name}`,
      '-out',
      `${name}.csr`,
    );
    const issuer =
      by === name
        ? ['-signkey', `${name}.key`]
        : ['-CA', `${by}.pem`, '-CAkey', `${by}.key`, '-CAcreateserial'];
    await openssl(
      'x509',
      '-req',
      '-in',
      `${name}.csr`,
      ...issuer,
      '-days',
      days,
      '-sha256',
      '-extfile',
      config,
      '-extensions',
      extensions,
      '-out',
      `${name}.pem`,
    );
  };
  await issue('root', 'root', 'ca', '30');
  await issue('middle', 'root', 'middle', '30');
  await issue('stamper', 'middle', 'stamper', '30');
  await issue('web', 'middle', 'server', '30');
  await issue('stranger', 'stranger', 'ca', '30');
  await writeFile(join(folder, 'serial'), '01\n');
  let count = 0;
  const reply: Tsa['reply'] = async (request, signer = 'stamper') => {
    count += 1;
    const [query, answer] = [`${count}.tsq`, `${count}.tsr`];
    await writeFile(join(folder, query), request);
    const chain = ['-chain', 'middle.pem'];
    await openssl(
      'ts',
      '-reply',
      '-config',
      config,
      '-queryfile',
      query,
      '-signer',
      `${signer}.pem`,
      '-inkey',
      `${signer}.key`,
      ...chain,
      '-out',
      answer,
    );
    return new Uint8Array(await readFile(join(folder, answer)));
  };
  const server = createServer((request, response) => {
    const chunks: Buffer[] = [];
    request.on('data', (chunk: Buffer) => chunks.push(chunk));
    request.on('end', () => {
      tsa.requests += 1;
      const body = new Uint8Array(Buffer.concat(chunks));
      const isQuery = request.headers['content-type'] === 'application/timestamp-query';
      const answer =
        tsa.instead?.(body) ?? reply(body).then((bytes) => ({ body: bytes, status: undefined }));
      answer.then(
        ({ status, body: bytes }) => {
          response.writeHead(status ?? (isQuery ? 200 : 415), {
            'content-type': 'application/timestamp-reply',
          });
          response.end(bytes);
        },
        () => response.writeHead(500).end(),
      );
    });
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const tsa: Tsa = {
    folder,
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/`,
    rootPem: await readFile(join(folder, 'root.pem'), 'latin1'),
    instead: undefined,
    requests: 0,
    reply,
    openssl,
    stop: async () => {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
      await rm(folder, { recursive: true, force: true });
    },
  };
  return tsa;
};
