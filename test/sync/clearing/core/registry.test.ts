import t from 'tap';
import { LOSS_BY_ISSUER } from '../../../../identity/core/documents/allowance.ts';
import { issueAcquirer, issueAllowance, issueRegistrar } from '../../../../identity/core/issue.ts';
import { toHex, utf8ToBytes } from '../../../../protocol/bytes.ts';
import { lossBearersOf } from '../../../../sync/clearing/core/loss-bearers.ts';
import { RegistryBook } from '../../../../sync/clearing/core/registry-book.ts';
import { changedRegistry } from '../../../../sync/clearing/core/registry-change.ts';
import { buildRegistry, type Registry } from '../../../../sync/clearing/core/registry.ts';
import {
  ACQUIRER_FACTS,
  ALLOWANCE_FACTS,
  NOW_S,
  newWorld,
  PARTY_FACTS,
  REGISTRAR_FACTS,
} from '../../../identity/fixture.ts';

t.test('a registry says which documents it cannot use and keeps the others', async (t) => {
  const world = newWorld();
  const other = newWorld();
  const { party, registrar, binding, allowance } = world.payer;
  const registry = buildRegistry(world.trust, [
    party,
    registrar,
    binding,
    allowance,
    world.payee.acquirer,
    world.payee.merchant,
    world.mandate,
    other.mandate,
    other.payee.merchant,
    other.payer.binding,
    other.payer.allowance,
    utf8ToBytes('junk'),
  ]);
  t.equal(registry.payers.size, 1);
  t.equal(registry.payees.size, 1);
  t.equal(registry.approvers.size, 1);
  t.equal(registry.faults.length, 4);
});

t.test(
  'renewed credentials stand beside the first, in whatever order documents come',
  async (t) => {
    const world = newWorld();
    const { issuer, registrar, acquirer, device, party } = world.signers;
    const late = { notBeforeS: NOW_S + 3_600, expiresS: NOW_S + 200_000 };
    const again = issueRegistrar(issuer, { ...REGISTRAR_FACTS, ...late, key: registrar.key });
    const anew = issueAcquirer(issuer, { ...ACQUIRER_FACTS, ...late, key: acquirer.key });
    const issuerBears = issueAllowance(issuer, {
      ...ALLOWANCE_FACTS,
      line: world.line,
      generation: 9,
      policyHash: world.policyHash,
      clearing: world.signers.clearing.key.id,
      lossRule: LOSS_BY_ISSUER,
    });
    const documents = [
      ...Object.values(world.payer),
      ...Object.values(world.payee),
      again,
      anew,
      issuerBears,
    ];
    const shape = (registry: Registry): unknown => ({
      faults: registry.faults,
      payers: registry.payers
        .get(toHex(world.line))
        ?.map(({ allowance, period }) => [allowance.generation, period.notBeforeS])
        .toSorted(([a = 0, b = 0], [c = 0, d = 0]) => c - a || b - d),
      payees: [...registry.payees.values()].flat().map(({ period }) => period.notBeforeS),
    });
    const expected = {
      faults: [],
      payers: [
        [9, NOW_S - 60],
        [9, NOW_S + 3_600],
        [ALLOWANCE_FACTS.generation, NOW_S - 60],
        [ALLOWANCE_FACTS.generation, NOW_S + 3_600],
      ],
      payees: [NOW_S + 3_600, NOW_S - 60],
    };
    t.same(shape(buildRegistry(world.trust, documents)), expected);
    t.same(shape(buildRegistry(world.trust, documents.toReversed())), expected, 'backwards');
    const book = new RegistryBook(world.trust);
    let registry = book.take([]).registry;
    for (const cose of documents.toReversed()) {
      const step = book.take([cose]);
      t.same(
        changedRegistry({ ...registry, faults: step.registry.faults }, step.change),
        step.registry,
      );
      registry = step.registry;
    }
    t.same(
      shape(registry),
      expected,
      'one by one, and a copy that gets the changes alone is the same',
    );

    const owner = { account: PARTY_FACTS.fundingAccount, party: party.key.hex };
    t.same(lossBearersOf(registry, owner), ['issuer', 'party']);
    t.same(lossBearersOf(buildRegistry(world.trust, Object.values(world.payer)), owner), ['party']);
    t.same(lossBearersOf(registry, { ...owner, account: 'another' }), []);
    t.same(lossBearersOf(registry, { ...owner, party: device.key.hex }), []);
  },
);
