import { PDS_CARRIERS } from './de-table.ts';
import { coded, refused } from './fault.ts';
import type { Coded } from './fault.ts';

/** A PDS is tag 4n + length 3n + value; the carrier element holds at most 999 characters. */
const CARRIER_LENGTH_MAX = 999;
const PDS_HEAD_LENGTH = 7;
const PDS_VALUE_MAX: number = CARRIER_LENGTH_MAX - PDS_HEAD_LENGTH;

const TAG = /^\d{4}$/;

/**
 * Lays PDS out over the carrier elements in ascending tag order; a PDS is never split over two carriers, and
 * what does not fit in the last carrier is refused.
 */
export const packPds = (pds: ReadonlyMap<string, string>): Coded<Map<number, string>> => {
  const carriers = new Map<number, string>();
  let slot = 0;
  let text = '';
  for (const [tag, value] of [...pds].toSorted(([a], [b]) => (a < b ? -1 : 1))) {
    const field = `PDS${tag}`;
    if (!TAG.test(tag)) return refused('UNKNOWN_FIELD', 0, field, 'a PDS tag is four digits');
    if (value.length === 0) return refused('WRONG_LENGTH', 0, field, 'empty PDS');
    if (value.length > PDS_VALUE_MAX) {
      return refused('TOO_LONG', 0, field, `${value.length} characters, at most ${PDS_VALUE_MAX}`);
    }
    const entry = tag + String(value.length).padStart(3, '0') + value;
    if (text.length + entry.length > CARRIER_LENGTH_MAX) {
      carriers.set(PDS_CARRIERS[slot] as number, text);
      text = '';
      slot++;
      if (slot === PDS_CARRIERS.length) {
        return refused('TOO_LONG', 0, field, `no room left in ${PDS_CARRIERS.length} carriers`);
      }
    }
    text += entry;
  }
  if (text !== '') carriers.set(PDS_CARRIERS[slot] as number, text);
  return coded(carriers);
};

/**
 * Reads the PDS of one carrier into `into`. A length that runs past the carrier, a tag that comes twice and an
 * empty carrier are refused; `offset` is the file offset of the carrier's first character.
 */
export const parsePds = (
  carrier: string,
  field: string,
  offset: number,
  into: Map<string, string>,
): Coded<void> => {
  let at = 0;
  if (carrier === '') return refused('WRONG_LENGTH', offset, field, 'empty PDS carrier');
  while (at < carrier.length) {
    const tag = carrier.slice(at, at + 4);
    const size = carrier.slice(at + 4, at + PDS_HEAD_LENGTH);
    if (!TAG.test(tag) || !/^\d{3}$/.test(size)) {
      return refused('BAD_FRAMING', offset + at, field, 'PDS tag or length is not numeric');
    }
    const end = at + PDS_HEAD_LENGTH + Number(size);
    if (size === '000') return refused('WRONG_LENGTH', offset + at, `PDS${tag}`, 'empty PDS');
    if (end > carrier.length) {
      return refused('TRUNCATED', offset + at, `PDS${tag}`, `runs past the end of ${field}`);
    }
    if (into.has(tag)) return refused('DUPLICATE_FIELD', offset + at, `PDS${tag}`, 'comes twice');
    into.set(tag, carrier.slice(at + PDS_HEAD_LENGTH, end));
    at = end;
  }
  return coded(undefined);
};
