/**
 * Retention of a shard's contents (DESIGN section 5; tlog-tiles: no pruning without a stated policy). A log states in
 * `retention` how long its payloads stay; whoever holds a copy may then delete all of them and says so in `retired`.
 * Tiles, entries and checkpoint are never deleted. Both files are text with one spelling of each value.
 */
import { sha256 } from '@noble/hashes/sha2.js';
import { toHex } from '../../../protocol/bytes.ts';
import type { FinalHead } from './final-checkpoint.ts';
import { parseShard, quarterStartS } from './shard.ts';
import { type Outcome, bad, decodeUtf8, ok, parseDecimal } from './text.ts';

/** What a log states; below its folder, served. */
export const RETENTION_PATH = 'retention';
/** What a holder has deleted; below its folder, served. */
export const RETIRED_PATH = 'retired';

/** More than the longest outage that has to be survived (30 days). */
const MIN_PAYLOAD_DAYS = 31;
const MAX_YEARS = 100;
const MAX_PAYLOAD_DAYS = 36_500;
const DAYS_OF_YEAR = 365;
const DAY_S = 86_400;
const MAX_RETENTION_BYTES = 128;
/** An origin has its own limit, far below. */
const MAX_RETIRED_BYTES = 8_192;

export interface Retention {
  /** Days that payloads stay after the end of the shard's quarter, and after its last cosignature. */
  readonly payloadDays: number;
  /** Years that tiles, entries and checkpoint stay: a statement, nothing here deletes them. */
  readonly treeYears: number;
}

/** Checks the values of a retention; the tree stays at least as long as the payloads. */
export const checkRetention = (retention: Retention): Outcome<Retention> => {
  const { payloadDays, treeYears } = retention;
  const isWhole = Number.isSafeInteger(payloadDays) && Number.isSafeInteger(treeYears);
  if (!isWhole || payloadDays < MIN_PAYLOAD_DAYS || payloadDays > MAX_PAYLOAD_DAYS) {
    return bad(`payloads stay ${MIN_PAYLOAD_DAYS} to ${MAX_PAYLOAD_DAYS} days`);
  }
  if (treeYears > MAX_YEARS || treeYears * DAYS_OF_YEAR < payloadDays) {
    return bad(`a tree stays at least as long as its payloads, at most ${MAX_YEARS} years`);
  }
  return ok(retention);
};

export const encodeRetention = ({ payloadDays, treeYears }: Retention): string =>
  `kiri-retention/1\npayload-days ${payloadDays}\ntree-years ${treeYears}\n`;

const RETENTION = /^kiri-retention\/1\npayload-days ([0-9]{1,5})\ntree-years ([0-9]{1,3})\n$/;

/** Inverse of {@link encodeRetention}. */
export const parseRetention = (bytes: Uint8Array): Outcome<Retention> => {
  const text = bytes.length > MAX_RETENTION_BYTES ? undefined : decodeUtf8(bytes);
  const [, days = '', years = ''] = RETENTION.exec(text ?? '') ?? [];
  const [payloadDays, treeYears] = [parseDecimal(days), parseDecimal(years)];
  if (payloadDays === undefined || treeYears === undefined) return bad('is no retention policy');
  return checkRetention({ payloadDays, treeYears });
};

/** When a shard's payloads may go. */
export interface DueRetirement {
  /** POSIX seconds. */
  readonly dueS: number;
}

/**
 * Whether a shard's payloads may go now: the days count from the end of its quarter, or from its last cosignature where
 * an outage made it longer.
 * @param lastCosignedS latest cosignature of the final checkpoint, POSIX seconds
 * @param nowS POSIX seconds
 */
export const retirementOf = (
  origin: string,
  { payloadDays }: Retention,
  lastCosignedS: number,
  nowS: number,
): Outcome<DueRetirement> => {
  const shard = parseShard(origin);
  if (shard === undefined) return bad(`${origin} is no shard: it has no end`);
  const overS = Math.max(quarterStartS(shard.index + 1), lastCosignedS);
  const dueS = overS + payloadDays * DAY_S;
  return nowS >= dueS ? ok({ dueS }) : bad(`its payloads stay until ${dueS} (POSIX seconds)`);
};

/** What a holder deleted. */
export interface Retired {
  readonly origin: string;
  /** Entries of the shard. */
  readonly size: number;
  /** SHA-256 of the `retention` that allowed it, hexadecimal. */
  readonly retentionHash: string;
  /** POSIX seconds. */
  readonly retiredS: number;
}

export const hashOfRetention = (bytes: Uint8Array): string => toHex(sha256(bytes));

export const encodeRetired = ({ origin, size, retentionHash, retiredS }: Retired): string =>
  `kiri-retired/1\norigin ${origin}\nsize ${size}\nretention ${retentionHash}\nretired ${retiredS}\n`;

const RETIRED =
  /^kiri-retired\/1\norigin ([^\n]+)\nsize ([0-9]+)\nretention ([0-9a-f]{64})\nretired ([0-9]+)\n$/;

/** Inverse of {@link encodeRetired}. */
export const parseRetired = (bytes: Uint8Array): Outcome<Retired> => {
  const text = bytes.length > MAX_RETIRED_BYTES ? undefined : decodeUtf8(bytes);
  const [, origin, sizeText = '', retentionHash, time = ''] = RETIRED.exec(text ?? '') ?? [];
  const [size, retiredS] = [parseDecimal(sizeText), parseDecimal(time)];
  return origin === undefined ||
    retentionHash === undefined ||
    size === undefined ||
    retiredS === undefined
    ? bad('is no record of a retirement')
    : ok({ origin, size, retentionHash, retiredS });
};

/** The latest cosignature of a final head; 0 where the policy wants none. */
export const lastCosignedS = ({ cosignedAtS }: Pick<FinalHead, 'cosignedAtS'>): number =>
  Math.max(0, ...cosignedAtS.values());

/**
 * Whether a record accounts for missing payloads: it is of this head, and the retention beside it allowed it at that time.
 * It is the holder's own word, as the retention is; for a shard that is not over it never holds.
 */
export const checkRetired = (
  retired: Uint8Array,
  retention: Uint8Array | undefined,
  head: FinalHead,
  nowS: number,
): Outcome<Retired> => {
  const record = parseRetired(retired);
  if (!record.ok) return record;
  const { origin, size, retentionHash, retiredS } = record.value;
  if (origin !== head.origin || size !== head.size) return bad('is of another log');
  const stated = retention && parseRetention(retention);
  if (retention === undefined || stated?.ok !== true) {
    return bad('names a retention that is not there');
  }
  if (hashOfRetention(retention) !== retentionHash) return bad('names another retention');
  if (retiredS > nowS) return bad('is of a time to come');
  const due = retirementOf(origin, stated.value, lastCosignedS(head), retiredS);
  return due.ok ? record : due;
};
