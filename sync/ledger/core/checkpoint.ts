/** C2SP tlog-checkpoint (v1.0.0): the note text that carries a tree head. */
import { HASH_BYTES } from './merkle.ts';
import { type Outcome, bad, decodeBase64, encodeBase64, ok, parseDecimal } from './text.ts';

/** A tree head under its log's name. */
export interface TreeHead {
  readonly origin: string;
  readonly size: number;
  /** 32 bytes. */
  readonly root: Uint8Array;
}

/** Origin, size, root: one line each. Kiri's logs write no extension lines. */
export const encodeCheckpoint = (head: TreeHead): string =>
  `${head.origin}\n${head.size}\n${encodeBase64(head.root)}\n`;

/** Reads a checkpoint text. Extension lines of other logs are allowed, and must not be empty. */
export const parseCheckpoint = (text: string): Outcome<TreeHead> => {
  if (!text.endsWith('\n')) return bad('checkpoint without its last newline');
  const lines = text.slice(0, -1).split('\n');
  const [origin, sizeText, rootText] = lines;
  if (lines.length < 3 || lines.some((line) => line.length === 0)) {
    return bad('checkpoint needs origin, size and root, and no empty line');
  }
  const size = parseDecimal(sizeText ?? '');
  if (size === undefined) return bad('malformed tree size');
  const root = decodeBase64(rootText ?? '');
  if (root?.length !== HASH_BYTES) return bad('malformed root hash');
  return ok({ origin: origin ?? '', size, root });
};
