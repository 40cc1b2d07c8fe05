/** Which row of which approver an entry is, and whether the approver's own log says so. */
export interface LogRow {
  /** Approver's key id. */
  readonly approver: Uint8Array;
  readonly sequence: number;
  /**
   * Whether it stands in a log below the prefix of the approver's mandate. There rows ascend and a gap is an acceptance
   * that was taken back; elsewhere (the intake log) they come in any order and a gap may be filled later.
   */
  readonly isOwnLog: boolean;
}

/** What of one approver's rows the centre holds; the substance of an acknowledgement. */
export interface Taken {
  /** Every row through this one is here, or will never be. */
  readonly throughSequence: number;
  /** Receipts booked among them, each Payment once. */
  readonly count: number;
  readonly sumMicro: bigint;
}

/** One row that was just met; `chargeMicro` where it booked a Receipt for the first time. */
export interface MetRow {
  readonly row: LogRow;
  readonly chargeMicro?: bigint;
}

/** Rows beyond the last one taken, in ascending order, each once. */
export interface AheadRow {
  readonly sequence: number;
  readonly count: number;
  readonly sumMicro: bigint;
}

/**
 * Moves one approver's {@link Taken} on by the rows that were met and those that waited ahead.
 * @returns what is taken now, and the rows that still wait for one before them
 */
export const advanceTaken = (
  before: Taken,
  waiting: readonly AheadRow[],
  met: readonly MetRow[],
): { readonly taken: Taken; readonly ahead: readonly AheadRow[] } => {
  let { throughSequence, count, sumMicro } = before;
  const ahead = new Map(waiting.map((row) => [row.sequence, row]));
  for (const { row, chargeMicro } of met) {
    const isBooked = chargeMicro === undefined ? 0 : 1;
    const charge = chargeMicro ?? 0n;
    if (row.sequence <= before.throughSequence) {
      count += isBooked;
      sumMicro += charge;
      continue;
    }
    const { sequence } = row;
    const known = ahead.get(sequence) ?? { sequence, count: 0, sumMicro: 0n };
    const next = { sequence, count: known.count + isBooked, sumMicro: known.sumMicro + charge };
    ahead.set(sequence, next);
    if (row.isOwnLog) throughSequence = Math.max(throughSequence, sequence);
  }
  const ordered = [...ahead.values()].toSorted((a, b) => a.sequence - b.sequence);
  const rest: AheadRow[] = [];
  for (const row of ordered) {
    if (row.sequence > throughSequence + 1) {
      rest.push(row);
      continue;
    }
    throughSequence = Math.max(throughSequence, row.sequence);
    count += row.count;
    sumMicro += row.sumMicro;
  }
  return { taken: { throughSequence, count, sumMicro }, ahead: rest };
};
