import { sha256 } from '@noble/hashes/sha2.js';
import t from 'tap';
import { Findings } from '../../../cli/verify/findings.ts';
import type { LogView } from '../../../cli/verify/log.ts';
import { checkShards, type PlacedLog } from '../../../cli/verify/shards.ts';
import type { TrustStore } from '../../../cli/verify/trust.ts';
import { toHex, utf8ToBytes } from '../../../protocol/bytes.ts';
import { encodeCheckpoint } from '../../../sync/ledger/core/checkpoint.ts';
import { cosign } from '../../../sync/ledger/core/cosignature.ts';
import { verifierKey } from '../../../sync/ledger/core/note-key.ts';
import { signNote } from '../../../sync/ledger/core/note.ts';
import { policyOf, realLog, realVerify, realWitness } from '../../sync/ledger/keys.ts';

const PREFIX = 'kiri.example/gw7';
const log = realLog(PREFIX);
const witness = realWitness('w.example');
const policy = policyOf(log, [witness], 'quorum w1');
// The judge of chains looks at nothing else of the trust files.
const store = { policy, noteVerify: realVerify } as TrustStore;

interface Made {
  readonly view: LogView;
  readonly text: string;
  readonly note: Uint8Array;
}

/** Leaf version 2 (docs/ledger.md): the byte 2 and the hash of the predecessor's checkpoint text. */
const predecessorLeaf = (text: string): Uint8Array =>
  Uint8Array.of(2, ...sha256(utf8ToBytes(text)));

function shard(quarter: string, size: number, before?: Made): Made {
  const origin = `${PREFIX}/${quarter}`;
  const root = sha256(utf8ToBytes(`root of ${quarter}`));
  const text = encodeCheckpoint({ origin, size, root });
  const signer = { ...log, key: verifierKey(origin, log.key.type, log.key.publicKey) };
  const note = utf8ToBytes(signNote(text, signer) + cosign(text, witness, 1_790_000_000));
  const view: LogView = {
    origin,
    size,
    cosignedS: 1_790_000_000,
    isRetired: false,
    root: toHex(root),
    places: new Map(),
    ...(before ? { first: { leaf: predecessorLeaf(before.text), record: before.note } } : {}),
    rolledNotes: [],
    rootAt: () => undefined,
  };
  return { view, text, note };
}

const judged = (...views: readonly LogView[]): Findings => {
  const findings = new Findings();
  const placed = views.map((view): PlacedLog => ({ prefix: `ledger/${view.origin}/`, log: view }));
  checkShards(placed, store, findings);
  return findings;
};

const a = shard('2026q3', 7);
const b = shard('2026q4', 4, a);
const c = shard('2027q1', 9, b);

t.test('quarterly logs that follow on are counted, in whatever order they are found', async (t) => {
  const report = judged(c.view, a.view, b.view).report();
  t.same(report.faults, []);
  t.equal(report.checked['shards that follow on'], 2);
});

t.test('a quarter whose end was cut off is found', async (t) => {
  const shorter = { ...a.view, size: 6, root: toHex(sha256(utf8ToBytes('cut'))) };
  t.match(judged(shorter, b.view).report().faults, [
    { path: `ledger/${PREFIX}/2026q4/tlog/checkpoint`, reason: /another checkpoint/ },
  ]);
});

t.test('a shard that names no predecessor is found', async (t) => {
  const { first: _, ...without } = b.view;
  t.match(judged(a.view, without).report().faults, [{ reason: /names no predecessor/ }]);
});

t.test('a quarter that lies elsewhere, or whose contents were retired, is no fault', async (t) => {
  const skipped = judged(a.view, c.view).report();
  t.same(skipped.faults, []);
  t.equal(skipped.checked['shards whose predecessor is elsewhere'], 1);
  const { first: _, ...gone } = { ...b.view, isRetired: true };
  t.same(judged(a.view, gone).report().faults, []);
});

t.test('logs of other gateways and logs that are no shards are left alone', async (t) => {
  const other = { ...a.view, origin: 'kiri.example/gw8/2026q4' };
  const single = { ...a.view, origin: 'kiri.example/intake' };
  t.same(judged(a.view, other, single).report().faults, []);
});
