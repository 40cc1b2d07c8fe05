/**
 * The folder in which an issuer's files arrive. A file is moved to `taken` or `quarantine` below it only after what it
 * says is durable in the store; after a crash in between it is read again and moves nothing.
 */
import { createHash } from 'node:crypto';
import { readFile, readdir, rename, rm, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { makeFolder } from '../../platform/make-folder.ts';
import { decodeSign1 } from '../../protocol/cose.ts';
import { invariant } from '../../protocol/kiri-error.ts';
import { forgetClosedDocuments, readClosedDocuments } from './close-inbound.ts';
import type { ClearingService } from './clearing-service.ts';
import { INBOUND_BYTES_MAX, readInbound } from './core/inbound.ts';
import {
  INBOUND_MANIFEST,
  isFileName,
  openAcknowledgement,
  openInboundManifest,
} from './core/inbound-documents.ts';
import type { InboundManifest, InboundTrust } from './core/inbound-documents.ts';
import { ipmProfile, isPreStage } from './core/ipm-profile.ts';
import type { ClearingAlert } from './read-back-alerts.ts';
import type { Inbound, QuarantineCode, Taken } from './read-back.ts';

/** Documents looked at in one round; the rest waits for the next. */
const MAX_DOCUMENTS = 1_000;
/** Deleted documents looked for in one pass over `taken`. */
const CLOSED_MAX = 100_000;
/** A signed statement is a few hundred bytes. */
const STATEMENT_BYTES_MAX = 65_536;
/** A file without its manifest, or a manifest without its file: before that the other may be on the way. */
const ALONE_AFTER_MS = 600_000;

const ACKNOWLEDGEMENT = '.ack';
const MANIFEST = '.manifest';
const FILE = '.ipm';
/** What a vault states about a file that it took the card numbers out of; lies beside it. */
const STATEMENT = '.vault';
const PRE = '.pre';
const TEMPORARY = '.tmp';
/** Faults of a document that nobody who is known signed, or that its signature does not cover. */
const UNTRUSTED: ReadonlySet<string> = new Set(['BAD_SIGNATURE', 'WRONG_FILE']);

/** What became of one document in the folder. */
export type InboxAnswer = { readonly name: string } & (
  | Taken
  /** Left where it is: it is not whole yet, or as much as may be is kept apart already. */
  | { readonly kind: 'waiting'; readonly detail: string }
);

type Opened =
  | { readonly ok: true; readonly number: number; readonly inbound: Inbound }
  | { readonly ok: false; readonly code: QuarantineCode; readonly detail: string };

/** One document with the files that belong to it, by name. */
type Document = {
  readonly name: string;
  readonly names: readonly string[];
  readonly sha256: string;
  readonly opened: Opened;
};

const sha256Hex = (bytes: Uint8Array): string => createHash('sha256').update(bytes).digest('hex');

const refusedBy = (fault: {
  readonly code: string;
  readonly field: string;
  readonly detail: string;
}): Opened => ({
  ok: false,
  code: UNTRUSTED.has(fault.code) ? 'UNTRUSTED' : 'INVALID',
  detail: `${fault.code} ${fault.field}: ${fault.detail}`,
});

const tooLong = (what: string): Opened => ({
  ok: false,
  code: 'UNTRUSTED',
  detail: `too long for a ${what}`,
});

const isStatement = (name: string): boolean =>
  name.endsWith(ACKNOWLEDGEMENT) || name.endsWith(MANIFEST);

/** What is still being written: by name of a temporary file, or hidden as rsync does. */
const isTemporary = (name: string): boolean => name.endsWith(TEMPORARY) || name.startsWith('.');

type Parts = { readonly file: string; readonly statement?: string };

/** The file that a manifest speaks of; where that one has card numbers, the form without and the vault's statement. */
const partsOf = ({ fileName, profile }: InboundManifest): Parts => {
  const known = ipmProfile(profile);
  if (!known || !isPreStage(known)) return { file: fileName };
  const stem = fileName.slice(0, -FILE.length);
  return { file: `${stem}${PRE}${FILE}`, statement: stem + STATEMENT };
};

/** What lies beside a manifest that was taken: its signature held, or it would not be there. */
const takenParts = (manifest: Uint8Array): readonly string[] => {
  const sign1 = decodeSign1(manifest);
  const opened = sign1.ok ? INBOUND_MANIFEST.decode(sign1.value.payload) : undefined;
  return opened?.ok && isFileName(opened.value.fileName)
    ? Object.values(partsOf(opened.value))
    : [];
};

/** The inbox of one clearing. `trust` is asked anew each time, with the time here. */
export class InboxFolder {
  readonly #folder: string;
  readonly #trust: (nowS: number) => InboundTrust;
  /** Manifests whose file was not there when the folder was read last, with their time, UTC seconds. */
  #waiting: ReadonlyMap<string, number> = new Map();

  constructor(folder: string, trust: (nowS: number) => InboundTrust) {
    this.#folder = folder;
    this.#trust = trust;
    for (const path of [folder, join(folder, 'taken'), join(folder, 'quarantine')])
      makeFolder(path);
  }

  /** Takes in what is there, in the order of the issuer's numbers. */
  async take(service: ClearingService, nowS: number): Promise<InboxAnswer[]> {
    const trust = this.#trust(nowS);
    const names = (await readdir(this.#folder, { withFileTypes: true }))
      .filter((entry) => entry.isFile() && !isTemporary(entry.name))
      .map((entry) => entry.name)
      .toSorted();
    const documents: Document[] = [];
    const answers: InboxAnswer[] = [];
    const waiting = new Map<string, number>();
    for (const name of names.filter(isStatement).slice(0, MAX_DOCUMENTS)) {
      const document = await this.#open(name, names, trust);
      if (document) {
        documents.push(document);
        continue;
      }
      answers.push({ name, kind: 'waiting', detail: 'its file is not there yet' });
      const { mtimeMs } = await stat(join(this.#folder, name));
      waiting.set(name, Math.floor(mtimeMs / 1000));
    }
    this.#waiting = waiting;
    const numberOf = ({ opened }: Document): number => (opened.ok ? opened.number : 0);
    for (const document of documents.toSorted((a, b) => numberOf(a) - numberOf(b))) {
      answers.push(await this.#takeOne(document, service, nowS));
    }
    return [...answers, ...(await this.#unsigned(names, service, nowS))];
  }

  /**
   * Removes what lies in `taken` of documents that were deleted from the store (close-inbound.ts): what a statement speaks
   * of first, the statement last, so that a run that was cut short finds the rest by it. @returns documents removed
   */
  async removeClosed(service: ClearingService): Promise<number> {
    let removed = 0;
    for (;;) {
      const closed = await service.within((session) => readClosedDocuments(session, CLOSED_MAX));
      if (closed.length === 0) return removed;
      removed += await this.#removeTaken(new Set(closed));
      await service.within((session) => forgetClosedDocuments(session, closed));
    }
  }

  async #removeTaken(closed: ReadonlySet<string>): Promise<number> {
    const names = (await readdir(join(this.#folder, 'taken'))).filter(isStatement).toSorted();
    const [gone, needed] = [new Map<string, readonly string[]>(), new Set<string>()];
    for (const name of names) {
      const bytes = await readFile(join(this.#folder, 'taken', name));
      const parts = name.endsWith(MANIFEST) ? takenParts(bytes) : [];
      if (closed.has(sha256Hex(bytes))) gone.set(name, parts);
      else for (const one of parts) needed.add(one);
    }
    for (const [name, parts] of gone) {
      for (const one of [...parts.filter((part) => !needed.has(part)), name]) {
        await rm(join(this.#folder, 'taken', one), { force: true });
      }
    }
    return gone.size;
  }

  /** Manifests whose files have not come in ten minutes. A file without a manifest is kept apart by then. */
  alerts(nowS: number): ClearingAlert[] {
    return [...this.#waiting]
      .map(([reference, sinceS]) => ({ reference, sinceS, ageS: Math.max(0, nowS - sinceS) }))
      .filter(({ ageS }) => ageS * 1000 >= ALONE_AFTER_MS)
      .map((one) => ({
        kind: 'FILE_MISSING',
        detail: 'the file that it speaks of has not come',
        ...one,
      }));
  }

  /** Whom a document that nobody signed is answered to: who else would put one here. */
  #issuer(nowS: number): string {
    const [issuer] = this.#trust(nowS).issuers;
    invariant(issuer !== undefined, 'clearing: an inbox without an issuer');
    return issuer.hex;
  }

  async #read(name: string, bytesMax: number): Promise<Uint8Array | undefined> {
    const path = join(this.#folder, name);
    const { size } = await stat(path);
    return size > bytesMax ? undefined : new Uint8Array(await readFile(path));
  }

  /** Reads a statement and what it speaks of; undefined while its file is missing. */
  async #open(
    name: string,
    names: readonly string[],
    trust: InboundTrust,
  ): Promise<Document | undefined> {
    const bytes = await this.#read(name, STATEMENT_BYTES_MAX);
    if (!bytes) {
      const sha256 = sha256Hex(Buffer.from(name));
      return { name, names: [name], sha256, opened: tooLong('signed statement') };
    }
    const sha256 = sha256Hex(bytes);
    if (!name.endsWith(MANIFEST)) {
      const document = openAcknowledgement(bytes, trust);
      const opened: Opened = document.ok
        ? {
            ok: true,
            number: document.value.value.number,
            inbound: { kind: 'acknowledgement', document: document.value, sha256, name },
          }
        : refusedBy(document.fault);
      return { name, names: [name], sha256, opened };
    }
    const manifest = openInboundManifest(bytes, trust);
    if (!manifest.ok) {
      return { name, names: [name], sha256, opened: refusedBy(manifest.fault) };
    }
    const { number } = manifest.value.value;
    const parts = partsOf(manifest.value.value);
    const own = Object.values(parts);
    if (!own.every((one) => names.includes(one))) return undefined;
    const content = await this.#read(parts.file, INBOUND_BYTES_MAX);
    const stated =
      parts.statement === undefined
        ? undefined
        : await this.#read(parts.statement, STATEMENT_BYTES_MAX);
    const file = content && readInbound(content, bytes, trust, stated);
    const opened: Opened = file?.ok
      ? { ok: true, number, inbound: { kind: 'file', file: file.value, sha256, name } }
      : file
        ? refusedBy(file.fault)
        : tooLong('file of an issuer');
    return { name, names: [...own, name], sha256, opened };
  }

  async #takeOne(document: Document, service: ClearingService, nowS: number): Promise<InboxAnswer> {
    const { name, opened } = document;
    const taken: Taken = opened.ok
      ? await service.readBack(opened.inbound, nowS)
      : { kind: 'quarantined', code: opened.code, detail: opened.detail };
    if (taken.kind === 'quarantined') return this.#quarantine(document, taken, service, nowS);
    for (const one of document.names) await this.#move(one, `taken/${one}`);
    return { name, ...taken };
  }

  async #quarantine(
    { name, names, sha256 }: Pick<Document, 'name' | 'names' | 'sha256'>,
    taken: Extract<Taken, { readonly kind: 'quarantined' }>,
    service: ClearingService,
    nowS: number,
  ): Promise<InboxAnswer> {
    const { code, detail } = taken;
    const kept = await service.keepApart({ code, detail, name, sha256 }, this.#issuer(nowS), nowS);
    if (!kept) return { name, kind: 'waiting', detail: 'the quarantine is full' };
    // By hash: an issuer's names come again.
    for (const one of names) await this.#move(one, `quarantine/${sha256.slice(0, 16)}.${one}`);
    return { name, ...taken };
  }

  /** What no signed document speaks of after a while. */
  async #unsigned(
    names: readonly string[],
    service: ClearingService,
    nowS: number,
  ): Promise<InboxAnswer[]> {
    const answers: InboxAnswer[] = [];
    for (const name of names.filter((one) => !isStatement(one))) {
      const info = await stat(join(this.#folder, name)).catch(() => undefined);
      if (!info || nowS * 1000 - info.mtimeMs < ALONE_AFTER_MS) continue;
      const ending = [`${PRE}${FILE}`, FILE, STATEMENT].find((one) => name.endsWith(one));
      const manifest = ending && name.slice(0, -ending.length) + MANIFEST;
      if ((manifest && names.includes(manifest)) || answers.length === MAX_DOCUMENTS) continue;
      const bytes = await this.#read(name, INBOUND_BYTES_MAX);
      const sha256 = sha256Hex(bytes ?? Buffer.from(name));
      const taken = {
        kind: 'quarantined',
        code: 'UNTRUSTED',
        detail: manifest
          ? 'no signed manifest speaks of it'
          : `its name ends in none of ${ACKNOWLEDGEMENT}, ${FILE}, ${MANIFEST}, ${STATEMENT}`,
      } as const;
      answers.push(await this.#quarantine({ name, names: [name], sha256 }, taken, service, nowS));
    }
    return answers;
  }

  async #move(name: string, target: string): Promise<void> {
    await rename(join(this.#folder, name), join(this.#folder, target)).catch(
      (error: NodeJS.ErrnoException) => {
        if (error.code !== 'ENOENT') throw error;
      },
    );
  }
}
