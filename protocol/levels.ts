/**
 * What a log writer says of its log's levels (DESIGN §5): how far L1, L2 and L3 reach, how much waits, how fast it goes and
 * until when. Gateway, `kiri status` and log writer meet here. It is shown and decides no money.
 */

/** How far a level reaches: leaves, and the approver's sequence of the last one where it is known. */
export interface LevelMark {
  readonly size: number;
  readonly throughSequence?: number;
}

interface AnchoredMark extends LevelMark {
  /** Where the evidence of the anchor is found, in the anchor's own words. */
  readonly ref: string;
}

export interface LogLevels {
  readonly origin: string;
  /** L1. */
  readonly recorded: LevelMark;
  /** L2. */
  readonly final: LevelMark;
  /** SHA-256 of the policy's bytes in hex: "L2" means nothing without it. */
  readonly policyHash: string;
  /** L3; absent while nothing is anchored. */
  readonly anchored?: AnchoredMark;
  /** Leaves known here that are not final. */
  readonly backlog: number;
  /** More waits in the approver's journal than was read so far. */
  readonly isBehindJournal: boolean;
  /** Entries that became final per second, over the last minute. */
  readonly drainPerS: number;
  /** Until the backlog is empty at that rate; absent where nothing moves. */
  readonly etaS?: number;
  /** When the oldest payment that is not final was accepted, Unix milliseconds. */
  readonly oldestUnfinalMs?: number;
}

export type Level = 'L0' | 'L1' | 'L2' | 'L3';

/** The level of leaf `index` in a log. */
export const levelOfLeaf = (index: number, levels: LogLevels): Level => {
  if (index < levels.final.size) return index < (levels.anchored?.size ?? 0) ? 'L3' : 'L2';
  return index < levels.recorded.size ? 'L1' : 'L0';
};

/** The level of a Receipt or Void by its approver's sequence number; L0 where nothing more is known. */
export const levelOfSequence = (sequence: number, levels: LogLevels): Level => {
  const reaches = (mark: LevelMark | undefined): boolean =>
    mark?.throughSequence !== undefined && sequence <= mark.throughSequence;
  if (reaches(levels.final)) return reaches(levels.anchored) ? 'L3' : 'L2';
  return reaches(levels.recorded) ? 'L1' : 'L0';
};

/** Longest text of a name or reference in it. */
const MAX_TEXT = 1_024;

type Values = Readonly<Record<string, unknown>>;

const isObject = (value: unknown): value is Values =>
  typeof value === 'object' && value !== null && !Array.isArray(value);
const isCount = (value: unknown): value is number =>
  Number.isSafeInteger(value) && Number(value) >= 0;
const isAmount = (value: unknown): boolean =>
  typeof value === 'number' && Number.isFinite(value) && value >= 0;
const isText = (value: unknown): boolean => typeof value === 'string' && value.length <= MAX_TEXT;
const isMark = (value: unknown): value is LevelMark =>
  isObject(value) &&
  isCount(value['size']) &&
  (value['throughSequence'] === undefined || isCount(value['throughSequence']));

const isAbsentOr = (holds: (value: unknown) => boolean, value: unknown): boolean =>
  value === undefined || holds(value);

/** Levels out of parsed JSON; `undefined` for everything that does not have their form. */
export const parseLevels = (value: unknown): LogLevels | undefined => {
  if (!isObject(value)) return undefined;
  const { origin, recorded, final, policyHash, anchored, backlog } = value;
  const holds =
    isText(origin) &&
    isMark(recorded) &&
    isMark(final) &&
    typeof policyHash === 'string' &&
    /^[0-9a-f]{64}$/.test(policyHash) &&
    isAbsentOr((mark) => isMark(mark) && isText((mark as AnchoredMark).ref), anchored) &&
    isCount(backlog) &&
    typeof value['isBehindJournal'] === 'boolean' &&
    isAmount(value['drainPerS']) &&
    isAbsentOr(isAmount, value['etaS']) &&
    isAbsentOr(isAmount, value['oldestUnfinalMs']);
  return holds ? (value as unknown as LogLevels) : undefined;
};
