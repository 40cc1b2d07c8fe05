import { charsetOf } from './charset.ts';
import { DE_TABLE, MESSAGE_TYPES, PDS_CARRIERS } from './de-table.ts';
import type { FieldSpec } from './de-table.ts';
import { coded, refused } from './fault.ts';
import type { Coded } from './fault.ts';
import { BITMAP_LENGTH, LENGTH_DIGITS, MTI_LENGTH, mayHold } from './iso8583.ts';
import type { TextRule } from './iso8583.ts';

/** UTF-16 code unit → byte in the file; −1 where the character may not stand. */
export type CharacterBytes = Int16Array;

/** How one element is written: what the field table, the character set and the text rule say, worked out beforehand. */
export type ElementPlan = {
  readonly de: number;
  /** As faults name it. */
  readonly field: string;
  /** `digits` are exactly `length`, `padded` is filled up with blanks, `counted` has its length in front. */
  readonly kind: 'amount' | 'digits' | 'padded' | 'counted' | 'location' | 'pds';
  readonly length: number;
  readonly lengthDigits: number;
  /** One above the largest number of so many digits; means nothing for text. */
  readonly valueEnd: number;
  readonly bytes: CharacterBytes;
  /** Which carrier of PDS it is, from 0; −1 for any other element. */
  readonly carrier: number;
};

/** A text rule, compiled. */
export type WritingRule = {
  readonly elements: ReadonlyMap<number, ElementPlan>;
  /** Of one part of DE43: any text without the delimiter. */
  readonly partBytes: CharacterBytes;
  readonly delimiter: number;
  readonly blank: number;
  /** The digits follow each other from here, in every character set. */
  readonly zero: number;
};

const bytesFor = (content: FieldSpec['content'], rule: TextRule): CharacterBytes => {
  const charset = charsetOf(rule.charset);
  // All code units have an entry, so that the hot loop asks nothing else; both character sets end at U+00FF.
  const bytes = new Int16Array(65_536).fill(-1);
  for (let code = 0; code < 256; code++) {
    const character = String.fromCharCode(code);
    const isDelimiter = content === 'location' && character === rule.delimiter;
    if (isDelimiter || mayHold(character, content, rule)) bytes[code] = charset.toByte(code);
  }
  return bytes;
};

const kindOf = ({ content, form }: FieldSpec): ElementPlan['kind'] => {
  if (content === 'amount' || content === 'location' || content === 'pds') return content;
  if (form !== 'fixed') return 'counted';
  return content === 'n' ? 'digits' : 'padded';
};

const compileRule = (rule: TextRule): WritingRule => {
  const tables = new Map<FieldSpec['content'], CharacterBytes>();
  const elements = new Map<number, ElementPlan>();
  for (const [de, spec] of DE_TABLE) {
    const bytes = tables.get(spec.content) ?? bytesFor(spec.content, rule);
    tables.set(spec.content, bytes);
    elements.set(de, {
      de,
      field: `DE${de}`,
      kind: kindOf(spec),
      length: spec.length,
      lengthDigits: LENGTH_DIGITS[spec.form],
      valueEnd: 10 ** spec.length,
      bytes,
      carrier: PDS_CARRIERS.indexOf(de),
    });
  }
  const charset = charsetOf(rule.charset);
  const partBytes = bytesFor('ans', rule);
  partBytes[rule.delimiter.charCodeAt(0)] = -1;
  const byteOf = (character: string): number => charset.toByte(character.charCodeAt(0));
  return {
    elements,
    partBytes,
    delimiter: byteOf(rule.delimiter),
    blank: byteOf(' '),
    zero: byteOf('0'),
  };
};

// Two character sets, two text rules, two delimiters: eight at most.
const RULES = new Map<string, WritingRule>();

/** The tables of a text rule, made once. */
export const writingRule = (rule: TextRule): WritingRule => {
  const name = `${rule.charset} ${rule.text} ${rule.delimiter}`;
  const known = RULES.get(name) ?? compileRule(rule);
  RULES.set(name, known);
  return known;
};

/** What does not change from one message of a kind to the next, for one number of carriers of PDS. */
export type MessageShape = {
  /** MTI and bitmap as bytes. */
  readonly head: Uint8Array;
  /** Ascending, carriers among them. */
  readonly elements: readonly ElementPlan[];
};

/** One kind of message: its elements and PDS are settled, only their values differ. */
export type MessagePlan = {
  readonly rule: WritingRule;
  readonly mti: string;
  /** Element numbers without the carriers. */
  readonly fields: readonly number[];
  /** Ascending: the order of the values of the PDS. */
  readonly tags: readonly string[];
  /** The same as numbers. */
  readonly tagNumbers: readonly number[];
  /** By the number of carriers, made when first needed. */
  readonly shapes: (MessageShape | undefined)[];
};

const TAG = /^\d{4}$/;

/** The plan of a kind of message; elements and tags in any order, none twice. */
export const messagePlan = (
  rule: WritingRule,
  mti: string,
  fields: readonly number[],
  tags: readonly string[],
): Coded<MessagePlan> => {
  if (!MESSAGE_TYPES.has(mti)) return refused('BAD_MTI', 0, 'MTI', mti);
  for (const tag of tags) {
    if (!TAG.test(tag)) {
      return refused('UNKNOWN_FIELD', 0, `PDS${tag}`, 'a PDS tag is four digits');
    }
  }
  for (const de of fields) {
    const element = rule.elements.get(de);
    if (!element) return refused('UNKNOWN_FIELD', 0, `DE${de}`, 'not in the field table');
    if (element.kind === 'pds') {
      return refused('UNEXPECTED_FIELD', 0, `DE${de}`, 'made from PDS, not given');
    }
  }
  const sorted = tags.toSorted((a, b) => (a < b ? -1 : 1));
  return coded({ rule, mti, fields, tags: sorted, tagNumbers: sorted.map(Number), shapes: [] });
};

/** The shape of a planned message whose PDS fill so many carriers. */
export const shapeOf = (plan: MessagePlan, carriers: number): MessageShape => {
  const known = plan.shapes[carriers];
  if (known) return known;
  const { rule, mti } = plan;
  const used = new Set([...plan.fields, ...PDS_CARRIERS.slice(0, carriers)]);
  const head = new Uint8Array(MTI_LENGTH + BITMAP_LENGTH);
  for (let at = 0; at < MTI_LENGTH; at++) head[at] = rule.zero + Number(mti.charAt(at));
  head[MTI_LENGTH] = 0x80;
  const elements: ElementPlan[] = [];
  for (const [de, element] of rule.elements) {
    if (!used.has(de)) continue;
    const at = MTI_LENGTH + ((de - 1) >> 3);
    head[at] = (head[at] as number) | (0x80 >> ((de - 1) & 7));
    elements.push(element);
  }
  const shape = { head, elements };
  plan.shapes[carriers] = shape;
  return shape;
};
