import { basename, dirname, join, resolve } from 'node:path';
import { parseArgs } from 'node:util';
import { nodeVerifier } from '../../identity/edge/node-signatures.ts';
import { writeFileDurable } from '../../platform/durable-file.ts';
import { toHex } from '../../protocol/bytes.ts';
import { decodeSign1 } from '../../protocol/cose.ts';
import { payloadHash } from '../../protocol/ids.ts';
import { KiriError } from '../../protocol/kiri-error.ts';
import { noteVerify } from '../../sync/ledger/core/note-ports.ts';
import type { FinalityRules } from '../../sync/ledger/core/policy-book.ts';
import type { LogSource } from '../../sync/ledger/log-source.ts';
import {
  type AnchoredPlace,
  anchorsAt,
  anchorsInFolder,
  proveAnchored,
} from '../../sync/ledger/prove-anchored.ts';
import { proveReceipts } from '../../sync/ledger/prove-receipts.ts';
import { EXIT_FAILED, EXIT_OK, UsageError } from '../command.ts';
import { nativeSha256 } from '../verify/artefacts.ts';
import { inclusionProofPath } from '../verify/inclusion.ts';
import { l3ProofPath } from '../verify/l3-proof.ts';
import { readBytes, readPublicKey } from './config.ts';
import { logAt } from './log-at.ts';
import { readRules } from './policy-file.ts';

/** Receipts named on one command line. */
const MAX_RECEIPTS = 10_000;
const MODE = 0o644;

/** The policy, or the book of its versions, that the ledger's tools are told by `--policy`. */
export function policyIn(path: string | undefined, issuerKey: string | undefined): FinalityRules {
  if (path === undefined) throw new UsageError('--policy FILE is needed');
  return readRules(path, () => {
    if (issuerKey === undefined) throw new UsageError('a policy book wants --issuer-key FILE');
    return readPublicKey(issuerKey);
  });
}

/** Receipt files by the hash that a log's payload records begin with. */
function receiptsIn(paths: readonly string[]): Map<string, string> {
  const receipts = new Map<string, string>();
  for (const path of paths) {
    const sign1 = decodeSign1(readBytes(path));
    if (!sign1.ok) throw new KiriError('FILE_INVALID', `${path}: ${sign1.reason}`);
    receipts.set(toHex(payloadHash(sign1.value.payload)), path);
  }
  return receipts;
}

type Proofs = ReadonlyMap<string, Uint8Array>;

/** L3 proofs through a roll-up log: its folder, or the address at which `kiri sync rollup` serves it. */
async function proveThrough(
  rollUp: string,
  anchor: string | undefined,
  prove: (source: LogSource, places: readonly AnchoredPlace[]) => Promise<Proofs>,
): Promise<Proofs> {
  const source = logAt(rollUp);
  const places = /^https?:/.test(rollUp) ? await anchorsAt(source) : await anchorsInFolder(rollUp);
  const wantedPlaces = places.filter(({ name }) => anchor === undefined || name === anchor);
  if (wantedPlaces.length === 0) {
    const which = anchor === undefined ? 'no anchor' : `not the anchor ${anchor}`;
    throw new KiriError('NOT_ANCHORED', `${rollUp}: ${which} holds anything of this log yet`);
  }
  return prove(source, wantedPlaces);
}

/** `kiri ledger prove`: a proof file beside every Receipt, or in the folder that is named. */
export async function runProve(argv: readonly string[]): Promise<number> {
  const { values, positionals } = parseArgs({
    args: [...argv],
    options: {
      log: { type: 'string' },
      policy: { type: 'string' },
      'issuer-key': { type: 'string' },
      to: { type: 'string' },
      rollup: { type: 'string' },
      anchor: { type: 'string' },
      json: { type: 'boolean', default: false },
    },
    allowPositionals: true,
  });
  if (positionals.length === 0) throw new UsageError('at least one RECEIPT file is needed');
  if (positionals.length > MAX_RECEIPTS) throw new UsageError(`at most ${MAX_RECEIPTS} receipts`);
  if (values.log === undefined) throw new UsageError('--log FOLDER|URL is needed');
  if (values.anchor !== undefined && values.rollup === undefined) {
    throw new UsageError('--anchor is of a --rollup FOLDER|URL');
  }
  const source = logAt(values.log);
  const policy = policyIn(values.policy, values['issuer-key']);
  const receipts = receiptsIn(positionals);
  const ports = { policy, verify: noteVerify(nodeVerifier()), hash: nativeSha256 };
  const names = new Set(receipts.keys());
  const pathOf = values.rollup === undefined ? inclusionProofPath : l3ProofPath;
  const proofs =
    values.rollup === undefined
      ? await proveReceipts(source, names, ports)
      : await proveThrough(values.rollup, values.anchor, (rollUp, places) =>
          proveAnchored(source, names, { source: rollUp, places }, ports),
        );
  const written: string[] = [];
  const missing: string[] = [];
  for (const [hash, path] of receipts) {
    const proof = proofs.get(hash);
    if (proof === undefined) {
      missing.push(path);
      continue;
    }
    const stem = basename(path).replace(/\.receipt\.cbor$/, '');
    const file = join(resolve(values.to ?? dirname(path)), pathOf(stem));
    await writeFileDurable(file, proof, MODE);
    written.push(file);
  }
  if (values.json) print(JSON.stringify({ ok: missing.length === 0, written, missing }));
  else {
    for (const file of written) print(file);
    const why = values.rollup === undefined ? 'not final in this log' : 'not anchored yet';
    for (const path of missing) print(`${why}: ${path}`);
  }
  return missing.length === 0 ? EXIT_OK : EXIT_FAILED;
}

function print(line: string): void {
  process.stdout.write(`${line}\n`);
}
