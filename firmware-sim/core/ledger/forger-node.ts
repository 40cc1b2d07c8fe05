import { toHex } from '../../../protocol/bytes.ts';
import { sha256 } from '@noble/hashes/sha2.js';
import { invariant } from '../../../protocol/kiri-error.ts';
import { encodeCheckpoint } from '../../../sync/ledger/core/checkpoint.ts';
import {
  appendBatch,
  appended,
  type LogEntry,
  type OpenBundle,
} from '../../../sync/ledger/core/log-batch.ts';
import { signNote } from '../../../sync/ledger/core/note.ts';
import { encodeBase64, parseDecimal } from '../../../sync/ledger/core/text.ts';
import { TILE_WIDTH } from '../../../sync/ledger/core/tile.ts';
import { emptyTree, treeRoot, type Tree } from '../../../sync/ledger/core/tree.ts';
import { encodeAddCheckpoint } from '../../../sync/ledger/core/witness.ts';
import { count } from '../machine.ts';
import type { Seed } from '../seed.ts';
import { MIRROR, WITNESSES } from './consortium.ts';
import { LedgerNode, type LedgerMail, type LedgerSite } from './ledger-node.ts';
import { consistencyProof, readHead, recordsAt, type ReadFile } from './log-files.ts';
import { CONTENT_KEY_BYTES, keyPath, kidOf, leafOf, sealRecord } from './sealed-record.ts';

const ANSWER_TIMEOUT_MS = 2_000;

/**
 * A log operator that signs a second history: it leaves the last entries out of a copy of its own log, puts others in their
 * place and asks everybody to cosign, each from the size that they say they have.
 */
export class ForgerNode extends LedgerNode {
  readonly origin: string;
  #tree: Tree = emptyTree();
  #bundle: OpenBundle = { leaves: [], payloads: [] };
  readonly #sizes = new Map<string, number>();

  constructor(site: LedgerSite, seed: Seed, name: string, origin: string) {
    super(site, seed, name);
    this.origin = origin;
  }

  /** Copies the log up to some entries before its head. */
  forge(read: ReadFile): void {
    const { size } = readHead(read);
    const kept = Math.max(0, size - 1 - this.seed.below(4));
    const records: Uint8Array[] = [];
    for (let index = 0; index * TILE_WIDTH < size; index += 1) {
      records.push(...recordsAt(read, index, size));
    }
    const files = new Map<string, Uint8Array>();
    for (const record of records.slice(0, kept)) {
      const path = keyPath(toHex(record.subarray(32, 48)));
      const key = read(path);
      if (key) files.set(path, key);
    }
    this.folder.replace(files);
    this.#append(records.slice(0, kept).map((payload) => ({ leaf: leafOf(payload), payload })));
    this.#forgeMore();
    count(this.world, 'ledger history forged');
  }

  #append(entries: readonly Pick<LogEntry, 'leaf' | 'payload'>[]): void {
    const batch = appendBatch(
      this.#tree,
      this.#bundle,
      entries.map((entry) => ({ ...entry, acceptedAtMs: 0 })),
    );
    const files = new Map(this.folder.backup());
    for (const { path, bytes } of batch.files) files.set(path, bytes);
    for (const tail of batch.appends) files.set(tail.path, appended(files.get(tail.path), tail));
    this.folder.replace(files);
  }

  #forgeMore(): void {
    const key = this.seed.bytes(CONTENT_KEY_BYTES);
    const files = new Map(this.folder.backup());
    files.set(keyPath(toHex(kidOf(key))), key);
    this.folder.replace(files);
    const plains = Array.from({ length: 1 + this.seed.below(4) }, () => this.seed.bytes(24));
    const records = plains.map((plain) => sealRecord(sha256(plain), plain, key));
    this.#append(records.map((payload) => ({ leaf: leafOf(payload), payload })));
  }

  protected override boot(): void {
    this.later(this.seed.between(200, 2_000), () => this.#pester());
  }

  protected override forget(): void {
    this.#sizes.clear();
  }

  protected override serve(from: string, mail: LedgerMail): void {
    if (mail.kind !== 'get') return;
    const bytes = this.folder.read(mail.path);
    this.world.net.send(this.name, from, { kind: 'file', id: mail.id, bytes });
  }

  #pester(): void {
    const signer = this.world.consortium.logs.get(this.origin);
    invariant(signer !== undefined, 'a forger has the key of its own log');
    const read: ReadFile = (path) => this.folder.read(path);
    const { size } = this.#tree;
    const root = treeRoot(this.#tree);
    const note = signNote(encodeCheckpoint({ origin: this.origin, size, root }), signer);
    this.world.checker.signed(this.origin, 'forger', note, read);
    for (const name of [...WITNESSES, MIRROR]) {
      const oldSize = Math.min(size, this.#sizes.get(name) ?? 0);
      const proof = consistencyProof(read, oldSize, size).map(encodeBase64);
      const body = encodeAddCheckpoint(oldSize, proof, note);
      this.ask(name, body, ANSWER_TIMEOUT_MS, (answer) => {
        if (answer?.status === 200) this.#sizes.set(name, size);
        const theirs = answer?.status === 409 ? parseDecimal(answer.body.trim()) : undefined;
        if (theirs !== undefined) this.#sizes.set(name, theirs);
      });
    }
    this.later(this.seed.between(500, 2_500), () => {
      if (this.seed.chance(0.3)) this.#forgeMore();
      this.#pester();
    });
  }
}
