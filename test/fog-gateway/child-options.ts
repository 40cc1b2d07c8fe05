import type { CoseAlg } from '../../protocol/public-key.ts';

/** The moment that the fixture's documents are of. */
export const NOW_MS = 1_790_000_000_000;

/** Everything in hex but the folder. */
export interface ChildOptions {
  readonly folder: string;
  readonly port: number;
  readonly key: string;
  readonly issuerAlg: CoseAlg;
  readonly issuerPoint: string;
  readonly mandate: string;
  readonly statusList: string;
}
