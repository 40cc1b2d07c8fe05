import { ID_BYTES } from '../../../protocol/ids.ts';
import { bytes, bytesBetween, message, U53, type Codec } from '../../../protocol/schema.ts';

/** The largest Hand-in: its five signed parts at their limit, with room for their heads. */
export const MAX_HAND_IN_BYTES = 5_632;

/** One record of the intake journal: a Hand-in whose every signature was checked, as it came. */
export interface IntakeRecord {
  readonly handIn: Uint8Array;
  /** Liable party of the Payment's line: chooses the content key. */
  readonly party: Uint8Array;
  /** The approver's time of its answer where it can be believed, else {@link takenAtMs}. Unix milliseconds. */
  readonly answeredAtMs: number;
  readonly takenAtMs: number;
}

export const INTAKE_RECORD: Codec<IntakeRecord> = message<IntakeRecord>(131, {
  handIn: [1, bytesBetween(1, MAX_HAND_IN_BYTES)],
  party: [2, bytes(ID_BYTES)],
  answeredAtMs: [3, U53],
  takenAtMs: [4, U53],
});
