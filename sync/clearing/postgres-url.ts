import { readFileSync } from 'node:fs';
import type { ConnectionOptions } from 'node:tls';
import { KiriError } from '../../protocol/kiri-error.ts';

/** Where a store on a server is, without the password. */
export type PostgresAddress = {
  readonly host: string;
  readonly port: number;
  readonly user: string | undefined;
  readonly database: string;
  /** Command line options for the server's session, such as `-c search_path=clearing`. */
  readonly options: string | undefined;
  readonly ssl: false | ConnectionOptions;
};

const PORT = 5432;
const PARAMETERS: ReadonlySet<string> = new Set([
  'host',
  'options',
  'sslcert',
  'sslkey',
  'sslmode',
  'sslrootcert',
  'user',
]);

export const isPostgresUrl = (location: string): boolean => /^postgres(?:ql)?:\/\//i.test(location);

/** The address is never quoted: somebody may have written a password into it. */
const invalid = (why: string): KiriError =>
  new KiriError('STORE_URL_INVALID', `the store's postgres:// address ${why}`);

const isLoopback = (host: string): boolean =>
  host.startsWith('/') || host === 'localhost' || host === '::1' || /^127(?:\.\d+){3}$/.test(host);

const pem = (name: string, path: string): Buffer => {
  try {
    return readFileSync(path);
  } catch (cause) {
    throw new KiriError('FILE_UNREADABLE', `${name} ${path} cannot be read`, { cause });
  }
};

const tlsOf = (host: string, parameters: URLSearchParams): false | ConnectionOptions => {
  const mode = parameters.get('sslmode') ?? (isLoopback(host) ? 'disable' : 'verify-full');
  if (mode === 'disable') return false;
  // The weaker modes of libpq encrypt without asking who answers.
  if (mode !== 'verify-full')
    throw invalid('has an sslmode that is neither verify-full nor disable');
  const file = (name: string): Buffer | undefined => {
    const path = parameters.get(name);
    return path === null ? undefined : pem(name, path);
  };
  const [ca, cert, key] = [file('sslrootcert'), file('sslcert'), file('sslkey')];
  return {
    rejectUnauthorized: true,
    minVersion: 'TLSv1.2',
    ...(ca && { ca }),
    ...(cert && { cert }),
    ...(key && { key }),
  };
};

const decoded = (part: string): string => {
  try {
    return decodeURIComponent(part);
  } catch {
    throw invalid('has a % that is no escape');
  }
};

/**
 * Reads `postgres://USER@HOST:PORT/DATABASE?sslmode=…`. Plain on loopback and Unix sockets (`?host=/folder`),
 * otherwise TLS with the server's name verified, unless sslmode says `disable`.
 * @throws KiriError STORE_URL_INVALID, or FILE_UNREADABLE for a certificate.
 */
export const parsePostgresUrl = (location: string): PostgresAddress => {
  let url: URL;
  try {
    url = new URL(location);
  } catch {
    throw invalid('is not of the form postgres://USER@HOST:PORT/DATABASE');
  }
  const parameters = url.searchParams;
  if (url.password !== '' || parameters.has('password')) {
    throw invalid('holds a password: take it out, and use storePasswordFile or PGPASSWORD');
  }
  const unknown = [...parameters.keys()].find((name) => !PARAMETERS.has(name));
  if (unknown !== undefined)
    throw invalid(`has a parameter that is none of ${[...PARAMETERS].join(', ')}`);
  const host = parameters.get('host') ?? decoded(url.hostname).replaceAll(/^\[|\]$/g, '');
  const database = decoded(url.pathname.slice(1));
  if (host === '' || database === '' || database.includes('/')) {
    throw invalid('names no host or no database');
  }
  const user = parameters.get('user') ?? decoded(url.username);
  return {
    host,
    port: url.port === '' ? PORT : Number(url.port),
    user: user === '' ? undefined : user,
    database,
    options: parameters.get('options') ?? undefined,
    ssl: tlsOf(host, parameters),
  };
};
