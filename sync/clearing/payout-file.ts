/** Payout files: assigned in one transaction, written whole or not at all, the signed manifest last, rebuilt the same. */
import { sha256 } from '@noble/hashes/sha2.js';
import { toHex, utf8ToBytes } from '../../protocol/bytes.ts';
import { signSign1 } from '../../protocol/cose.ts';
import { KiriError } from '../../protocol/kiri-error.ts';
import type { Signer } from '../../protocol/public-key.ts';
import { PAYOUT_MANIFEST, PAYOUT_MANIFEST_TYP } from './core/payout-manifest.ts';
import { writeZenginFile } from './core/zengin-file.ts';
import type { ZenginFile, ZenginProfile, ZenginTransfer } from './core/zengin-file.ts';
import type { Artefact, WriteFile } from './cut-file.ts';
import { amountOf, textOf } from './sql.ts';
import type { SqlDatabase, SqlSession } from './sql.ts';

/** Everything that decides a payout file's bytes, as it stood when the file was assigned. */
export type PayoutDocument = {
  readonly profile: ZenginProfile;
  readonly header: ZenginFile['header'];
  readonly transfers: readonly (Omit<ZenginTransfer, 'amountYen'> & {
    readonly merchant: string;
  })[];
  readonly cutS: number;
};

/** A payout file on the disk, as summaries show it. */
export type WrittenPayout = {
  readonly fileName: string;
  readonly transfers: number;
  readonly totalYen: bigint;
  readonly sha256: string;
};

/** Below the output folder. */
export const PAYOUT_FOLDER = 'payouts';
const MICRO_PER_YEN = 1_000_000n;

type StoredPayout = {
  readonly document: PayoutDocument;
  readonly amounts: readonly { readonly paidMicro: bigint; readonly feeMicro: bigint }[];
};

const loadPayout = async (session: SqlSession, fileName: string): Promise<StoredPayout> => {
  const [row] = await session.all('SELECT document FROM payouts WHERE file_name = ?', fileName);
  if (!row) throw new KiriError('UNKNOWN_FILE', `no payout file ${fileName} in the store`);
  const lines = await session.all(
    'SELECT number, paid_micro, fee_micro FROM payout_lines WHERE file_name = ? ORDER BY number',
    fileName,
  );
  return {
    document: JSON.parse(textOf(row, 'document')) as PayoutDocument,
    amounts: lines.map((line) => ({
      paidMicro: amountOf(line, 'paid_micro'),
      feeMicro: amountOf(line, 'fee_micro'),
    })),
  };
};

const transfersOf = ({ document, amounts }: StoredPayout): ZenginTransfer[] =>
  document.transfers.map(({ account, payeeName, reference }, at) => ({
    account,
    payeeName,
    reference,
    amountYen: (amounts[at]?.paidMicro ?? 0n) / MICRO_PER_YEN,
  }));

/** One JSON object per transfer: for whom it is, and the fee that was taken before it. */
const linesText = ({ document, amounts }: StoredPayout): string =>
  document.transfers
    .map(({ merchant }, at) => {
      const { paidMicro = 0n, feeMicro = 0n } = amounts[at] ?? {};
      const amountYen = (paidMicro / MICRO_PER_YEN).toString();
      return `${JSON.stringify({ number: at + 1, merchant, amountYen, feeMicro: feeMicro.toString() })}\n`;
    })
    .join('');

const render = (
  fileName: string,
  stored: StoredPayout,
  signer: Signer,
): { artefacts: Artefact[]; written: WrittenPayout } => {
  const { profile, header, cutS } = stored.document;
  const transfers = transfersOf(stored);
  const file = writeZenginFile({ header, transfers }, profile);
  if (!file.ok) {
    const { field, detail } = file.fault;
    throw new KiriError('LINE_UNWRITABLE', `payout file ${fileName}: ${field} ${detail}`);
  }
  const lines = linesText(stored);
  const totalYen = transfers.reduce((sum, one) => sum + one.amountYen, 0n);
  const fileSha256 = sha256(file.value);
  const manifest = PAYOUT_MANIFEST.encode({
    fileName: `${fileName}.txt`,
    profile: profile.name,
    profileVersion: profile.version,
    lineEnd: profile.lineEnd,
    fileSha256,
    fileBytes: file.value.length,
    transfers: transfers.length,
    totalYen: totalYen.toString(),
    linesSha256: sha256(utf8ToBytes(lines)),
    cutS,
  });
  const base = `${PAYOUT_FOLDER}/${fileName}`;
  const protectedHeader = { kid: signer.key.id, typ: PAYOUT_MANIFEST_TYP };
  return {
    artefacts: [
      { path: `${base}.txt`, bytes: file.value },
      { path: `${base}.lines.jsonl`, bytes: lines },
      { path: `${base}.manifest`, bytes: signSign1(signer, manifest, protectedHeader) },
    ],
    written: {
      fileName: `${fileName}.txt`,
      transfers: transfers.length,
      totalYen,
      sha256: toHex(fileSha256),
    },
  };
};

/** The artefacts of a payout that was assigned before, byte for byte. @throws KiriError UNKNOWN_FILE */
export const rebuildPayout = async (
  database: SqlDatabase,
  fileName: string,
  signer: Signer,
): Promise<Artefact[]> => {
  const stored = await database.transaction((session) => loadPayout(session, fileName));
  return render(fileName, stored, signer).artefacts;
};

/**
 * Writes every payout that is assigned and not marked written, then marks it. After a crash between any two steps the
 * same file comes out again under the same number: a bank that got it twice sees one file.
 */
export const writePayouts = async (
  database: SqlDatabase,
  signer: Signer,
  outFolder: string,
  writeFile: WriteFile,
): Promise<WrittenPayout[]> => {
  const rows = await database.transaction((session) =>
    session.all("SELECT file_name FROM payouts WHERE state = 'assigned' ORDER BY file_name"),
  );
  const done: WrittenPayout[] = [];
  for (const row of rows) {
    const fileName = textOf(row, 'file_name');
    const stored = await database.transaction((session) => loadPayout(session, fileName));
    const { artefacts, written } = render(fileName, stored, signer);
    for (const { path, bytes } of artefacts) await writeFile(`${outFolder}/${path}`, bytes);
    await database.transaction((session) =>
      session.run(
        "UPDATE payouts SET state = 'written', sha256 = ? WHERE file_name = ?",
        written.sha256,
        fileName,
      ),
    );
    done.push(written);
  }
  return done;
};
