import { join } from 'node:path';
import { writeFileDurable } from '../../platform/durable-file.ts';
import { bytesEqual, fromHex, utf8ToBytes } from '../../protocol/bytes.ts';
import { decodeSign1, signSign1, verifySign1 } from '../../protocol/cose.ts';
import { KiriError } from '../../protocol/kiri-error.ts';
import type { PublicKey, Signer, Verifier } from '../../protocol/public-key.ts';
import { decodeUtf8 } from '../../sync/ledger/core/text.ts';
import { Artefacts, MAX_ARTEFACT_BYTES, hashFile, nativeSha256 } from './artefacts.ts';
import { Findings } from './findings.ts';

/** `<sha256 hex>  <path>` per file, sorted: what `sha256sum -c` reads. */
export const CONTENTS_FILE = 'CONTENTS.sha256';
/** COSE_Sign1 by the clearing over the SHA-256 of {@link CONTENTS_FILE}. */
export const CONTENTS_SIGNATURE = 'CONTENTS.sig';
const CONTENTS_TYP = 'kiri/contents';
const MODE = 0o644;

const isListed = (path: string): boolean => path !== CONTENTS_FILE && path !== CONTENTS_SIGNATURE;

/**
 * Lists every file of an output folder with its hash and signs the list; the last thing written.
 * @param signer the clearing's
 * @throws KiriError CONTENTS_IMPOSSIBLE where the folder holds what no list can name, DISK_*
 */
export async function writeContents(outDir: string, signer: Signer): Promise<void> {
  const findings = new Findings();
  const { paths } = new Artefacts(outDir, findings);
  const [trouble] = findings.report().faults;
  // sha256sum escapes such names; none of ours has one.
  const odd = paths.find((path) => /[\\\n\r]/.test(path));
  if (trouble || odd !== undefined) {
    throw new KiriError('CONTENTS_IMPOSSIBLE', `cannot list ${odd ?? trouble?.path} in ${outDir}`);
  }
  const lines = paths.filter(isListed).map((path) => `${hashFile(join(outDir, path))}  ${path}\n`);
  const text = utf8ToBytes(lines.join(''));
  const header = { kid: signer.key.id, typ: CONTENTS_TYP };
  await writeFileDurable(join(outDir, CONTENTS_FILE), text, MODE);
  const signature = signSign1(signer, nativeSha256(text), header);
  await writeFileDurable(join(outDir, CONTENTS_SIGNATURE), signature, MODE);
}

/** Path → SHA-256 in hex; undefined for a text that {@link writeContents} would not write. */
function parseContents(bytes: Uint8Array): ReadonlyMap<string, string> | undefined {
  const text = decodeUtf8(bytes);
  if (text === undefined || (text !== '' && !text.endsWith('\n'))) return undefined;
  const listed = new Map<string, string>();
  let last = '';
  for (const line of text.split('\n').slice(0, -1)) {
    const [, hash, path] = /^([0-9a-f]{64}) {2}([^\\\r]+)$/.exec(line) ?? [];
    if (hash === undefined || path === undefined || path <= last) return undefined;
    last = path;
    listed.set(path, hash);
  }
  return listed;
}

/** Says which of the two contents files is at fault; true where the list is the signed one. */
function checkSignature(
  files: Artefacts,
  text: Uint8Array,
  keys: readonly PublicKey[],
  verifier: Verifier,
  findings: Findings,
): boolean {
  const bytes = files.read(CONTENTS_SIGNATURE);
  if (!bytes) return false;
  const message = decodeSign1(bytes);
  const fault = (reason: string): false => {
    findings.fault(CONTENTS_SIGNATURE, reason);
    return false;
  };
  if (!message.ok) return fault(message.reason);
  const { header, payload } = message.value;
  const key = keys.find((one) => header.kid && bytesEqual(header.kid, one.id));
  if (header.typ !== CONTENTS_TYP) return fault(`typ is not ${CONTENTS_TYP}`);
  if (!key) return fault('not signed by a clearing that the issuer credentialed');
  if (!verifySign1(verifier, key, message.value)) return fault('the signature does not hold');
  if (bytesEqual(payload, nativeSha256(text))) return true;
  findings.fault(CONTENTS_FILE, 'is not the list that CONTENTS.sig signs');
  return false;
}

/** The first layer: every byte of every file against the signed list. */
export function checkContents(
  files: Artefacts,
  keys: readonly PublicKey[],
  verifier: Verifier,
  findings: Findings,
): void {
  const text = files.read(CONTENTS_FILE, MAX_ARTEFACT_BYTES);
  if (!text) {
    files.read(CONTENTS_SIGNATURE);
    return;
  }
  const isSigned = checkSignature(files, text, keys, verifier, findings);
  const listed = parseContents(text);
  if (!listed) {
    findings.fault(CONTENTS_FILE, 'not lines of SHA-256, two blanks and path, sorted by path');
    return;
  }
  const doubt = isSigned ? '' : ' (whose own signature could not be confirmed)';
  for (const path of files.paths.filter(isListed)) {
    findings.count('files');
    const expected = listed.get(path);
    const found = findings.guard(path, () => hashFile(join(files.root, path)));
    if (expected === undefined) findings.fault(path, `not listed in ${CONTENTS_FILE}${doubt}`);
    else if (found !== undefined && !bytesEqual(fromHex(found), fromHex(expected))) {
      findings.fault(path, `SHA-256 differs from ${CONTENTS_FILE}${doubt}`);
    }
  }
  for (const path of listed.keys()) {
    if (!files.has(path)) findings.fault(path, `listed in ${CONTENTS_FILE}${doubt} and missing`);
  }
}
