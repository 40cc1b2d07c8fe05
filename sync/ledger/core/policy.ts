/** C2SP tlog-policy: which logs and which quorum of witnesses make a checkpoint final. The policy is data (DESIGN §5). */
import { sha256 } from '@noble/hashes/sha2.js';
import { TYPE_COSIGNATURE, TYPE_ED25519, type VerifierKey, parseVerifierKey } from './note-key.ts';
import { type Outcome, bad, decodeUtf8, encodeBase64, ok, parseDecimal } from './text.ts';

const MAX_POLICY_BYTES = 65_536;
/** Logs, witnesses and groups together; tlog-policy asks for at least 32 of each. */
const MAX_POLICY_ITEMS = 256;

interface PolicyLog {
  readonly key: VerifierKey;
  readonly url?: string;
}

/** A witness under the name that the policy gives it. */
interface PolicyWitness {
  readonly name: string;
  readonly key: VerifierKey;
  /** tlog-witness submission prefix, where the policy states one. */
  readonly url?: string;
}

interface PolicyGroup {
  readonly threshold: number;
  readonly members: readonly string[];
}

export interface Policy {
  readonly logs: readonly PolicyLog[];
  readonly witnesses: readonly PolicyWitness[];
  readonly groups: ReadonlyMap<string, PolicyGroup>;
  /** A witness's or group's name, or `none`. */
  readonly quorum: string;
  /** SHA-256 of the policy's bytes; shown beside every "L2". */
  readonly hash: Uint8Array;
}

interface Draft {
  logs: PolicyLog[];
  witnesses: PolicyWitness[];
  groups: Map<string, PolicyGroup>;
  names: Set<string>;
  members: Set<string>;
  keys: Set<string>;
  quorum: string | undefined;
}

/** Adds one line; answers a reason where the line is wrong. */
type AddLine = (draft: Draft, words: readonly string[]) => string | undefined;

const withUrl = (url: string | undefined): { url?: string } => (url === undefined ? {} : { url });

const addLog: AddLine = (draft, [vkey, url, ...rest]) => {
  const key = parseVerifierKey(vkey ?? '');
  if (!key.ok || rest.length > 0) return 'malformed log line';
  if (key.value.type !== TYPE_ED25519) return 'a log key must be of type 0x01';
  const id = `log ${encodeBase64(key.value.publicKey)}`;
  if (draft.keys.has(id)) return 'duplicate log key';
  draft.keys.add(id);
  draft.logs.push({ key: key.value, ...withUrl(url) });
  return undefined;
};

const addName = (draft: Draft, name: string | undefined): string | undefined => {
  if (name === undefined || name === 'none') return 'missing or reserved name';
  if (draft.names.has(name)) return 'a name is defined twice';
  draft.names.add(name);
  return undefined;
};

const addWitness: AddLine = (draft, [name, vkey, url, ...rest]) => {
  const key = parseVerifierKey(vkey ?? '');
  if (!key.ok || rest.length > 0) return 'malformed witness line';
  if (key.value.type !== TYPE_COSIGNATURE) return 'a witness key must be of type 0x04';
  const id = `witness ${encodeBase64(key.value.publicKey)}`;
  if (draft.keys.has(id)) return 'duplicate witness key';
  const wrong = addName(draft, name);
  if (wrong !== undefined) return wrong;
  draft.keys.add(id);
  draft.witnesses.push({ name: name ?? '', key: key.value, ...withUrl(url) });
  return undefined;
};

const addGroup: AddLine = (draft, [name, count, ...members]) => {
  if (members.length === 0) return 'a group needs members';
  for (const member of members) {
    if (!draft.names.has(member)) return 'a group member is not defined before';
    if (draft.members.has(member)) return 'a name is a group member twice';
    draft.members.add(member);
  }
  const threshold =
    count === 'all' ? members.length : count === 'any' ? 1 : parseDecimal(count ?? '');
  if (threshold === undefined || threshold < 1 || threshold > members.length) {
    return 'a group threshold is between 1 and its number of members';
  }
  const wrong = addName(draft, name);
  if (wrong === undefined) draft.groups.set(name ?? '', { threshold, members });
  return wrong;
};

const addQuorum: AddLine = (draft, [name, ...rest]) => {
  if (name === undefined || rest.length > 0) return 'malformed quorum line';
  if (draft.quorum !== undefined) return 'more than one quorum line';
  if (name !== 'none' && !draft.names.has(name)) return 'the quorum is not defined before';
  draft.quorum = name;
  return undefined;
};

const LINES: ReadonlyMap<string, AddLine> = new Map([
  ['log', addLog],
  ['witness', addWitness],
  ['group', addGroup],
  ['quorum', addQuorum],
]);

/** Reads a policy text. Kiri narrows the format in one point: the octets must be UTF-8. */
export const parsePolicy = (bytes: Uint8Array): Outcome<Policy> => {
  if (bytes.length > MAX_POLICY_BYTES) return bad(`policy over ${MAX_POLICY_BYTES} bytes`);
  const text = decodeUtf8(bytes);
  if (text === undefined) return bad('policy is not UTF-8');
  // oxlint-disable-next-line no-control-regex -- control characters are what is refused
  if (/[\u0000-\u0008\u000b-\u001f\u007f]/.test(text)) return bad('control character in a policy');
  if (!text.endsWith('\n')) return bad('policy without its last newline');
  const draft: Draft = {
    logs: [],
    witnesses: [],
    groups: new Map(),
    names: new Set(),
    members: new Set(),
    keys: new Set(),
    quorum: undefined,
  };
  for (const [at, line] of text.split('\n').entries()) {
    const [keyword, ...words] = line.split(/[ \t]+/).filter((word) => word !== '');
    if (keyword === undefined || keyword.startsWith('#')) continue;
    const wrong = LINES.get(keyword)?.(draft, words) ?? (LINES.has(keyword) ? '' : 'unknown line');
    if (wrong !== '') return bad(`policy line ${at + 1}: ${wrong}`);
    if (draft.keys.size + draft.groups.size > MAX_POLICY_ITEMS) return bad('policy too large');
  }
  const { logs, witnesses, groups, quorum } = draft;
  if (quorum === undefined) return bad('policy without a quorum line');
  return ok({ logs, witnesses, groups, quorum, hash: sha256(bytes) });
};

/** Whether the witnesses of the given policy names (a set, or a map by name) satisfy the quorum. */
export const quorumMet = (policy: Policy, cosigned: Pick<ReadonlySet<string>, 'has'>): boolean => {
  const met = (name: string): boolean => {
    const group = policy.groups.get(name);
    if (group === undefined) return cosigned.has(name);
    return group.members.filter(met).length >= group.threshold;
  };
  return policy.quorum === 'none' || met(policy.quorum);
};
