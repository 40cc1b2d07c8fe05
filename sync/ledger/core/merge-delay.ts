/**
 * A Receipt that its approver signed and that is not in its log past the merge delay is that operator's fault (DESIGN §5).
 * The delay runs only while the line is up, which a checkpoint that witnesses cosigned in between shows; without one, it
 * runs from the end of the longest outage that anything has to survive.
 */

/** Longest time with a line from acceptance to a checkpoint that holds the entry. */
const MERGE_DELAY_S: number = 24 * 3_600;
/** Receipts, blocklists and queues survive this long without the centre (DESIGN §2). */
export const LONGEST_OUTAGE_S: number = 30 * 24 * 3_600;

export interface MissingReceipt {
  /** The approver's time in the Receipt, POSIX seconds. */
  readonly acceptedS: number;
  /** Earliest cosignature of the checkpoint whose log was read whole without finding it. */
  readonly checkpointS: number;
  /** Earliest cosignature of an older checkpoint of the same log: the line was up then. */
  readonly lineUpS?: number;
}

/** `waiting`: it may still come in time. `passed`: the operator of the log has to answer for it. */
export const judgeMissing = ({
  acceptedS,
  checkpointS,
  lineUpS,
}: MissingReceipt): 'waiting' | 'passed' => {
  // A line that was up before the acceptance says nothing about the time after it.
  const isShown = lineUpS !== undefined && lineUpS >= acceptedS;
  const fromS = isShown ? lineUpS : acceptedS + LONGEST_OUTAGE_S;
  return checkpointS - fromS > MERGE_DELAY_S ? 'passed' : 'waiting';
};
