import { coded, refused } from './fault.ts';
import type { Coded } from './fault.ts';
import { zenginByte, zenginCharacter } from './zengin-text.ts';

/** Bytes of every record, line end not counted. */
export const ZENGIN_RECORD_BYTES = 120;

/**
 * One field: its name, its width, and how it stands. N digits to the right with leading zeros, C text to the left
 * with trailing blanks, anything else the constant itself.
 */
type Cell = readonly [field: string, width: number, form: 'N' | 'C' | `=${string}`];

export type ZenginRecordName = 'header' | 'data' | 'trailer' | 'end';

/** The records of 総合振込 (general transfer), kind 21, JIS code. */
const RECORDS: Readonly<Record<ZenginRecordName, readonly Cell[]>> = {
  header: [
    ['recordKind', 1, '=1'],
    ['transferKind', 2, '=21'],
    ['codeKind', 1, '=0'],
    ['clientCode', 10, 'N'],
    ['clientName', 40, 'C'],
    ['transferDay', 4, 'N'],
    ['bank', 4, 'N'],
    ['bankName', 15, 'C'],
    ['branch', 3, 'N'],
    ['branchName', 15, 'C'],
    ['accountKind', 1, 'N'],
    ['accountNumber', 7, 'N'],
    ['filler', 17, '='],
  ],
  data: [
    ['recordKind', 1, '=2'],
    ['bank', 4, 'N'],
    ['bankName', 15, 'C'],
    ['branch', 3, 'N'],
    ['branchName', 15, 'C'],
    ['clearingHouse', 4, '=0000'],
    ['accountKind', 1, 'N'],
    ['accountNumber', 7, 'N'],
    ['payeeName', 30, 'C'],
    ['amount', 10, 'N'],
    ['newCode', 1, '=0'],
    ['reference', 20, 'C'],
    ['transferClass', 1, '=7'],
    ['referenceMark', 1, 'C'],
    ['filler', 7, '='],
  ],
  trailer: [
    ['recordKind', 1, '=8'],
    ['count', 6, 'N'],
    ['total', 12, 'N'],
    ['filler', 101, '='],
  ],
  end: [
    ['recordKind', 1, '=9'],
    ['filler', 119, '='],
  ],
};

export type ZenginValues = Readonly<Record<string, string>>;

const cellText = (cell: Cell, value: string, at: number, name: string): Coded<string> => {
  const [, width, form] = cell;
  if (form.startsWith('=')) return coded(form.slice(1).padEnd(width));
  if (form === 'N') {
    if (!/^\d+$/.test(value)) return refused('WRONG_CHARACTER', at, name, 'not digits');
    if (value.length > width) return refused('OVERFLOW', at, name, `more than ${width} digits`);
    return coded(value.padStart(width, '0'));
  }
  const wrong = Array.from(value).findIndex((character) => zenginByte(character) < 0);
  if (wrong >= 0) return refused('WRONG_CHARACTER', at + wrong, name, 'not of the character set');
  if (value.length > width) return refused('TOO_LONG', at, name, `at most ${width} bytes`);
  if (value !== value.trim()) return refused('WRONG_CHARACTER', at, name, 'blank edge');
  return coded(value.padEnd(width));
};

/** One record's 120 bytes. Values are digits or text of the bank's set, without padding; constants need none. */
export const writeZenginRecord = (
  record: ZenginRecordName,
  values: ZenginValues,
): Coded<Uint8Array> => {
  let text = '';
  for (const cell of RECORDS[record]) {
    const written = cellText(cell, values[cell[0]] ?? '', text.length, `${record}.${cell[0]}`);
    if (!written.ok) return written;
    text += written.value;
  }
  return coded(Uint8Array.from(text, (character) => zenginByte(character)));
};

const readCell = (cell: Cell, text: string, at: number, name: string): Coded<string> => {
  const [, , form] = cell;
  if (form === 'N') {
    const wrong = text.search(/\D/);
    return wrong < 0 ? coded(text) : refused('WRONG_CHARACTER', at + wrong, name, 'not digits');
  }
  if (form === 'C') {
    if (text.startsWith(' ') && text.trim() !== '') {
      return refused('BAD_PADDING', at, name, 'text does not begin at the left');
    }
    return coded(text.trimEnd());
  }
  const constant = form.slice(1).padEnd(text.length);
  return text === constant
    ? coded('')
    : refused('WRONG_VALUE', at, name, `not ${JSON.stringify(constant.trimEnd())}`);
};

/** Takes one record of 120 bytes at `offset` apart: numbers with their leading zeros, text without its blanks. */
export const readZenginRecord = (
  record: ZenginRecordName,
  bytes: Uint8Array,
  offset: number,
): Coded<ZenginValues> => {
  const values: Record<string, string> = {};
  let at = offset;
  for (const cell of RECORDS[record]) {
    const [field, width] = cell;
    const name = `${record}.${field}`;
    if (at + width > bytes.length) return refused('TRUNCATED', bytes.length, name, 'file ends');
    let text = '';
    for (let place = at; place < at + width; place++) {
      const character = zenginCharacter(bytes[place] as number);
      if (character === undefined) {
        return refused('WRONG_CHARACTER', place, name, 'not of the character set');
      }
      text += character;
    }
    const read = readCell(cell, text, at, name);
    if (!read.ok) return read;
    values[field] = read.value;
    at += width;
  }
  return coded(values);
};
