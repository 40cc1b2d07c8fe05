import { existsSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { CLEARING_CREDENTIAL } from '../../identity/core/documents/credentials.ts';
import { checkPeriod } from '../../identity/core/period.ts';
import { bytesEqual } from '../../protocol/bytes.ts';
import { decodeSign1 } from '../../protocol/cose.ts';
import { KiriError } from '../../protocol/kiri-error.ts';
import type { PublicKey } from '../../protocol/public-key.ts';
import { MANIFEST } from '../../sync/clearing/core/manifest.ts';
import type { AccountState, Arrival } from '../../sync/issuer/core/desk.ts';
import type { DeskAnswer, IssuerDesk } from '../../sync/issuer/issuer-desk.ts';
import { EXIT_OK, EXIT_REFUSED, UsageError } from '../command.ts';
import { Artefacts, MAX_ARTEFACT_BYTES } from '../verify/artefacts.ts';
import { Findings } from '../verify/findings.ts';
import { settlementBase } from '../verify/settlement-file.ts';
import { loadTrust } from '../verify/trust.ts';
import { readBytes } from './config.ts';
import { DESK_OPTIONS, withDesk } from './issuer-desk.ts';
import { say, toolOptions } from './tool-options.ts';

/** Lines of an accounts file. */
const ACCOUNTS_MAX = 10_000_000;

/** `REFERENCE open` or `REFERENCE closed`, one a line; `#` begins a remark. Without a file all are open. */
function accountsIn(path: string | undefined): (reference: string) => AccountState {
  if (path === undefined) return () => 'open';
  const states = new Map<string, AccountState>();
  const lines = text(readBytes(path)).split('\n');
  if (lines.length > ACCOUNTS_MAX) throw new KiriError('CONFIG_INVALID', `${path} is too long`);
  for (const [at, line] of lines.entries()) {
    const entry = line.replace(/\r$/, '');
    if (entry.trim() === '' || entry.startsWith('#')) continue;
    const [, reference, state] = /^(\S.*\S|\S)\s+(open|closed)$/.exec(entry) ?? [];
    if (reference === undefined) {
      const where = `${path} line ${at + 1}`;
      throw new KiriError('CONFIG_INVALID', `${where} is not: REFERENCE open|closed`);
    }
    states.set(reference, state as AccountState);
  }
  return (reference) => states.get(reference) ?? 'unknown';
}

/** Who signed the manifest, and whose statements about filled files count. */
interface Signers {
  readonly clearing: PublicKey;
  readonly vaults: readonly PublicKey[];
}

/** The clearing that signed the manifest, if the issuer credentialed it for the time of the cut. */
function signersOf(manifest: Uint8Array, trust: string): Signers {
  const findings = new Findings();
  const store = loadTrust(new Artefacts(trust, findings), '', findings);
  const sign1 = decodeSign1(manifest);
  const stated = sign1.ok ? MANIFEST.decode(sign1.value.payload) : sign1;
  if (!sign1.ok || !stated.ok) {
    throw new KiriError('DOCUMENT_INVALID', `manifest: ${stated.ok ? '' : stated.reason}`);
  }
  const { kid } = sign1.value.header;
  const { cutS } = stated.value;
  const { typ } = CLEARING_CREDENTIAL;
  const found = store?.book.clearings.find(
    (one) => kid && bytesEqual(one.key.id, kid) && checkPeriod({ typ, ...one }, cutS).ok,
  );
  if (found) return { clearing: found.key, vaults: store?.vaults ?? [] };
  // Faults of what else lies in the folder are told only where they may be the reason.
  const [fault] = findings.report().faults;
  const hint = fault ? ` (${trust}: ${fault.path}: ${fault.reason})` : '';
  const what = 'no clearing that this issuer credentialed signed the manifest';
  throw new KiriError('DOCUMENT_INVALID', `${what}${hint}`);
}

const text = (bytes: Uint8Array): string => new TextDecoder().decode(bytes);

type Ingested = Awaited<ReturnType<IssuerDesk['ingest']>>;

interface Found {
  readonly arrival: Arrival;
  readonly manifest: Uint8Array;
}

function readArrival(path: string, evidenceFolder: string | undefined): Found {
  const base = settlementBase(path) ?? path;
  const findings = new Findings();
  const files = new Artefacts(dirname(base), findings, false);
  const name = basename(base);
  const read = (ending: string, maxBytes?: number): Uint8Array => {
    const bytes = files.read(`${name}${ending}`, maxBytes);
    if (bytes) return bytes;
    const [fault] = findings.report().faults;
    throw new KiriError('FILE_UNREADABLE', `${base}${ending}: ${fault?.reason ?? 'unreadable'}`);
  };
  const evidence = evidenceFolder ?? join(dirname(base), '..', 'evidence');
  const hasEvidence = existsSync(evidence);
  if (evidenceFolder !== undefined && !hasEvidence) {
    throw new UsageError(`there is no folder ${evidenceFolder}`);
  }
  const manifest = read('.manifest');
  const view = `${name}.manifest.json`;
  const statement = `${name}.vault`;
  return {
    manifest,
    arrival: {
      fileName: `${name}.ipm`,
      manifest,
      file: read('.ipm', MAX_ARTEFACT_BYTES),
      lines: text(read('.lines.jsonl', MAX_ARTEFACT_BYTES)),
      hasEvidence,
      ...(files.has(statement) ? { vaultStatement: read('.vault') } : {}),
      ...(files.has(view) ? { manifestView: text(read('.manifest.json')) } : {}),
      evidence: (id) => {
        const file = join(evidence, `${id}.cbor`);
        return /^[0-9a-f]{64}$/.test(id) && existsSync(file) ? readBytes(file) : undefined;
      },
    },
  };
}

function spoken({ file, isRepeated, written, missingSequences, remarks }: DeskAnswer): string {
  const { fileId, verdict, number, lines, linesTaken } = file;
  return [
    `${fileId} ${verdict}: ${linesTaken} of ${lines} lines taken${isRepeated ? ', answered before' : ''}`,
    `acknowledgement ${number}, messages ${number + 1}`,
    ...remarks,
    ...missingSequences.map((sequence) => `sequence ${sequence} has not come`),
    ...written,
  ].join('\n');
}

/** `kiri issuer ingest FILE`: takes a settlement file as an issuer does and writes the signed answer. */
export async function runIngest([path, ...rest]: readonly string[]): Promise<number> {
  if (path === undefined || path.startsWith('--')) {
    throw new UsageError('kiri issuer ingest wants FILE first: the name of a settlement file');
  }
  const options = toolOptions(rest, [...DESK_OPTIONS, 'trust', 'accounts', 'evidence']);
  const trust = options.need('trust');
  const account = accountsIn(options.text('accounts'));
  const { arrival, manifest } = readArrival(path, options.text('evidence'));
  const { clearing, vaults } = signersOf(manifest, trust);
  const nowS = Math.floor(Date.now() / 1000);
  const ingest = (desk: IssuerDesk): Promise<Ingested> => desk.ingest(arrival, clearing, nowS);
  const answer = await withDesk(options, account, ingest, vaults);
  if (!answer.ok) {
    process.stderr.write(`kiri issuer: ${path}: ${answer.reason}; nothing was taken or answered\n`);
    return EXIT_REFUSED;
  }
  const { file, ...facts } = answer.value;
  const { fileId, verdict, number, lines, linesTaken } = file;
  const told = { fileId, verdict, number, lines, linesTaken, ...facts };
  say(options.json, told, spoken(answer.value));
  return verdict === 'rejected' ? EXIT_REFUSED : EXIT_OK;
}
