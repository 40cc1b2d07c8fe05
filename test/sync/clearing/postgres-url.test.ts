import { join } from 'node:path';
import { writeFile } from 'node:fs/promises';
import t from 'tap';
import { isPostgresUrl, parsePostgresUrl } from '../../../sync/clearing/postgres-url.ts';

t.test(
  'an address names server, database and session; loopback is plain, the rest TLS',
  async (t) => {
    t.match(parsePostgresUrl('postgres://clearing@127.0.0.1:5433/books'), {
      host: '127.0.0.1',
      port: 5433,
      user: 'clearing',
      database: 'books',
      ssl: false,
    });
    t.match(parsePostgresUrl('postgresql://[::1]/b%C3%BCcher'), {
      host: '::1',
      port: 5432,
      user: undefined,
      database: 'bücher',
      ssl: false,
    });
    t.match(parsePostgresUrl('postgres:///books?host=/run/postgresql&user=clearing'), {
      host: '/run/postgresql',
      user: 'clearing',
      ssl: false,
    });
    t.match(parsePostgresUrl('postgres://localhost/books?options=-c%20search_path%3Dkiri'), {
      options: '-c search_path=kiri',
    });
    const remote = parsePostgresUrl('postgres://db.example/books');
    t.match(remote.ssl, { rejectUnauthorized: true, minVersion: 'TLSv1.2' });
    t.equal(parsePostgresUrl('postgres://db.example/books?sslmode=disable').ssl, false);
    t.match(parsePostgresUrl('postgres://127.0.0.1/books?sslmode=verify-full').ssl, {
      rejectUnauthorized: true,
    });
    const ca = join(t.testdir(), 'ca.pem');
    await writeFile(ca, 'CA');
    t.match(parsePostgresUrl(`postgres://db.example/books?sslrootcert=${ca}`).ssl, {
      ca: Buffer.from('CA'),
    });
    // A name that only begins like the loopback is somebody else's.
    t.ok(parsePostgresUrl('postgres://127.0.0.1.example/books').ssl);
    t.ok(parsePostgresUrl('postgres://localhost.example/books').ssl);
  },
);

t.test(
  'a password in an address is refused, and no refusal repeats what was written',
  async (t) => {
    const wrong: readonly [string, RegExp][] = [
      ['postgres://clearing:s3cret@127.0.0.1/books', /holds a password.*storePasswordFile/],
      ['postgres://127.0.0.1/books?password=s3cret', /holds a password/],
      ['postgres://127.0.0.1/books?sslmode=require', /sslmode/],
      ['postgres://127.0.0.1/books?sslmode=prefer', /sslmode/],
      ['postgres://127.0.0.1/books?s3cret=1', /parameter that is none of/],
      ['postgres://127.0.0.1/', /no database/],
      ['postgres://127.0.0.1/a/s3cret', /no database/],
      ['postgres:///books', /no host/],
      ['postgres://127.0.0.1:s3cret/books', /form postgres:/],
      ['postgres://127.0.0.1/%zz', /escape/],
      ['postgres://', /no host/],
    ];
    for (const [url, message] of wrong) {
      t.ok(isPostgresUrl(url));
      let fault: unknown;
      try {
        parsePostgresUrl(url);
      } catch (error) {
        fault = error;
      }
      t.match(fault, { code: 'STORE_URL_INVALID', message }, url);
      t.notMatch(String(fault), /s3cret/);
    }
    t.throws(() => parsePostgresUrl('postgres://db.example/books?sslrootcert=/no/such/file'), {
      code: 'FILE_UNREADABLE',
    });
    t.notOk(isPostgresUrl('/var/lib/postgres.sqlite'));
    t.notOk(isPostgresUrl('postgres.sqlite'));
  },
);
