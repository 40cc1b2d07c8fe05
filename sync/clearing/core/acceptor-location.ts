import { coded, refused } from './fault.ts';
import type { Coded, CodecFaultCode } from './fault.ts';

/** The six parts of DE43. Postcode at most 10, region and country at most 3 characters; none holds the delimiter. */
export type AcceptorLocation = {
  readonly name: string;
  readonly street: string;
  readonly city: string;
  readonly postcode: string;
  readonly region: string;
  readonly country: string;
};

/** One part: the first three end with the delimiter, the last three are filled up with blanks to their width. */
export type LocationPart = {
  readonly name: keyof AcceptorLocation;
  /** From 0, in the order in which they stand. */
  readonly index: number;
  readonly width: number;
  readonly lengthMin: number;
  readonly isFilled: boolean;
};

/** In the order in which they stand; together at most the 99 characters of DE43. */
export const LOCATION_PARTS: Readonly<Record<keyof AcceptorLocation, LocationPart>> = {
  name: { name: 'name', index: 0, width: 22, lengthMin: 1, isFilled: false },
  street: { name: 'street', index: 1, width: 45, lengthMin: 1, isFilled: false },
  city: { name: 'city', index: 2, width: 13, lengthMin: 1, isFilled: false },
  postcode: { name: 'postcode', index: 3, width: 10, lengthMin: 0, isFilled: true },
  region: { name: 'region', index: 4, width: 3, lengthMin: 0, isFilled: true },
  country: { name: 'country', index: 5, width: 3, lengthMin: 3, isFilled: true },
};

const BLANK = 32;

/** What is wrong with the length or the edges of a part; the one rule for writing and reading. */
export const partFault = (
  part: LocationPart,
  text: string,
): readonly [code: CodecFaultCode, detail: string] | undefined => {
  const { length } = text;
  if (length > part.width) return ['TOO_LONG', `${part.name}: at most ${part.width}`];
  if (length < part.lengthMin) {
    return ['WRONG_LENGTH', `${part.name}: name, street, city and country must stand`];
  }
  // A blank at an edge could not be told from filling.
  const hasBlankEdge =
    length > 0 && (text.charCodeAt(0) === BLANK || text.charCodeAt(length - 1) === BLANK);
  return hasBlankEdge ? ['WRONG_CHARACTER', `${part.name}: blank edge`] : undefined;
};

/** DE43 taken apart; refuses what the writer would not have put together from these parts. */
export const readLocation = (text: string, delimiter: string): Coded<AcceptorLocation> => {
  const [name, street, city, tail, ...more] = text.split(delimiter);
  if (!name || !street || !city || tail?.length !== 16 || more.length > 0) {
    return refused('WRONG_VALUE', 0, 'DE43', 'not name, street, city and 16 characters');
  }
  const place = {
    name,
    street,
    city,
    postcode: tail.slice(0, 10).trimEnd(),
    region: tail.slice(10, 13).trimEnd(),
    country: tail.slice(13),
  };
  // Equal parts and widths give the same text, so nothing is written again to compare.
  for (const part of Object.values(LOCATION_PARTS)) {
    const fault = partFault(part, place[part.name]);
    if (fault) return refused(fault[0], 0, 'DE43', fault[1]);
  }
  return coded(place);
};
