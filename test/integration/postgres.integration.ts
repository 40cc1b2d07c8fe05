/** What only a real server shows: test/integration/with-postgres.sh starts one. */
import { spawnSync } from 'node:child_process';
import { chmod, readFile, writeFile } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import pg from 'pg';
import t from 'tap';
import type { Test } from 'tap';
import { openPostgres } from '../../sync/clearing/sql-postgres.ts';
import { openStore } from '../../sync/clearing/open-store.ts';
import { numberOf } from '../../sync/clearing/sql.ts';
import type { SqlDatabase, SqlSession } from '../../sync/clearing/sql.ts';
import { NOON_S, anchors, history, inMemory } from '../sync/clearing/sample.ts';
import { CuttingProxy } from './cutting-proxy.ts';

const server = process.env['KIRI_TEST_POSTGRES'];
if (server === undefined)
  throw new Error('KIRI_TEST_POSTGRES names no server: see with-postgres.sh');
const target = new URL(server);

const admin = async (...statements: readonly string[]): Promise<Record<string, unknown>[]> => {
  const client = new pg.Client({ connectionString: server });
  await client.connect();
  try {
    const results = [];
    for (const sql of statements) results.push(await client.query<Record<string, unknown>>(sql));
    return results.at(-1)?.rows ?? [];
  } finally {
    await client.end();
  }
};

/** An address of an empty schema; through `port` if it is given. */
const schemaUrl = async (name: string, port: number | string = target.port): Promise<string> => {
  await admin(`DROP SCHEMA IF EXISTS ${name} CASCADE`, `CREATE SCHEMA ${name}`);
  const url = new URL(target);
  url.port = String(port);
  url.searchParams.set('options', `-c search_path=${name}`);
  return url.href;
};

const rows = async (database: SqlDatabase): Promise<number> =>
  database.transaction(async (session) => {
    const [row] = await session.all('SELECT count(*) AS c FROM v');
    return numberOf(row ?? {}, 'c');
  });
const insert = async (session: SqlSession): Promise<string> => {
  await session.run('INSERT INTO v VALUES (1)');
  return 'done';
};

const throughProxy = async (
  test: Test,
  name: string,
): Promise<{ proxy: CuttingProxy; url: string }> => {
  const proxy = await CuttingProxy.start({ host: target.hostname, port: Number(target.port) });
  test.teardown(() => proxy.close());
  return { proxy, url: await schemaUrl(name, proxy.port) };
};

t.test(
  'a server that goes away in mid transaction undoes it, and the next one reconnects',
  async (t) => {
    const database = await openStore(await schemaUrl('away'));
    await database.transaction((session) => session.run('CREATE TABLE v (n BIGINT)'));
    const killed = database.transaction(async (session) => {
      await insert(session);
      const [own] = await session.all('SELECT pg_backend_pid() AS pid');
      await admin(`SELECT pg_terminate_backend(${numberOf(own ?? {}, 'pid')})`);
      return insert(session);
    });
    await t.rejects(killed, { code: 'STORE_UNAVAILABLE', message: /nothing was booked/ });
    t.equal(await rows(database), 0);
    // While nobody asks for anything: the next transaction does not notice.
    await admin(
      `SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name LIKE 'kiri clearing %'`,
    );
    t.equal(await database.transaction(insert), 'done');
    t.equal(await rows(database), 1);
    await database.close();
  },
);

t.test('a COMMIT whose answer is lost is asked for: neither repeated nor given up', async (t) => {
  const { proxy, url } = await throughProxy(t, 'lost');
  let database = await openPostgres(url);
  await database.transaction((session) => session.run('CREATE TABLE v (n BIGINT)'));
  proxy.cut = 'after commit';
  t.equal(await database.transaction(insert), 'done', 'it was committed, so it succeeded');
  t.equal(proxy.cut, undefined);
  t.equal(await rows(database), 1);
  proxy.cut = 'before commit';
  await t.rejects(database.transaction(insert), { code: 'STORE_UNAVAILABLE', message: /undone/ });
  t.equal(await rows(database), 1, 'it was undone, so it failed');
  // Nobody answers any more.
  await database.close();
  database = await openPostgres(url, { outcomeWaitMs: 700 });
  const unknown = database.transaction(async (session) => {
    await insert(session);
    proxy.cut = 'after commit';
    proxy.isClosed = true;
  });
  await t.rejects(unknown, { code: 'STORE_OUTCOME_UNKNOWN', message: /read the store again/ });
  await t.rejects(rows(database), { code: 'STORE_UNAVAILABLE' });
  proxy.isClosed = false;
  t.equal(await rows(database), 2, 'reading it again tells');
  await database.close();
});

t.test('a clearing over a wire that breaks books and cuts everything once', async (t) => {
  const { proxy, url } = await throughProxy(t, 'wire');
  const { service, files } = await inMemory({ database: await openStore(url) });
  const cuts = ['before commit', 'after commit', undefined] as const;
  for (const cut of cuts) {
    proxy.cut = cut;
    await service.ingestBatch(history(), NOON_S).catch((error: unknown) => {
      t.match(error, { code: 'STORE_UNAVAILABLE' });
    });
  }
  for (const cut of cuts) {
    proxy.cut = cut;
    await service.cut(NOON_S, anchors, true).catch((error: unknown) => {
      t.match(error, { code: 'STORE_UNAVAILABLE' });
    });
  }
  const report = await service.reconcile();
  t.match(report, { receipts: 30, reconciles: true });
  const calm = await inMemory({ database: await openStore(await schemaUrl('calm')) });
  await calm.service.ingestBatch(history(), NOON_S);
  await calm.service.cut(NOON_S, anchors, true);
  t.same(files, calm.files, 'the same files as over a calm wire');
  await service.close();
  await calm.service.close();
});

t.test('an error that the work swallowed undoes the transaction all the same', async (t) => {
  const database = await openStore(await schemaUrl('swallowed'));
  await database.transaction((session) => session.run('CREATE TABLE v (n BIGINT PRIMARY KEY)'));
  let leaked: SqlSession | undefined;
  const swallowed = database.transaction(async (session) => {
    leaked = session;
    await insert(session);
    await insert(session).catch(() => undefined);
    return 'fine';
  });
  await t.rejects(swallowed, { code: 'STORE_FAILED', message: /23505/ });
  t.equal(await rows(database), 0);
  await t.rejects(async () => void (await leaked?.all('SELECT 1')), { code: 'STORE_MISUSED' });
  await database.close();
});

t.test(
  'a server that could lose what is booked, is too old or speaks another code is refused',
  async (t) => {
    const { proxy, url } = await throughProxy(t, 'refused');
    const [{ number } = {}] = await admin(`SELECT current_setting('server_version_num') AS number`);
    proxy.exchange = [String(number), '140018'];
    await t.rejects(openStore(url), { code: 'STORE_UNAVAILABLE', message: /too old, 15 or later/ });
    proxy.exchange = undefined;
    for (const setting of ['fsync', 'full_page_writes']) {
      await admin(`ALTER SYSTEM SET ${setting} = off`, 'SELECT pg_reload_conf()');
      try {
        // The reload reaches a new session; the server answers the next one by it.
        await t.rejects(openStore(url), { code: 'STORE_UNAVAILABLE', message: /must be on/ });
        const reader = await openPostgres(url, { isReadOnly: true });
        await reader.close();
      } finally {
        await admin(`ALTER SYSTEM RESET ${setting}`, 'SELECT pg_reload_conf()');
      }
    }
    await admin(
      'DROP DATABASE IF EXISTS latin',
      `CREATE DATABASE latin ENCODING 'LATIN1' LOCALE 'C' TEMPLATE template0`,
    );
    const latin = new URL(target);
    latin.pathname = '/latin';
    await t.rejects(openStore(latin.href), {
      code: 'STORE_UNAVAILABLE',
      message: /UTF8 is needed/,
    });
    await admin('DROP DATABASE latin');

    await admin(`ALTER SYSTEM SET synchronous_commit = off`, 'SELECT pg_reload_conf()');
    const database = await openStore(await schemaUrl('durable'));
    await admin(`ALTER SYSTEM RESET synchronous_commit`, 'SELECT pg_reload_conf()');
    const [own] = await database.transaction((session) =>
      session.all(`SELECT current_setting('synchronous_commit') AS durable`),
    );
    t.equal(own?.['durable'], 'on', 'set for the session, whatever the server is set to');
    await database.close();
  },
);

/** Of the system, as .ci/run installs it. */
const OPENSSL = 'openssl';

/** Writes a file of the server's folder as the server's own user. */
const serverFile = async (name: string, text: string): Promise<void> => {
  const lines = text.trim().replaceAll("'", "''");
  await admin(
    `COPY (SELECT unnest(string_to_array('${lines}', E'\\n')))
       TO PROGRAM 'cat > ${name} && chmod 600 ${name}'`,
  );
};

t.test(
  'over TLS the name of the server is verified; a server without TLS is not asked in plain',
  async (t) => {
    const folder = t.testdir();
    const [cert, key] = [join(folder, 'cert.pem'), join(folder, 'key.pem')];
    const made = spawnSync(
      OPENSSL,
      [
        'req',
        '-x509',
        '-newkey',
        'ec',
        '-pkeyopt',
        'ec_paramgen_curve:P-256',
        '-nodes',
        '-days',
        '2',
      ]
        .concat(['-keyout', key, '-out', cert, '-subj', '/CN=localhost'])
        .concat(['-addext', 'subjectAltName=DNS:localhost']),
      { encoding: 'utf8', timeout: 30_000 },
    );
    t.equal(made.status, 0, made.stderr);
    const named = new URL(await schemaUrl('tls'));
    named.hostname = 'localhost';
    named.searchParams.set('sslmode', 'verify-full');
    await t.rejects(openStore(named.href), { code: 'STORE_UNAVAILABLE', message: /SSL/ });
    await serverFile('server.crt', await readFile(cert, 'utf8'));
    await serverFile('server.key', await readFile(key, 'utf8'));
    await admin('ALTER SYSTEM SET ssl = on', 'SELECT pg_reload_conf()');
    t.teardown(() => admin('ALTER SYSTEM RESET ssl', 'SELECT pg_reload_conf()'));
    await t.rejects(openStore(named.href), { code: 'STORE_UNAVAILABLE', message: /certificate/ });
    named.searchParams.set('sslrootcert', cert);
    const database = await openStore(named.href);
    const [row] = await database.transaction((session) =>
      session.all('SELECT ssl, version FROM pg_stat_ssl WHERE pid = pg_backend_pid()'),
    );
    t.match(row, { ssl: 1n, version: /^TLSv1\.[23]$/ });
    await database.close();
    named.hostname = '127.0.0.1';
    await t.rejects(openStore(named.href), { code: 'STORE_UNAVAILABLE', message: /altname/i });
  },
);

const kiri = resolve(import.meta.dirname, '../../cli/kiri.js');
const run = (env: NodeJS.ProcessEnv, ...words: string[]) =>
  spawnSync(process.execPath, [kiri, ...words], {
    encoding: 'utf8',
    timeout: 60_000,
    env: { PATH: process.env['PATH'], ...env },
  });

t.test(
  'an ordinary role with a password runs a clearing; the commands look into its store',
  async (t) => {
    const password = 'pass word ✓ of the test';
    await admin(
      'DROP SCHEMA IF EXISTS guarded CASCADE',
      'DROP ROLE IF EXISTS guarded',
      `CREATE ROLE guarded LOGIN PASSWORD '${password}'`,
      'CREATE SCHEMA AUTHORIZATION guarded',
    );
    const url = `postgres://guarded@127.0.0.1:${target.port}/postgres`;
    const { service } = await inMemory({ database: await openStore(url, { password }) });
    t.teardown(() => service.close());
    await service.ingestBatch(history(), NOON_S);
    await service.cut(NOON_S, anchors, true);

    const folder = t.testdir();
    const file = join(folder, 'password');
    await writeFile(file, `${password}\n`, { mode: 0o600 });
    const withFile = ['--store', url, '--store-password-file', file];
    // The clearing holds its store meanwhile.
    const found = run({}, 'clearing', 'search', ...withFile, '--json');
    t.equal(found.status, 0, found.stderr);
    t.equal(found.stdout.trim().split('\n').length, 30);
    t.equal(run({ PGPASSWORD: password }, 'clearing', 'search', '--store', url).status, 0);
    const clean = run({}, 'scan-pan', ...withFile);
    t.match(clean, { status: 0, stdout: '0 files and a store, 0 finds\n' });
    await admin(`UPDATE guarded.keys SET account = '5555555555554444' WHERE account = 'ACC-1'`);
    const planted = run({}, 'scan-pan', ...withFile);
    t.equal(planted.status, 1);
    t.match(planted.stdout, /:keys\/\d+\/account:0: \*{16} \(ASCII\)/);

    for (const wrong of [
      run({ PGPASSWORD: 'not this s3cret' }, 'clearing', 'search', '--store', url),
      run({}, 'clearing', 'search', '--store', url),
      run(
        {},
        'clearing',
        'search',
        '--store',
        `postgres://guarded:s3cret@127.0.0.1:${target.port}/postgres`,
      ),
    ]) {
      t.equal(wrong.status, 1, wrong.stderr);
      t.equal(wrong.stdout, '');
      t.match(wrong.stderr, /STORE_(UNAVAILABLE|URL_INVALID)/);
      t.notMatch(wrong.stderr, /s3cret|\n\s+at /);
    }
    await admin(
      'DROP ROLE IF EXISTS onlooker',
      'CREATE ROLE onlooker LOGIN',
      `ALTER ROLE onlooker SET search_path = guarded`,
      'GRANT USAGE ON SCHEMA guarded TO onlooker',
      'GRANT SELECT ON ALL TABLES IN SCHEMA guarded TO onlooker',
    );
    const onlooker = `postgres://onlooker@127.0.0.1:${target.port}/postgres`;
    t.equal(
      run({}, 'clearing', 'search', '--store', onlooker).status,
      0,
      'SELECT is enough to look',
    );
    await admin('DROP OWNED BY onlooker', 'DROP ROLE onlooker');
    await chmod(file, 0o644);
    const open = run({}, 'clearing', 'search', ...withFile);
    t.match(open, { status: 1, stderr: /PASSWORD_FILE_INVALID.*0600/ });
  },
);
