import { chmod, writeFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import t from 'tap';
import { fromHex, utf8ToBytes } from '../../protocol/bytes.ts';
import { HEAD_ANCHOR_CODE_HASH } from '../../sync/ledger/anchor/evm/head-anchor.ts';
import { deployHeadAnchor, openEvmAnchor } from '../../sync/ledger/anchor/evm-anchor.ts';
import {
  type EvmTrust,
  parseEvmEvidence,
  parseHeader,
  verifyEvmEvidence,
} from '../../sync/ledger/core/anchor-evm.ts';
import type { Anchor, AnchorStatus } from '../../sync/ledger/core/anchor-port.ts';
import { encodeCheckpoint } from '../../sync/ledger/core/checkpoint.ts';
import { signNote } from '../../sync/ledger/core/note.ts';
import { realLog } from '../sync/ledger/keys.ts';
import { temporaryFolder, until } from '../sync/ledger/rig.ts';
import { type Chain, DEV_KEY, OTHER_KEY, startAnvil } from './anvil.ts';

const ORIGIN = 'rollup.example/2026';
const noteOf = (size: number, fill = size, origin = ORIGIN): Uint8Array => {
  const root = new Uint8Array(32).fill(fill);
  return utf8ToBytes(signNote(encodeCheckpoint({ origin, size, root }), realLog(origin)));
};

interface World {
  readonly chain: Chain;
  readonly keyFile: string;
  readonly otherKeyFile: string;
  readonly contract: string;
  readonly sender: string;
  anchor(confirmations: number, keyFile?: string): ReturnType<typeof openEvmAnchor>;
}

const makeWorld = async (
  t: { teardown(end: () => Promise<void>): void },
  args: readonly string[] = [],
): Promise<World> => {
  const folder = await temporaryFolder(t);
  const chain = await startAnvil(args);
  t.teardown(() => chain.stop());
  const [keyFile, otherKeyFile] = [join(folder, 'key'), join(folder, 'other')];
  await writeFile(keyFile, `${DEV_KEY}\n`, { mode: 0o600 });
  await writeFile(otherKeyFile, OTHER_KEY, { mode: 0o600 });
  const base = { rpcUrl: chain.url, timeoutMs: 10_000 };
  const { contract, sender, chainId } = await deployHeadAnchor({ ...base, keyFile });
  return {
    chain,
    keyFile,
    otherKeyFile,
    contract,
    sender,
    anchor: (confirmations, file = keyFile) =>
      openEvmAnchor({ ...base, keyFile: file, contract, chainId, confirmations }),
  };
};

/** As a submission, once its transaction is in a block: the node makes one by itself, and not before it answers. */
const submitted = async ({ chain }: World, anchor: Anchor, note: Uint8Array): Promise<string> => {
  const ref = await anchor.submit(note, keep);
  await inBlock(chain, ref);
  return ref;
};
const inBlock = async (chain: Chain, ref: string): Promise<void> => {
  const { hash } = JSON.parse(ref) as { hash: string };
  await until('a block holds it', async () => {
    return (await chain.rpc('eth_getTransactionReceipt', hash)) !== null;
  });
};

/** Trust in the newest block that evidence goes up to. */
const trustOf = (world: World, evidence: Uint8Array): EvmTrust => {
  const parsed = parseEvmEvidence(evidence);
  const last = parsed.ok ? parseHeader(parsed.value.headers.at(-1) ?? evidence) : parsed;
  if (!last.ok) throw new Error(last.reason);
  return {
    chainId: 31_337,
    contract: fromHex(world.contract.slice(2)),
    sender: fromHex(world.sender.slice(2)),
    codeHash: fromHex(HEAD_ANCHOR_CODE_HASH.slice(2)),
    blocks: [last.value.hash],
  };
};

const evidenceOf = (status: AnchorStatus): Uint8Array => {
  if (status.kind === 'final') return status.evidence;
  throw new Error(JSON.stringify(status));
};

const kept: string[] = [];
const keep = async (ref: string): Promise<void> => {
  kept.push(ref);
};

t.test('a head becomes evidence once enough blocks are on top of it', async (t) => {
  const world = await makeWorld(t);
  const anchor = await world.anchor(3);
  const ref = await submitted(world, anchor, noteOf(7));
  t.equal(kept.at(-1), ref);
  t.notMatch(ref, DEV_KEY.slice(2), 'what is kept holds no key');
  t.match(await anchor.status(ref, noteOf(7)), { kind: 'pending', detail: /2 more of 3 blocks/ });
  await world.chain.rpc('anvil_mine', '0x2');
  const evidence = evidenceOf(await anchor.status(ref, noteOf(7)));
  const trust = trustOf(world, evidence);
  const verify = verifyEvmEvidence(trust);
  const note = noteOf(7);
  t.match(verify(evidence, noteOf(7)), { ok: true, value: { by: /^chain 31337, block 2,/ } });

  t.match(verify(evidence, noteOf(8, 7)), { ok: false, reason: /another size/ });
  t.match(verify(evidence, noteOf(7, 8)), { ok: false, reason: /another root/ });
  t.match(verify(evidence, noteOf(7, 7, 'other.example')), { ok: false }, 'another log');
  t.match(verifyEvmEvidence({ ...trust, chainId: 1 })(evidence, noteOf(7)), {
    ok: false,
    reason: /another chain/,
  });
  t.match(verifyEvmEvidence({ ...trust, sender: trust.contract })(evidence, noteOf(7)), {
    ok: false,
    reason: /another sender/,
  });
  t.match(verifyEvmEvidence({ ...trust, contract: trust.sender })(evidence, noteOf(7)), {
    ok: false,
    reason: /another contract/,
  });
  t.match(verifyEvmEvidence({ ...trust, codeHash: new Uint8Array(32) })(evidence, noteOf(7)), {
    ok: false,
    reason: /not the HeadAnchor/,
  });
  t.match(verifyEvmEvidence({ ...trust, blocks: [] })(evidence, noteOf(7)), {
    ok: false,
    reason: /name no block of 2 to 4/,
  });
  for (let length = 0; length < evidence.length; length += 17) {
    if (verify(evidence.slice(0, length), note).ok) t.fail(`cut at ${length}`);
  }
  for (let at = 0; at < evidence.length; at += 17) {
    const changed = evidence.slice();
    changed[at] = (changed[at] ?? 0) ^ 0x01;
    if (verify(changed, note).ok) t.fail(`changed at ${at}`);
  }

  const next = await submitted(world, anchor, noteOf(9));
  await world.chain.rpc('anvil_mine', '0x3');
  t.match(await anchor.status(next, noteOf(9)), { kind: 'final' }, 'the log has grown');
  await t.rejects(anchor.submit(noteOf(8), keep), { code: 'ANCHOR_REFUSED' }, 'never back');
  await t.rejects(
    anchor.submit(noteOf(9, 1), keep),
    { code: 'ANCHOR_REFUSED' },
    'never another root',
  );
  const again = await anchor.submit(noteOf(9), keep);
  t.notMatch(again, /raw/, 'what stands there already costs nothing');
  t.match(await anchor.status(again, noteOf(9)), { kind: 'final' });
});

t.test('a crash between keeping and sending costs nothing twice', async (t) => {
  const world = await makeWorld(t);
  const anchor = await world.anchor(1);
  const note = noteOf(5);
  let ref = '';
  const crash = anchor.submit(note, async (given) => {
    ref = given;
    throw new Error('the power went');
  });
  await t.rejects(crash, /the power went/);
  const { raw, hash } = JSON.parse(ref) as { raw: string; hash: string };
  t.equal(await world.chain.rpc('eth_getTransactionReceipt', hash), null, 'nothing was sent');

  const restarted = await world.anchor(1);
  t.match(await restarted.status(ref, note), { kind: 'pending' }, 'now it is sent');
  await inBlock(world.chain, ref);
  t.match(await restarted.status(ref, note), { kind: 'final' });
  t.match(await restarted.status(ref, note), { kind: 'final' }, 'and asked again');
  t.equal(await world.chain.rpc('eth_getTransactionCount', world.sender, 'latest'), '0x2', 'once');
  t.ok(raw.startsWith('0x02'), 'a transaction of today’s type');
});

t.test('a transaction that another one displaced has failed', async (t) => {
  const mined = await makeWorld(t);
  const anchor = await mined.anchor(1);
  await mined.chain.rpc('evm_setAutomine', false);
  const ref = await anchor.submit(noteOf(4), keep);
  t.match(await anchor.status(ref, noteOf(4)), { kind: 'pending', detail: /waits for a block/ });
  const { hash } = JSON.parse(ref) as { hash: string };
  await mined.chain.rpc('anvil_dropTransaction', hash);
  await mined.chain.rpc('eth_sendTransaction', {
    from: mined.sender,
    to: mined.sender,
    value: '0x1',
    nonce: '0x1',
  });
  await mined.chain.rpc('anvil_mine', '0x1');
  t.match(await anchor.status(ref, noteOf(4)), { kind: 'failed', reason: /nonce 1/ });
});

t.test('a reorganisation makes a head pending again', async (t) => {
  const world = await makeWorld(t);
  const anchor = await world.anchor(2);
  const note = noteOf(3);
  const ref = await submitted(world, anchor, note);
  await world.chain.rpc('anvil_mine', '0x1');
  t.match(await anchor.status(ref, note), { kind: 'final' });
  await world.chain.rpc('anvil_reorg', 2, []);
  await world.chain.rpc('evm_setAutomine', false);
  t.match(await anchor.status(ref, note), { kind: 'pending' }, 'it is sent again');
  await world.chain.rpc('anvil_mine', '0x2');
  t.match(await anchor.status(ref, note), { kind: 'final' });
});

t.test('another account can neither block a log nor speak for it', async (t) => {
  const world = await makeWorld(t);
  const [anchor, hostile] = [await world.anchor(1), await world.anchor(1, world.otherKeyFile)];
  const huge = noteOf(Number.MAX_SAFE_INTEGER, 1);
  const theirs = evidenceOf(await hostile.status(await submitted(world, hostile, huge), huge));
  const ours = evidenceOf(
    await anchor.status(await submitted(world, anchor, noteOf(2)), noteOf(2)),
  );
  t.ok(verifyEvmEvidence(trustOf(world, ours))(ours, noteOf(2)).ok);
  t.match(verifyEvmEvidence(trustOf(world, theirs))(theirs, huge), {
    ok: false,
    reason: /another sender/,
  });
  const text = new TextDecoder().decode(theirs);
  const { sender } = JSON.parse(text) as { sender: string };
  const disguised = utf8ToBytes(text.replace(sender, world.sender));
  t.match(verifyEvmEvidence(trustOf(world, theirs))(disguised, huge), { ok: false });
});

t.test('keys, chains and nodes that are not what they should be', async (t) => {
  const world = await makeWorld(t);
  await chmod(world.otherKeyFile, 0o644);
  await t.rejects(world.anchor(1, world.otherKeyFile), { code: 'KEY_EXPOSED' });
  await chmod(world.otherKeyFile, 0o600);
  await writeFile(world.otherKeyFile, 'no key');
  await t.rejects(world.anchor(1, world.otherKeyFile), {
    code: 'KEY_INVALID',
    message: /64 hex digits/,
  });
  await t.rejects(world.anchor(0), { code: 'ANCHOR_INVALID' });
  const base = { keyFile: world.keyFile, contract: world.contract, confirmations: 1 };
  const elsewhere = await openEvmAnchor({
    ...base,
    rpcUrl: world.chain.url,
    timeoutMs: 5_000,
    chainId: 1,
  });
  await t.rejects(elsewhere.submit(noteOf(1), keep), { code: 'CHAIN_MISMATCH' });
  await t.rejects(
    openEvmAnchor({ ...base, contract: '0x12', rpcUrl: world.chain.url, timeoutMs: 1, chainId: 1 }),
    { code: 'ANCHOR_INVALID' },
  );

  /** Passes everything on but what it lies about. */
  let lie: ((method: string, result: unknown) => unknown) | undefined;
  const server = createServer((request, response) => {
    const chunks: Buffer[] = [];
    request.on('data', (chunk: Buffer) => chunks.push(chunk));
    request.on('end', () => {
      const call = JSON.parse(Buffer.concat(chunks).toString()) as {
        id: number;
        method: string;
        params: unknown[];
      };
      void world.chain.rpc(call.method, ...call.params).then(
        (result) => {
          const told = lie === undefined ? result : lie(call.method, result);
          if (told === 'silence') return;
          response.end(
            told === 'flood'
              ? Buffer.alloc(5_000_000, 0x20)
              : JSON.stringify({ id: call.id, result: told }),
          );
        },
        (error: unknown) =>
          response.end(JSON.stringify({ id: call.id, error: { code: 1, message: String(error) } })),
      );
    });
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  t.teardown(
    () =>
      new Promise<void>((resolve) => {
        server.closeAllConnections();
        server.close(() => resolve());
      }),
  );
  const rpcUrl = `http://127.0.0.1:${(server.address() as AddressInfo).port}/secret-access-key`;
  const node = { ...base, rpcUrl, chainId: 31_337 };
  const anchor = await openEvmAnchor({ ...node, timeoutMs: 10_000 });
  const note = noteOf(6);
  const ref = await submitted(world, anchor, note);
  t.match(await anchor.status(ref, note), { kind: 'final' }, 'an honest way');
  const lies: Record<string, (method: string, result: unknown) => unknown> = {
    'a header with another state root': (method, result) =>
      method === 'eth_getBlockByNumber'
        ? { ...(result as object), stateRoot: `0x${'11'.repeat(32)}` }
        : result,
    'a header of which a field is missing': (method, result) =>
      method === 'eth_getBlockByNumber' ? { ...(result as object), miner: undefined } : result,
  };
  for (const [what, told] of Object.entries(lies)) {
    lie = told;
    await t.rejects(anchor.status(ref, note), { code: 'CHAIN_UNSUPPORTED' }, what);
  }
  lie = (method, result) =>
    method === 'eth_getProof' ? { ...(result as object), accountProof: [] } : result;
  t.match(
    await anchor.status(ref, note),
    { kind: 'pending', detail: /proves nothing yet/ },
    'a proof that is none',
  );
  lie = (method, result) => (method === 'eth_getTransactionReceipt' ? null : result);
  t.match(await anchor.status(ref, note), { kind: 'pending', detail: /no receipt/ });
  for (const [told, message] of [
    ['silence', /does not answer/],
    ['flood', /does not answer/],
  ] as const) {
    lie = () => told;
    const impatient = await openEvmAnchor({ ...node, timeoutMs: 500 });
    const error = await impatient.status(ref, note).then(
      () => '',
      (thrown: unknown) => String(Object(thrown).details ?? thrown),
    );
    t.match(error, message, told);
    t.notMatch(error, /secret-access-key/, 'the address is not told');
  }
});
