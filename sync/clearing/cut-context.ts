import type { AggregateKey, Programme } from './core/aggregate.ts';
import type { BusinessZone } from './core/civil-time.ts';
import type { IpmProfile } from './core/ipm-profile.ts';
import type { SettlementDetails } from './core/line-record.ts';
import type { LedgerAnchor } from './core/lines-file.ts';

/** The acquirers' and merchants' side of a cut. Undefined = not known (yet): the lane waits, nothing is lost. */
export type SettlementDirectory = {
  programme(name: string): Programme | undefined;
  details(key: AggregateKey): SettlementDetails | undefined;
};

/** One cut: everything that decides what the files say. */
export type CutContext = {
  readonly nowS: number;
  /** True = the operator ends the window early; everything with a whole minor unit is presented. */
  readonly closeOut: boolean;
  readonly profile: IpmProfile;
  readonly mode: 'P' | 'T';
  /** The zone of file and ARN dates. */
  readonly zone: BusinessZone;
  readonly directory: SettlementDirectory;
  readonly anchors: readonly LedgerAnchor[];
  readonly policyHash: Uint8Array;
};

/** Lines of one file at most; more become several files. DE71 would hold more, readers' memory may not. */
export const FILE_LINES_MAX = 1_000_000;
