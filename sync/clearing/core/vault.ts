import { sha256 } from '@noble/hashes/sha2.js';
import { bytesEqual } from '../../../protocol/bytes.ts';
import type { Signer } from '../../../protocol/public-key.ts';
import { isCardNumber, putCardNumber, takeCardNumber } from './card-number.ts';
import { coded, refused } from './fault.ts';
import type { Coded } from './fault.ts';
import type { LocatedMessage } from './ipm-file.ts';
import { readIpmMessages } from './ipm-file.ts';
import { preProfile } from './ipm-profile.ts';
import type { IpmProfile } from './ipm-profile.ts';
import { readPresentment } from './ipm-record.ts';
import type { IsoMessage } from './iso8583.ts';
import { isSameTotals } from './manifest.ts';
import type { ManifestTotal } from './manifest.ts';
import { signVaultStatement } from './vault-statement.ts';
import type { VaultDirection, VaultStatement } from './vault-statement.ts';
import { decodeVbs, encodeVbs } from './vbs.ts';
import { hiddenCardNumber, verifyIpm } from './verify-ipm.ts';

/** One file through the vault: its other form, and what the vault signs about the two. */
export type VaultFile = {
  readonly bytes: Uint8Array;
  readonly statement: VaultStatement;
  /** The statement as COSE_Sign1. */
  readonly signed: Uint8Array;
};

/**
 * The vault adapter, on the partner's side of the PCI boundary. A refusal names record and element, never a digit of a
 * card number.
 */
export interface Vault {
  /** Puts DE2 into every presentment of a pre-file. */
  fill(pre: Uint8Array, createdS: number): Promise<Coded<VaultFile>>;
  /** Takes DE2 out of what the issuer sent. */
  tokenise(final: Uint8Array, createdS: number): Promise<Coded<VaultFile>>;
}

/** The partner's store of cards, asked for many funding references at once. An absent entry = not known. */
export interface CardStore {
  cardNumbers(fundingReferences: readonly string[]): Promise<ReadonlyMap<string, string>>;
}

/** Of DE3: money to the account, as in a refund. */
const PROCESSING_CREDIT = '2';

/** Must, may or must not a record of this type carry DE2 in its final form. */
const ruleOf = (mti: string, direction: VaultDirection): 'must' | 'may' | 'never' => {
  if (mti === '1240' || mti === '1442') return 'must';
  return direction === 'inward' ? 'may' : 'never';
};

/** Sums of DE4 per currency and sign, in a fixed order. */
const totalsOf = (messages: readonly LocatedMessage[]): ManifestTotal[] => {
  const sums = new Map<string, { currency: number; sign: string; lines: number; sum: bigint }>();
  for (const { message } of messages) {
    const amount = message.fields.get(4);
    if (typeof amount !== 'bigint') continue;
    const currency = Number(message.fields.get(49));
    const isCredit = String(message.fields.get(3)).startsWith(PROCESSING_CREDIT);
    const sign = isCredit ? 'credit' : 'debit';
    const name = `${String(currency).padStart(3, '0')} ${sign === 'debit' ? 0 : 1}`;
    const total = sums.get(name) ?? { currency, sign, lines: 0, sum: 0n };
    sums.set(name, { ...total, lines: total.lines + 1, sum: total.sum + amount });
  }
  return [...sums]
    .toSorted(([a], [b]) => (a < b ? -1 : 1))
    .map(([, { currency, sign, lines, sum }]) => {
      return { currency, sign, lines, amountMinor: sum.toString() };
    });
};

/** True if an inward statement counts the cards and sums that the form without cards leaves room for. */
export const statesMessages = (
  { cardNumbers, totals }: VaultStatement,
  messages: readonly LocatedMessage[],
): boolean => {
  const must = messages.filter(({ message }) => ruleOf(message.mti, 'inward') === 'must').length;
  return (
    cardNumbers >= must &&
    cardNumbers <= messages.length &&
    isSameTotals(totals, totalsOf(messages))
  );
};

const fileIdIn = (messages: readonly LocatedMessage[]): string =>
  messages[0]?.message.pds.get('0105') ?? '';

/** What two forms of one file have in common, once it is shown that they differ only in DE2. */
type Compared = Pick<VaultStatement, 'fileId' | 'records' | 'cardNumbers' | 'totals'>;

/**
 * Holds the two forms of a file against each other: record by record the same bytes once DE2 is out of the final
 * one, DE2 a card number wherever it must stand and nowhere else. The fault's offset is one of the final file.
 */
export const compareForms = (
  pre: Uint8Array,
  final: Uint8Array,
  profile: IpmProfile,
  direction: VaultDirection,
): Coded<Compared> => {
  const before = readIpmMessages(pre, preProfile(profile));
  if (!before.ok) return before;
  const after = readIpmMessages(final, profile);
  if (!after.ok) return after;
  const [plain, filled] = [decodeVbs(pre, profile.blocking), decodeVbs(final, profile.blocking)];
  if (!plain.ok) return plain;
  if (!filled.ok) return filled;
  if (plain.value.length !== filled.value.length) {
    const detail = `${filled.value.length} records, ${plain.value.length} in the pre-file`;
    return refused('WRONG_VALUE', final.length, 'file', detail);
  }
  let cardNumbers = 0;
  for (const [at, { message, offset, record }] of after.value.entries()) {
    const bytes = filled.value[at]?.bytes ?? new Uint8Array(0);
    const stripped = takeCardNumber(bytes, profile.charset);
    const same = bytesEqual(stripped.record, plain.value[at]?.bytes ?? new Uint8Array(0));
    if (!same || before.value[at]?.message.fields.has(2) === true) {
      const detail = `record ${record} differs in more than DE2`;
      return refused('WRONG_VALUE', offset, 'record', detail);
    }
    const fault = cardNumberFault(message, stripped.cardNumber, direction);
    if (fault !== undefined)
      return refused('WRONG_VALUE', offset, 'DE2', `record ${record}: ${fault}`);
    if (stripped.cardNumber !== undefined) cardNumbers++;
  }
  return coded({
    fileId: fileIdIn(before.value),
    records: before.value.length,
    cardNumbers,
    totals: totalsOf(before.value),
  });
};

const cardNumberFault = (
  message: IsoMessage,
  cardNumber: string | undefined,
  direction: VaultDirection,
): string | undefined => {
  const rule = ruleOf(message.mti, direction);
  if (cardNumber === undefined) return rule === 'must' ? 'missing' : undefined;
  if (rule === 'never') return `in a ${message.mti}`;
  return isCardNumber(cardNumber) ? undefined : 'no card number by length and check digit';
};

/** A final file without DE2, as the profile frames it; what else is wrong with it is not looked at. */
export const withoutCardNumbers = (final: Uint8Array, profile: IpmProfile): Coded<Uint8Array> => {
  const records = decodeVbs(final, profile.blocking);
  if (!records.ok) return records;
  const plain = records.value.map(({ bytes }) => takeCardNumber(bytes, profile.charset).record);
  return encodeVbs(plain, profile.blocking);
};

/** References asked for in one call. */
const LOOKUP_MAX = 10_000;

const lookUp = async (
  cards: CardStore,
  messages: readonly LocatedMessage[],
  fundingPds: string,
): Promise<ReadonlyMap<string, string>> => {
  const wanted = new Set<string>();
  for (const { message } of messages) {
    const reference = message.pds.get(fundingPds);
    if (reference !== undefined) wanted.add(reference);
  }
  const all = [...wanted];
  const found = new Map<string, string>();
  for (let at = 0; at < all.length; at += LOOKUP_MAX) {
    const part = await cards.cardNumbers(all.slice(at, at + LOOKUP_MAX));
    for (const [reference, cardNumber] of part) found.set(reference, cardNumber);
  }
  return found;
};

/** The vault of a profile over a card store, signing with the vault's own key. */
export const vaultOver = (profile: IpmProfile, cards: CardStore, signer: Signer): Vault => {
  const stated = (
    forms: { readonly pre: Uint8Array; readonly final: Uint8Array },
    direction: VaultDirection,
    createdS: number,
  ): Coded<{ statement: VaultStatement; signed: Uint8Array }> => {
    const { pre, final } = forms;
    // Whatever was done above: only what the two forms show is signed.
    const compared = compareForms(pre, final, profile, direction);
    if (!compared.ok) return compared;
    const statement: VaultStatement = {
      direction,
      preSha256: sha256(pre),
      preBytes: pre.length,
      finalSha256: sha256(final),
      finalBytes: final.length,
      ...compared.value,
      differsOnlyInDe2: true,
      createdS,
    };
    return coded({ statement, signed: signVaultStatement(signer, statement) });
  };

  return {
    fill: async (pre, createdS) => {
      const filled = await fillRecords(pre, profile, cards);
      if (!filled.ok) return filled;
      const final = encodeVbs(filled.value, profile.blocking);
      if (!final.ok) return final;
      const signed = stated({ pre, final: final.value }, 'outward', createdS);
      return signed.ok ? coded({ bytes: final.value, ...signed.value }) : signed;
    },
    tokenise: async (final, createdS) => {
      const stripped = await stripRecords(final, profile, cards);
      if (!stripped.ok) return stripped;
      const pre = encodeVbs(stripped.value, profile.blocking);
      if (!pre.ok) return pre;
      const signed = stated({ pre: pre.value, final }, 'inward', createdS);
      return signed.ok ? coded({ bytes: pre.value, ...signed.value }) : signed;
    },
  };
};

const fillRecords = async (
  pre: Uint8Array,
  profile: IpmProfile,
  cards: CardStore,
): Promise<Coded<Uint8Array[]>> => {
  const form = preProfile(profile);
  const [finding] = verifyIpm(pre, form).findings;
  if (finding) {
    const { code, record, offset, detail } = finding;
    return refused('WRONG_VALUE', offset, 'file', `record ${record}: ${code} ${detail}`);
  }
  const messages = readIpmMessages(pre, form);
  if (!messages.ok) return messages;
  const records = decodeVbs(pre, profile.blocking);
  if (!records.ok) return records;
  const known = await lookUp(cards, messages.value, profile.fundingPds);
  const filled: Uint8Array[] = [];
  for (const [at, { message, record, offset }] of messages.value.entries()) {
    const bytes = records.value[at]?.bytes ?? new Uint8Array(0);
    if (ruleOf(message.mti, 'outward') === 'never') {
      filled.push(bytes);
      continue;
    }
    const line = readPresentment(message, form);
    if (!line.ok) {
      const { code, field, detail } = line.fault;
      return refused(code, offset, field, `record ${record}: ${detail}`);
    }
    const cardNumber = known.get(line.value.fundingReference);
    if (cardNumber === undefined || !isCardNumber(cardNumber)) {
      const detail = `record ${record}: the card store knows no card for its funding reference`;
      return refused('MISSING_FIELD', offset, 'DE2', detail);
    }
    filled.push(putCardNumber(bytes, cardNumber, profile.charset));
  }
  return coded(filled);
};

const stripRecords = async (
  final: Uint8Array,
  profile: IpmProfile,
  cards: CardStore,
): Promise<Coded<Uint8Array[]>> => {
  const messages = readIpmMessages(final, profile);
  if (!messages.ok) return messages;
  const records = decodeVbs(final, profile.blocking);
  if (!records.ok) return records;
  const known = await lookUp(cards, messages.value, profile.fundingPds);
  const stripped: Uint8Array[] = [];
  for (const [at, { message, record, offset }] of messages.value.entries()) {
    const { record: rest, cardNumber } = takeCardNumber(
      records.value[at]?.bytes ?? new Uint8Array(0),
      profile.charset,
    );
    const fault = accountFault(message, cardNumber, profile, known);
    if (fault !== undefined)
      return refused('WRONG_VALUE', offset, 'DE2', `record ${record}: ${fault}`);
    const hidden = hiddenCardNumber(message);
    if (hidden !== undefined) {
      return refused('WRONG_VALUE', offset, hidden, `record ${record}: reads as a card number`);
    }
    stripped.push(rest);
  }
  return coded(stripped);
};

/** A chargeback names the account that was presented, so that Kiri finds it without the card. */
const accountFault = (
  message: IsoMessage,
  cardNumber: string | undefined,
  { fundingPds }: IpmProfile,
  known: ReadonlyMap<string, string>,
): string | undefined => {
  const reference = message.pds.get(fundingPds);
  if (reference === undefined) {
    return message.mti === '1442' ? `no funding reference (PDS${fundingPds})` : undefined;
  }
  if (cardNumber === undefined || known.get(reference) === cardNumber) return undefined;
  return 'is not the card of its funding reference';
};
