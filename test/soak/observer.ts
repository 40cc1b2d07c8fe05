/**
 * Keeps every head that ever left a process signed, as a stranger sees it (test/c2sp), and at the end holds all of them
 * against the entries of the final log.
 */
import { Tree, hashOfLeaf } from '../c2sp/merkle.ts';
import {
  fromDecimal,
  readCheckpoint,
  readLines,
  readNote,
  readVkey,
  verifiedKeys,
} from '../c2sp/note.ts';
import { finalCheckpoint, readPolicy } from '../c2sp/policy.ts';
import { judge } from '../c2sp/tlog.ts';

/** `log`, `published`, or a witness by its name in the policy. */
type Voice = string;

interface Head {
  readonly size: number;
  /** Base64. */
  readonly root: string;
}

export class Observer {
  readonly #policyText: Buffer;
  readonly #keys: ReturnType<typeof readVkey>[];
  readonly #heads = new Map<string, { readonly head: Head; readonly voices: Set<Voice> }>();
  readonly #cosigned = new Map<Voice, number>();
  #signedSize = 0;
  #publishedSize = 0;
  /** What must not have happened. */
  readonly broken: string[] = [];

  constructor(policyText: string) {
    this.#policyText = Buffer.from(policyText);
    this.#keys = policyText.split('\n').flatMap((line) => {
      const vkey = line.split(' ').find((word) => /\+[0-9a-f]{8}\+/.test(word));
      return vkey === undefined ? [] : [readVkey(vkey)];
    });
  }

  /** Different heads that were seen. */
  get heads(): number {
    return this.#heads.size;
  }

  /** The largest size that the log signed. */
  get signedSize(): number {
    return this.#signedSize;
  }

  /** The largest size that a witness answered a cosignature for. */
  cosignedSize(voice: Voice): number {
    return this.#cosigned.get(voice) ?? 0;
  }

  /** Heads that a voice signed. */
  count(voice: Voice): number {
    return [...this.#heads.values()].filter(({ voices }) => voices.has(voice)).length;
  }

  #keep(voice: Voice, text: string): number {
    const { size, root } = readCheckpoint(text);
    const head = { size, root: root.toString('base64') };
    const name = `${size} ${head.root}`;
    const known = this.#heads.get(name) ?? { head, voices: new Set<Voice>() };
    known.voices.add(voice);
    this.#heads.set(name, known);
    return size;
  }

  /** An add-checkpoint request, and what `voice` answered. */
  exchange(voice: Voice, body: Buffer, answer?: { status: number; body: Buffer }): void {
    const verdict = judge(() => {
      const note = readNote(body.subarray(body.indexOf('\n\n') + 2));
      verifiedKeys(note, this.#keys);
      this.#signedSize = Math.max(this.#signedSize, this.#keep('log', note.text));
      if (answer?.status === 409)
        return this.#told(voice, fromDecimal(answer.body.toString().trim()));
      if (answer?.status !== 200) return undefined;
      const lines = readLines(answer.body.toString());
      verifiedKeys({ text: note.text, lines }, this.#keys);
      const size = this.#keep(voice, note.text);
      this.#cosigned.set(voice, Math.max(size, this.cosignedSize(voice)));
      return undefined;
    });
    if (!verdict.right) this.broken.push(`${voice}: ${verdict.reason}`);
  }

  /** A witness says how much it remembers: never less than it cosigned. */
  #told(voice: Voice, size: number): undefined {
    const cosigned = this.cosignedSize(voice);
    if (size < cosigned) this.broken.push(`${voice} cosigned ${cosigned} and remembers ${size}`);
  }

  published(note: Buffer): void {
    const verdict = judge(() => finalCheckpoint(note, readPolicy(this.#policyText)));
    if (!verdict.right) {
      this.broken.push(`published: ${verdict.reason}`);
      return;
    }
    const size = this.#keep('published', readNote(note).text);
    if (size < this.#publishedSize)
      this.broken.push(`${size} published after ${this.#publishedSize}`);
    this.#publishedSize = Math.max(size, this.#publishedSize);
  }

  /** Every head must be the final tree's own at its size: then each is a prefix of every larger one. */
  check(entries: readonly Buffer[]): void {
    const tree = new Tree(entries.map(hashOfLeaf));
    const sizes = new Map<number, string>();
    for (const { head, voices } of this.#heads.values()) {
      const who = [...voices].join(', ');
      const twin = sizes.get(head.size);
      if (twin !== undefined) this.broken.push(`two heads at ${head.size}: ${twin}; ${who}`);
      sizes.set(head.size, who);
      if (head.size > tree.size)
        this.broken.push(`${who}: ${head.size} entries, ${tree.size} left`);
      else if (tree.mth(0, head.size).toString('base64') !== head.root) {
        this.broken.push(`${who}: the head at ${head.size} is of another log`);
      }
    }
  }
}
