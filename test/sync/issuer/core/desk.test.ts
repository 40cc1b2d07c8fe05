import t from 'tap';
import { nodeVerifier } from '../../../../identity/edge/node-signatures.ts';
import { judge, missingSequences, receive } from '../../../../sync/issuer/core/desk.ts';
import type { DeskFacts, Judgement, Received } from '../../../../sync/issuer/core/desk.ts';
import { fileErrors } from '../../../../sync/issuer/core/desk-errors.ts';
import { NOON_S, clearing, cutFile } from '../desk-sample.ts';

const trust = { verifier: nodeVerifier(), clearings: [clearing.key], vaults: [] };
const arrived = receive(await cutFile(), trust, NOON_S);
if (!arrived.ok) throw new Error(arrived.reason);
const received: Received = arrived.value;

const facts: DeskFacts = {
  account: () => 'open',
  isTaken: () => false,
  chargedBackMinor: () => 0n,
  isFileIdUsed: false,
};

const codes = ({ bodies }: Judgement): string[] =>
  bodies.flatMap((body) => ('errors' in body ? body.errors.map((one) => one.code) : []));

t.test('a second presentment is taken up to what was charged back, and not beyond', async (t) => {
  const [first] = received.presentments;
  const original = first!.amountMinor;
  const again = (amountMinor: bigint, chargedBackMinor: bigint): Judgement =>
    judge(
      {
        ...received,
        presentments: [
          { ...first!, amountMinor, second: { originalMinor: original, reason: '4853' } },
        ],
      },
      { ...facts, chargedBackMinor: () => chargedBackMinor },
    );
  t.same(codes(again(3n, 0n)), ['2006'], 'nothing was charged back');
  t.same(codes(again(3n, 2n)), ['2006'], 'one minor unit too many');
  t.same(codes(again(3n, 3n)), []);
  t.match(again(3n, 3n).taken, [{ cycle: 2, amountMinor: 3n, arn: first!.arn }]);
});

t.test('a line with several faults is refused once, with each of them', async (t) => {
  const judgement = judge(received, {
    ...facts,
    account: () => 'closed',
    isTaken: (arn) => arn === received.presentments[1]!.arn,
  });
  const { length } = received.presentments;
  t.equal(judgement.bodies.length, length + 1);
  t.same(codes(judgement).slice(0, 3), ['2002', '2002', '2005']);
  t.match(judgement.bodies.at(-1), { debit: { count: 0, amountMinor: 0n } });
  t.equal(judgement.verdict, 'partly');
});

t.test('more lines refused than an answer holds reject the file', async (t) => {
  const [line] = received.presentments;
  const presentments = Array.from({ length: 99_998 }, () => line!);
  const unknown: DeskFacts = { ...facts, account: () => 'unknown' };
  t.same(codes(judge({ ...received, presentments }, unknown)), ['0550']);
  const fits = judge({ ...received, presentments: presentments.slice(1) }, unknown);
  t.equal(fits.bodies.length, 99_998, '99,997 refusals and the position');
});

t.test('PDS0005 holds ten errors, each kind once', async (t) => {
  t.same(
    fileErrors(['SUM', 'SUM', 'COUNT']).map((one) => one.element),
    ['P0301', 'P0306'],
  );
  const all = fileErrors([
    'UNREADABLE',
    'NO_HEADER',
    'SEQUENCE',
    'FILE_ID',
    'FILE_ID_USED',
    'COUNT',
    'SUM',
    'DUPLICATE_ARN',
    'BAD_ARN',
    'CURRENCY',
    'AMOUNT',
  ]);
  t.equal(all.length, 10);
});

t.test('sequences that have not come are those between the ones that have', async (t) => {
  t.same(missingSequences([]), []);
  t.same(missingSequences([7]), [], 'a desk may begin anywhere');
  t.same(missingSequences([9, 5, 6, 9, 12]), [7, 8, 10, 11], 'in any order');
  t.equal(missingSequences([1, 99_999]).length, 16, 'listed up to sixteen');
});
