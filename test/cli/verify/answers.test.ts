import { createHash } from 'node:crypto';
import { mkdtemp, mkdir, readFile, readdir, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t from 'tap';
import { verifyFolder, writeContents } from '../../../cli/verify/verify.ts';
import { signAcknowledgement } from '../../../sync/clearing/core/inbound-documents.ts';
import type { FileAcknowledgement } from '../../../sync/clearing/core/inbound-documents.ts';
import type { Signer } from '../../../protocol/public-key.ts';
import { NOW_S } from '../../identity/fixture.ts';
import { buildOut } from './out.ts';

const root = await mkdtemp(join(tmpdir(), 'kiri-answers-'));
t.teardown(() => rm(root, { recursive: true, force: true }));
const { out } = await buildOut(root, [5]);
const { issuer, clearing } = out.world.signers;
const [name = ''] = (await readdir(join(root, 'clearing'))).filter((one) => one.endsWith('.ipm'));
const bytes = await readFile(join(root, 'clearing', name));
const view = JSON.parse(
  await readFile(join(root, 'clearing', name.replace(/ipm$/, 'manifest.json')), 'utf8'),
) as { readonly fileId: string; readonly records: number };
const answers = join(root, 'answers');

const honest: FileAcknowledgement = {
  clearing: clearing.key.id,
  number: 1,
  fileId: view.fileId,
  fileName: name,
  fileSha256: new Uint8Array(createHash('sha256').update(bytes).digest()),
  fileBytes: bytes.length,
  records: view.records,
  totals: [{ currency: 392, sign: 'debit', lines: 1, amountMinor: '15' }],
  verdict: 'accepted',
  receivedS: NOW_S + 9000,
};

/** What `kiri verify` says of `answers/` with one file in it. */
async function judged(file: string, content: Uint8Array): Promise<readonly string[]> {
  await rm(answers, { recursive: true, force: true });
  await mkdir(answers);
  await writeFile(join(answers, file), content);
  await writeContents(root, clearing);
  const { faults, checked } = await verifyFolder(root);
  const isCounted = (checked['acknowledgements'] ?? 0) === (file === 'one.ack' ? 1 : 0);
  const others = faults.filter(({ path }) => path !== `answers/${file}`);
  if (!isCounted || others.length > 0) return ['counted wrong, or another file is blamed'];
  return faults.map(({ reason }) => reason);
}

const signed = (change: Partial<FileAcknowledgement> = {}, by: Signer = issuer): Uint8Array =>
  signAcknowledgement(by, { ...honest, ...change });

t.test('an answer counts only as the issuer signed it for a file of the folder', async (t) => {
  t.same(await judged('one.ack', signed()), [], 'the issuer’s own word holds');
  t.match(await judged('one.ack', signed({ fileSha256: new Uint8Array(32) })), [/names another/]);
  t.match(await judged('one.ack', signed({ records: view.records + 1 })), [/counts/]);
  t.match(await judged('one.ack', signed({ fileName: name.replace('D', 'X') })), [
    /not here|WRONG/,
  ]);
  t.match(await judged('forged.ack', signed({}, clearing)), [/BAD_SIGNATURE/]);
  t.match(await judged('other.ack', signed({ clearing: new Uint8Array(16) })), [/BAD_SIGNATURE/]);
  t.match(await judged('cut.ack', signed().subarray(0, 60)), [/BAD_SIGNATURE|WRONG_VALUE/]);
  t.match(await judged('note.txt', Buffer.from('accepted')), [/no answer/]);
  t.match(await judged('alone.ipm', bytes), [/no signed manifest/]);
});
