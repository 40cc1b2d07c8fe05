import { PDS_CARRIERS } from './de-table.ts';
import { coded, refused } from './fault.ts';
import type { CodecFault, Coded } from './fault.ts';

/** A PDS is tag 4n + length 3n + value; the carrier element holds at most 999 characters. */
const CARRIER_LENGTH_MAX = 999;
const PDS_HEAD_LENGTH = 7;
const PDS_VALUE_MAX: number = CARRIER_LENGTH_MAX - PDS_HEAD_LENGTH;

const TAG = /^\d{4}$/;

/**
 * Lays PDS out over the carrier elements in ascending tag order; a PDS is never split over two carriers, and what does
 * not fit in the last carrier is refused. `ends` gets, for each carrier in use, the index behind its last PDS.
 * @returns the number of carriers in use
 */
export const layOutPds = (
  tags: readonly string[],
  values: readonly string[],
  ends: Uint16Array,
): number | CodecFault => {
  let carriers = 0;
  let filled = 0;
  for (let at = 0; at < tags.length; at++) {
    const { length } = values[at] as string;
    if (length === 0 || length > PDS_VALUE_MAX) return pdsFault(tags[at], length);
    const size = PDS_HEAD_LENGTH + length;
    if (filled + size > CARRIER_LENGTH_MAX) {
      ends[carriers] = at;
      carriers++;
      if (carriers === PDS_CARRIERS.length) return pdsFault(tags[at], length);
      filled = 0;
    }
    filled += size;
  }
  if (filled === 0) return carriers;
  ends[carriers] = tags.length;
  return carriers + 1;
};

const pdsFault = (tag: string | undefined, length: number): CodecFault => {
  const field = `PDS${tag}`;
  if (length === 0) return refused('WRONG_LENGTH', 0, field, 'empty PDS').fault;
  const detail =
    length > PDS_VALUE_MAX
      ? `${length} characters, at most ${PDS_VALUE_MAX}`
      : `no room left in ${PDS_CARRIERS.length} carriers`;
  return refused('TOO_LONG', 0, field, detail).fault;
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
