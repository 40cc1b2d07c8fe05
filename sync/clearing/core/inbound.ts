import { sha256 } from '@noble/hashes/sha2.js';
import { bytesEqual, concatBytes } from '../../../protocol/bytes.ts';
import type { PublicKey, Signer } from '../../../protocol/public-key.ts';
import { civilTime, yymmdd } from './civil-time.ts';
import type { BusinessZone } from './civil-time.ts';
import { coded, inRecord, refused } from './fault.ts';
import type { Coded } from './fault.ts';
import { openInboundManifest, signInboundManifest } from './inbound-documents.ts';
import type { InboundManifest, InboundTrust } from './inbound-documents.ts';
import type { InboundBody, InboundMessage } from './inbound-message.ts';
import { inboundMessage } from './inbound-record.ts';
import { readIpmMessages } from './ipm-file.ts';
import type { LocatedMessage } from './ipm-file.ts';
import { ipmProfile, isPreStage, preProfile } from './ipm-profile.ts';
import type { IpmProfile } from './ipm-profile.ts';
import {
  FUNCTION_HEADER,
  FUNCTION_TRAILER,
  checkHeader,
  fileIdOf,
  headerMessage,
  readHeader,
  trailerMessage,
} from './ipm-record.ts';
import type { FileHeader } from './ipm-record.ts';
import type { IsoMessage } from './iso8583.ts';
import { MessageWriter } from './message-writer.ts';
import { readInboundBody } from './read-inbound-record.ts';
import { openVaultStatement } from './vault-statement.ts';
import type { VaultStatement } from './vault-statement.ts';
import { statesMessages } from './vault.ts';
import { checkCardNumber, checkSequence, checkTrailer } from './verify-ipm.ts';
import type { IpmFindingCode, Note } from './verify-ipm.ts';

/** Longest file of an issuer that is looked at; hashed only below it. */
export const INBOUND_BYTES_MAX = 33_554_432;
/** Messages in one file of an issuer, with header and trailer. */
export const INBOUND_RECORDS_MAX = 100_000;

/** A file of an issuer that holds in every part. */
export type InboundFile = {
  readonly manifest: InboundManifest;
  /** Who signed it. */
  readonly issuer: PublicKey;
  readonly header: FileHeader;
  readonly messages: readonly InboundMessage[];
};

/** A file of an issuer, ready to be written: the manifest goes last. */
export type WrittenInbound = {
  readonly fileName: string;
  readonly file: Uint8Array;
  /** COSE_Sign1. */
  readonly manifest: Uint8Array;
};

/** `ISSUER.<profile>.<member, 11 digits>.D<yymmdd>.S<sequence, 5 digits>.<P|T>.ipm`. */
const inboundFileName = (profile: IpmProfile, header: FileHeader): string => {
  const sequence = String(header.sequence).padStart(5, '0');
  const { member, date, mode } = header;
  return `ISSUER.${profile.name}.${member}.D${date}.S${sequence}.${mode}.ipm`;
};

const sumOf = (bodies: readonly InboundBody[]): bigint =>
  bodies.reduce((sum, body) => sum + ('amountMinor' in body ? body.amountMinor : 0n), 0n);

const encodeAll = (messages: readonly IsoMessage[], profile: IpmProfile): Coded<Uint8Array> => {
  const chunks: Uint8Array[] = [];
  const writer = new MessageWriter(profile, profile.blocking, (chunk) => chunks.push(chunk));
  for (const [at, message] of messages.entries()) {
    const fault = writer.message(message);
    if (fault) return inRecord(fault, at + 1);
  }
  writer.close();
  return coded(concatBytes(...chunks));
};

/** What an issuer puts into one file, and under which number it goes out. */
export type InboundDraft = {
  readonly header: Omit<FileHeader, 'fileType'>;
  readonly bodies: readonly InboundBody[];
  readonly profile: IpmProfile;
  readonly clearing: Uint8Array;
  readonly number: number;
  readonly createdS: number;
};

/** Writes a file of an issuer with its signed manifest; the same draft gives the same bytes. */
export const writeInbound = (draft: InboundDraft, signer: Signer): Coded<WrittenInbound> => {
  const { bodies, profile, clearing, number, createdS } = draft;
  const header: FileHeader = { ...draft.header, fileType: profile.inbound.fileType };
  const fileId = checkHeader(header);
  if (!fileId.ok) return fileId;
  if (bodies.length === 0) return refused('MISSING_FIELD', 0, 'record', 'an empty file');
  const records = bodies.length + 2;
  if (records > INBOUND_RECORDS_MAX) return refused('TOO_MANY', 0, 'record', `${records} records`);
  const messages: IsoMessage[] = [headerMessage(header, fileId.value)];
  for (const [at, body] of bodies.entries()) {
    const place = { recordNumber: at + 2, member: header.member };
    const message = inboundMessage(body, place, profile);
    if (!message.ok) {
      const { code, field, detail } = message.fault;
      return refused(code, 0, field, `record ${at + 2}: ${detail}`);
    }
    messages.push(message.value);
  }
  messages.push(trailerMessage(fileId.value, { records, sumMinor: sumOf(bodies) }));
  const file = encodeAll(messages, profile);
  if (!file.ok) return file;
  const fileName = inboundFileName(profile, header);
  const manifest = signInboundManifest(signer, {
    clearing,
    number,
    fileName,
    fileId: fileId.value,
    profile: profile.name,
    profileVersion: profile.version,
    fileSha256: sha256(file.value),
    fileBytes: file.value.length,
    records,
    createdS,
  });
  return coded({ fileName, file: file.value, manifest });
};

const FIELD_OF: Partial<Record<IpmFindingCode, string>> = {
  SEQUENCE: 'DE71',
  FILE_ID: 'PDS0105',
  COUNT: 'PDS0306',
  SUM: 'PDS0301',
};

/** The strict verifier's rules on the frame of a file; its first finding is the refusal. */
const checkFrame = (
  messages: readonly LocatedMessage[],
  sumMinor: bigint,
  profile: IpmProfile,
): Coded<void> => {
  let result: Coded<void> = coded(undefined);
  const note: Note = (code, at, detail) => {
    if (!result.ok) return;
    const what = `record ${at?.record ?? 0}: ${detail}`;
    result = refused('WRONG_VALUE', at?.offset ?? 0, FIELD_OF[code] ?? 'record', what);
  };
  checkSequence(messages, note);
  for (const at of messages) checkCardNumber(at, profile, note);
  const [first, last] = [messages[0], messages.at(-1)];
  if (first && last) checkTrailer(last, first, { records: messages.length, sumMinor }, note);
  return result;
};

/** Exactly the elements that a header or trailer has. */
const isEnd = (at: LocatedMessage, code: string, pds: readonly string[]): boolean => {
  const { mti, fields, pds: own } = at.message;
  return (
    mti === '1644' &&
    fields.get(24) === code &&
    fields.size === 2 &&
    fields.has(71) &&
    own.size === pds.length &&
    pds.every((tag) => own.has(tag))
  );
};

const UTC: BusinessZone = { name: 'UTC', offsets: [{ fromS: 0, minutes: 0 }] };
const DAY_S = 86_400;

const dayOf = (timeS: number): string => yymmdd(civilTime(timeS, UTC));

const readEnds = (
  messages: readonly LocatedMessage[],
  manifest: InboundManifest,
  profile: IpmProfile,
): Coded<FileHeader> => {
  const [first, last] = [messages[0], messages.at(-1)];
  if (!first || !isEnd(first, FUNCTION_HEADER, ['0105', '0122'])) {
    return refused('MISSING_FIELD', 0, 'header', 'record 1 is no 1644/697');
  }
  if (!last || !isEnd(last, FUNCTION_TRAILER, ['0105', '0301', '0306'])) {
    return refused('MISSING_FIELD', last?.offset ?? 0, 'trailer', 'the last is no 1644/695');
  }
  if (messages.length < 3) return refused('MISSING_FIELD', last.offset, 'record', 'an empty file');
  const header = readHeader(first.message);
  const wrong = (detail: string): Coded<FileHeader> =>
    refused('WRONG_VALUE', first.offset, 'PDS0105', detail);
  if (!header.ok) return wrong(header.fault.detail);
  if (!checkHeader(header.value).ok) return wrong('sequence 0');
  if (header.value.fileType !== profile.inbound.fileType) return wrong('file type');
  if (fileIdOf(header.value) !== manifest.fileId) return wrong('not the file id of the manifest');
  // The issuer's business day is UTC's or one beside it, wherever it is.
  const days = [-DAY_S, 0, DAY_S].map((s) => dayOf(manifest.createdS + s));
  if (!days.includes(header.value.date)) return wrong(`date is not that of ${manifest.createdS}`);
  if (inboundFileName(profile, header.value) !== manifest.fileName) {
    return refused('WRONG_FILE', first.offset, 'PDS0105', `is not that of ${manifest.fileName}`);
  }
  return header;
};

/** What may stand once in a file. */
const identityOf = (body: InboundBody): string => {
  switch (body.kind) {
    case 'file-reject':
      return `${body.kind} ${body.sourceFileId}`;
    case 'message-reject':
      return `${body.kind} ${body.sourceFileId} ${body.sourceRecordNumber}`;
    case 'reconciliation':
      return `${body.kind} ${body.sourceFileId} ${body.position} ${body.currency}`;
    case 'chargeback':
      return `${body.kind} ${body.arn} ${body.cycle}`;
    case 'retrieval':
      return `${body.kind} ${body.arn}`;
    case 'fee':
      // A fee and its return may stand in one file.
      return `${body.kind} ${body.use === 'return'} ${body.reference}`;
  }
};

const readBodies = (
  located: readonly LocatedMessage[],
  { member, lastDay }: { readonly member: string; readonly lastDay: string },
  profile: IpmProfile,
): Coded<InboundMessage[]> => {
  const messages: InboundMessage[] = [];
  const seen = new Set<string>();
  let currency: string | undefined;
  for (const { record, offset, message } of located) {
    const body = readInboundBody(message, { recordNumber: record, member }, profile);
    if (!body.ok) {
      const { code, field, detail } = body.fault;
      return refused(code, offset, field, `record ${record}: ${detail}`);
    }
    const identity = identityOf(body.value);
    if (seen.has(identity)) return refused('DUPLICATE_FIELD', offset, 'record', identity);
    seen.add(identity);
    if ('currency' in body.value) {
      currency ??= body.value.currency;
      if (body.value.currency !== currency) {
        return refused('WRONG_VALUE', offset, 'DE49', `record ${record}: not ${currency}`);
      }
    }
    if (body.value.kind === 'fee' && body.value.date > lastDay) {
      return refused('WRONG_VALUE', offset, 'DE73', `record ${record}: not due before the file`);
    }
    messages.push({ ...body.value, recordNumber: record });
  }
  return coded(messages);
};

/**
 * The bytes are those that the manifest speaks of; where the issuer's file carries card numbers, those that a vault
 * states it made from that very file.
 */
const isFileOf = (
  bytes: Uint8Array,
  manifest: InboundManifest,
  trust: InboundTrust,
  vaultStatement: Uint8Array | undefined,
): boolean | { readonly statement: VaultStatement } => {
  const own = { sha256: sha256(bytes), length: bytes.length };
  const profile = ipmProfile(manifest.profile);
  if (!profile || !isPreStage(profile)) {
    return own.length === manifest.fileBytes && bytesEqual(own.sha256, manifest.fileSha256);
  }
  const { verifier, vaults = [] } = trust;
  const opened = vaultStatement && openVaultStatement(vaultStatement, { verifier, vaults });
  if (opened?.ok !== true) return false;
  const { value: statement } = opened;
  const isOf =
    statement.direction === 'inward' &&
    statement.fileId === manifest.fileId &&
    statement.records === manifest.records &&
    statement.preBytes === own.length &&
    bytesEqual(statement.preSha256, own.sha256) &&
    statement.finalBytes === manifest.fileBytes &&
    bytesEqual(statement.finalSha256, manifest.fileSha256);
  return isOf && { statement };
};

type OpenedFile = {
  readonly manifest: InboundManifest;
  readonly issuer: PublicKey;
  /** Where a vault took the card numbers out. */
  readonly statement?: VaultStatement;
};

const openFile = (
  bytes: Uint8Array,
  manifestCose: Uint8Array,
  trust: InboundTrust,
  vaultStatement: Uint8Array | undefined,
): Coded<OpenedFile> => {
  const opened = openInboundManifest(manifestCose, trust);
  if (!opened.ok) return opened;
  const { value: manifest, issuer } = opened.value;
  if (bytes.length > INBOUND_BYTES_MAX || manifest.records > INBOUND_RECORDS_MAX) {
    return refused('TOO_MANY', 0, 'file', `${bytes.length} bytes, ${manifest.records} records`);
  }
  const isOf = isFileOf(bytes, manifest, trust, vaultStatement);
  if (isOf === false) {
    return refused('WRONG_FILE', 0, 'file', `is not the file that ${manifest.fileName} speaks of`);
  }
  return coded({ manifest, issuer, ...(isOf === true ? {} : isOf) });
};

/**
 * Reads a file of an issuer under its signed manifest. Refuses whatever `writeInbound` would not have written: an
 * unsigned file, one for another clearing, a wrong frame or total, an unknown function code, reason or reject code.
 * Faults name offset and field; whether a message fits our own files is for the store to say. `vaultStatement` belongs
 * to a file that came through a vault: its manifest speaks of the form with card numbers.
 */
export const readInbound = (
  bytes: Uint8Array,
  manifestCose: Uint8Array,
  trust: InboundTrust,
  vaultStatement?: Uint8Array,
): Coded<InboundFile> => {
  const opened = openFile(bytes, manifestCose, trust, vaultStatement);
  if (!opened.ok) return opened;
  const { manifest, issuer, statement } = opened.value;
  const final = ipmProfile(manifest.profile);
  if (final?.version !== manifest.profileVersion) {
    return refused('WRONG_VALUE', 0, 'profile', `${manifest.profile} ${manifest.profileVersion}`);
  }
  const profile = preProfile(final);
  const located = readIpmMessages(bytes, profile);
  if (!located.ok) return located;
  if (located.value.length !== manifest.records) {
    return refused('WRONG_FILE', 0, 'file', `has ${located.value.length} records`);
  }
  if (statement && !statesMessages(statement, located.value)) {
    return refused('WRONG_FILE', 0, 'file', 'the vault counts other card numbers or totals');
  }
  const header = readEnds(located.value, manifest, profile);
  if (!header.ok) return header;
  const { member } = header.value;
  const lastDay = dayOf(manifest.createdS + DAY_S);
  const messages = readBodies(located.value.slice(1, -1), { member, lastDay }, profile);
  if (!messages.ok) return messages;
  if (trust.mode !== undefined && header.value.mode !== trust.mode) {
    return refused('WRONG_VALUE', located.value[0]?.offset ?? 0, 'PDS0122', header.value.mode);
  }
  const frame = checkFrame(located.value, sumOf(messages.value), profile);
  if (!frame.ok) return frame;
  return coded({ manifest, issuer, header: header.value, messages: messages.value });
};
