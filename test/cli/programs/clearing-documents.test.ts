import { mkdirSync, renameSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { changesOf, documentsOf } from '../../../cli/programs/clearing-documents.ts';
import { Config } from '../../../cli/programs/config.ts';
import { issueParty } from '../../../identity/core/issue.ts';
import { toHex } from '../../../protocol/bytes.ts';
import { programmesWith } from '../../../sync/clearing/core/programmes.ts';
import type { SettlementDirectory } from '../../../sync/clearing/core/directory.ts';
import type { Registry } from '../../../sync/clearing/core/registry.ts';
import { NOW_S, newWorld, PARTY_FACTS } from '../../identity/fixture.ts';

t.test(
  'files and folders of a configuration: what is new reaches checker and books together',
  async (t) => {
    const world = newWorld();
    const root = t.testdir({ devices: {} });
    const put = (name: string, bytes: Uint8Array): void => {
      writeFileSync(join(root, `${name}.tmp`), bytes);
      renameSync(join(root, `${name}.tmp`), join(root, name));
    };
    put('party.cbor', world.payer.party);
    put('registrar.cbor', world.payer.registrar);
    mkdirSync(join(root, 'devices/car-1'));
    put('devices/car-1/binding.cbor', world.payer.binding);
    put('devices/car-1/allowance.cbor', world.payer.allowance);
    const documents = ['party.cbor', 'registrar.cbor', 'devices'];
    // A second is the shortest interval: here the clock is the real one, so the first look after it finds what is new.
    const config = new Config({ documents, documentsEverySeconds: 1 }, join(root, 'clearing.json'));
    const watch = await documentsOf(config, world.trust);
    const line = toHex(world.line);
    t.equal(watch.registry.payers.get(line)?.length, 1);
    const told: { registries: Registry[]; directories: SettlementDirectory[] } = {
      registries: [],
      directories: [],
    };
    const changes = changesOf(
      watch,
      { follow: (registry) => void told.registries.push(registry) },
      { follow: (directory) => void told.directories.push(directory) },
      programmesWith([]),
    );
    changes.take();
    t.same(told, { registries: [], directories: [] }, 'nothing waits');
    const { issuer, party } = world.signers;
    const next = { ...PARTY_FACTS, key: party.key, notBeforeS: NOW_S, fundingAccount: 'acct-next' };
    put('devices/party-next.cbor', issueParty(issuer, next));
    while (!(await changes.waits())) await new Promise((resolve) => setImmediate(resolve));
    changes.take();
    t.equal(told.registries[0], watch.registry);
    t.equal(told.registries[0]?.payers.get(line)?.length, 2);
    const key = {
      issuer: issuer.key.hex,
      acquirer: '',
      merchant: '',
      programme: 'BILATERAL',
      account: PARTY_FACTS.fundingAccount,
      party: party.key.hex,
      mcc: '4784',
      currency: 392,
      sign: 'debit',
    } as const;
    const { expiresS } = PARTY_FACTS;
    t.equal(told.directories[0]?.accountAfter?.(key, expiresS), undefined, 'both have ended');
    t.equal(told.directories[0]?.accountEndsS?.({ ...key, account: 'acct-next' }), expiresS);
    t.equal(told.directories.length, 1);
    await t.rejects(
      documentsOf(new Config({ documents: ['none'] }, join(root, 'clearing.json')), world.trust),
      { code: 'DOCUMENT_INVALID' },
    );
  },
);
