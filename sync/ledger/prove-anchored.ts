/**
 * L3 proof files (core/l3-proof.ts) for receipts of a log, made from the static files of that log and of the roll-up log
 * alone. A receipt's proof goes through the first rolled-up checkpoint that covers it, and the first anchored checkpoint
 * that covers that one: the earliest time that anything outside the consortium says of it.
 */
import { readdir } from 'node:fs/promises';
import { join, sep } from 'node:path';
import { systemCode, toDiskError } from '../../platform/disk-error.ts';
import { KiriError } from '../../protocol/kiri-error.ts';
import { ANCHORS_FOLDER, anchorFile, isAnchorName, parseAnchorPath } from './core/anchor-file.ts';
import { MAX_EVIDENCE_BYTES } from './core/anchor-port.ts';
import { parseCheckpoint } from './core/checkpoint.ts';
import { encodeL3Proof, verifyRollUp } from './core/l3-proof.ts';
import type { Sha256 } from './core/merkle.ts';
import { parseNote } from './core/note.ts';
import { encodeProof } from './core/proof.ts';
import { decodeUtf8 } from './core/text.ts';
import { TILE_WIDTH } from './core/tile.ts';
import { inclusionProof, readPayloads } from './log-folder.ts';
import type { LogSource } from './log-source.ts';
import { findWanted, finalNote, type ProvingPorts } from './prove-receipts.ts';

/** Evidence of one anchor, by place. */
export interface AnchoredPlace {
  /** Entries of the roll-up log that it covers. */
  readonly size: number;
  readonly name: string;
}

/** What stands in `anchors/` of a roll-up log's folder. @throws KiriError DISK_* */
export const anchorsInFolder = async (root: string): Promise<readonly AnchoredPlace[]> => {
  const places: AnchoredPlace[] = [];
  try {
    for (const file of await readdir(join(root, ANCHORS_FOLDER), { recursive: true })) {
      const place = parseAnchorPath(ANCHORS_FOLDER + file.split(sep).join('/'));
      if (place?.name !== undefined) places.push({ size: place.size, name: place.name });
    }
  } catch (error) {
    if (systemCode(error) !== 'ENOENT') throw toDiskError(error, 'read', root);
  }
  return places;
};

/**
 * The newest anchored checkpoint of every anchor, as a running roll-up tells it at `GET /status`. Every earlier entry is
 * below it.
 * @throws KiriError LOG_UNREACHABLE where the answer is not that of a roll-up, and what the source throws
 */
export const anchorsAt = async (rollUp: LogSource): Promise<readonly AnchoredPlace[]> => {
  const told = decodeUtf8((await rollUp.read('status')) ?? new Uint8Array(0));
  let anchors: unknown;
  try {
    ({ anchors } = Object(JSON.parse(told ?? '')) as { anchors?: unknown });
  } catch {
    anchors = undefined;
  }
  if (!Array.isArray(anchors)) {
    throw new KiriError('LOG_UNREACHABLE', `${rollUp.place}/status tells of no anchors`);
  }
  return anchors.flatMap((one: unknown) => {
    const { name, anchoredSize } = Object(one) as { name?: unknown; anchoredSize?: unknown };
    if (typeof name !== 'string' || !isAnchorName(name)) return [];
    return Number.isSafeInteger(anchoredSize) && Number(anchoredSize) > 0
      ? [{ name, size: Number(anchoredSize) }]
      : [];
  });
};

/** A checkpoint of the receipts' log where it stands in the roll-up log. */
interface RolledHead {
  readonly index: number;
  readonly size: number;
}

/** Checkpoints of one log among the first `size` entries of a roll-up log, from the smallest on. */
const rolledHeads = async (
  rollUp: LogSource,
  origin: string,
  size: number,
): Promise<readonly RolledHead[]> => {
  const heads: RolledHead[] = [];
  for (let bundle = 0; bundle * TILE_WIDTH < size; bundle += 1) {
    for (const [at, note] of (await readPayloads(rollUp, bundle, size)).entries()) {
      const parsed = parseNote(note);
      const head = parsed.ok ? parseCheckpoint(parsed.value.text) : parsed;
      if (!head.ok || head.value.origin !== origin) continue;
      heads.push({ index: bundle * TILE_WIDTH + at, size: head.value.size });
    }
  }
  return heads.toSorted((a, b) => a.size - b.size);
};

interface Anchored extends AnchoredPlace {
  readonly note: Uint8Array;
  readonly evidence: Uint8Array;
}

const readAnchored = async (rollUp: LogSource, place: AnchoredPlace): Promise<Anchored> => {
  const paths = anchorFile(place.size, place.name);
  const [note, evidence] = [await rollUp.read(paths.checkpoint), await rollUp.read(paths.evidence)];
  if (note === undefined || evidence === undefined) {
    const path = note === undefined ? paths.checkpoint : paths.evidence;
    throw new KiriError('LOG_INCOMPLETE', `${rollUp.place}/${path} is missing`);
  }
  if (evidence.length > MAX_EVIDENCE_BYTES) {
    throw new KiriError('EVIDENCE_TOO_LARGE', `${rollUp.place}/${paths.evidence}`);
  }
  return { ...place, note, evidence };
};

/** What all receipts under one rolled head share. */
interface RolledProof {
  /** The gateway's checkpoint, as it stands in the roll-up log. */
  readonly rolled: Uint8Array;
  readonly rollUp: Uint8Array;
  readonly anchor: string;
  readonly evidence: Uint8Array;
}

const proveRolled = async (
  rollUp: LogSource,
  { index }: RolledHead,
  place: AnchoredPlace,
  within: number,
  hash?: Sha256,
): Promise<RolledProof> => {
  const { size, name, note, evidence } = await readAnchored(rollUp, place);
  const records = await readPayloads(rollUp, Math.floor(index / TILE_WIDTH), size);
  const rolled = records[index % TILE_WIDTH] ?? new Uint8Array(0);
  const path = await inclusionProof(rollUp, index, size, hash, within);
  return { rolled, rollUp: encodeProof({ index, path, checkpoint: note }), anchor: name, evidence };
};

/**
 * L3 proof files by the hex SHA-256 of the Receipt's payload; a receipt that is not anchored yet has none. The way from
 * the receipt to the anchored note is verified before a proof is given; the evidence is the verifier's to judge.
 * @param receipts hex SHA-256 of Receipt payloads
 * @param places evidence that may be used, in any order
 * @throws KiriError LOG_NOT_FINAL, LOG_*, EVIDENCE_TOO_LARGE, and what the sources throw
 */
export const proveAnchored = async (
  source: LogSource,
  receipts: ReadonlySet<string>,
  rollUp: { readonly source: LogSource; readonly places: readonly AnchoredPlace[] },
  ports: ProvingPorts,
): Promise<ReadonlyMap<string, Uint8Array>> => {
  const { hash } = ports;
  const { head: newest } = await finalNote(source, ports);
  const { head: rollUpHead } = await finalNote(rollUp.source, ports);
  const places = rollUp.places
    .filter(({ size }) => size <= rollUpHead.size)
    .toSorted((a, b) => a.size - b.size);
  const rolled = await rolledHeads(rollUp.source, newest.origin, places.at(-1)?.size ?? 0);
  const heads = rolled.filter(({ size }) => size <= newest.size);
  const proofs = new Map<string, Uint8Array>();
  let at = 0;
  let shared: { readonly head: RolledHead; readonly half: RolledProof } | undefined;
  for await (const { name, index, record } of findWanted(
    source,
    receipts,
    heads.at(-1)?.size ?? 0,
    hash,
  )) {
    while ((heads[at]?.size ?? Infinity) <= index) at += 1;
    const head = heads[at];
    const place = head && places.find(({ size }) => size > head.index);
    if (!head || !place) continue;
    if (shared?.head !== head) {
      const half = await proveRolled(rollUp.source, head, place, rollUpHead.size, hash);
      shared = { head, half };
    }
    const { rolled: checkpoint, ...half } = shared.half;
    const path = await inclusionProof(source, index, head.size, hash, newest.size);
    const receipt = encodeProof({ index, path, checkpoint, extra: record });
    const proven = verifyRollUp({ receipt, rollUp: half.rollUp }, ports);
    if (!proven.ok) throw new KiriError('LOG_CORRUPT', `entry ${index}: ${proven.reason}`);
    proofs.set(name, encodeL3Proof({ receipt, ...half }, hash));
  }
  return proofs;
};
