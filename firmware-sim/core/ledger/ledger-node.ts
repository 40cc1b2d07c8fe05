import { Machine, type MachineWorld, type Storage } from '../machine.ts';
import type { Seed } from '../seed.ts';
import type { CommitEnd, VirtualDisk } from '../virtual-disk.ts';
import type { FolderBatch, VirtualFolder } from '../virtual-folder.ts';
import type { VirtualNet } from '../virtual-net.ts';
import type { Consortium } from './consortium.ts';
import type { LedgerChecker } from './ledger-checker.ts';

/** An answer to add-checkpoint, or a status without one. */
export interface Answer {
  readonly status: number;
  readonly body: string;
}

/** HTTP between log, witnesses and mirror, as much of it as matters. `id` pairs question and answer. */
export type LedgerMail =
  | { readonly kind: 'ask'; readonly id: number; readonly body: Uint8Array }
  | ({ readonly kind: 'answer'; readonly id: number } & Answer)
  | { readonly kind: 'get'; readonly id: number; readonly path: string }
  | { readonly kind: 'file'; readonly id: number; readonly bytes: Uint8Array | undefined };

/** What the machines around the logs of one world share. */
export interface LedgerSite extends MachineWorld {
  readonly net: VirtualNet<LedgerMail>;
  readonly disk: VirtualDisk;
  readonly checker: LedgerChecker;
  readonly consortium: Consortium;
}

const RESEND_MS = 700;

/** A machine with one folder that asks others and answers them over a network that loses and repeats. */
export abstract class LedgerNode extends Machine<LedgerSite> {
  readonly folder: VirtualFolder;
  /** Taken out of service by its operator: switching it on does nothing. */
  isAway = false;
  readonly #open = new Map<number, (mail: LedgerMail) => void>();
  #lastId = 0;

  constructor(site: LedgerSite, seed: Seed, name: string) {
    super(site, seed, name);
    this.folder = site.disk.folder();
  }

  receive(from: string, mail: LedgerMail): void {
    if (!this.isUp) return;
    if (mail.kind === 'ask' || mail.kind === 'get') {
      this.serve(from, mail);
      return;
    }
    const end = this.#open.get(mail.id);
    this.#open.delete(mail.id);
    end?.(mail);
  }

  /** Asks for a cosignature; `undefined` when no answer came in time. */
  protected ask(
    to: string,
    body: Uint8Array,
    timeoutMs: number,
    end: (answer: Answer | undefined) => void,
  ): void {
    const id = this.#call(timeoutMs, (mail) => end(mail?.kind === 'answer' ? mail : undefined));
    this.world.net.send(this.name, to, { kind: 'ask', id, body });
  }

  /** Fetches a static file; 'missing' where there is none, `undefined` when no answer came in time. */
  protected get(
    to: string,
    path: string,
    timeoutMs: number,
    end: (bytes: Uint8Array | 'missing' | undefined) => void,
  ): void {
    const id = this.#call(timeoutMs, (mail) =>
      end(mail?.kind === 'file' ? (mail.bytes ?? 'missing') : undefined),
    );
    this.#fetch(to, id, path);
  }

  /** A connection sends again what was lost on the way. */
  #fetch(to: string, id: number, path: string): void {
    if (!this.#open.has(id)) return;
    this.world.net.send(this.name, to, { kind: 'get', id, path });
    this.later(RESEND_MS, () => this.#fetch(to, id, path));
  }

  /** Writes files; the power may fail while the disk is at it. */
  protected store(batch: FolderBatch, end: CommitEnd): void {
    if (this.seed.chance(3 * this.world.crashPerEffect)) {
      this.later(this.seed.between(0, this.world.disk.faults.maxSyncMs), () =>
        this.crash('during a write'),
      );
    }
    this.folder.write(batch, end);
  }

  #call(timeoutMs: number, end: (mail: LedgerMail | undefined) => void): number {
    this.#lastId += 1;
    const id = this.#lastId;
    this.#open.set(id, end);
    this.later(timeoutMs, () => {
      if (this.#open.delete(id)) end(undefined);
    });
    return id;
  }

  protected override mayStart(): boolean {
    return !this.isAway;
  }

  protected override storages(): readonly Storage[] {
    return [this.folder];
  }

  protected override fallen(): void {
    this.#open.clear();
    this.forget();
  }

  protected abstract serve(from: string, mail: Extract<LedgerMail, { kind: 'ask' | 'get' }>): void;
  /** Memory is gone. */
  protected abstract forget(): void;
}
