/** RFC 4180: cells with a comma, a quote or a line end stand in quotes, quotes twice, rows end in CR LF. */
const NEEDS_QUOTES = /[",\r\n]/;

/** What spreadsheets take for the beginning of a formula. */
const FORMULA = /^[=+\-@\t\r]/;

/** A cell of text. References come from other parties' documents: an apostrophe keeps a spreadsheet from running one. */
const textCell = (text: string): string => {
  const safe = FORMULA.test(text) ? `'${text}` : text;
  return NEEDS_QUOTES.test(safe) ? `"${safe.replaceAll('"', '""')}"` : safe;
};

/** One row. Numbers stand as they are, also below zero; an undefined cell is empty. */
export const csvRow = (cells: readonly (string | bigint | number | undefined)[]): string =>
  `${cells
    .map((cell) => (typeof cell === 'string' ? textCell(cell) : (cell?.toString() ?? '')))
    .join(',')}\r\n`;
