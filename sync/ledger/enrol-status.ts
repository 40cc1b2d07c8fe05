/** The issuer's status list as a file at a witness or mirror: what decides whether a mandate is revoked. */
import { readFileSync, statSync } from 'node:fs';
import { verifyStatusList } from '../../identity/core/centre.ts';
import type { Trust } from '../../identity/core/chain.ts';
import { type StatusList, chainStatus } from '../../identity/core/status-list.ts';
import { inflateStatusList } from '../../identity/edge/status-zlib.ts';
import type { EnrolmentRules } from './core/enrol.ts';

/**
 * Looks mandates up in a status list file, which may be replaced at any time. A list that is missing, expired or not
 * signed by the issuer says nothing: `unknown`.
 */
export const statusFile = (path: string, trust: Trust): EnrolmentRules['statusOf'] => {
  let read: { readonly version: string; readonly list: StatusList | undefined } | undefined;
  const listNow = (): StatusList | undefined => {
    const { mtimeMs, size, ino } = statSync(path);
    const version = `${mtimeMs} ${size} ${ino}`;
    if (read?.version !== version) {
      const token = verifyStatusList(trust, new Uint8Array(readFileSync(path)));
      const list = token.ok ? inflateStatusList(token.value.value) : token;
      read = { version, list: list.ok ? list.value : undefined };
    }
    return read.list;
  };
  return (reference, nowS) => {
    try {
      const list = listNow();
      return list === undefined || nowS >= list.expiresS
        ? 'unknown'
        : chainStatus(list, [reference]);
    } catch {
      return 'unknown';
    }
  };
};
