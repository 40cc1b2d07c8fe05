import { KiriError } from '../../protocol/kiri-error.ts';

/** Largest file taken, in UTF-16 units: a year of one busy road is about a tenth of it. */
export const MAX_CSV_CHARS = 67_108_864;
const MAX_CSV_ROWS = 1_000_000;
export const MAX_ROW_CHARS = 4_096;
const MAX_COLUMNS = 64;

/** One data row: the fields by column name, and the line of the file it stands on (the header is line 1). */
export interface CsvRow {
  readonly line: number;
  readonly fields: ReadonlyMap<string, string>;
}

/** A row that could not be used, in words that let its owner find and mend it. */
export interface BadRow {
  readonly line: number;
  readonly reason: string;
}

export interface Csv {
  readonly columns: readonly string[];
  /** Data rows in file order, good and bad; empty lines are left out. */
  rows(): Generator<CsvRow | BadRow>;
}

/**
 * Fields of one line (RFC 4180, without line breaks inside quotes: then an unclosed quote spoils one row and not the rest
 * of the file). Spaces around a field are dropped, inside quotes they are kept.
 */
function splitLine(line: string): readonly string[] | string {
  const fields: string[] = [];
  let at = 0;
  for (;;) {
    while (line[at] === ' ' || line[at] === '\t') at += 1;
    let field = '';
    if (line[at] === '"') {
      for (;;) {
        const close = line.indexOf('"', at + 1);
        if (close < 0) return 'a quote is not closed';
        field += line.slice(at + 1, close);
        at = close + 1;
        if (line[at] !== '"') break;
        field += '"';
      }
      while (line[at] === ' ' || line[at] === '\t') at += 1;
      if (at < line.length && line[at] !== ',') return 'text after a closing quote';
    } else {
      const comma = line.indexOf(',', at);
      const end = comma < 0 ? line.length : comma;
      field = line.slice(at, end).trim();
      at = end;
    }
    fields.push(field);
    if (fields.length > MAX_COLUMNS) return `more than ${MAX_COLUMNS} columns`;
    if (at >= line.length) return fields;
    at += 1;
  }
}

/** Physical lines: LF, CRLF or CR, numbered from 1. */
function* linesOf(text: string): Generator<{ line: number; text: string }> {
  const end = /\r\n|\n|\r/g;
  let line = 1;
  let from = 0;
  for (let match = end.exec(text); match; match = end.exec(text)) {
    yield { line, text: text.slice(from, match.index) };
    from = end.lastIndex;
    line += 1;
  }
  if (from < text.length) yield { line, text: text.slice(from) };
}

function readRow(columns: readonly string[], line: number, text: string): CsvRow | BadRow {
  if (text.length > MAX_ROW_CHARS)
    return { line, reason: `longer than ${MAX_ROW_CHARS} characters` };
  const fields = splitLine(text);
  if (typeof fields === 'string') return { line, reason: fields };
  if (fields.length !== columns.length) {
    return { line, reason: `${fields.length} fields where the header has ${columns.length}` };
  }
  return { line, fields: new Map(columns.map((column, i) => [column, fields[i] ?? ''])) };
}

/**
 * Opens a CSV text. Column names are compared in lower case.
 * @param name what to call the file in errors
 * @throws KiriError `code` when the file is too large, empty, or its header cannot be read
 */
export function openCsv(text: string, name: string, code: string): Csv {
  if (text.length > MAX_CSV_CHARS) {
    throw new KiriError(code, `${name}: over ${MAX_CSV_CHARS} characters; cut it into parts`);
  }
  const body = text.startsWith('\uFEFF') ? text.slice(1) : text;
  const lines = linesOf(body);
  const first = lines.next();
  const header = first.done ? '' : first.value.text;
  const split = header.length > MAX_ROW_CHARS ? 'too long' : splitLine(header);
  if (typeof split === 'string' || header.trim() === '') {
    const why = header.trim() === '' ? 'the first line is empty' : `first line: ${String(split)}`;
    throw new KiriError(
      code,
      `${name}: ${why}; it must be a CSV file whose first line names its columns`,
    );
  }
  const columns = split.map((column) => column.toLowerCase());
  function* rows(): Generator<CsvRow | BadRow> {
    let count = 0;
    for (const { line, text: row } of lines) {
      if (row.trim() === '') continue;
      count += 1;
      if (count > MAX_CSV_ROWS)
        throw new KiriError(code, `${name}: over ${MAX_CSV_ROWS} rows; cut it into parts`);
      yield readRow(columns, line, row);
    }
  }
  return { columns, rows };
}
