import { createHash } from 'node:crypto';
import { closeSync, fsyncSync, openSync, unlinkSync, writeSync } from 'node:fs';
import { writeFileDurable } from '../platform/durable-file.ts';
import { IpmFileWriter } from '../sync/clearing/core/ipm-file.ts';
import { DEFAULT_IPM_PROFILE } from '../sync/clearing/core/ipm-profile.ts';
import type { PresentmentRecord } from '../sync/clearing/core/ipm-record.ts';
import { decodeRecord, encodeRecord } from '../sync/clearing/file-document.ts';
import { answering } from './child.ts';
import { cpuMicros } from './measure.ts';

/** Asks for one settlement file of so many lines, and for so many bytes written as they are. */
export interface FileToWrite {
  readonly path: string;
  readonly lines: number;
}

export interface WrittenFileCost {
  readonly bytes: number;
  /** Encoded, blocked, written, synced, renamed. */
  readonly file: Cost;
  /** The same with its SHA-256 on the way, as the clearing writes it for the manifest. */
  readonly hashed: Cost;
  readonly raw: Cost;
  /** The most memory that this process held, before the raw write. */
  readonly peakRssBytes: number;
}

export interface Cost {
  readonly cpuMicros: number;
  readonly wallMs: number;
}

/** Different lines, gone through again and again: the file costs, not the making of its lines. */
const DIFFERENT_LINES = 4_096;
/** Lines between two hand-overs of chunks: a page of the store. */
const PAGE_LINES = 1_024;
const RAW_CHUNK_BYTES = 1_048_576;

/** As they come out of the store. */
function makeLines(): PresentmentRecord[] {
  return Array.from({ length: DIFFERENT_LINES }, (_, at) =>
    decodeRecord(
      encodeRecord({
        arn: String(1234566325000000000012n + BigInt(at)).padStart(23, '0'),
        sign: at % 50 === 0 ? 'credit' : 'debit',
        amountMinor: BigInt(1 + ((at * 7_919) % 100_000)),
        currency: '392',
        exponent: 0,
        firstPaidAt: `2611210${String((at * 7) % 60_000).padStart(5, '0')}`,
        mcc: '4784',
        terminalId: `GATE${String(at).padStart(4, '0')}`,
        merchantId: `MERCHANT-${at % 500}`,
        acceptor: {
          name: `TOLL GATE ${at % 500}`,
          street: `${at % 97}-2 BAY ROAD`,
          city: 'TOKYO',
          postcode: '1350063',
          region: '13',
          country: 'JPN',
        },
        aggregateShortId: String(at).padStart(12, '0'),
        forwardingMember: '00000032815',
        fundingReference: `KIRI-ACC-${String(at).padStart(6, '0')}`,
      }),
    ),
  );
}

/** The settlement file in chunks; `take` may look at each. */
async function* fileChunks(
  lines: readonly PresentmentRecord[],
  count: number,
  take: (chunk: Uint8Array) => void,
): AsyncGenerator<Uint8Array> {
  const ready: Uint8Array[] = [];
  const opened = IpmFileWriter.open(
    { fileType: '002', date: '261121', member: '00000032815', sequence: 1, mode: 'T' },
    DEFAULT_IPM_PROFILE,
    (chunk) => {
      take(chunk);
      ready.push(chunk);
    },
  );
  if (!opened.ok) throw new Error(opened.fault.detail);
  for (let at = 0; at < count; at += 1) {
    const added = opened.value.add(lines[at % lines.length]!);
    if (!added.ok) throw new Error(added.fault.detail);
    if (at % PAGE_LINES === 0) yield* ready.splice(0);
  }
  const end = opened.value.end();
  if (!end.ok) throw new Error(end.fault.detail);
  yield* ready;
}

async function cost(run: () => unknown): Promise<Cost> {
  const [startMs, startMicros] = [performance.now(), cpuMicros()];
  await run();
  return { cpuMicros: cpuMicros() - startMicros, wallMs: performance.now() - startMs };
}

function writeRaw(path: string, bytes: number): void {
  const chunk = new Uint8Array(RAW_CHUNK_BYTES).fill(0x37);
  const file = openSync(path, 'w');
  for (let left = bytes; left > 0; left -= chunk.length) {
    writeSync(file, chunk, 0, Math.min(left, chunk.length));
  }
  fsyncSync(file);
  closeSync(file);
}

answering(async ({ path, lines }: FileToWrite): Promise<WrittenFileCost> => {
  const different = makeLines();
  const write = async (take: (chunk: Uint8Array) => void): Promise<Cost> => {
    const taken = await cost(() => writeFileDurable(path, fileChunks(different, lines, take)));
    unlinkSync(path);
    return taken;
  };
  let bytes = 0;
  const file = await write((chunk) => (bytes += chunk.length));
  const hash = createHash('sha256');
  const hashed = await write((chunk) => hash.update(chunk));
  const peakRssBytes = process.resourceUsage().maxRSS * 1_024;
  const raw = await cost(() => writeRaw(path, bytes));
  unlinkSync(path);
  return { bytes, file, hashed, raw, peakRssBytes };
});
