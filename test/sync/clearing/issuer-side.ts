/** An issuer that answers files of a clearing in memory: signed documents, numbered as it sends them. */
import { sha256 } from '@noble/hashes/sha2.js';
import { nodeVerifier } from '../../../identity/edge/node-signatures.ts';
import { toHex } from '../../../protocol/bytes.ts';
import type { ClearingService } from '../../../sync/clearing/clearing-service.ts';
import {
  openAcknowledgement,
  signAcknowledgement,
} from '../../../sync/clearing/core/inbound-documents.ts';
import type { InboundTrust, Verdict } from '../../../sync/clearing/core/inbound-documents.ts';
import { readInbound, writeInbound } from '../../../sync/clearing/core/inbound.ts';
import type { WrittenInbound } from '../../../sync/clearing/core/inbound.ts';
import type { FeeCollection, InboundBody } from '../../../sync/clearing/core/inbound-message.ts';
import { readSettlementFile } from '../../../sync/clearing/core/ipm-file.ts';
import { DEFAULT_IPM_PROFILE } from '../../../sync/clearing/core/ipm-profile.ts';
import type { IpmProfile } from '../../../sync/clearing/core/ipm-profile.ts';
import { fileIdOf } from '../../../sync/clearing/core/ipm-record.ts';
import type { PresentmentRecord } from '../../../sync/clearing/core/ipm-record.ts';
import type { Inbound, Taken } from '../../../sync/clearing/read-back.ts';
import { testSigner } from '../../protocol/helpers.ts';
import {
  LineOfReceipts,
  NOON_S,
  anchors,
  signer as clearingSigner,
  inMemory,
  keyWith,
} from './sample.ts';
import type { ClearingOptions } from '../../../sync/clearing/clearing-service.ts';

const DAY = new Intl.DateTimeFormat('sv', { timeZone: 'Asia/Tokyo', dateStyle: 'short' });
const issuerSigner: ReturnType<typeof testSigner> = testSigner(41);

/** A file of the clearing as the issuer got it. */
export type GotFile = {
  readonly fileName: string;
  readonly fileId: string;
  readonly bytes: Uint8Array;
  readonly lines: readonly PresentmentRecord[];
};

const gotFile = (fileName: string, bytes: Uint8Array): GotFile => {
  const read = readSettlementFile(bytes, DEFAULT_IPM_PROFILE);
  if (!read.ok) throw new Error(JSON.stringify(read.fault));
  const { header, presentments } = read.value;
  return { fileName, fileId: fileIdOf(header), bytes, lines: presentments };
};

export class IssuerSide {
  readonly service: ClearingService;
  readonly #files: ReadonlyMap<string, string>;
  number = 0;

  constructor(service: ClearingService, files: ReadonlyMap<string, string>) {
    this.service = service;
    this.#files = files;
  }

  trust(nowS: number): InboundTrust {
    const clearing = clearingSigner.key.id;
    return { verifier: nodeVerifier(), issuers: [issuerSigner.key], clearing, nowS };
  }

  /** A file of the clearing by its name with `.ipm`. */
  got(fileName: string): GotFile {
    const hex = this.#files.get(`out/clearing/${fileName}`);
    if (hex === undefined) throw new Error(`no ${fileName}`);
    return gotFile(fileName, Buffer.from(hex, 'hex'));
  }

  acknowledgement(
    file: GotFile,
    verdict: Verdict,
    nowS: number,
    part: { readonly fileSha256?: Uint8Array; readonly fileId?: string; number?: number } = {},
  ): Uint8Array {
    const totals = (['debit', 'credit'] as const).flatMap((sign) => {
      const of = file.lines.filter((line) => line.sign === sign);
      const amountMinor = of.reduce((sum, line) => sum + line.amountMinor, 0n).toString();
      const currency = Number(of[0]?.currency ?? 0);
      return of.length === 0 ? [] : [{ currency, sign, lines: of.length, amountMinor }];
    });
    return signAcknowledgement(issuerSigner, {
      clearing: clearingSigner.key.id,
      number: part.number ?? (this.number += 1),
      fileId: file.fileId,
      fileName: file.fileName,
      fileSha256: sha256(file.bytes),
      fileBytes: file.bytes.length,
      records: file.lines.length + 2,
      totals,
      verdict,
      receivedS: nowS,
      ...part,
    });
  }

  /** A signed file of the issuer with these messages. */
  file(
    bodies: readonly InboundBody[],
    nowS: number,
    numbered?: number,
    profile: IpmProfile = DEFAULT_IPM_PROFILE,
  ): WrittenInbound {
    const number = numbered ?? (this.number += 1);
    const date = DAY.format(nowS * 1000)
      .slice(2)
      .replaceAll('-', '');
    const header = { date, member: '00000099990', sequence: number, mode: 'T' } as const;
    const clearing = clearingSigner.key.id;
    const draft = { header, bodies, profile, clearing, number, createdS: nowS };
    const written = writeInbound(draft, issuerSigner);
    if (!written.ok) throw new Error(JSON.stringify(written.fault));
    return written.value;
  }

  opened(cose: Uint8Array, nowS: number): Inbound {
    const document = openAcknowledgement(cose, this.trust(nowS));
    if (!document.ok) throw new Error(JSON.stringify(document.fault));
    return { kind: 'acknowledgement', document: document.value, sha256: toHex(sha256(cose)) };
  }

  openedFile({ file, manifest }: WrittenInbound, nowS: number): Inbound {
    const read = readInbound(file, manifest, this.trust(nowS));
    if (!read.ok) throw new Error(JSON.stringify(read.fault));
    return { kind: 'file', file: read.value, sha256: toHex(sha256(manifest)) };
  }

  async acknowledge(file: GotFile, verdict: Verdict, nowS: number): Promise<Taken> {
    const cose = this.acknowledgement(file, verdict, nowS);
    return this.service.readBack(this.opened(cose, nowS), nowS);
  }

  async send(bodies: readonly InboundBody[], nowS: number): Promise<Taken> {
    return this.service.readBack(this.openedFile(this.file(bodies, nowS), nowS), nowS);
  }
}

export const fileReject = (file: GotFile): InboundBody => ({
  kind: 'file-reject',
  sourceFileId: file.fileId,
  errors: [{ element: 'P0301', severity: '12', code: '0519', subfield: '000' }],
});

export const messageReject = (
  file: GotFile,
  record: number,
  code = '2003',
): Extract<InboundBody, { kind: 'message-reject' }> => ({
  kind: 'message-reject',
  sourceFileId: file.fileId,
  sourceRecordNumber: record,
  errors: [{ element: 'P9501', severity: '08', code, subfield: '000' }],
});

export const chargeback = (
  line: PresentmentRecord,
  amountMinor: bigint = line.amountMinor,
  part: Partial<Extract<InboundBody, { kind: 'chargeback' }>> = {},
): InboundBody => {
  const originalMinor = part.originalMinor ?? line.second?.originalMinor ?? line.amountMinor;
  return {
    kind: 'chargeback',
    arn: line.arn,
    cycle: 'first',
    isPartial: amountMinor < originalMinor,
    amountMinor,
    originalMinor,
    currency: line.currency,
    reason: '4853',
    fundingReference: line.fundingReference,
    ...part,
  };
};

/** 120 yen that the issuer charges. */
export const someFee = (part: Partial<FeeCollection> = {}): FeeCollection => ({
  kind: 'fee',
  use: 'collection',
  direction: 'charged',
  amountMinor: 120n,
  currency: '392',
  reason: '7602',
  reference: 'FEE1',
  date: '261121',
  ...part,
});

type World = {
  readonly service: ClearingService;
  readonly issuer: IssuerSide;
  readonly file: GotFile;
  readonly files: Map<string, string>;
};

/** Three accounts with 1,000, 200 and 30 yen in one written file. */
export const cutThree = async (more: Partial<ClearingOptions> = {}): Promise<World> => {
  const { service, files } = await inMemory(more);
  for (const [at, amount] of [1_000_000_000n, 200_000_000n, 30_000_000n].entries()) {
    const key = keyWith({ account: `ACC-${at}`, party: `party-${at}` });
    const line = new LineOfReceipts(`car ${at}`);
    await service.ingestBatch(
      [line.next(amount / 2n, { key }), line.next(amount / 2n, { key })],
      NOON_S,
    );
  }
  const cut = await service.cut(NOON_S, anchors, true);
  const issuer = new IssuerSide(service, files);
  return { service, files, issuer, file: issuer.got(cut.files[0]?.fileName ?? '') };
};

export const lineOf = (file: GotFile, amountMinor: bigint): GotFile['lines'][number] => {
  const line = file.lines.find((one) => one.amountMinor === amountMinor);
  if (!line) throw new Error(`no line of ${amountMinor}`);
  return line;
};
export const recordOf = (file: GotFile, amountMinor: bigint): number =>
  file.lines.indexOf(lineOf(file, amountMinor)) + 2;

export const outcomes = (taken: Taken): string[] =>
  taken.kind === 'taken'
    ? taken.messages.map((one) => (one.kind === 'refused' ? one.code : one.kind))
    : [taken.kind];

/** The buckets of the one currency, in yen, without those that are empty. */
export const standing = async (service: ClearingService): Promise<Record<string, bigint>> => {
  const { books, reconciles, differences } = await service.reconcile();
  if (!reconciles) throw new Error(differences.join('; '));
  return Object.fromEntries(
    Object.entries(books[0]?.buckets ?? {})
      .filter(([, sum]) => sum !== 0n)
      .map(([bucket, sum]) => [bucket, sum / 1_000_000n]),
  );
};

export const kinds = async (service: ClearingService, nowS: number): Promise<string[]> =>
  (await service.alerts(nowS)).listed.map((one) => one.kind);
