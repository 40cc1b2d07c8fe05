import { toHex, utf8ToBytes } from '../../../protocol/bytes.ts';
import { invariant } from '../../../protocol/kiri-error.ts';
import { CHECKPOINT_PATH, type LogEntry } from '../../../sync/ledger/core/log-batch.ts';
import type {
  LogEffect,
  LogInput,
  LogPorts,
  LogWriterState,
  StopReason,
} from '../../../sync/ledger/core/log-writer-types.ts';
import {
  startLogWriter,
  stepLogWriter,
  wantsEntries,
} from '../../../sync/ledger/core/log-writer.ts';
import { encodeBase64, parseDecimal } from '../../../sync/ledger/core/text.ts';
import { encodeAddCheckpoint } from '../../../sync/ledger/core/witness.ts';
import { count } from '../machine.ts';
import type { Seed } from '../seed.ts';
import type { FolderBatch } from '../virtual-folder.ts';
import { type Answer, LedgerNode, type LedgerMail, type LedgerSite } from './ledger-node.ts';
import { consistencyProof, encodeHead, findLog, HEAD_PATH } from './log-files.ts';
import type { FeedEntry, LogFeed } from './log-feed.ts';
import { CONTENT_KEY_BYTES, keyPath, kidOf, leafOf, sealRecord } from './sealed-record.ts';

/** Bugs planted on purpose, to show that the checkers see them. */
export interface WriterHooks {
  /** Hears that its head is stored before it is: it signs what a crash can forget. */
  readonly headAckBeforeSync?: boolean;
  /** Takes its start for confirmed without asking anybody. */
  readonly skipsConfirming?: boolean;
  /** Stores how far the journal was read before the leaves are in the log. */
  readonly cursorAhead?: boolean;
  /** Loses power once, before its n-th effect. */
  readonly crashAtEffect?: number;
}

const POLL_MS = 100;
const ANSWER_TIMEOUT_MS = 2_000;
/** Rows of the journal read at once. */
const MAX_ROWS = 64;
const SERVED = /^(?:tlog|payload|keys)\//;

const partyPath = (partyHex: string): string => `state/content-keys/${partyHex}`;

type Ask = Extract<LogEffect, { kind: 'requestCosignature' }>;

/** `kiri sync ledger` in the virtual world: the real log writer over a folder and a journal that somebody else writes. */
export class WriterNode extends LedgerNode {
  readonly origin: string;
  /** What its folder's owner can read of the journal; replaced where the journal was lost. */
  feed: LogFeed;
  /** Why it signs nothing any more, in this life. */
  stopReason: StopReason | undefined;
  readonly #ports: LogPorts;
  readonly #hooks: WriterHooks;
  #state: LogWriterState | undefined;
  #position = 0;
  #isStoringKeys = false;
  #effects = 0;
  #lastBody: { readonly key: string; readonly body: Uint8Array } | undefined;

  constructor(
    site: LedgerSite,
    seed: Seed,
    { name, origin, feed }: { name: string; origin: string; feed: LogFeed },
    hooks: WriterHooks = {},
  ) {
    super(site, seed, name);
    this.origin = origin;
    this.feed = feed;
    this.#hooks = hooks;
    const { logs, policy, verify } = site.consortium;
    const signer = logs.get(origin);
    invariant(signer !== undefined, 'the consortium knows every log of its world');
    this.#ports = { origin, signer, verify, policy };
  }

  /** Leaves under the durable head, L1. */
  get recordedSize(): number {
    return this.#state?.head.size ?? 0;
  }

  /** Everything that the journal holds is final. */
  get isQuiet(): boolean {
    const state = this.#state;
    return (
      state?.phase.kind === 'running' &&
      state.queuedLeaves === 0 &&
      state.writing === undefined &&
      state.finalSize === state.head.size &&
      !this.#isStoringKeys &&
      this.feed.read(this.#position, 1).length === 0
    );
  }

  /** Parties that it has a content key for. */
  parties(): readonly string[] {
    const prefix = partyPath('');
    return this.folder
      .paths()
      .flatMap((path) => (path.startsWith(prefix) ? [path.slice(prefix.length)] : []));
  }

  /** From now on a party's payloads are sealed under another key. @returns the key id that was in use */
  rotateKey(partyHex: string): string | undefined {
    const key = this.folder.read(partyPath(partyHex));
    if (key === undefined) return undefined;
    this.folder.destroy(partyPath(partyHex));
    return toHex(kidOf(key));
  }

  protected override boot(): void {
    this.stopReason = undefined;
    const found = findLog((path) => this.folder.read(path));
    this.#state = startLogWriter(found, this.#ports);
    this.world.checker.writerStarts(this.origin, found.head.size);
    this.#position = found.head.cursor?.nextIndex ?? 0;
    if (this.#hooks.skipsConfirming && this.#state.phase.kind === 'confirming') {
      this.#state.phase = { kind: 'running' };
    }
    const { phase } = this.#state;
    if (phase.kind === 'stopped') this.#stopped(phase.reason, phase.detail);
    else this.#poll();
  }

  protected override forget(): void {
    this.#state = undefined;
    this.#isStoringKeys = false;
    this.#lastBody = undefined;
  }

  protected override serve(from: string, mail: LedgerMail): void {
    if (mail.kind !== 'get') return;
    const bytes = SERVED.test(mail.path) ? this.folder.read(mail.path) : undefined;
    this.world.net.send(this.name, from, { kind: 'file', id: mail.id, bytes });
  }

  #poll(): void {
    this.#feed({ kind: 'tick' });
    this.#readOn();
    this.later(POLL_MS, () => {
      if (this.stopReason === undefined) this.#poll();
    });
  }

  #readOn(): void {
    while (this.#state && !this.#isStoringKeys && wantsEntries(this.#state)) {
      const rows = this.feed.read(this.#position, MAX_ROWS);
      if (rows.length === 0) return;
      const entries = rows.flat();
      const keyless = entries.find(
        ({ partyHex }) => this.folder.read(partyPath(partyHex)) === undefined,
      );
      if (keyless) {
        this.#makeKey(keyless.partyHex);
        return;
      }
      this.#position += rows.length;
      const cursor = {
        segment: 0,
        offset: this.#position,
        nextIndex: this.#position,
        head: '',
      };
      if (this.#hooks.cursorAhead) {
        const files = [{ path: HEAD_PATH, bytes: encodeHead({ ...this.#state.head, cursor }) }];
        this.store({ files }, { durable: () => {}, failed: () => {} });
      }
      this.#feed({ kind: 'entries', entries: entries.map((entry) => this.#seal(entry)), cursor });
    }
  }

  /** The served key first, then the one that is used, as in content-keys.ts. */
  #makeKey(partyHex: string): void {
    const key = this.seed.bytes(CONTENT_KEY_BYTES);
    this.#isStoringKeys = true;
    const failed = (detail: string): void => this.#feed({ kind: 'storageFailed', detail });
    const served = { path: keyPath(toHex(kidOf(key))), bytes: key };
    const own = { path: partyPath(partyHex), bytes: key };
    this.store(
      { files: [served] },
      {
        durable: () =>
          this.store(
            { files: [own] },
            {
              durable: () => {
                this.#isStoringKeys = false;
                this.#readOn();
              },
              failed,
            },
          ),
        failed,
      },
    );
  }

  #seal({ partyHex, receiptPayloadHash, plain }: FeedEntry): LogEntry {
    const key = this.folder.read(partyPath(partyHex));
    invariant(key !== undefined, 'a key is durable before it seals');
    const payload = sealRecord(receiptPayloadHash, plain, key);
    return { leaf: leafOf(payload), payload, acceptedAtMs: 0 };
  }

  #feed(input: LogInput): void {
    if (!this.#state) return;
    const effects = stepLogWriter(this.#state, input, this.now(), this.#ports);
    this.perform(effects, (effect) => {
      this.#effects += 1;
      if (this.#effects === this.#hooks.crashAtEffect) this.crash('at its effect');
      else this.#act(effect);
    });
  }

  #act(effect: LogEffect): void {
    switch (effect.kind) {
      case 'writeBatch':
        this.#write(effect, () => this.#feed({ kind: 'batchWritten', size: effect.size }));
        return;
      case 'persistHead':
        this.#persistHead(effect);
        return;
      case 'publish': {
        const files = [{ path: CHECKPOINT_PATH, bytes: utf8ToBytes(effect.checkpoint) }];
        this.#write({ files }, () => {
          const note = this.folder.readDurable(CHECKPOINT_PATH);
          this.world.checker.published(this.origin, note);
          this.#feed({ kind: 'published', size: effect.size });
        });
        return;
      }
      case 'requestCosignature':
        this.#request(effect);
        return;
      case 'recorded':
      case 'final':
        count(this.world, `ledger ${effect.kind}`);
        this.log(`${effect.kind} ${effect.size}`);
        return;
      case 'stopped':
        this.#stopped(effect.reason, effect.detail);
        return;
    }
  }

  #write(batch: FolderBatch, durable: () => void): void {
    this.store(batch, {
      durable,
      failed: (detail) => this.#feed({ kind: 'storageFailed', detail }),
    });
  }

  #persistHead({ head }: Extract<LogEffect, { kind: 'persistHead' }>): void {
    const { headAckBeforeSync } = this.#hooks;
    const done = (): void => this.#feed({ kind: 'headPersisted', size: head.size });
    const files = [{ path: HEAD_PATH, bytes: encodeHead(head) }];
    this.#write({ files }, headAckBeforeSync ? () => {} : done);
    if (headAckBeforeSync) done();
  }

  #request({ witness, oldSize, size, checkpoint }: Ask): void {
    const { checker } = this.world;
    checker.signed(this.origin, 'writer', checkpoint, (path) => this.folder.readDurable(path));
    const body = this.#bodyFor(oldSize, size, checkpoint);
    this.ask(witness, body, ANSWER_TIMEOUT_MS, (answer) => this.#feed(inputOf(witness, answer)));
  }

  /** Most witnesses are asked the same. */
  #bodyFor(oldSize: number, size: number, checkpoint: string): Uint8Array {
    const key = `${oldSize} ${checkpoint}`;
    if (this.#lastBody?.key === key) return this.#lastBody.body;
    const proof = consistencyProof((path) => this.folder.read(path), oldSize, size);
    const body = encodeAddCheckpoint(oldSize, proof.map(encodeBase64), checkpoint);
    this.#lastBody = { key, body };
    return body;
  }

  #stopped(reason: StopReason, detail: string): void {
    this.stopReason = reason;
    count(this.world, `ledger stopped ${reason}`);
    this.log(`stopped ${reason}: ${detail}`);
    if (reason === 'STORAGE_FAILED') {
      this.later(this.seed.between(100, 5_000), () => this.crash('for repair'));
    } else {
      this.world.checker.stopped(this.origin, `${reason}: ${detail}`);
    }
  }
}

/** As witness-client.ts reads an answer. */
function inputOf(witness: string, answer: Answer | undefined): LogInput {
  if (answer === undefined) return { kind: 'witnessFailed', witness, trouble: 'no answer' };
  const theirSize = parseDecimal(answer.body.replace(/\n$/, ''));
  if (answer.status === 200) return { kind: 'cosigned', witness, lines: answer.body };
  if (answer.status === 422) return { kind: 'witnessInconsistent', witness };
  if (answer.status === 409 && theirSize !== undefined) {
    return { kind: 'witnessConflict', witness, theirSize };
  }
  return { kind: 'witnessFailed', witness, trouble: `answers ${answer.status}` };
}
