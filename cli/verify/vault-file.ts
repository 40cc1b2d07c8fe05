import { statSync } from 'node:fs';
import { basename, dirname } from 'node:path';
import { bytesEqual } from '../../protocol/bytes.ts';
import type { IpmProfile } from '../../sync/clearing/core/ipm-profile.ts';
import type { Manifest } from '../../sync/clearing/core/manifest.ts';
import { compareForms } from '../../sync/clearing/core/vault.ts';
import { openVaultStatement } from '../../sync/clearing/core/vault-statement.ts';
import type { VaultStatement } from '../../sync/clearing/core/vault-statement.ts';
import { verifyIpm } from '../../sync/clearing/core/verify-ipm.ts';
import { UsageError } from '../command.ts';
import { Artefacts, MAX_ARTEFACT_BYTES, nativeSha256 } from './artefacts.ts';
import type { Findings } from './findings.ts';
import type { TrustStore } from './trust.ts';

/** One pre-file with what is known of it. */
export interface PreFile {
  readonly bytes: Uint8Array;
  readonly manifest: Manifest;
  /** In the final form, with card numbers. */
  readonly profile: IpmProfile;
}

type Check = readonly [holds: boolean, what: string];

const totalsText = (totals: Manifest['totals']): string =>
  totals
    .map(({ currency, sign, lines, amountMinor }) => `${currency} ${sign} ${lines} ${amountMinor}`)
    .join(', ');

/** What the vault states about a pre-file, held against the clearing's manifest. */
export function checkVaultStatement(
  context: {
    readonly files: Artefacts;
    readonly store: TrustStore;
    readonly findings: Findings;
  },
  path: string,
  { bytes, manifest }: PreFile,
): VaultStatement | undefined {
  const { files, store, findings } = context;
  const cose = files.read(path);
  if (!cose) return undefined;
  findings.count('vault statements');
  const { vaults } = store;
  const opened = openVaultStatement(cose, { verifier: store.book.trust.verifier, vaults });
  if (!opened.ok) {
    findings.fault(path, `${opened.code}: ${opened.reason}`);
    return undefined;
  }
  const statement = opened.value;
  const lines = manifest.totals.reduce((sum, one) => sum + one.lines, 0);
  const checks: readonly Check[] = [
    [statement.direction === 'outward', 'direction'],
    [statement.fileId === manifest.fileId, 'file id'],
    [bytesEqual(statement.preSha256, nativeSha256(bytes)), 'SHA-256 of the pre-file'],
    [statement.preBytes === bytes.length, 'length of the pre-file'],
    [statement.records === manifest.records, 'number of records'],
    [statement.cardNumbers === lines, 'number of card numbers'],
    [totalsText(statement.totals) === totalsText(manifest.totals), 'totals'],
  ];
  for (const [holds, what] of checks) {
    if (!holds) findings.fault(path, `${what} is not that of the pre-file beside it`);
  }
  return statement;
}

/**
 * The final file against its pre-file, inside the zone where card numbers may be: record by record the same but for DE2,
 * sound by itself, and the very file that the vault stated. No digit of a card number is said.
 */
export function checkFinalFile(
  findings: Findings,
  finalPath: string,
  pre: PreFile,
  statement: VaultStatement | undefined,
): void {
  if (!statSync(finalPath, { throwIfNoEntry: false })?.isFile()) {
    throw new UsageError(`there is no file at ${finalPath}`);
  }
  const name = basename(finalPath);
  const bytes = new Artefacts(dirname(finalPath), findings, false).read(name, MAX_ARTEFACT_BYTES);
  if (!bytes) return;
  findings.count('final files');
  for (const { code, record, offset, detail } of verifyIpm(bytes, pre.profile).findings) {
    findings.fault(name, `${code} at record ${record}, byte ${offset}: ${detail}`);
  }
  const compared = compareForms(pre.bytes, bytes, pre.profile, 'outward');
  if (!compared.ok) {
    const { code, offset, field, detail } = compared.fault;
    findings.fault(name, `${code} ${field} at byte ${offset}: ${detail}`);
  }
  if (!statement) {
    findings.fault(name, 'no statement of a vault holds beside the pre-file');
    return;
  }
  const isStated =
    bytesEqual(statement.finalSha256, nativeSha256(bytes)) && statement.finalBytes === bytes.length;
  if (!isStated) findings.fault(name, 'is not the final file that the vault states');
  else if (compared.ok) {
    const { records, cardNumbers } = compared.value;
    findings.proven(
      `${name} differs from its pre-file only in DE2: ${cardNumbers} of ${records} records`,
    );
  }
}
