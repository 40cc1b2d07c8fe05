import { readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { verifyApproverClosing } from '../../../identity/core/centre.ts';
import { verifyMandate } from '../../../identity/core/chain.ts';
import { issueMandate } from '../../../identity/core/issue.ts';
import { createKeyFile, openKeyFile } from '../../../identity/edge/key-file.ts';
import { nodeVerifier } from '../../../identity/edge/node-signatures.ts';
import { runIssuerTools } from '../../../cli/programs/issuer-tools.ts';
import { runOperatorTools } from '../../../cli/programs/operator-tools.ts';
import { readPublicKey } from '../../../cli/programs/config.ts';
import { openPolicyBook } from '../../../sync/ledger/core/policy-book.ts';
import { parseVerifierKey } from '../../../sync/ledger/core/note-key.ts';
import { MANDATE_FACTS } from '../../identity/fixture.ts';
import { kiri } from '../../system/command.ts';

const folder = t.testdir();
const at = (name: string): string => join(folder, name);
const issuer = createKeyFile(at('issuer.json')).signer;
const trust = { issuerKey: issuer.key, verifier: nodeVerifier() };
const bytes = (name: string): Uint8Array => new Uint8Array(readFileSync(at(name)));
const nowS = Math.floor(Date.now() / 1000);

t.test('an operator makes a key that nobody else can read', async (t) => {
  const args = ['operator', 'keygen', '--key', at('gw.json'), '--public', at('gw.cosekey')];
  const ended = await kiri([...args, '--json']);
  t.equal(ended.code, 0, ended.stderr);
  const { signer } = openKeyFile(at('gw.json'));
  t.match(JSON.parse(ended.stdout), { ok: true, id: signer.key.hex });
  t.equal(statSync(at('gw.json')).mode & 0o777, 0o600);
  t.equal(readPublicKey(at('gw.cosekey')).hex, signer.key.hex);
  t.notMatch(ended.stdout, /PRIVATE|"data"/);

  const again = await kiri(['operator', 'keygen', '--key', at('gw.json'), '--public', at('x')]);
  t.equal(again.code, 1);
  t.match(again.stderr, /KEY_FILE_EXISTS: .*gw\.json/);
  const words = ['operator', 'vkey', '--public', at('gw.cosekey'), '--name', 'w.example'];
  const vkey = await kiri([...words, '--for', 'witness']);
  const parsed = parseVerifierKey(vkey.stdout.trim());
  if (!parsed.ok) throw new Error(parsed.reason);
  t.same([parsed.value.name, parsed.value.type], ['w.example', 4]);
  t.same(parsed.value.publicKey, signer.key.point);
});

t.test('a mandate repeats the terms of an earlier one for another key', async (t) => {
  const old = { ...MANDATE_FACTS, key: issuer.key };
  writeFileSync(at('old.cbor'), issueMandate(issuer, old));
  const args = ['mandate', '--key', at('issuer.json'), '--for', at('gw.cosekey')];
  const more = ['--like', at('old.cbor'), '--status-index', '77', '--origin', 'gw-2.example'];
  t.equal(await runIssuerTools([...args, ...more, '--out', at('new.cbor'), '--json']), 0);
  const mandate = verifyMandate(trust, bytes('new.cbor'), nowS);
  if (!mandate.ok) throw new Error(mandate.reason);
  const { key, status, logOriginPrefix, operator, deviceLimitMicro } = mandate.value.mandate;
  t.equal(key.hex, readPublicKey(at('gw.cosekey')).hex);
  t.same([status.index, logOriginPrefix], [77, 'gw-2.example']);
  t.same([operator, deviceLimitMicro], [MANDATE_FACTS.operator, MANDATE_FACTS.deviceLimitMicro]);
  await t.rejects(runIssuerTools([...args, ...more, '--out', at('new.cbor')]), {
    code: 'FILE_EXISTS',
  });
  const stranger = createKeyFile(at('stranger.json')).signer;
  writeFileSync(at('foreign.cbor'), issueMandate(stranger, old));
  const foreign = ['--like', at('foreign.cbor'), '--status-index', '1', '--out', at('never.cbor')];
  await t.rejects(runIssuerTools([...args, ...foreign]), { code: 'DOCUMENT_INVALID' });
});

t.test('an approver is closed', async (t) => {
  const args = ['close-approver', '--key', at('issuer.json'), '--approver', at('gw.cosekey')];
  const facts = ['--through', '812', '--reason', 'board dead', '--out', at('closing.cbor')];
  t.equal(await runIssuerTools([...args, ...facts, '--json']), 0);
  const closing = verifyApproverClosing(trust, bytes('closing.cbor'));
  if (!closing.ok) throw new Error(closing.reason);
  t.match(closing.value.value, { throughSequence: 812, reason: 'board dead' });
});

t.test('a policy book grows by versions that follow each other', async (t) => {
  await runOperatorTools(['keygen', '--key', at('log.json'), '--public', at('log.cosekey')]);
  writeFileSync(at('policy.txt'), 'quorum none\n');
  const args = ['policy', '--key', at('issuer.json'), '--text', at('policy.txt')];
  const book = ['--book', at('policies')];
  t.equal(await runIssuerTools([...args, ...book, '--in-force-from', '1000', '--json']), 0);
  t.equal(await runIssuerTools([...args, ...book, '--in-force-from', '2000', '--json']), 0);
  const opened = openPolicyBook(bytes('policies'), issuer.key, nodeVerifier());
  if (!opened.ok) throw new Error(opened.reason);
  t.same(
    opened.value.versions.map(({ version, inForceFromS }) => [version, inForceFromS]),
    [
      [1, 1000],
      [2, 2000],
    ],
  );
  const before = bytes('policies');
  await t.rejects(runIssuerTools([...args, ...book, '--in-force-from', '2000']), {
    code: 'DOCUMENT_INVALID',
    message: /not later/,
  });
  writeFileSync(at('policy.txt'), 'quorum nobody\n');
  await t.rejects(runIssuerTools([...args, ...book]), { code: 'CONFIG_INVALID' });
  t.same(bytes('policies'), before, 'what is refused changes nothing');
});

t.test('wrong words are a matter of usage', async (t) => {
  for (const args of [
    [],
    ['mandat'],
    ['mandate', '--key', at('issuer.json')],
    ['close-approver', '--out', 'x', '--through', 'many'],
    ['policy', '--bok', 'x'],
  ]) {
    await t.rejects(runIssuerTools(args), { name: 'Error' }, args.join(' '));
  }
  const ended = await kiri(['issuer', 'close-approver', '--out', at('x'), '--through', '-1']);
  t.equal(ended.code, 2);
  t.match(ended.stderr, /Usage: kiri issuer/);
  await t.rejects(runOperatorTools(['vkey', '--for', 'gate']), /neither log nor witness/);
  await t.rejects(runOperatorTools(['keygen']), /--key is needed/);
});
