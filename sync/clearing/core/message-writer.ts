import { LOCATION_PARTS, partFault } from './acceptor-location.ts';
import type { AcceptorLocation, LocationPart } from './acceptor-location.ts';
import { PDS_CARRIERS } from './de-table.ts';
import { coded, refused } from './fault.ts';
import type { CodecFault, CodecFaultCode, Coded } from './fault.ts';
import type { FieldValue, IsoMessage, TextRule } from './iso8583.ts';
import { messagePlan, shapeOf, writingRule } from './message-plan.ts';
import type {
  CharacterBytes,
  ElementPlan,
  MessagePlan,
  MessageShape,
  WritingRule,
} from './message-plan.ts';
import { layOutPds } from './pds.ts';
import { RECORD_AT, VbsWriter } from './vbs.ts';
import type { Blocking } from './vbs.ts';

/** What is written into an element: a number stands for its digits, a location for the text that it makes. */
export type ElementValue = FieldValue | number | AcceptorLocation;

/** The values of one message: `fields` by element number, `pds` in the order of its plan's tags. */
export type MessageValues = {
  readonly fields: readonly (ElementValue | undefined)[];
  readonly pds: readonly string[];
};

const TAG_DIGITS = 4;
const PDS_LENGTH_DIGITS = 3;
const PDS_HEAD = TAG_DIGITS + PDS_LENGTH_DIGITS;
const LOCATION_LENGTH_DIGITS = 2;
/** Digits that a 32-bit integer surely holds: amounts are written in two halves. */
const HALF_DIGITS = 6;
const HALF = 10 ** HALF_DIGITS;
const BLANK = 32;
/** Where a text of the record before stands: elements have their number, then the parts of DE43, then PDS. */
const PART_SLOTS = 129;
const PDS_SLOTS: number = PART_SLOTS + Object.keys(LOCATION_PARTS).length;
/** At first; a message of more PDS makes them more. */
const SLOTS: number = PDS_SLOTS + 16;

/**
 * Writes messages into a stream of records. Every character is looked up in its element's table on the way, so that
 * checking costs no pass of its own. The records of a file say much the same: a text that the record before has in the
 * same place is not written again. Anything that would not read back as the same message is refused with element and
 * offset in its record, and leaves nothing in the stream.
 */
export class MessageWriter {
  readonly rule: WritingRule;
  readonly #frames: VbsWriter;
  readonly #carrierEnds = new Uint16Array(PDS_CARRIERS.length);
  /** The record in the making and its next byte. */
  #bytes: Uint8Array;
  #at = 0;
  #fault: CodecFault | undefined;
  /** Of the record before, whose bytes are still there: undefined after a refusal. */
  #shape: MessageShape | undefined;
  readonly #texts: string[] = Array.from({ length: SLOTS }, () => '');
  readonly #starts: number[] = Array.from({ length: SLOTS }, () => -1);

  /** @param emit gets the chunks of the stream; see {@link VbsWriter} */
  constructor(
    rule: TextRule,
    blocking: Blocking,
    emit: (chunk: Uint8Array) => void,
    chunkBytes?: number,
  ) {
    this.rule = writingRule(rule);
    this.#frames = new VbsWriter(blocking, emit, chunkBytes);
    this.#bytes = this.#frames.bytes;
  }

  /** A message of a kind that has been planned. The fault, if it is not written. */
  put(plan: MessagePlan, values: MessageValues): CodecFault | undefined {
    const carriers = layOutPds(plan.tags, values.pds, this.#carrierEnds);
    if (typeof carriers !== 'number') return carriers;
    const shape = shapeOf(plan, carriers);
    if (shape !== this.#shape) {
      this.#starts.fill(-1);
      this.#bytes.set(shape.head, RECORD_AT);
    }
    this.#shape = undefined;
    this.#at = RECORD_AT + shape.head.length;
    for (const element of shape.elements) {
      if (!this.#element(element, plan, values)) return this.#fault;
    }
    const fault = this.#frames.append(this.#at - RECORD_AT);
    this.#bytes = this.#frames.bytes;
    this.#shape = shape;
    return fault;
  }

  /** Any message; its kind is planned on the spot. */
  message({ mti, fields, pds }: IsoMessage): CodecFault | undefined {
    const plan = messagePlan(this.rule, mti, [...fields.keys()], [...pds.keys()]);
    if (!plan.ok) return plan.fault;
    const values: ElementValue[] = [];
    for (const [de, value] of fields) values[de] = value;
    const texts = plan.value.tags.map((tag) => pds.get(tag) ?? '');
    return this.put(plan.value, { fields: values, pds: texts });
  }

  /** Ends the stream and hands out what is left of it. */
  close(): void {
    this.#frames.close();
  }

  #element(element: ElementPlan, plan: MessagePlan, values: MessageValues): boolean {
    const value = values.fields[element.de];
    const { kind } = element;
    const isText = kind !== 'amount' && kind !== 'pds';
    if (typeof value === 'string' && isText) return this.#text(element, value);
    if (kind === 'amount') return this.#amount(element, value);
    if (kind === 'pds') return this.#carrier(element, plan, values.pds);
    if (kind === 'digits' && typeof value === 'number') return this.#number(element, value);
    if (kind === 'location' && typeof value === 'object') return this.#location(element, value);
    return this.#refuse('WRONG_VALUE', this.#at, element.field, 'not an amount element');
  }

  #amount(element: ElementPlan, value: ElementValue | undefined): boolean {
    const { field, length } = element;
    const at = this.#at;
    if (typeof value !== 'bigint') {
      return this.#refuse('WRONG_VALUE', at, field, 'an amount is a BigInt');
    }
    // Exact below 10 ** 15, and anything above stays above.
    const amount = Number(value);
    if (amount < 0) return this.#refuse('NEGATIVE', at, field, 'amounts have no sign here');
    if (amount >= element.valueEnd) {
      const detail = `${value.toString().length} digits, at most ${length}`;
      return this.#refuse('OVERFLOW', at, field, detail);
    }
    const high = Math.floor(amount / HALF);
    this.#digits(high, at, length - HALF_DIGITS);
    this.#digits(amount - high * HALF, at + length - HALF_DIGITS, HALF_DIGITS);
    this.#at = at + length;
    return true;
  }

  #number(element: ElementPlan, value: number): boolean {
    const at = this.#at;
    if (!Number.isInteger(value) || value < 0 || value >= element.valueEnd) {
      const detail = `${value} is not of ${element.length} digits`;
      return this.#refuse('OVERFLOW', at, element.field, detail);
    }
    this.#digits(value, at, element.length);
    this.#starts[element.de] = -1;
    this.#at = at + element.length;
    return true;
  }

  #text(element: ElementPlan, text: string): boolean {
    const { de, kind, length, lengthDigits, field } = element;
    const at = this.#at;
    const end = at + lengthDigits + (kind === 'padded' ? length : text.length);
    if (this.#isThere(de, at, text)) {
      this.#at = end;
      return true;
    }
    if (kind === 'location') this.#starts.fill(-1, PART_SLOTS, PDS_SLOTS);
    const isRight = kind === 'digits' ? text.length === length : text.length <= length;
    if (!isRight || text.length === 0) return this.#wrongLength(element, text);
    const textEnd = this.#characters(text, at + lengthDigits, element.bytes, field);
    if (textEnd < 0) return false;
    if (kind === 'padded') {
      // A trailing blank could not be told from padding when read back.
      if (text.charCodeAt(text.length - 1) === BLANK) {
        return this.#refuse('WRONG_CHARACTER', textEnd - 1, field, 'ends blank');
      }
      this.#fill(textEnd, end);
    } else if (lengthDigits > 0) {
      this.#digits(text.length, at, lengthDigits);
    }
    this.#at = end;
    return true;
  }

  /** Why a text of this length is refused; a wrong character in it counts first. */
  #wrongLength({ bytes, field, length, lengthDigits }: ElementPlan, text: string): boolean {
    const at = this.#at;
    const wrongAt = wrongIndex(text, bytes);
    if (wrongAt >= 0) return this.#wrongCharacter(at + lengthDigits + wrongAt, field);
    if (text.length > length) {
      const detail = `${text.length} characters, at most ${length}`;
      return this.#refuse('TOO_LONG', at, field, detail);
    }
    const detail = text === '' ? 'empty' : `${text.length} digits, exactly ${length}`;
    return this.#refuse('WRONG_LENGTH', at, field, detail);
  }

  #location({ de, field }: ElementPlan, place: AcceptorLocation): boolean {
    this.#starts[de] = -1;
    const lengthAt = this.#at;
    const start = lengthAt + LOCATION_LENGTH_DIGITS;
    this.#at = start;
    const isWritten =
      this.#part(LOCATION_PARTS.name, place.name, field) &&
      this.#part(LOCATION_PARTS.street, place.street, field) &&
      this.#part(LOCATION_PARTS.city, place.city, field) &&
      this.#part(LOCATION_PARTS.postcode, place.postcode, field) &&
      this.#part(LOCATION_PARTS.region, place.region, field) &&
      this.#part(LOCATION_PARTS.country, place.country, field);
    if (isWritten) this.#digits(this.#at - start, lengthAt, LOCATION_LENGTH_DIGITS);
    return isWritten;
  }

  #part(part: LocationPart, text: string, field: string): boolean {
    const at = this.#at;
    const end = at + (part.isFilled ? part.width : text.length + 1);
    if (this.#isThere(PART_SLOTS + part.index, at, text)) {
      this.#at = end;
      return true;
    }
    const fault = partFault(part, text);
    if (fault) return this.#refuse(fault[0], at, field, fault[1]);
    const textEnd = this.#characters(text, at, this.rule.partBytes, field);
    if (textEnd < 0) return false;
    if (part.isFilled) this.#fill(textEnd, end);
    else this.#bytes[textEnd] = this.rule.delimiter;
    this.#at = end;
    return true;
  }

  /** The PDS of one carrier: tag, length and text of each. */
  #carrier(element: ElementPlan, plan: MessagePlan, values: readonly string[]): boolean {
    const ends = this.#carrierEnds;
    const { carrier } = element;
    const last = ends[carrier] as number;
    const start = this.#at + element.lengthDigits;
    let at = start;
    for (let index = carrier === 0 ? 0 : (ends[carrier - 1] as number); index < last; index++) {
      const text = values[index] as string;
      if (!this.#isThere(PDS_SLOTS + index, at, text)) {
        this.#digits(plan.tagNumbers[index] as number, at, TAG_DIGITS);
        this.#digits(text.length, at + TAG_DIGITS, PDS_LENGTH_DIGITS);
        const end = this.#characters(text, at + PDS_HEAD, element.bytes, 'PDS', plan.tags[index]);
        if (end < 0) return false;
      }
      at += PDS_HEAD + text.length;
    }
    this.#digits(at - start, this.#at, element.lengthDigits);
    this.#at = at;
    return true;
  }

  /** Whether the record before has this very text at this very place; notes it for the next one if not. */
  #isThere(slot: number, at: number, text: string): boolean {
    if (this.#starts[slot] === at && this.#texts[slot] === text) return true;
    this.#starts[slot] = at;
    this.#texts[slot] = text;
    return false;
  }

  /** Looks every character up and writes its byte. The position behind the last one, −1 where one is refused. */
  #characters(text: string, start: number, table: CharacterBytes, field: string, tag = ''): number {
    const bytes = this.#bytes;
    const { length } = text;
    let written = 0;
    for (let index = 0; index < length; index++) {
      const byte = table[text.charCodeAt(index)] as number;
      // Negative as soon as one is.
      written |= byte;
      bytes[start + index] = byte;
    }
    if (written >= 0) return start + length;
    this.#wrongCharacter(start + wrongIndex(text, table), field + tag);
    return -1;
  }

  /** An integer below 2 ** 31, zeros in front. */
  #digits(value: number, start: number, width: number): void {
    const bytes = this.#bytes;
    const { zero } = this.rule;
    let left = value | 0;
    for (let at = start + width - 1; at >= start; at--) {
      const tenth = (left / 10) | 0;
      bytes[at] = zero + left - tenth * 10;
      left = tenth;
    }
  }

  #fill(from: number, to: number): void {
    const bytes = this.#bytes;
    const { blank } = this.rule;
    for (let at = from; at < to; at++) bytes[at] = blank;
  }

  #wrongCharacter(at: number, field: string): boolean {
    return this.#refuse('WRONG_CHARACTER', at, field, 'character not allowed here');
  }

  #refuse(code: CodecFaultCode, at: number, field: string, detail: string): boolean {
    this.#fault = refused(code, at - RECORD_AT, field, detail).fault;
    return false;
  }
}

/** Of the first character that may not stand, −1 if all may. */
const wrongIndex = (text: string, table: CharacterBytes): number => {
  for (let index = 0; index < text.length; index++) {
    if ((table[text.charCodeAt(index)] as number) < 0) return index;
  }
  return -1;
};

/** One record without its length, written by `write`. */
export const recordBy = (
  rule: TextRule,
  write: (writer: MessageWriter) => CodecFault | undefined,
): Coded<Uint8Array> => {
  let framed: Uint8Array = new Uint8Array(0);
  const fault = write(new MessageWriter(rule, 'none', (chunk) => (framed = chunk), 1));
  return fault ? { ok: false, fault } : coded(framed.subarray(RECORD_AT));
};

/** Writes one message: MTI, 16-byte binary bitmap with bit 1 set, elements in ascending order. */
export const encodeMessage = (message: IsoMessage, rule: TextRule): Coded<Uint8Array> =>
  recordBy(rule, (writer) => writer.message(message));
