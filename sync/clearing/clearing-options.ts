import type { PublicKey, Signer, Verifier } from '../../protocol/public-key.ts';
import type { BusinessZone } from './core/civil-time.ts';
import type { SettlementDirectory } from './core/directory.ts';
import type { DisputeLimits } from './core/dispute-rules.ts';
import type { IpmProfile, ProfileRule } from './core/ipm-profile.ts';
import type { Part } from './core/part.ts';
import type { WriteFile } from './cut-file.ts';
import type { SqlDatabase } from './sql.ts';

/** What one clearing is made of. */
export type ClearingOptions = {
  readonly database: SqlDatabase;
  /** Signs the manifests. */
  readonly signer: Signer;
  /** Gets `clearing/` and `evidence/`. */
  readonly outFolder: string;
  readonly directory: SettlementDirectory;
  /** SHA-256 of the finality policy in force at a cut; its time is handed over where versions follow each other. */
  readonly policyHash: Uint8Array | ((atS: number) => Uint8Array);
  readonly mode: 'P' | 'T';
  /** The profile of lines that neither `profiles` nor their programme gives another one; on us by default. */
  readonly profile?: IpmProfile;
  /** Profiles by acquirer and programme; the first rule that fits counts. */
  readonly profiles?: readonly ProfileRule[];
  /** Whose statements about filled files are taken; none by default. */
  readonly vaults?: { readonly verifier: Verifier; readonly vaults: readonly PublicKey[] };
  /** Zone of file and ARN dates; Japan by default. */
  readonly zone?: BusinessZone;
  readonly writeFile?: WriteFile;
  /** Removes a file below the output folder; one that is not there is no fault. */
  readonly removeFile?: (path: string) => Promise<void>;
  /** Windows of disputes; by default 120 days to dispute, 45 to answer, 45 for arbitration, 18 months of evidence. */
  readonly disputes?: DisputeLimits;
  /** A file without an acknowledgement for so long is silent; 24 hours by default. */
  readonly ackWithinS?: number;
  /** Which part of a parted clearing this is; its store is of that part for good. */
  readonly part?: Part;
};
