/** A log head that the receipts of a file lie under. */
export type LedgerAnchor = {
  readonly origin: string;
  readonly size: number;
  /** Root hash in hex. */
  readonly root: string;
};

/** One presentment of the file: how to get from its ARN to its evidence. */
export type FileLine = {
  readonly number: number;
  readonly arn: string;
  readonly aggregateId: string;
  readonly sign: 'debit' | 'credit';
  readonly amountMinor: bigint;
  readonly currency: string;
  /** 2 on a second presentment, whose amount is at most what the evidence proves; absent on a first. */
  readonly cycle?: 2;
};

export type LinesFile = {
  readonly anchors: readonly LedgerAnchor[];
  /** Aggregates without a line of their own (their whole sum was carried), in the chain of residuals. */
  readonly silent: readonly string[];
  readonly lines: readonly FileLine[];
};

/** The first line of the text beside a settlement file. */
export const formatAnchors = (
  anchors: readonly LedgerAnchor[],
  silent: readonly string[],
): string => `${JSON.stringify({ anchors, silent })}\n`;

export const formatLine = (line: FileLine): string => {
  const text = JSON.stringify({
    number: line.number,
    arn: line.arn,
    aggregateId: line.aggregateId,
    sign: line.sign,
    amountMinor: line.amountMinor.toString(),
    currency: line.currency,
    ...(line.cycle === undefined ? {} : { cycle: line.cycle }),
  });
  return `${text}\n`;
};

/**
 * The text beside a settlement file: one JSON object per line, the first with the anchors, then one per
 * presentment in file order. Line by line, so that a file of a million is written and read in passing.
 */
const formatLines = ({ anchors, silent, lines }: LinesFile): string =>
  [formatAnchors(anchors, silent), ...lines.map(formatLine)].join('');

type RawLine = Omit<FileLine, 'amountMinor'> & { readonly amountMinor: string };

/** Reads the text back; undefined unless it is exactly what {@link formatLines} writes. */
export const parseLines = (source: string): LinesFile | undefined => {
  try {
    const [head, ...rows] = source.trimEnd().split('\n');
    const { anchors, silent } = JSON.parse(head ?? '') as Pick<LinesFile, 'anchors' | 'silent'>;
    const lines = rows.map((row) => {
      const raw = JSON.parse(row) as RawLine;
      return { ...raw, amountMinor: BigInt(raw.amountMinor) };
    });
    const file = { anchors, silent, lines };
    return formatLines(file) === source ? file : undefined;
  } catch {
    return undefined;
  }
};
