import { utf8ToBytes } from '../../../protocol/bytes.ts';
import { invariant } from '../../../protocol/kiri-error.ts';
import { cosign } from '../../../sync/ledger/core/cosignature.ts';
import {
  openRequest,
  restoreHead,
  stepWitness,
  witnessState,
  type WitnessEffect,
  type WitnessPorts,
  type WitnessState,
  type WitnessedHead,
} from '../../../sync/ledger/core/witness.ts';
import { count } from '../machine.ts';
import type { Seed } from '../seed.ts';
import { type Answer, LedgerNode, type LedgerMail, type LedgerSite } from './ledger-node.ts';

/** Bugs planted on purpose, to show that the checkers see them. */
export interface WitnessHooks {
  /** Hears that a head is stored before it is. */
  readonly answersBeforePersist?: boolean;
  /** A mirror that cosigns what it has not copied. */
  readonly skipsContent?: boolean;
}

interface Asked {
  readonly from: string;
  readonly id: number;
  readonly body: Uint8Array;
}

const headPath = (origin: string): string => `state/witness/${origin}`;

/** `kiri witness` in the virtual world: the real witness over one file per log. */
export class WitnessNode extends LedgerNode {
  /** It cosigns whatever a log has signed: the one liar that 3 of 4 allow for. */
  isLiar = false;
  /** It was started again without what it had cosigned: nobody counts on it any more. */
  #hasForgotten = false;
  protected readonly ports: WitnessPorts;
  protected readonly hooks: WitnessHooks;
  #state: WitnessState | undefined;
  readonly #asked = new Map<number, Asked>();
  #lastRequest = 0;
  #isBroken = false;
  /** Heads on their way to the disk, one at a time and in order. */
  #storing: { readonly requestId: number; readonly head: WitnessedHead }[] = [];

  constructor(site: LedgerSite, seed: Seed, name: string, hooks: WitnessHooks = {}) {
    super(site, seed, name);
    const signer = site.consortium.cosigners.get(name);
    invariant(signer !== undefined, 'the consortium knows every cosigner of its world');
    this.ports = { signer, verify: site.consortium.verify };
    this.hooks = hooks;
  }

  protected override boot(): void {
    const { logs } = this.world.consortium;
    const heads: WitnessedHead[] = [];
    for (const origin of logs.keys()) {
      const note = this.folder.read(headPath(origin));
      if (note === undefined) continue;
      const head = restoreHead(note, this.ports.signer.key, this.ports.verify);
      if (!head.ok) {
        // docs/ledger.md: it does not start, its key is retired.
        count(this.world, 'witness key retired');
        this.log('retired');
        this.isAway = true;
        this.crash('for good');
        return;
      }
      heads.push(head.value);
    }
    const trusted = new Map(Array.from(logs, ([origin, { key }]) => [origin, [key]]));
    this.#state = witnessState(trusted, heads);
  }

  protected override forget(): void {
    this.#state = undefined;
    this.#asked.clear();
    this.#storing = [];
    this.#isBroken = false;
  }

  /** The stored heads become unreadable, or are gone as if there had never been any. Of a machine that is off. */
  loseState(how: 'damaged' | 'empty'): void {
    const kept = new Map(this.folder.backup());
    for (const path of kept.keys()) {
      if (!path.startsWith('state/witness/')) continue;
      if (how === 'damaged') kept.set(path, utf8ToBytes('damaged'));
      else kept.delete(path);
    }
    this.#hasForgotten = true;
    this.folder.replace(kept);
  }

  protected override serve(from: string, mail: LedgerMail): void {
    if (mail.kind !== 'ask') return;
    const asked = { from, id: mail.id, body: mail.body };
    if (this.#isBroken) this.#reply(asked, { status: 503, body: 'DISK\n' });
    else if (this.isLiar) this.#lie(asked);
    else
      this.admit(from, mail.body, (refusal) => {
        if (refusal) this.#reply(asked, refusal);
        else this.#judge(asked);
      });
  }

  /** Asked before the witness's own checks; a mirror checks contents here. */
  protected admit(
    _from: string,
    _body: Uint8Array,
    end: (refusal: Answer | undefined) => void,
  ): void {
    end(undefined);
  }

  /** A cosignature leaves. */
  protected cosigned(_request: Uint8Array): void {}

  #judge(asked: Asked): void {
    this.#lastRequest += 1;
    const requestId = this.#lastRequest;
    this.#asked.set(requestId, asked);
    this.#run({ kind: 'addCheckpoint', requestId, body: asked.body });
  }

  #run(input: Parameters<typeof stepWitness>[1]): void {
    if (!this.#state) return;
    const effects = stepWitness(this.#state, input, this.now().unixMs, this.ports);
    this.perform(effects, (effect) => this.#act(effect));
  }

  #act(effect: WitnessEffect): void {
    const { requestId } = effect;
    if (effect.kind === 'respond') {
      const asked = this.#asked.get(requestId);
      this.#asked.delete(requestId);
      if (asked) this.#reply(asked, effect.answer);
      return;
    }
    this.#storing.push({ requestId, head: effect.head });
    if (this.#storing.length === 1) this.#store();
    if (this.hooks.answersBeforePersist) this.#run({ kind: 'persisted', requestId });
  }

  #store(): void {
    const next = this.#storing[0];
    if (!next) return;
    const { requestId, head } = next;
    const files = [{ path: headPath(head.origin), bytes: utf8ToBytes(head.note) }];
    this.store(
      { files },
      {
        durable: () => {
          this.#storing.shift();
          this.#store();
          if (!this.hooks.answersBeforePersist) this.#run({ kind: 'persisted', requestId });
        },
        failed: () => {
          // What is in memory may be ahead of the disk: no word leaves before a restart.
          this.#isBroken = true;
          this.#storing = [];
          this.later(this.seed.between(100, 5_000), () => this.crash('for repair'));
        },
      },
    );
  }

  #lie(asked: Asked): void {
    const { logs } = this.world.consortium;
    const trusted = new Map(Array.from(logs, ([origin, { key }]) => [origin, [key]]));
    const opened = openRequest(trusted, asked.body, this.ports.verify);
    if ('status' in opened) return;
    count(this.world, 'ledger lie cosigned');
    const timeS = Math.floor(this.now().unixMs / 1_000);
    this.#reply(asked, { status: 200, body: cosign(opened.text, this.ports.signer, timeS) });
  }

  #reply({ from, id, body: request }: Asked, { status, body }: Answer): void {
    if (status === 200) {
      const isTrue = !this.isLiar && !this.#hasForgotten;
      this.world.checker.cosigned({ name: this.name, isTrue }, request, body, (origin) =>
        this.folder.readDurable(headPath(origin)),
      );
      this.cosigned(request);
    }
    count(this.world, `ledger answer ${status}`);
    this.world.net.send(this.name, from, { kind: 'answer', id, status, body });
  }
}
