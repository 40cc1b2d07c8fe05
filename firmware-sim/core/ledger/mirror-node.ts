import { CHECKPOINT_PATH } from '../../../sync/ledger/core/log-batch.ts';
import { parseNote, signatureLine } from '../../../sync/ledger/core/note.ts';
import { verifyNote } from '../../../sync/ledger/core/note-verify.ts';
import { openRequest } from '../../../sync/ledger/core/witness.ts';
import { count } from '../machine.ts';
import type { Answer, LedgerMail } from './ledger-node.ts';
import { headOfNote, type ReadFile } from './log-files.ts';
import { MirrorCopy, type SignedHead } from './mirror-copy.ts';
import { WitnessNode } from './witness-node.ts';

/** Waits of mirror-log.ts and mirror-service.ts. */
const ANSWER_WAIT_MS = 1_500;
const FOLLOW_MS = 2_000;
const FETCH_TIMEOUT_MS = 5_000;

const prefixOf = (origin: string): string => `logs/${origin}/`;
const LATER: Answer = { status: 503, body: 'COPYING: ask again\n' };

/** `kiri mirror` in the virtual world: a witness that first copies and checks what it is asked to sign for. */
export class MirrorNode extends WitnessNode {
  readonly #copies = new Map<string, MirrorCopy>();
  /** Published checkpoints that were looked at last. */
  readonly #seen = new Map<string, Uint8Array>();

  /** Files of one copy, as they are served. */
  filesOf(origin: string): ReadFile {
    return (path) => this.folder.read(prefixOf(origin) + path);
  }

  /** Files of one copy that no crash can take away. */
  durableFilesOf(origin: string): ReadFile {
    return (path) => this.folder.readDurable(prefixOf(origin) + path);
  }

  copiedSize(origin: string): number {
    return this.#copies.get(origin)?.head.size ?? 0;
  }

  /** A key is destroyed here, for good. */
  destroy(origin: string, path: string): void {
    this.folder.destroy(prefixOf(origin) + path);
  }

  protected override boot(): void {
    super.boot();
    if (!this.isUp) return;
    for (const origin of this.world.consortium.logs.keys()) {
      this.#copies.set(origin, this.#open(origin));
    }
    this.#follow();
  }

  #open(origin: string): MirrorCopy {
    const prefix = prefixOf(origin);
    return new MirrorCopy(origin, {
      read: this.filesOf(origin),
      write: ({ files, appends, obsolete }, end) =>
        this.store(
          {
            files: files.map(({ path, bytes }) => ({ path: prefix + path, bytes })),
            appends: appends.map((tail) => ({ ...tail, path: prefix + tail.path })),
            obsolete: obsolete.map((path) => prefix + path),
          },
          { durable: () => end(true), failed: () => end(false) },
        ),
      get: (from, path, end) => this.get(from, path, FETCH_TIMEOUT_MS, end),
    });
  }

  protected override forget(): void {
    super.forget();
    this.#copies.clear();
    this.#seen.clear();
  }

  protected override admit(
    from: string,
    body: Uint8Array,
    end: (refusal: Answer | undefined) => void,
  ): void {
    const { logs } = this.world.consortium;
    const keys = new Map(Array.from(logs, ([origin, { key }]) => [origin, [key]]));
    const opened = openRequest(keys, body, this.ports.verify);
    if ('status' in opened || this.hooks.skipsContent) {
      end('status' in opened ? opened : undefined);
      return;
    }
    let isOver = false;
    const once = (verdict: Answer | undefined): void => {
      if (!isOver) end(verdict);
      isOver = true;
    };
    this.later(ANSWER_WAIT_MS, () => once(LATER));
    const head = { ...opened.head, note: `${opened.text}\n${opened.logLine}` };
    this.#copies.get(head.origin)?.admit(from, head, (verdict) => {
      this.#tellOfEvidence(head.origin);
      once(verdict);
    });
  }

  protected override cosigned(request: Uint8Array): void {
    if (!this.isLiar)
      this.world.checker.mirrorHolds(request, (origin) => this.durableFilesOf(origin));
  }

  #tellOfEvidence(origin: string): void {
    if (!this.#copies.get(origin)?.isForked) return;
    count(this.world, 'ledger asked of a forked log');
    this.world.checker.evidence(origin, this.durableFilesOf(origin));
  }

  #follow(): void {
    for (const origin of this.#copies.keys()) {
      // A log's machine has the name of its origin.
      this.get(origin, CHECKPOINT_PATH, FETCH_TIMEOUT_MS, (bytes) => {
        if (bytes instanceof Uint8Array) this.#look(origin, bytes);
      });
    }
    this.later(FOLLOW_MS, () => this.#follow());
  }

  #look(origin: string, note: Uint8Array): void {
    const head = this.#seen.get(origin) === note ? undefined : this.#signedHead(origin, note);
    if (!head) return;
    this.#copies.get(origin)?.admit(origin, head, (verdict) => {
      this.#tellOfEvidence(origin);
      if (verdict) return;
      this.#seen.set(origin, note);
      const path = prefixOf(origin) + CHECKPOINT_PATH;
      if (head.size < (headOfNote(this.folder.read(path))?.size ?? 0)) return;
      this.store(
        { files: [{ path, bytes: note }] },
        { durable: () => {}, failed: () => this.#seen.delete(origin) },
      );
    });
  }

  #signedHead(origin: string, bytes: Uint8Array): SignedHead | undefined {
    const note = parseNote(bytes);
    const head = headOfNote(bytes);
    const key = this.world.consortium.logs.get(origin)?.key;
    if (!note.ok || !key || head?.origin !== origin) return undefined;
    const signed = verifyNote(note.value, [key], this.ports.verify);
    const line = signed.ok ? signed.value[0]?.line : undefined;
    if (!line) return undefined;
    const { text } = note.value;
    return { ...head, note: `${text}\n${signatureLine(line.name, line.keyId, line.signature)}` };
  }

  protected override serve(from: string, mail: Extract<LedgerMail, { kind: 'ask' | 'get' }>): void {
    if (mail.kind === 'ask') super.serve(from, mail);
  }
}
