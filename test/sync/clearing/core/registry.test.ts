import t from 'tap';
import { utf8ToBytes } from '../../../../protocol/bytes.ts';
import { buildRegistry } from '../../../../sync/clearing/core/registry.ts';
import { newWorld } from '../../../identity/fixture.ts';

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
