/** A log folder made directly, without a writer: any size, any history, signed with the log's own key. */
import { join } from 'node:path';
import { randomBytes } from 'node:crypto';
import { sha256 } from '@noble/hashes/sha2.js';
import { writeFileDurable } from '../../../platform/durable-file.ts';
import { utf8ToBytes } from '../../../protocol/bytes.ts';
import { encodeCheckpoint } from '../../../sync/ledger/core/checkpoint.ts';
import { type OpenBundle, appendBatch } from '../../../sync/ledger/core/log-batch.ts';
import { signNote } from '../../../sync/ledger/core/note.ts';
import { encodeBase64 } from '../../../sync/ledger/core/text.ts';
import { emptyTree, treeRoot } from '../../../sync/ledger/core/tree.ts';
import { encodeAddCheckpoint } from '../../../sync/ledger/core/witness.ts';
import { contentKeyId } from '../../../sync/ledger/key-wrap.ts';
import { consistencyProof } from '../../../sync/ledger/log-folder.ts';
import { folderSource } from '../../../sync/ledger/log-source.ts';
import { leafOfRecord, sealPayload } from '../../../sync/ledger/payload-record.ts';
import { prepareLogFolder, writeLogFiles } from '../../../sync/ledger/tile-store.ts';
import { ORIGIN, realLog } from './keys.ts';

export class MadeLog {
  readonly root: string;
  readonly #story: string;
  readonly #tree = emptyTree();
  readonly #bundle: OpenBundle = { leaves: [], payloads: [] };
  readonly #notes = new Map<number, string>();
  readonly #key = { kid: new Uint8Array(16), key: new Uint8Array(randomBytes(32)) };

  /** Two logs with different stories share no entry. */
  constructor(root: string, story: string = 'one') {
    this.root = root;
    this.#story = story;
  }

  get size(): number {
    return this.#tree.size;
  }

  /** Any bytes do as a wrapped key: a mirror cannot open it, and checks its id. */
  async append(count: number): Promise<void> {
    if (this.#tree.size === 0) {
      await prepareLogFolder(this.root);
      const wrapped = utf8ToBytes(`wrapped key of story ${this.#story}`);
      this.#key.kid.set(contentKeyId(wrapped));
      const name = Buffer.from(this.#key.kid).toString('hex');
      await writeFileDurable(join(this.root, 'keys', name), wrapped);
    }
    const entries = Array.from({ length: count }, (_, at) => {
      const plain = utf8ToBytes(`${this.#story} ${this.#tree.size + at}`);
      const payload = sealPayload(plain, sha256(plain), this.#key);
      return { leaf: leafOfRecord(payload) ?? plain, payload, acceptedAtMs: 0 };
    });
    await writeLogFiles(this.root, appendBatch(this.#tree, this.#bundle, entries));
    const head = { origin: ORIGIN, size: this.size, root: treeRoot(this.#tree) };
    this.#notes.set(this.size, signNote(encodeCheckpoint(head), realLog()));
  }

  /** The log's signed checkpoint of a size at which an append ended. */
  note(size: number = this.size): string {
    const note = this.#notes.get(size);
    if (note === undefined) throw new Error(`never had ${size} leaves at the end of an append`);
    return note;
  }

  publish(size: number = this.size): Promise<void> {
    return writeFileDurable(join(this.root, 'tlog/checkpoint'), this.note(size));
  }

  /** The body of an add-checkpoint request. */
  async request(oldSize: number, size: number = this.size): Promise<Uint8Array> {
    const path =
      oldSize === 0 ? [] : await consistencyProof(folderSource(this.root), oldSize, size);
    return encodeAddCheckpoint(oldSize, path.map(encodeBase64), this.note(size));
  }
}
