import t from 'tap';
import {
  levelOfLeaf,
  levelOfSequence,
  parseLevels,
  type LogLevels,
} from '../../protocol/levels.ts';

const LEVELS: LogLevels = {
  origin: 'gw.example/log',
  recorded: { size: 30, throughSequence: 130 },
  final: { size: 20, throughSequence: 120 },
  policyHash: 'ab'.repeat(32),
  anchored: { size: 10, throughSequence: 110, ref: 'block 7' },
  backlog: 10,
  isBehindJournal: false,
  drainPerS: 2.5,
  etaS: 4,
  oldestUnfinalMs: 1_795_296_000_000,
};

t.test('a leaf and a sequence have the level that their marks reach', async (t) => {
  const at = [9, 10, 19, 20, 29, 30];
  const want = ['L3', 'L2', 'L2', 'L1', 'L1', 'L0'];
  t.same(
    at.map((index) => levelOfLeaf(index, LEVELS)),
    want,
  );
  t.same(
    at.map((index) => levelOfSequence(index + 101, LEVELS)),
    want,
  );
});

t.test('what is anchored and not final under the policy is not L3', async (t) => {
  const odd = { ...LEVELS, anchored: { size: 25, throughSequence: 125, ref: '' } };
  t.equal(levelOfLeaf(22, odd), 'L1');
  t.equal(levelOfSequence(122, odd), 'L1');
  t.equal(levelOfSequence(121, { ...LEVELS, final: { size: 30 } }), 'L1', 'sequence not known');
});

t.test('levels come back from JSON, and nothing else does', async (t) => {
  t.same(parseLevels(JSON.parse(JSON.stringify(LEVELS))), LEVELS);
  const { anchored: _a, etaS: _e, oldestUnfinalMs: _o, ...least } = LEVELS;
  t.same(parseLevels(least), least);
  for (const wrong of [
    undefined,
    null,
    [],
    7,
    {},
    { ...LEVELS, origin: 7 },
    { ...LEVELS, origin: 'x'.repeat(1_025) },
    { ...LEVELS, recorded: { size: -1 } },
    { ...LEVELS, recorded: undefined },
    { ...LEVELS, final: { size: 1.5 } },
    { ...LEVELS, final: { size: 1, throughSequence: '9' } },
    { ...LEVELS, policyHash: 'AB'.repeat(32) },
    { ...LEVELS, anchored: { size: 1 } },
    { ...LEVELS, anchored: null },
    { ...LEVELS, backlog: -1 },
    { ...LEVELS, isBehindJournal: 'no' },
    { ...LEVELS, drainPerS: Infinity },
    { ...LEVELS, etaS: -1 },
    { ...LEVELS, oldestUnfinalMs: 'now' },
  ]) {
    t.equal(parseLevels(wrong), undefined, JSON.stringify(wrong));
  }
});
