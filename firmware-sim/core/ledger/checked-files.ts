/** The checkers' own reading of a log's files (C2SP tlog-tiles, docs/ledger.md): nothing of the ledger's code. */

/** Reads a file that no crash can take away, by its path below the log's folder. */
export type ReadDurable = (path: string) => Uint8Array | undefined;

const BUNDLE = 256;

/** One character for each byte. */
function textOf(bytes: Uint8Array): string {
  let text = '';
  for (let i = 0; i < bytes.length; i += 1) text += String.fromCharCode(bytes[i]!);
  return text;
}

/** Below 1,000 bundles, as all logs of a world are. */
const name = (index: number): string => String(index).padStart(3, '0');

function split(bytes: Uint8Array, count: number): readonly Uint8Array[] {
  const parts: Uint8Array[] = [];
  for (let at = 0; at < bytes.length && parts.length < count;) {
    const end = at + 2 + bytes[at]! * 256 + bytes[at + 1]!;
    parts.push(bytes.subarray(at + 2, end));
    at = end;
  }
  return parts;
}

/** Hands out the entries `from` … `size` − 1 of a log of `size`; fewer where files are missing. */
export function readBundleFile(
  read: ReadDurable,
  size: number,
  from: number,
  take: (entry: Uint8Array) => void,
): void {
  for (let at = from; at < size;) {
    const index = Math.floor(at / BUNDLE);
    const width = Math.min(BUNDLE, size - index * BUNDLE);
    const path = `tlog/tile/entries/${name(index)}`;
    const bytes = (width < BUNDLE ? read(`${path}.p/${width}`) : undefined) ?? read(path);
    if (!bytes) return;
    for (const entry of split(bytes, width).slice(at - index * BUNDLE)) take(entry);
    at = (index + 1) * BUNDLE;
  }
}

/** The payload records `from` … `size` − 1; fewer where files are missing. */
export function readPayloadFile(
  read: ReadDurable,
  size: number,
  from: number,
): readonly Uint8Array[] {
  const records: Uint8Array[] = [];
  for (let at = from; at < size;) {
    const index = Math.floor(at / BUNDLE);
    const bytes = read(`payload/${name(index)}`);
    if (!bytes) break;
    records.push(...split(bytes, Math.min(BUNDLE, size - index * BUNDLE)).slice(at % BUNDLE));
    at = (index + 1) * BUNDLE;
  }
  return records;
}

export function readHeadSize(read: ReadDurable): number {
  const bytes = read('state/head');
  return bytes ? (JSON.parse(textOf(bytes)) as { size: number }).size : 0;
}

/** Text, size and signature lines of a note. Signature lines start with an em dash, three bytes in UTF-8. */
export function readCheckpointFile(bytes: Uint8Array): {
  readonly text: string;
  readonly size: number;
  readonly lines: readonly string[];
} {
  const whole = textOf(bytes).replaceAll('\u00e2\u0080\u0094', '\u2014');
  const end = whole.indexOf('\n\n');
  const text = whole.slice(0, end + 1);
  const lines = whole.slice(end + 2).split('\n');
  return {
    text,
    size: Number(text.split('\n')[1]),
    lines: lines.filter((line) => line !== '').map((line) => `${line}\n`),
  };
}

/** The checkpoint text in an add-checkpoint request: after the first empty line, up to the next. */
export function textOfRequest(body: Uint8Array): string {
  const from = emptyLineIn(body, 0) + 2;
  return textOf(body.subarray(from, emptyLineIn(body, from) + 1));
}

function emptyLineIn(bytes: Uint8Array, from: number): number {
  let at = from;
  while (at < bytes.length && (bytes[at] !== 10 || bytes[at + 1] !== 10)) at += 1;
  return at;
}
