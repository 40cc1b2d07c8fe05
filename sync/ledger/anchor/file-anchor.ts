/**
 * Anchors notes by hand, for consortia without a network: the note is laid into an outbox, a consortium's key holder
 * countersigns it elsewhere, and the countersigned note comes back into the inbox under the same name.
 */
import { createHash } from 'node:crypto';
import { open } from 'node:fs/promises';
import { join } from 'node:path';
import { systemCode, toDiskError } from '../../../platform/disk-error.ts';
import { writeFileDurable } from '../../../platform/durable-file.ts';
import type { Anchor } from '../core/anchor-port.ts';
import type { VerifyAnchor } from '../core/anchor-port.ts';

const MAX_NOTE_BYTES = 131_072;
const REF = /^[0-9a-f]{64}\.checkpoint$/;

export interface FileAnchorOptions {
  /** Folders; the outbox is made, the inbox is only read. */
  readonly outbox: string;
  readonly inbox: string;
  readonly verify: VerifyAnchor;
}

/** At most one byte over the limit is read: whatever lies in the inbox. */
const readInbox = async (path: string): Promise<Uint8Array | undefined> => {
  try {
    const file = await open(path, 'r');
    try {
      const buffer = new Uint8Array(MAX_NOTE_BYTES + 1);
      const { bytesRead } = await file.read(buffer, 0, buffer.length, 0);
      return buffer.slice(0, bytesRead);
    } finally {
      await file.close();
    }
  } catch (error) {
    if (systemCode(error) === 'ENOENT') return undefined;
    throw toDiskError(error, 'read', path);
  }
};

/** The file's name is the SHA-256 of the note, so that laying it out twice changes nothing. */
export const fileAnchor = ({ outbox, inbox, verify }: FileAnchorOptions): Anchor => ({
  submit: async (note, keep) => {
    const ref = `${createHash('sha256').update(note).digest('hex')}.checkpoint`;
    await keep(ref);
    await writeFileDurable(join(outbox, ref), note, 0o644);
    return ref;
  },
  status: async (ref, note) => {
    if (!REF.test(ref)) return { kind: 'failed', reason: 'not a reference of this anchor' };
    const evidence = await readInbox(join(inbox, ref));
    if (evidence === undefined) {
      // A crash between keeping the name and writing the file.
      await writeFileDurable(join(outbox, ref), note, 0o644);
      return { kind: 'pending', detail: `waits for ${ref} in the inbox` };
    }
    // What came back may be wrong; the right one can still come.
    const verified = verify(evidence, note);
    return verified.ok
      ? { kind: 'final', evidence }
      : { kind: 'pending', detail: `${ref} in the inbox: ${verified.reason}` };
  },
});
