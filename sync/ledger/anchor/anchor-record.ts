/** `state/anchors/<name>`: how far one anchor is. JSON sealed by a SHA-256, replaced whole. */
import { createHash } from 'node:crypto';
import { join } from 'node:path';
import { readIfPresent, writeFileDurable } from '../../../platform/durable-file.ts';
import { KiriError } from '../../../protocol/kiri-error.ts';
import { type AnchorRecord, emptyAnchorRecord } from '../core/anchor-keeper.ts';

const seal = (body: string): string => createHash('sha256').update(body).digest('hex');

const recordPath = (root: string, name: string): string => join(root, 'state/anchors', name);

/** Durable when it returns. @throws KiriError DISK_* */
export const writeAnchorRecord = async (
  root: string,
  name: string,
  record: AnchorRecord,
): Promise<void> => {
  const body = JSON.stringify(record);
  await writeFileDurable(recordPath(root, name), `${body}\n${seal(body)}\n`);
};

/** What was stored, or the empty record. @throws KiriError DISK_*, STATE_CORRUPT */
export const readAnchorRecord = async (root: string, name: string): Promise<AnchorRecord> => {
  const path = recordPath(root, name);
  const bytes = await readIfPresent(path);
  if (bytes === undefined) return emptyAnchorRecord;
  const [body, sealed, ...rest] = bytes.toString('utf8').split('\n');
  if (body === undefined || seal(body) !== sealed || rest.join('') !== '') {
    throw new KiriError('STATE_CORRUPT', `${path} is damaged: what was submitted is not known`);
  }
  return JSON.parse(body) as AnchorRecord;
};
