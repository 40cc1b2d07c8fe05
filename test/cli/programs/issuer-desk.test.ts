import { mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { nodeVerifier } from '../../../identity/edge/node-signatures.ts';
import { openAcknowledgement } from '../../../sync/clearing/core/inbound-documents.ts';
import { readInbound } from '../../../sync/clearing/core/inbound.ts';
import { makeDeskFolders } from './desk-sample.ts';
import { kiri, type Ended } from '../../system/command.ts';

const folder = t.testdir();
const at = (...names: string[]): string => join(folder, ...names);
const nowS = Math.floor(Date.now() / 1000);
const { issuer, clearing, path, options } = await makeDeskFolders(folder, nowS);

const desk = (part: string, ...args: string[]): Promise<Ended> =>
  kiri(['issuer', part, ...args, ...options]);
const trust = {
  verifier: nodeVerifier(),
  issuers: [issuer.key],
  clearing: clearing.key.id,
  nowS,
};
const bytes = (name: string): Uint8Array => new Uint8Array(readFileSync(at('out', name)));

t.test('an issuer takes a cut, and the clearing can read the answer', async (t) => {
  const ended = await desk('ingest', path, '--trust', at('trust'));
  t.equal(ended.code, 0, ended.stderr);
  const told = JSON.parse(ended.stdout) as { verdict: string; written: string[]; lines: number };
  t.match(told, { ok: true, verdict: 'accepted', number: 1, isRepeated: false, remarks: [] });
  const [ack, file, manifest] = told.written as [string, string, string];
  t.match(openAcknowledgement(bytes(ack), trust), { ok: true, value: { value: { number: 1 } } });
  t.match(readInbound(bytes(file), bytes(manifest), trust), {
    ok: true,
    value: { messages: [{ kind: 'reconciliation' }] },
  });

  rmSync(at('out'), { recursive: true });
  const again = await desk('ingest', path.replace('.ipm', '.manifest'), '--trust', at('trust'));
  t.match(JSON.parse(again.stdout), { number: 1, isRepeated: true, written: told.written });
  t.same(readdirSync(at('out')).toSorted(), told.written.toSorted(), 'the lost answer is back');
});

t.test('a chargeback and a retrieval request leave as signed files', async (t) => {
  const lines = readFileSync(path.replace('.ipm', '.lines.jsonl'), 'utf8').split('\n');
  const { arn } = JSON.parse(lines[1]!) as { arn: string };
  const wrong = await desk('chargeback', '--arn', arn, '--reason', '4837', '--amount', '0.5');
  t.equal(wrong.code, 2, 'half a yen is no amount');
  t.match(wrong.stderr, /--amount 0.5 is no multiple of 1\/1 JPY/);
  const ended = await desk('chargeback', '--arn', arn, '--reason', '4837', '--amount', '2');
  t.equal(ended.code, 0, ended.stderr);
  const told = JSON.parse(ended.stdout) as { written: string[] };
  t.match(told, { number: 3, amountMinor: '2', isRepeated: false });
  const [file, manifest] = told.written as [string, string];
  const read = readInbound(bytes(file), bytes(manifest), trust);
  t.match(read, { ok: true, value: { messages: [{ kind: 'chargeback', arn, amountMinor: 2n }] } });
  const retrieval = await desk('retrieval', '--arn', arn, '--reason', '6323');
  t.match(JSON.parse(retrieval.stdout), { number: 4 });
  const strange = await desk('retrieval', '--arn', '0'.repeat(23), '--reason', '6323');
  t.equal(strange.code, 3);
  t.match(strange.stderr, /no line 0{23} was taken; nothing was sent/);
});

t.test('refusals name what is wrong, and leave nothing behind', async (t) => {
  const before = readdirSync(at('out'));
  writeFileSync(at('accounts'), '# all of them\nACC-0 open\nACC-1 closing\n');
  const accounts = await desk('ingest', path, '--trust', at('trust'), '--accounts', at('accounts'));
  t.equal(accounts.code, 1);
  t.match(accounts.stderr, /accounts line 3 is not: REFERENCE open\|closed/);
  mkdirSync(at('empty'));
  const untrusted = await desk('ingest', path, '--trust', at('empty'));
  t.equal(untrusted.code, 1);
  t.match(untrusted.stderr, /no clearing that this issuer credentialed/);
  const file = readFileSync(path);
  file[1000] = file[1000]! ^ 1;
  writeFileSync(path, file);
  const damaged = await desk('ingest', path, '--trust', at('trust'));
  t.equal(damaged.code, 3);
  t.match(damaged.stderr, /not the one that was signed; fetch it again; nothing was taken/);
  t.equal((await desk('ingest')).code, 2);
  t.same(readdirSync(at('out')), before);
});
