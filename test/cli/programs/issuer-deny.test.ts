import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { runIssuerTools } from '../../../cli/programs/issuer-tools.ts';
import { verifyStatusList } from '../../../identity/core/centre.ts';
import { statusAt } from '../../../identity/core/status-list.ts';
import { createKeyFile } from '../../../identity/edge/key-file.ts';
import { nodeVerifier } from '../../../identity/edge/node-signatures.ts';
import { inflateStatusList, packStatuses } from '../../../identity/edge/status-zlib.ts';
import { issueParty, issueStatusList } from '../../../identity/core/issue.ts';
import { LIST, newSigner, newWorld, PARTY_FACTS } from '../../identity/fixture.ts';
import { gatewayOf, tempFolder } from '../../fog-gateway/kit.ts';

const folder = t.testdir();
const at = (name: string): string => join(folder, name);
const issuer = createKeyFile(at('issuer.json')).signer;
const party = newSigner();
const nowS = Math.floor(Date.now() / 1000);
const run = (...args: string[]): Promise<number> => runIssuerTools([...args, '--json']);

mkdirSync(at('documents'));
const credential = issueParty(issuer, { ...PARTY_FACTS, key: party.key });
writeFileSync(at('documents/party.cbor'), credential);
const base = issueStatusList(issuer, {
  uri: LIST,
  issuedS: nowS - 60,
  expiresS: nowS + 86_400,
  ttlS: 3_600,
  version: 3,
  packed: packStatuses(64, []),
});
writeFileSync(at('list-3.cwt'), base);
const DESK = ['--state', at('desk')];
const LIST_OPTIONS = ['--key', at('issuer.json'), '--documents', at('documents'), ...DESK];

const read = (name: string): { version: number; bit: number | undefined } => {
  const trust = { issuerKey: issuer.key, verifier: nodeVerifier() };
  const token = verifyStatusList(trust, new Uint8Array(readFileSync(at(name))));
  const list = token.ok ? inflateStatusList(token.value.value) : token;
  if (!list.ok) throw new Error(list.reason);
  return { version: list.value.version, bit: statusAt(list.value, 1) };
};

t.test("declined by the clearing's answer, in the next list, and out of a later one", async (t) => {
  const declined = [{ account: 'A', party: party.key.hex, code: '4837', arn: '1', sinceS: nowS }];
  writeFileSync(at('answer.json'), JSON.stringify({ ok: true, declined }));
  t.equal(await run('decline', ...DESK, '--from', at('answer.json')), 0);
  t.equal(await run('decline', ...DESK, '--party', party.key.hex), 0, 'again changes nothing');
  const out = ['--out', at('list.cwt')];
  t.equal(await run('status-list', ...LIST_OPTIONS, ...out, '--from', at('list-3.cwt')), 0);
  t.same(read('list.cwt'), { version: 4, bit: 1 });
  t.equal(await run('recover', ...DESK, '--party', party.key.hex), 0);
  t.equal(await run('status-list', ...LIST_OPTIONS, ...out), 0);
  t.same(read('list.cwt'), { version: 5, bit: 0 });
  t.equal(await run('decline', ...DESK, '--line', 'ab'.repeat(16)), 0);
  t.equal(await run('status-list', ...LIST_OPTIONS, ...out), 1, 'a line without a document');
  t.same(read('list.cwt'), { version: 6, bit: 0 }, 'the list is signed all the same');
});

t.test('answers that are none, ids that are none, and options that contradict', async (t) => {
  for (const text of ['{', '[]', '{"declined":{}}', '{"declined":[{"party":"x"}]}']) {
    writeFileSync(at('wrong.json'), text);
    await t.rejects(run('decline', ...DESK, '--from', at('wrong.json')), { code: 'FILE_INVALID' });
  }
  await t.rejects(run('decline', ...DESK), /--party ID and --line ID/);
  await t.rejects(run('decline', ...DESK, '--party', 'AB'.repeat(16)), /32 hex digits/);
  const both = ['--party', 'ab'.repeat(16), '--line', 'ab'.repeat(16)];
  await t.rejects(run('recover', ...DESK, ...both), /one of/);
});

t.test(
  'a gateway of another issuer does not take the list, and the exit code says so',
  async (t) => {
    const gateway = await gatewayOf(t, newWorld(), tempFolder(t));
    const to = ['--to', `http://127.0.0.1:${gateway.httpPort}`];
    const tokens = ['--token-file', gateway.adminTokenPath];
    const list = ['publish', '--list', at('list-3.cwt')];
    t.equal(await run(...list, ...to, ...tokens), 1);
    const statements = ['publish', '--statements', at('documents')];
    t.equal(await run(...statements, ...to, ...tokens), 1, 'a credential is no Statement');
    mkdirSync(at('none'));
    t.equal(await run('publish', '--statements', at('none'), ...to, ...tokens), 0);
    await t.rejects(run(...list, ...statements.slice(1), ...to, ...tokens), /one of --list/);
    await t.rejects(run(...list, ...to), /wants a --token-file/);
    await t.rejects(run(...list, ...to, '--token-file', at('list-3.cwt')), {
      code: 'TOKEN_INVALID',
    });
    await t.rejects(run(...list, '--to', 'http://gw.example', ...tokens), { code: 'URL_INVALID' });
  },
);
