import fc from 'fast-check';
import t from 'tap';
import { utf8ToBytes } from '../../../../protocol/bytes.ts';
import { encodeCheckpoint } from '../../../../sync/ledger/core/checkpoint.ts';
import { cosign } from '../../../../sync/ledger/core/cosignature.ts';
import { verifyFinalCheckpoint } from '../../../../sync/ledger/core/final-checkpoint.ts';
import { EMPTY_ROOT } from '../../../../sync/ledger/core/merkle.ts';
import { signNote } from '../../../../sync/ledger/core/note.ts';
import { isShardOfTime, parseShard, quarterOf } from '../../../../sync/ledger/core/shard.ts';
import {
  encodeAddCheckpoint,
  stepWitness,
  witnessState,
} from '../../../../sync/ledger/core/witness.ts';
import { logSigner } from '../../../../sync/ledger/core/note-ports.ts';
import { nobleSigner } from '../../../../identity/core/noble-signatures.ts';
import { ALG_EDDSA } from '../../../../protocol/public-key.ts';
import { policyOf, realVerify, realWitness } from '../keys.ts';

const PREFIX = 'kiri.example/gw1';
const NOW_MS = Date.UTC(2026, 10, 22);

t.test('a shard is named after a quarter of UTC', async (t) => {
  t.same(parseShard(`${PREFIX}/2026q4`), { prefix: PREFIX, index: 4 * 2026 + 3 });
  for (const origin of [
    PREFIX,
    `${PREFIX}/2026q0`,
    `${PREFIX}/2026q5`,
    `${PREFIX}/0026q1`,
    '2026q1',
  ]) {
    t.equal(parseShard(origin), undefined, origin);
  }
  t.equal(parseShard(`${PREFIX}/2026q4 `), undefined);
  const ofDate = (ms: number): number => {
    const date = new Date(ms);
    return 4 * date.getUTCFullYear() + Math.floor(date.getUTCMonth() / 3);
  };
  const range = { min: Date.UTC(1970, 0, 1), max: Date.UTC(2400, 0, 1) };
  fc.assert(
    fc.property(fc.integer(range), (ms) => quarterOf(ms) === ofDate(ms)),
    { numRuns: 2_000 },
  );
  for (let year = 1999; year < 2105; year += 1) {
    for (const month of [0, 3, 6, 9]) {
      const start = Date.UTC(year, month, 1);
      if (quarterOf(start) !== ofDate(start) || quarterOf(start - 1) !== ofDate(start) - 1) {
        t.fail(`${year} month ${month}`);
      }
    }
  }
  const at = (name: string): boolean => isShardOfTime(parseShard(`${PREFIX}/${name}`)!, NOW_MS);
  t.same(['2025q3', '2025q4', '2026q4', '2027q1', '2027q2'].map(at), [
    false,
    true,
    true,
    true,
    false,
  ]);
});

/** One key pair: the name in front of it is the prefix or a shard's origin. */
const signerFor = (origin: string) =>
  logSigner(origin, nobleSigner(ALG_EDDSA, new Uint8Array(32).fill(8)));
const witness = realWitness('w.example/1');
const textOf = (origin: string): string => encodeCheckpoint({ origin, size: 0, root: EMPTY_ROOT });

t.test('a policy’s log line names a log, or the prefix of its shards', async (t) => {
  const policy = policyOf(signerFor(PREFIX), [witness], 'quorum w1');
  const isFinal = (origin: string, signer = signerFor(origin)): boolean => {
    const text = textOf(origin);
    const note = signNote(text, signer) + cosign(text, witness, 5);
    return verifyFinalCheckpoint(utf8ToBytes(note), policy, realVerify).ok;
  };
  t.ok(isFinal(PREFIX));
  t.ok(isFinal(`${PREFIX}/2026q4`));
  t.notOk(isFinal(`${PREFIX}/other`));
  t.notOk(isFinal(`${PREFIX}2/2026q4`), 'not at a border of components');
  t.notOk(isFinal(`${PREFIX}/x/2026q4`));
  t.notOk(isFinal(`${PREFIX}/2026q4`, signerFor(PREFIX)), 'a shard is signed under its own name');
});

t.test(
  'a witness that knows a prefix cosigns its shards near in time, each from size 0',
  async (t) => {
    const state = witnessState(new Map([[PREFIX, [signerFor(PREFIX).key]]]), []);
    let requestId = 0;
    const ask = (origin: string): number => {
      const body = encodeAddCheckpoint(0, [], signNote(textOf(origin), signerFor(origin)));
      requestId += 1;
      const input = { kind: 'addCheckpoint', requestId, body } as const;
      const [effect] = stepWitness(state, input, NOW_MS, { signer: witness, verify: realVerify });
      return effect?.kind === 'respond' ? effect.answer.status : 200;
    };
    t.same(
      [
        PREFIX,
        `${PREFIX}/2026q3`,
        `${PREFIX}/2026q4`,
        `${PREFIX}/2028q1`,
        `${PREFIX}/a/2026q4`,
      ].map(ask),
      [200, 200, 200, 404, 404],
    );
    t.equal(state.heads.size, 3);
  },
);
