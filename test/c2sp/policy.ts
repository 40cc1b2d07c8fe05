/** C2SP tlog-policy, read from its text alone. Octets are opaque: the file is treated as Latin-1 throughout. */
import {
  demand,
  readCheckpoint,
  readNote,
  readVkey,
  verifiedKeys,
  type Checkpoint,
  type Key,
} from './note.ts';

/** Whether a set of witness keys (by name in the policy) satisfies a rule. */
type Rule = (cosigned: ReadonlySet<string>) => boolean;

export interface TrustPolicy {
  readonly logs: readonly Key[];
  readonly witnesses: ReadonlyMap<string, Key>;
  readonly quorum: Rule;
}

class Reader {
  readonly logs: Key[] = [];
  readonly witnesses = new Map<string, Key>();
  readonly #rules = new Map<string, Rule>();
  readonly #members = new Set<string>();
  quorum: Rule | undefined;

  #define(name: string, rule: Rule): void {
    demand(name !== 'none' && !this.#rules.has(name), 'reserved or repeated name');
    this.#rules.set(name, rule);
  }

  #key(vkey: string, type: number, others: Iterable<Key>): Key {
    const key = readVkey(Buffer.from(vkey, 'latin1').toString('utf8'));
    demand(key.type === type, 'key of the wrong type');
    for (const other of others) demand(other.point !== key.point, 'duplicate key');
    return key;
  }

  log(words: readonly string[]): void {
    demand(words.length === 1 || words.length === 2, 'log <vkey> [<url>]');
    this.logs.push(this.#key(words[0]!, 0x01, this.logs));
  }

  witness(words: readonly string[]): void {
    demand(words.length === 2 || words.length === 3, 'witness <name> <vkey> [<url>]');
    const [name, vkey] = words as [string, string];
    const key = this.#key(vkey, 0x04, this.witnesses.values());
    this.#define(name, (cosigned) => cosigned.has(name));
    this.witnesses.set(name, key);
  }

  group([name, count, ...members]: readonly string[]): void {
    demand(
      name !== undefined && count !== undefined && members.length > 0,
      'group without members',
    );
    const rules = members.map((member) => {
      const rule = this.#rules.get(member);
      demand(rule && !this.#members.has(member), 'undefined or repeated member');
      this.#members.add(member);
      return rule;
    });
    const n = rules.length;
    if (count !== 'all' && count !== 'any') demand(/^[1-9]\d*$/.test(count), 'threshold');
    const least = count === 'all' ? n : count === 'any' ? 1 : Number(count);
    demand(least >= 1 && least <= n, 'threshold above the number of members');
    this.#define(name, (cosigned) => rules.filter((rule) => rule(cosigned)).length >= least);
  }

  setQuorum(words: readonly string[]): void {
    demand(words.length === 1 && this.quorum === undefined, 'one quorum line');
    const rule = words[0] === 'none' ? (): boolean => true : this.#rules.get(words[0]!);
    demand(rule, 'undefined quorum');
    this.quorum = rule;
  }
}

export function readPolicy(bytes: Uint8Array): TrustPolicy {
  const text = Buffer.from(bytes).toString('latin1');
  // oxlint-disable-next-line no-control-regex -- that is what is refused
  demand(!/[\x00-\x08\x0b-\x1f\x7f]/.test(text), 'control character');
  demand(text.endsWith('\n'), 'the last line has no newline');
  const reader = new Reader();
  for (const line of text.split('\n')) {
    const [keyword, ...words] = line.split(/[ \t]+/).filter(Boolean);
    if (keyword === undefined || keyword.startsWith('#')) continue;
    if (keyword === 'log') reader.log(words);
    else if (keyword === 'witness') reader.witness(words);
    else if (keyword === 'group') reader.group(words);
    else if (keyword === 'quorum') reader.setQuorum(words);
    else demand(false, 'unknown keyword');
  }
  demand(reader.quorum, 'no quorum');
  return { logs: reader.logs, witnesses: reader.witnesses, quorum: reader.quorum };
}

/** "valid if it is signed by any one of the listed logs" (the one that it names) "and cosigned according to the quorum". */
export function finalCheckpoint(bytes: Uint8Array, policy: TrustPolicy): Checkpoint {
  const note = readNote(bytes);
  const checkpoint = readCheckpoint(note.text);
  const own = policy.logs.filter(({ name }) => name === checkpoint.origin);
  const signed = verifiedKeys(note, [...own, ...policy.witnesses.values()]);
  demand(
    own.some((key) => signed.has(key)),
    'not signed by the log that it names',
  );
  const cosigned = [...policy.witnesses].filter(([, key]) => signed.has(key));
  demand(policy.quorum(new Set(cosigned.map(([name]) => name))), 'the quorum is not met');
  return checkpoint;
}
