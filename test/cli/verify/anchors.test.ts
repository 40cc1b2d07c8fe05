import { mkdir, readFile, rm, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import t from 'tap';
import { anchoredSizes, checkAnchors, loadAnchors } from '../../../cli/verify/anchors.ts';
import { Artefacts } from '../../../cli/verify/artefacts.ts';
import { Findings } from '../../../cli/verify/findings.ts';
import type { LogView } from '../../../cli/verify/log.ts';
import type { TrustStore } from '../../../cli/verify/trust.ts';
import { toHex, utf8ToBytes } from '../../../protocol/bytes.ts';
import { encodeCheckpoint } from '../../../sync/ledger/core/checkpoint.ts';
import { cosign } from '../../../sync/ledger/core/cosignature.ts';
import { encodeVerifierKey } from '../../../sync/ledger/core/note-key.ts';
import { signNote } from '../../../sync/ledger/core/note.ts';
import { policyOf, realLog, realVerify, realWitness } from '../../sync/ledger/keys.ts';
import { temporaryFolder } from '../../sync/ledger/rig.ts';

const ROLL_UP = 'rollup.example/2026';
const GATEWAY = 'gw.example/2026q4';
const CONSORTIUM = realWitness('consortium.example/anchor');
const POLICY = policyOf(realLog(ROLL_UP), [realWitness('w.example/1')], 'quorum w1');
const rootOf = (size: number): Uint8Array => new Uint8Array(32).fill(size);
const noteOf = (size: number, fill = size, origin = ROLL_UP): string => {
  const text = encodeCheckpoint({ origin, size, root: rootOf(fill) });
  return signNote(text, realLog(origin)) + cosign(text, realWitness('w.example/1'), 1_800_000_000);
};
const countersigned = (note: string): string =>
  note + cosign(note.slice(0, note.indexOf('\n\n') + 1), CONSORTIUM, 1_800_000_060);

const view = (origin: string, size: number, rolledNotes: LogView['rolledNotes'] = []): LogView => ({
  origin,
  size,
  root: toHex(rootOf(size)),
  isRetired: false,
  places: new Map(),
  cosignedS: 1_800_000_000,
  rolledNotes,
  rootAt: (at) => (at <= size ? toHex(rootOf(at)) : undefined),
});

const world = async (t: { teardown(end: () => Promise<void>): void }) => {
  const root = await temporaryFolder(t);
  const put = async (path: string, bytes: string | Uint8Array): Promise<void> => {
    await mkdir(dirname(join(root, path)), { recursive: true });
    await writeFile(join(root, path), bytes);
  };
  const keys = [encodeVerifierKey(CONSORTIUM.key)];
  await put('trust/anchors/by-hand.json', JSON.stringify({ kind: 'file', keys }));
  for (const size of [2, 3]) {
    await put(`log/anchors/${size}/checkpoint`, noteOf(size));
    await put(`log/anchors/${size}/by-hand`, countersigned(noteOf(size)));
  }
  const check = () => {
    const findings = new Findings();
    const files = new Artefacts(root, findings);
    const anchors = loadAnchors(files, 'trust/', { noteVerify: realVerify }, findings);
    const store = { anchors, policy: POLICY, noteVerify: realVerify } as unknown as TrustStore;
    const size = checkAnchors(files, 'log/', view(ROLL_UP, 5), store, findings);
    const { faults, checked } = findings.report();
    return { size, faults, checked };
  };
  return { root, put, check };
};

t.test('good evidence counts, and the largest size is what is anchored', async (t) => {
  const { check } = await world(t);
  t.same(check(), {
    size: 3,
    faults: [],
    checked: { 'anchor trust files': 1, 'anchor evidence': 2 },
  });
});

t.test('every artefact, changed at every eleventh byte, is named and proves nothing', async (t) => {
  const { root, check } = await world(t);
  for (const path of ['log/anchors/3/checkpoint', 'log/anchors/3/by-hand']) {
    const whole = await readFile(join(root, path));
    const missed: number[] = [];
    for (let at = 0; at < whole.length; at += 11) {
      const changed = Buffer.from(whole);
      changed[at] = (changed[at] ?? 0) ^ (1 << (at % 8));
      await writeFile(join(root, path), changed);
      const { faults, size } = check();
      if (size > 2 || !faults.some((fault) => fault.path.startsWith('log/anchors/3/')))
        missed.push(at);
    }
    await writeFile(join(root, path), whole);
    t.same(missed, [], path);
  }
});

t.test('what is missing, strange or of another log is a fault', async (t) => {
  const key = encodeVerifierKey(realWitness('stranger.example/s').key);
  const cases: readonly (readonly [string, string | undefined, string, RegExp])[] = [
    ['log/anchors/3/checkpoint', undefined, 'log/anchors/3/checkpoint', /missing/],
    ['trust/anchors/by-hand.json', undefined, 'log/anchors/3/by-hand', /by-hand\.json is needed/],
    ['trust/anchors/by-hand.json', '{', 'trust/anchors/by-hand.json', /not JSON/],
    [
      'trust/anchors/by-hand.json',
      `{"kind":"file","keys":["${key}"]}`,
      'log/anchors/3/by-hand',
      /./,
    ],
    ['trust/anchors/a b.json', '{}', 'trust/anchors/a b.json', /./],
    ['log/anchors/x/by-hand', '', 'log/anchors/x/by-hand', /no evidence of an anchor/],
    ['log/anchors/3/more/by-hand', '', 'log/anchors/3/more/by-hand', /no evidence of an anchor/],
    ['log/anchors/4/checkpoint', noteOf(3), 'log/anchors/4/checkpoint', /another size/],
    ['log/anchors/4/checkpoint', noteOf(4, 9), 'log/anchors/4/checkpoint', /not a head/],
    ['log/anchors/6/checkpoint', noteOf(6), 'log/anchors/6/checkpoint', /not a head/],
    ['log/anchors/4/checkpoint', noteOf(4, 4, GATEWAY), 'log/anchors/4/checkpoint', /./],
  ];
  for (const [path, content, at, reason] of cases) {
    const { root, put, check } = await world(t);
    if (content === undefined) await rm(join(root, path));
    else await put(path, content);
    t.ok(
      check().faults.some((fault) => fault.path === at && reason.test(fault.reason)),
      `${path}: ${JSON.stringify(check().faults)}`,
    );
  }
});

t.test('a gateway’s log is anchored as far as its last head in the anchored part', (t) => {
  const notes = [3, 5, 7].map((size, index) => ({
    index,
    note: utf8ToBytes(noteOf(size, size, GATEWAY)),
  }));
  const sizes = (anchoredSize: number, logs: readonly LogView[]) => {
    const findings = new Findings();
    const log = view(ROLL_UP, 3, notes);
    const found = anchoredSizes([{ prefix: 'log/', log, anchoredSize }], logs, findings);
    return { size: found.get(GATEWAY), faults: findings.report().faults.length };
  };
  t.same(sizes(2, [view(GATEWAY, 9)]), { size: 5, faults: 0 });
  t.same(sizes(3, [view(GATEWAY, 6)]), { size: 5, faults: 0 }, 'the copy at hand is older');
  t.same(sizes(0, [view(GATEWAY, 9)]), { size: undefined, faults: 0 }, 'rolled up, not anchored');
  const other = { ...view(GATEWAY, 9), rootAt: () => toHex(rootOf(8)) };
  t.same(sizes(3, [other]), { size: undefined, faults: 3 }, 'heads that it never had');
  t.end();
});
