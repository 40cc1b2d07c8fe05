import { nodeVerifier } from '../../identity/edge/node-signatures.ts';
import { bytesEqual } from '../../protocol/bytes.ts';
import type { PublicKey } from '../../protocol/public-key.ts';
import {
  encodeVerifierKey,
  type Verify,
  type VerifierKey,
} from '../../sync/ledger/core/note-key.ts';
import type { VerifyAnchor } from '../../sync/ledger/core/anchor-port.ts';
import { noteVerify } from '../../sync/ledger/core/note-ports.ts';
import {
  isPolicyBook,
  openPolicyBook,
  policySpans,
  type FinalityRules,
} from '../../sync/ledger/core/policy-book.ts';
import { parsePolicy } from '../../sync/ledger/core/policy.ts';
import { loadAnchors } from './anchors.ts';
import type { Artefacts } from './artefacts.ts';
import { chainRank, DocumentBook, namedIssuer } from './documents.ts';
import type { Findings } from './findings.ts';
import { keyOfCose, keyOfPem } from './key-files.ts';

/** What the other checks rest on. */
export interface TrustStore {
  readonly book: DocumentBook;
  /** Of policy.txt, or of the issuer's book `policies`; absent where it does not read, which is a fault already. */
  readonly policy: FinalityRules | undefined;
  readonly noteVerify: Verify;
  /** By the name of the anchor; none where `trust/anchors/` is absent. */
  readonly anchors: ReadonlyMap<string, VerifyAnchor>;
  /** Where the policy stands, for faults. */
  readonly policyPath: string;
  /** Keys of `trust/vaults/`: who may state what was done to a pre-file. */
  readonly vaults: readonly PublicKey[];
}

/** The root that the caller brought along, instead of the one in the folder. */
export interface Pinned {
  readonly issuerKey: PublicKey;
  readonly policyText?: Uint8Array;
  readonly vaults: readonly PublicKey[];
  /** What anchors are checked against: the caller's, never the folder's own. */
  readonly anchors: ReadonlyMap<string, VerifyAnchor>;
}

interface Document {
  readonly path: string;
  readonly cose: Uint8Array;
}

function readDocuments(files: Artefacts, prefix: string): Document[] {
  const documents: Document[] = [];
  for (const path of files.below(`${prefix}documents/`)) {
    const cose = files.read(path);
    if (cose) documents.push({ path, cose });
  }
  return documents;
}

/** Keys of vaults; no document of the issuer names them, their partner hands them over. */
function loadVaults(files: Artefacts, prefix: string, findings: Findings): PublicKey[] {
  return files.below(`${prefix}vaults/`).flatMap((path) => {
    const bytes = files.read(path);
    const key = bytes && keyOfCose(bytes);
    if (bytes && !key) findings.fault(path, 'not a COSE_Key in its one form');
    return key ? [key] : [];
  });
}

/** Which issuer most documents name: tells a changed root from changed documents. */
function issuerOfMost(documents: readonly Document[]): string | undefined {
  const votes = new Map<string, number>();
  for (const { cose } of documents) {
    const id = namedIssuer(cose);
    if (id !== undefined) votes.set(id, (votes.get(id) ?? 0) + 1);
  }
  return [...votes].toSorted(([, a], [, b]) => b - a)[0]?.[0];
}

/**
 * The root of trust. Without a pinned one it is issuer.cosekey; where that was changed, what is said is that, and the
 * other checks go on with issuer.pem if the documents name it, so that they can still name what else is wrong.
 */
function rootKey(
  files: Artefacts,
  prefix: string,
  documents: readonly Document[],
  pinned: Pinned | undefined,
  findings: Findings,
): PublicKey | undefined {
  const paths = { cosekey: `${prefix}issuer.cosekey`, pem: `${prefix}issuer.pem` };
  const bytes = { cosekey: files.read(paths.cosekey), pem: files.read(paths.pem) };
  const cose = bytes.cosekey && keyOfCose(bytes.cosekey);
  const pem = bytes.pem && keyOfPem(bytes.pem);
  const named = pinned?.issuerKey.hex ?? issuerOfMost(documents);
  const root = pinned?.issuerKey ?? [cose, pem].find((key) => key?.hex === named) ?? cose ?? pem;
  findings.count('trust root');
  if (!root) {
    findings.fault(paths.cosekey, 'no issuer key can be read: nothing else can be trusted');
    return undefined;
  }
  const who = pinned ? 'the pinned issuer' : `the issuer ${named ?? root.hex} of the documents`;
  if (bytes.cosekey && cose?.hex !== root.hex)
    findings.fault(paths.cosekey, `is not the key of ${who}`);
  if (bytes.pem && pem?.hex !== root.hex) findings.fault(paths.pem, `is not the key of ${who}`);
  return root;
}

/** A book of versions where there is one, else the one text. */
const policyName = (files: Artefacts, prefix: string): string =>
  files.has(`${prefix}policies`) ? `${prefix}policies` : `${prefix}policy.txt`;

function loadPolicy(
  files: Artefacts,
  prefix: string,
  root: { readonly issuerKey: PublicKey | undefined; readonly pinned: Pinned | undefined },
  findings: Findings,
): FinalityRules | undefined {
  const { issuerKey, pinned } = root;
  const path = policyName(files, prefix);
  const bytes = files.read(path);
  if (bytes && pinned?.policyText && !bytesEqual(bytes, pinned.policyText)) {
    findings.fault(path, 'is not the pinned policy');
  }
  const text = pinned?.policyText ?? bytes;
  if (!text) return undefined;
  findings.count('policy');
  const isBook = isPolicyBook(text);
  if (isBook && !issuerKey) return undefined;
  const policy =
    isBook && issuerKey ? openPolicyBook(text, issuerKey, nodeVerifier()) : parsePolicy(text);
  if (policy.ok) return policy.value;
  findings.fault(path, policy.reason);
  return undefined;
}

/** Beside `log.vkey` each witness and mirror has such a file; each says in one line what the policy says. */
function checkNoteKeys(
  files: Artefacts,
  prefix: string,
  policy: FinalityRules | undefined,
  findings: Findings,
): void {
  const spans = policy && policySpans(policy);
  const check = (path: string, keys: readonly VerifierKey[] | undefined): void => {
    const bytes = files.read(path);
    if (!bytes || !keys) return;
    findings.count('log and witness keys');
    const texts = keys.map((key) => new TextEncoder().encode(`${encodeVerifierKey(key)}\n`));
    if (!texts.some((text) => bytesEqual(text, bytes))) {
      findings.fault(path, 'is not a key of the policy');
    }
  };
  const logPath = `${prefix}log.vkey`;
  check(
    logPath,
    spans?.flatMap((span) => span.policy.logs.map((log) => log.key)),
  );
  const others = files
    .below(prefix)
    .filter((path) => path !== logPath && /^[^/]+\.vkey$/.test(path.slice(prefix.length)));
  const witnesses = spans?.flatMap((span) => span.policy.witnesses.map((one) => one.key));
  if (others.length === 0) check(`${prefix}witness.vkey`, witnesses);
  for (const path of others) check(path, witnesses);
}

/** `binding-car-1.cbor` speaks of the key file `car-1`, `mandate.cbor` of the gateway's. */
function keyNames(path: string): readonly string[] {
  const base = path.slice(path.lastIndexOf('/') + 1).replace(/\.cbor$/, '');
  if (base === 'mandate') return ['gateway', 'approver', 'mandate'];
  return [base, base.replace(/^(?:binding|merchant)-/, '')];
}

/** Every key file is both standard forms of a key that the documents name; by its own name where that is told. */
function checkKeyFiles(
  files: Artefacts,
  prefix: string,
  book: DocumentBook,
  named: ReadonlyMap<string, readonly PublicKey[]>,
  findings: Findings,
): void {
  for (const path of files.below(`${prefix}keys/`)) {
    const [, name, form] = /([^/]+)\.(pem|cosekey)$/.exec(path) ?? [];
    const bytes = files.read(path);
    if (name === undefined || !bytes) continue;
    findings.count('key files');
    const key = form === 'pem' ? keyOfPem(bytes) : keyOfCose(bytes);
    if (!key) {
      findings.fault(
        path,
        `not a ${form === 'pem' ? 'SubjectPublicKeyInfo' : 'COSE_Key'} in its one form`,
      );
      continue;
    }
    const expected = named.get(name) ?? [...book.keys.values()];
    if (!expected.some((one) => one.hex === key.hex)) {
      findings.fault(path, `key ${key.hex} is not what the documents say`);
    }
  }
}

/**
 * Reads `trust/` (or a folder like it, with an empty prefix) and proves every document from the issuer's key.
 * Undefined where there is no root at all.
 */
export function loadTrust(
  files: Artefacts,
  prefix: string,
  findings: Findings,
  pinned?: Pinned,
): TrustStore | undefined {
  const documents = readDocuments(files, prefix);
  const issuerKey = rootKey(files, prefix, documents, pinned, findings);
  const policy = loadPolicy(files, prefix, { issuerKey, pinned }, findings);
  checkNoteKeys(files, prefix, policy, findings);
  if (!issuerKey) return undefined;
  const verifier = nodeVerifier();
  const book = new DocumentBook({ issuerKey, verifier });
  const named = new Map<string, readonly PublicKey[]>();
  for (const { path, cose } of documents.toSorted(
    (a, b) => chainRank(a.cose) - chainRank(b.cose),
  )) {
    findings.count('documents');
    const added = findings.guard(path, () => book.add(cose));
    if (added?.ok) {
      if (added.value.length > 0) for (const name of keyNames(path)) named.set(name, added.value);
    } else if (added) {
      findings.fault(path, added.reason);
    }
  }
  checkKeyFiles(files, prefix, book, named, findings);
  const noteCheck = noteVerify(verifier);
  const own = loadAnchors(files, prefix, { noteVerify: noteCheck }, findings);
  const anchors = pinned?.anchors ?? own;
  const vaults = pinned?.vaults ?? loadVaults(files, prefix, findings);
  const policyPath = policyName(files, prefix);
  return { book, policy, noteVerify: noteCheck, anchors, policyPath, vaults };
}

/** The root that a person brings along in a folder of its own. */
export function loadPinned(files: Artefacts, findings: Findings): Pinned | undefined {
  const bytes = files.read('issuer.cosekey');
  const issuerKey = bytes && keyOfCose(bytes);
  if (!issuerKey) {
    findings.fault('issuer.cosekey', 'is not a COSE_Key in its one form');
    return undefined;
  }
  const path = policyName(files, '');
  const policyText = files.has(path) ? files.read(path) : undefined;
  const noteCheck = noteVerify(nodeVerifier());
  const anchors = loadAnchors(files, '', { noteVerify: noteCheck }, findings);
  const vaults = loadVaults(files, '', findings);
  return { issuerKey, anchors, vaults, ...(policyText ? { policyText } : {}) };
}
