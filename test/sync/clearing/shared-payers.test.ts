import t from 'tap';
import { toHex } from '../../../protocol/bytes.ts';
import { buildRegistry, type RegisteredPayer } from '../../../sync/clearing/core/registry.ts';
import { PayersInLayers, sharePayers } from '../../../sync/clearing/shared-payers.ts';
import { newWorld } from '../../identity/fixture.ts';
import { documentsOf } from './purchases.ts';
import { hashOf } from './sample.ts';

const world = newWorld();
const { payers } = buildRegistry(world.trust, documentsOf(world));
const chain = [...payers.values()][0]![0]!;

/** A line's chain, told from others by its account; every other one revoked. */
const chainOf = (n: number, account = `account-${n}`): RegisteredPayer => ({
  ...chain,
  line: hashOf(`line ${n}`).subarray(0, 16),
  lineHex: toHex(hashOf(`line ${n}`).subarray(0, 16)),
  party: { ...chain.party, fundingAccount: account },
  ...(n % 2 === 0 ? { revokedS: n } : {}),
});

const entryOf = (one: RegisteredPayer): [string, RegisteredPayer[]] => [toHex(one.line), [one]];

t.test('threads find every line, with what the checks ask of it, and no other', async (t) => {
  const lines = Array.from({ length: 600 }, (_, n) => entryOf(chainOf(n)));
  const shared = sharePayers(lines, lines.length, 65_536);
  t.ok(shared.blocks.length > 1, 'more than one block');
  const view = new PayersInLayers([shared], 100);
  const differing: string[] = [];
  // Twice, and more lines than are held as objects.
  for (const [lineHex, [one]] of [...lines, ...lines]) {
    const facts = view.get(lineHex)?.[0];
    const isSame =
      facts?.party.fundingAccount === one?.party.fundingAccount &&
      facts?.revokedS === one?.revokedS;
    if (!isSame) differing.push(lineHex);
  }
  t.same(differing, []);
  t.match(view.get(lines[7]![0]), [
    {
      line: chainOf(7).line,
      period: chain.period,
      deviceKey: chain.deviceKey,
      partyHex: chain.partyHex,
      binding: { currency: chain.binding.currency },
      allowance: {
        clearing: chain.allowance.clearing,
        issuer: chain.allowance.issuer,
        directLimitMicro: chain.allowance.directLimitMicro,
        handInDelayS: chain.allowance.handInDelayS,
        lossRule: chain.allowance.lossRule,
      },
    },
  ]);
  for (let n = 600; n < 900; n += 1) {
    if (view.get(toHex(chainOf(n).line))) t.fail(`line ${n} is in nobody's documents`);
  }
  t.equal(view.get('ab'), undefined, 'what is no line');
  t.equal(new PayersInLayers([sharePayers([], 0)]).get(lines[0]![0]), undefined, 'no payers');
});

t.test('of two layers the first says all of a line', async (t) => {
  const base = sharePayers([entryOf(chainOf(1)), entryOf(chainOf(3))], 2);
  const change = sharePayers([[toHex(chainOf(1).line), [chainOf(1, 'new'), chainOf(1)]]], 1);
  const view = new PayersInLayers([change, base]);
  const accounts = (n: number) =>
    view.get(toHex(chainOf(n).line))?.map(({ party }) => party.fundingAccount);
  t.same(accounts(1), ['new', 'account-1']);
  t.same(accounts(3), ['account-3']);
});
