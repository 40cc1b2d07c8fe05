/**
 * Records test/vectors/anchors from the real programs: run it as its README there says. Each folder holds what a verifier
 * is given: the anchored note, the evidence, and the trust file.
 */
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { toHex, utf8ToBytes } from '../../protocol/bytes.ts';
import { deployHeadAnchor, openEvmAnchor } from '../../sync/ledger/anchor/evm-anchor.ts';
import { timeStampAnchor } from '../../sync/ledger/anchor/timestamp-anchor.ts';
import { timeStampTrust } from '../../sync/ledger/anchor/anchor-trust.ts';
import { parseEvmEvidence, parseHeader } from '../../sync/ledger/core/anchor-evm.ts';
import type { AnchorStatus } from '../../sync/ledger/core/anchor-port.ts';
import { encodeCheckpoint } from '../../sync/ledger/core/checkpoint.ts';
import { cosign } from '../../sync/ledger/core/cosignature.ts';
import { encodeVerifierKey } from '../../sync/ledger/core/note-key.ts';
import { signNote } from '../../sync/ledger/core/note.ts';
import { realLog, realWitness } from '../sync/ledger/keys.ts';
import { DEV_KEY, startAnvil } from './anvil.ts';
import { startTsa } from './tsa.ts';

const FOLDER = 'test/vectors/anchors';
const ORIGIN = 'rollup.example/2026';
const TIMEOUT_MS = 20_000;

const noteOf = (size: number, origin = ORIGIN): string => {
  const root = new Uint8Array(32).fill(size);
  return signNote(encodeCheckpoint({ origin, size, root }), realLog(origin));
};
const NOTE = noteOf(7);

const record = async (
  name: string,
  evidence: Uint8Array | string,
  trust: unknown,
  more: Readonly<Record<string, string>> = {},
): Promise<void> => {
  const folder = join(FOLDER, name);
  await mkdir(folder, { recursive: true });
  const files = { ...more, checkpoint: NOTE, evidence, 'trust.json': `${JSON.stringify(trust)}\n` };
  for (const [file, bytes] of Object.entries(files)) await writeFile(join(folder, file), bytes);
};

const evidenceOf = (status: AnchorStatus): Uint8Array => {
  if (status.kind === 'final') return status.evidence;
  throw new Error(JSON.stringify(status));
};
const keep = async (): Promise<void> => {};

const recordEvm = async (): Promise<void> => {
  const folder = await mkdtemp(join(tmpdir(), 'kiri-vectors-'));
  const chain = await startAnvil();
  try {
    const keyFile = join(folder, 'key');
    await writeFile(keyFile, DEV_KEY, { mode: 0o600 });
    const base = { rpcUrl: chain.url, keyFile, timeoutMs: TIMEOUT_MS };
    const { contract, sender, chainId } = await deployHeadAnchor(base);
    const anchor = await openEvmAnchor({ ...base, contract, chainId, confirmations: 3 });
    // Other logs beside it, so that the proofs go through branches of the contract's trie.
    for (let n = 1; n <= 9; n += 1) {
      await anchor.submit(utf8ToBytes(noteOf(n, `other-${n}.example`)), keep);
    }
    const ref = await anchor.submit(utf8ToBytes(NOTE), keep);
    await chain.rpc('anvil_mine', '0x2');
    const evidence = evidenceOf(await anchor.status(ref, utf8ToBytes(NOTE)));
    const parsed = parseEvmEvidence(evidence);
    const last = parsed.ok ? parseHeader(parsed.value.headers.at(-1) ?? evidence) : parsed;
    if (!last.ok) throw new Error(last.reason);
    const blocks = [`0x${toHex(last.value.hash)}`];
    await record('evm', evidence, { kind: 'evm', chainId, contract, sender, blocks });
  } finally {
    await chain.stop();
    await rm(folder, { recursive: true, force: true });
  }
};

const recordTimeStamp = async (kind: 'rsa' | 'ec'): Promise<void> => {
  const tsa = await startTsa(kind);
  try {
    const trust = { kind: 'rfc3161', roots: [tsa.rootPem], policies: ['1.2.3.4.1'] };
    const parsed = timeStampTrust(trust);
    if (!parsed.ok) throw new Error(parsed.reason);
    const anchor = timeStampAnchor({ url: tsa.url, timeoutMs: TIMEOUT_MS, trust: parsed.value });
    const nonce = await anchor.submit(utf8ToBytes(NOTE), keep);
    const evidence = evidenceOf(await anchor.status(nonce, utf8ToBytes(NOTE)));
    await record(`rfc3161-${kind}`, evidence, trust, { nonce: `${nonce}\n` });
  } finally {
    await tsa.stop();
  }
};

const recordFile = async (): Promise<void> => {
  const consortium = realWitness('consortium.example/anchor');
  const text = NOTE.slice(0, NOTE.lastIndexOf('\n\n') + 1);
  const trust = { kind: 'file', keys: [encodeVerifierKey(consortium.key)] };
  await record('file', NOTE + cosign(text, consortium, 1_800_000_000), trust);
};

await recordEvm();
await recordTimeStamp('rsa');
await recordTimeStamp('ec');
await recordFile();
