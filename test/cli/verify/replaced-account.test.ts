import { unlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import t from 'tap';
import { verifyFolder, writeContents } from '../../../cli/verify/verify.ts';
import { issueParty } from '../../../identity/core/issue.ts';
import { NOW_S, PARTY_FACTS } from '../../identity/fixture.ts';
import { buildOut } from './out.ts';

t.test('an account replaced under one party key: each receipt counts on its own', async (t) => {
  const root = t.testdir();
  const { out } = await buildOut(root, [3, 2]);
  const { issuer, party, clearing } = out.world.signers;
  const faultsWith = async (notBeforeS: number): Promise<string[]> => {
    const next = issueParty(issuer, {
      ...PARTY_FACTS,
      key: party.key,
      notBeforeS,
      fundingAccount: 'acct-next',
    });
    // One name sorts before the credential that it follows, the other behind.
    const found: string[] = [];
    for (const name of ['party-0', 'party-9']) {
      const path = join(root, `trust/documents/${name}.cbor`);
      await writeFile(path, next);
      await writeContents(root, clearing);
      found.push(...(await verifyFolder(root)).faults.map(({ reason }) => reason));
      await unlink(path);
    }
    return found;
  };
  // Receipts were given at NOW_S + 1 to NOW_S + 5, all on the first account.
  t.same(await faultsWith(NOW_S + 6), [], 'the new account pays for nothing yet');
  const faults = await faultsWith(NOW_S + 4);
  t.equal(faults.length, 4, 'the last two belong to the account in force when they were given');
  t.ok(faults.every((reason) => /^receipt .* says otherwise than its leaf$/.test(reason)));
});
