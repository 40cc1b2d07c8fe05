import { createPrivateKey, type KeyObject } from 'node:crypto';
import { statSync } from 'node:fs';
import { nodeVerifier } from '../../identity/edge/node-signatures.ts';
import { bytesEqual } from '../../protocol/bytes.ts';
import { KiriError } from '../../protocol/kiri-error.ts';
import { verifyFinalCheckpoint } from '../../sync/ledger/core/final-checkpoint.ts';
import { noteVerify } from '../../sync/ledger/core/note-ports.ts';
import type { FinalityRules } from '../../sync/ledger/core/policy-book.ts';
import { readCheckpoint } from '../../sync/ledger/log-folder.ts';
import { rootOfEntries } from '../../sync/ledger/log-root.ts';
import { folderSource, httpSource, type LogSource } from '../../sync/ledger/log-source.ts';
import { readBytes } from './config.ts';

/** A log by its folder or its address. */
export function logAt(place: string): LogSource {
  return /^https?:\/\//.test(place) ? httpSource(place.replace(/\/+$/, '')) : folderSource(place);
}

/**
 * A private P-256 key, PKCS #8 in PEM, in a file that nobody else may read.
 * @throws KiriError KEY_FILE_MODE, KEY_INVALID, FILE_UNREADABLE
 */
export function readAgreementKey(path: string): KeyObject {
  const pem = Buffer.from(readBytes(path));
  if (process.platform !== 'win32' && (statSync(path).mode & 0o077) !== 0) {
    throw new KiriError('KEY_FILE_MODE', `${path}: others may read the key; run chmod 600 on it`);
  }
  try {
    const key = createPrivateKey(pem);
    if (key.asymmetricKeyDetails?.namedCurve === 'prime256v1') return key;
  } catch {
    // No cause: a parser's message could quote the file.
  }
  throw new KiriError('KEY_INVALID', `${path} is no private P-256 key in PEM`);
}

/** The log's contents up to its final checkpoint, after every entry was hashed to the signed root. */
export async function finalSize(source: LogSource, policy: FinalityRules): Promise<number> {
  const note = await readCheckpoint(source);
  if (note === undefined) throw new KiriError('LOG_NOT_FINAL', `${source.place}: no checkpoint`);
  const head = verifyFinalCheckpoint(note, policy, noteVerify(nodeVerifier()));
  if (!head.ok) throw new KiriError('LOG_NOT_FINAL', `${source.place}: ${head.reason}`);
  const { size, root } = head.value;
  if (!bytesEqual(await rootOfEntries(source, size), root)) {
    throw new KiriError('LOG_CORRUPT', `${source.place}: its entries do not make its root`);
  }
  return size;
}
