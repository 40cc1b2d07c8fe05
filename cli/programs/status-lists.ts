import type { Trust } from '../../identity/core/chain.ts';
import { verifyStatusList } from '../../identity/core/centre.ts';
import type { StatusList } from '../../identity/core/status-list.ts';
import { inflateStatusList } from '../../identity/edge/status-zlib.ts';
import { KiriError } from '../../protocol/kiri-error.ts';
import type { Config } from './config.ts';

/**
 * The status lists of a configuration (`statusLists`, none by default), signed by the issuer. However old: the
 * earliest that revokes a credential says since when.
 * @throws KiriError DOCUMENT_INVALID
 */
export const statusListsOf = (config: Config, trust: Trust): StatusList[] => {
  if (!config.has('statusLists')) return [];
  return config.files('statusLists').map((cose, at) => {
    const opened = verifyStatusList(trust, cose);
    const list = opened.ok ? inflateStatusList(opened.value.value) : opened;
    if (!list.ok) throw new KiriError('DOCUMENT_INVALID', `statusLists[${at}]: ${list.reason}`);
    return list.value;
  });
};
