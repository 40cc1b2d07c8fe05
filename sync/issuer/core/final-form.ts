import { sha256 } from '@noble/hashes/sha2.js';
import { bytesEqual } from '../../../protocol/bytes.ts';
import type { PublicKey, Verifier } from '../../../protocol/public-key.ts';
import { isPreStage, type IpmProfile } from '../../clearing/core/ipm-profile.ts';
import type { Manifest } from '../../clearing/core/manifest.ts';
import { withoutCardNumbers } from '../../clearing/core/vault.ts';
import { openVaultStatement } from '../../clearing/core/vault-statement.ts';

/** A settlement file as an issuer has it, and in the form that its clearing signed. */
export type Forms = {
  /** Without card numbers: what the manifest is about. */
  readonly signed: Uint8Array;
  /** Of the bytes as they came: what an acknowledgement names. */
  readonly sha256: Uint8Array;
};

const totalsText = (totals: Manifest['totals']): string =>
  totals
    .map(({ currency, sign, lines, amountMinor }) => `${currency} ${sign} ${lines} ${amountMinor}`)
    .join(', ');

const FINAL = '.ipm';

/** The name that a file has at its issuer: a pre-file loses its mark in the vault. */
export const finalName = ({ fileName, stage }: Manifest): string =>
  stage === 'pre' ? fileName.replace(/\.pre\.ipm$/, FINAL) : fileName;

/**
 * What arrived, tied to what the clearing signed. A member file is tied by the statement of a vault that is known here, and
 * without its DE2 it must be the very pre-file: "differs only in DE2" is not believed but shown.
 * @returns the reason in words where it is not the file that was signed; then it comes again and is not answered
 */
export const tiedToManifest = (
  file: Uint8Array,
  manifest: Manifest,
  profile: IpmProfile,
  vault: {
    readonly statement: Uint8Array | undefined;
    readonly verifier: Verifier;
    readonly vaults: readonly PublicKey[];
  },
): Forms | string => {
  const own = sha256(file);
  if (!isPreStage(profile)) {
    return bytesEqual(own, manifest.fileSha256)
      ? { signed: file, sha256: own }
      : 'the file is not the one that was signed; fetch it again';
  }
  if (!vault.statement)
    return 'a file with card numbers wants the statement of its vault beside it';
  const opened = openVaultStatement(vault.statement, vault);
  if (!opened.ok) return `the vault's statement: ${opened.reason}`;
  const stated = opened.value;
  const isOfManifest =
    stated.direction === 'outward' &&
    stated.fileId === manifest.fileId &&
    bytesEqual(stated.preSha256, manifest.fileSha256) &&
    stated.preBytes === manifest.fileBytes &&
    stated.records === manifest.records &&
    totalsText(stated.totals) === totalsText(manifest.totals);
  if (!isOfManifest) return 'the vault states another file than the clearing signed';
  if (!bytesEqual(stated.finalSha256, own) || stated.finalBytes !== file.length) {
    return 'the file is not the one that the vault states; fetch it again';
  }
  const signed = withoutCardNumbers(file, profile);
  if (!signed.ok) return `the file does not read: ${signed.fault.detail}`;
  return bytesEqual(sha256(signed.value), manifest.fileSha256)
    ? { signed: signed.value, sha256: own }
    : 'without card numbers the file is not the one that the clearing signed';
};
