import { sha256 } from '@noble/hashes/sha2.js';
import { nodeVerifier } from '../../../identity/edge/node-signatures.ts';
import { utf8ToBytes } from '../../../protocol/bytes.ts';
import { decodeSign1, signSign1 } from '../../../protocol/cose.ts';
import type { ClearingOptions, ClearingService } from '../../../sync/clearing/clearing-service.ts';
import type { InboundTrust } from '../../../sync/clearing/core/inbound-documents.ts';
import { openAcknowledgement } from '../../../sync/clearing/core/inbound-documents.ts';
import type { FileAcknowledgement } from '../../../sync/clearing/core/inbound-documents.ts';
import { readInbound } from '../../../sync/clearing/core/inbound.ts';
import type { InboundFile } from '../../../sync/clearing/core/inbound.ts';
import { MANIFEST, MANIFEST_TYP } from '../../../sync/clearing/core/manifest.ts';
import type { Manifest } from '../../../sync/clearing/core/manifest.ts';
import type { SqlDatabase } from '../../../sync/clearing/sql.ts';
import type { Arrival } from '../../../sync/issuer/core/desk.ts';
import { IssuerDesk } from '../../../sync/issuer/issuer-desk.ts';
import type { DeskAnswer, DeskOptions } from '../../../sync/issuer/issuer-desk.ts';
import { testSigner } from '../../protocol/helpers.ts';
import { NOON_S, anchors, history, inMemory, signer as clearing } from '../clearing/sample.ts';

export { NOON_S, clearing };
const issuer: ReturnType<typeof testSigner> = testSigner(41);

export const trust: InboundTrust = {
  verifier: nodeVerifier(),
  issuers: [issuer.key],
  clearing: clearing.key.id,
  nowS: NOON_S,
};

/** A real cut of six lines in three accounts, as it arrives. */
export const cutFile = async (more: Partial<ClearingOptions> = {}): Promise<Arrival> => {
  const { service } = await inMemory(more);
  const arrival = await cutOf(service);
  await service.close();
  return arrival;
};

/** What the next cut of this clearing hands over. */
export const cutOf = async (service: ClearingService): Promise<Arrival> => {
  await service.ingestBatch(history(), NOON_S);
  const { files } = await service.cut(NOON_S, anchors, true);
  const artefacts = await service.rebuild(files[0]!.fileName.replace(/(\.pre)?\.ipm$/, ''));
  const bytesOf = (value: string | Uint8Array): Uint8Array =>
    typeof value === 'string' ? utf8ToBytes(value) : value;
  const find = (end: string): Uint8Array =>
    bytesOf(artefacts.find((one) => one.path.endsWith(end))!.bytes);
  return {
    fileName: files[0]!.fileName,
    manifest: find('.manifest'),
    manifestView: Buffer.from(find('.manifest.json')).toString(),
    file: find('.ipm'),
    lines: Buffer.from(find('.lines.jsonl')).toString(),
    hasEvidence: true,
    evidence: (id) => {
      const found = artefacts.find((one) => one.path === `evidence/${id}.cbor`);
      return found && bytesOf(found.bytes);
    },
  };
};

export const manifestOf = (arrival: Arrival): Manifest => {
  const sign1 = decodeSign1(arrival.manifest);
  const decoded = sign1.ok ? MANIFEST.decode(sign1.value.payload) : sign1;
  if (!decoded.ok) throw new Error(decoded.reason);
  return decoded.value;
};

/** The same arrival with other bytes, signed by the clearing all the same. */
export const signedAnew = (
  arrival: Arrival,
  part: Partial<Arrival>,
  stated: Partial<Manifest> = {},
): Arrival => {
  const { manifestView: _view, ...changed } = { ...arrival, ...part };
  const manifest = {
    ...manifestOf(arrival),
    fileSha256: sha256(changed.file),
    fileBytes: changed.file.length,
    linesSha256: sha256(utf8ToBytes(changed.lines)),
    ...stated,
  };
  const header = { kid: clearing.key.id, typ: MANIFEST_TYP };
  return { ...changed, manifest: signSign1(clearing, MANIFEST.encode(manifest), header) };
};

/** A desk whose documents land in a map. */
export const deskOn = async (
  database: SqlDatabase,
  part: Partial<DeskOptions> = {},
): Promise<{ desk: IssuerDesk; out: Map<string, Uint8Array> }> => {
  const out = new Map<string, Uint8Array>();
  const desk = await IssuerDesk.open({
    database,
    signer: issuer,
    member: '00000099990',
    verifier: nodeVerifier(),
    account: () => 'open',
    writeFile: async (name, bytes) => void out.set(name, bytes),
    ...part,
  });
  return { desk, out };
};

export const answered = async (
  desk: IssuerDesk,
  arrival: Arrival,
  nowS: number = NOON_S,
): Promise<DeskAnswer> => {
  const answer = await desk.ingest(arrival, clearing.key, nowS);
  if (!answer.ok) throw new Error(answer.reason);
  return answer.value;
};

/** What the clearing reads of the documents with these numbers. */
export const readBack = (
  out: ReadonlyMap<string, Uint8Array>,
  written: readonly string[],
): { acknowledgement: FileAcknowledgement | undefined; file: InboundFile | undefined } => {
  const ending = (end: string): string => written.find((name) => name.endsWith(end)) ?? '';
  const acknowledgement = out.get(ending('.ack'));
  const opened = acknowledgement && openAcknowledgement(acknowledgement, trust);
  const file = out.get(ending('.ipm'));
  const read = file && readInbound(file, out.get(ending('.manifest'))!, trust);
  if (opened && !opened.ok) throw new Error(JSON.stringify(opened.fault));
  if (read && !read.ok) throw new Error(JSON.stringify(read.fault));
  return { acknowledgement: opened?.value.value, file: read?.value };
};
