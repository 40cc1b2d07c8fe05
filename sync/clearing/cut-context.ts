import type { BusinessZone } from './core/civil-time.ts';
import type { SettlementDirectory } from './core/directory.ts';
import type { IpmProfile, ProfileRule } from './core/ipm-profile.ts';
import type { LedgerAnchor } from './core/lines-file.ts';

/** One cut: everything that decides what the files say. */
export type CutContext = {
  readonly nowS: number;
  /** True = the operator ends the window early; everything with a whole minor unit is presented. */
  readonly closeOut: boolean;
  /** Of lines that neither a rule nor their programme gives another one. */
  readonly profile: IpmProfile;
  readonly profiles: readonly ProfileRule[];
  readonly mode: 'P' | 'T';
  /** The zone of file and ARN dates. */
  readonly zone: BusinessZone;
  readonly directory: SettlementDirectory;
  readonly anchors: readonly LedgerAnchor[];
  readonly policyHash: Uint8Array;
};

/** Lines of one file at most; more become several files. DE71 would hold more, readers' memory may not. */
export const FILE_LINES_MAX = 1_000_000;
