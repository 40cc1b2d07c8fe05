/**
 * The deny list of the issuer's desk (DESIGN section 6): whoever is declined stands in the status list that gateways hold.
 * A version that was signed stands in the desk's store before it leaves, so that the number only rises.
 */
import { verifyStatusList } from '../../identity/core/centre.ts';
import type { Trust } from '../../identity/core/chain.ts';
import { openDocument } from '../../identity/core/document.ts';
import { PARTY_CREDENTIAL } from '../../identity/core/documents/credentials.ts';
import type { StatusReference } from '../../identity/core/documents/standard.ts';
import type { StatusListToken } from '../../identity/core/documents/status-list.ts';
import { issueStatusList } from '../../identity/core/issue.ts';
import { statusAt, STATUS_VALID } from '../../identity/core/status-list.ts';
import { inflateStatusList, packStatuses } from '../../identity/edge/status-zlib.ts';
import { bytesEqual, toHex } from '../../protocol/bytes.ts';
import { KiriError } from '../../protocol/kiri-error.ts';
import type { Signer } from '../../protocol/public-key.ts';
import type { Registry } from '../clearing/core/registry.ts';
import { bytesOf, textOf } from '../clearing/sql.ts';
import type { SqlDatabase, SqlSession } from '../clearing/sql.ts';
import { openStatementBook, StatementBook, type Declined } from './statement-book.ts';

const BITS_PER_BYTE = 8;

const TABLE = `CREATE TABLE IF NOT EXISTS status_lists (
  uri TEXT PRIMARY KEY, base BLOB NOT NULL, issued BLOB NOT NULL)`;

export interface StatusListRequest {
  /** The desk's own store. */
  readonly database: SqlDatabase;
  readonly issuer: Signer;
  readonly trust: Trust;
  /** Chains of all lines. */
  readonly registry: Registry;
  /** All documents of the registry; of them the credentials of parties are read, renewed ones too. */
  readonly documents: readonly Uint8Array[];
  /** A list that was signed elsewhere: what is revoked there stays revoked. Needed once. */
  readonly base?: Uint8Array;
  readonly nowS: number;
}

export interface NewStatusList {
  readonly cose: Uint8Array;
  readonly uri: string;
  readonly version: number;
  readonly declined: number;
  /** Declined and not refused by this list, in words. */
  readonly faults: readonly string[];
}

interface Books {
  readonly parties: ReadonlyMap<string, readonly StatusReference[]>;
  readonly lines: ReadonlyMap<string, readonly StatusReference[]>;
}

interface Stored {
  readonly base: Uint8Array;
  /** The last version of this desk; absent before the first. */
  readonly issued?: Uint8Array;
}

const add = (
  places: Map<string, StatusReference[]>,
  id: string,
  { uri, index }: StatusReference,
): void => {
  const held = places.get(id) ?? [];
  if (!held.some((place) => place.uri === uri && place.index === index)) held.push({ uri, index });
  places.set(id, held);
};

/** Every place of a status list that refuses a party, or one line. */
const booksOf = ({ trust, registry, documents }: StatusListRequest): Books => {
  const parties = new Map<string, StatusReference[]>();
  const lines = new Map<string, StatusReference[]>();
  for (const cose of documents) {
    const party = openDocument(trust.verifier, trust.issuerKey, PARTY_CREDENTIAL, cose);
    if (party.ok) add(parties, toHex(party.value.value.subject), party.value.value.status);
  }
  for (const [line, payers] of registry.payers) {
    for (const { binding } of payers) add(lines, line, binding.status);
  }
  return { parties, lines };
};

const open = (trust: Trust, cose: Uint8Array): StatusListToken => {
  const opened = verifyStatusList(trust, cose);
  if (!opened.ok) throw new KiriError('DOCUMENT_INVALID', `status list: ${opened.reason}`);
  return opened.value.value;
};

const revokedIn = (token: StatusListToken): { entries: number; revoked: Set<number> } => {
  const list = inflateStatusList(token);
  if (!list.ok) throw new KiriError('DOCUMENT_INVALID', list.reason);
  if (list.value.bits !== 1) {
    throw new KiriError('STATUS_BITS', `${token.uri} has more than one bit per entry`);
  }
  const entries = list.value.bytes.length * BITS_PER_BYTE;
  const revoked = new Set<number>();
  for (let index = 0; index < entries; index++) {
    if (statusAt(list.value, index) !== STATUS_VALID) revoked.add(index);
  }
  return { entries, revoked };
};

const storedOf = async (session: SqlSession, uri?: string): Promise<Stored | undefined> => {
  const rows = await session.all('SELECT * FROM status_lists ORDER BY uri');
  const row = uri === undefined ? rows[0] : rows.find((one) => textOf(one, 'uri') === uri);
  if (!row) return undefined;
  if (uri === undefined && rows.length > 1) {
    throw new KiriError('STATUS_LIST_UNNAMED', 'the desk keeps several lists: say which');
  }
  return { base: bytesOf(row, 'base'), issued: bytesOf(row, 'issued') };
};

/** What stands now and what a list from elsewhere adds. @throws KiriError STATUS_LIST_OLD, STATUS_LIST_MISSING */
const standing = async (
  session: SqlSession,
  { trust, base }: StatusListRequest,
): Promise<Stored> => {
  const given = base && open(trust, base);
  const stored = await storedOf(session, given?.uri);
  if (!base || !given) {
    if (stored) return stored;
    throw new KiriError('STATUS_LIST_MISSING', 'the list that gateways hold now is needed first');
  }
  if (!stored?.issued) return { base };
  const { issued } = stored;
  if (bytesEqual(base, stored.base) || bytesEqual(base, issued)) return stored;
  const newest = open(trust, issued).version;
  if (given.version > newest) return { base, issued };
  const what = `version ${given.version} was given, ${newest} is the newest here`;
  throw new KiriError('STATUS_LIST_OLD', what);
};

const placesOf = (books: Books, { kind, id }: Declined): readonly StatusReference[] =>
  (kind === 'party' ? books.parties : books.lines).get(id) ?? [];

/**
 * Signs the next version of a list: what its base revokes, and everyone who is declined now. Who has recovered is in it
 * no more. The life of the base is repeated.
 * @throws KiriError STATUS_LIST_MISSING, STATUS_LIST_OLD, STATUS_LIST_UNNAMED, STATUS_BITS, DOCUMENT_INVALID, STORE_*
 */
export const nextStatusList = async (request: StatusListRequest): Promise<NewStatusList> => {
  const { database, issuer, trust, nowS } = request;
  await openStatementBook(database);
  const books = booksOf(request);
  return database.transaction(async (session) => {
    await session.run(TABLE);
    const { base, issued } = await standing(session, request);
    const from = open(trust, base);
    const last = issued && open(trust, issued);
    const { uri, ttlS } = from;
    const { entries, revoked } = revokedIn(from);
    const faults: string[] = [];
    const declined = await new StatementBook(session).declined();
    for (const one of declined) {
      const places = placesOf(books, one);
      const here = places.filter((place) => place.uri === uri);
      if (here.length === 0) faults.push(`${one.kind} ${one.id}: no document with a place in it`);
      else if (here.length < places.length) {
        faults.push(`${one.kind} ${one.id}: has a place in another list too`);
      }
      for (const { index } of here) revoked.add(index);
    }
    const version = Math.max(from.version, last?.version ?? 0) + 1;
    const issuedS = Math.max(nowS, from.issuedS, last?.issuedS ?? 0);
    const cose = issueStatusList(issuer, {
      uri,
      ttlS,
      version,
      issuedS,
      expiresS: issuedS + (from.expiresS - from.issuedS),
      packed: packStatuses(Math.max(entries, ...[...revoked].map((index) => index + 1)), revoked),
    });
    await session.run(
      `INSERT INTO status_lists (uri, base, issued) VALUES (?, ?, ?)
       ON CONFLICT (uri) DO UPDATE SET base = excluded.base, issued = excluded.issued`,
      uri,
      base,
      cose,
    );
    return { cose, uri, version, declined: declined.length, faults };
  });
};
