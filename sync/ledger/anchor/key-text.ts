/** A secret kept as one line of text in a file that only its owner may read. */
import { open } from 'node:fs/promises';
import { toDiskError } from '../../../platform/disk-error.ts';
import { KiriError } from '../../../protocol/kiri-error.ts';

const MAX_BYTES = 256;
const OTHERS = 0o077;

/**
 * The private key of an account: `0x` and 64 hex digits.
 * @throws KiriError DISK_*, KEY_EXPOSED where others may read the file, KEY_INVALID; the key stands in no message
 */
export const readAccountKey = async (path: string): Promise<`0x${string}`> => {
  try {
    const file = await open(path, 'r');
    try {
      const { mode, size } = await file.stat();
      if ((mode & OTHERS) !== 0) {
        throw new KiriError('KEY_EXPOSED', `${path} may be read by others: chmod 600 it`);
      }
      const text = size > MAX_BYTES ? '' : (await file.readFile('latin1')).trim();
      const [, digits] = /^(?:0x)?([0-9a-fA-F]{64})$/.exec(text) ?? [];
      if (digits === undefined) {
        throw new KiriError('KEY_INVALID', `${path} does not hold 64 hex digits`);
      }
      return `0x${digits}`;
    } finally {
      await file.close();
    }
  } catch (error) {
    throw toDiskError(error, 'read', path);
  }
};
