import { createHash } from 'node:crypto';
import { mkdirSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { keyFilesOf } from '../../../cli/verify/key-files.ts';
import { verifyFolder, verifyPath } from '../../../cli/verify/verify.ts';
import { signInboundAnswer } from '../../../sync/clearing/core/inbound-answer.ts';
import type { Signer } from '../../../protocol/public-key.ts';
import { NOW_S, newWorld } from '../../identity/fixture.ts';

t.test('answers to an issuer: by its clearing, under their own names, without a gap', async (t) => {
  const world = newWorld();
  const { issuer, clearing, stranger } = world.signers;
  const root = t.testdir({ 'inbound-answers': {}, trust: { documents: {} } });
  const { cosekey, pem } = keyFilesOf(issuer.key);
  writeFileSync(join(root, 'trust/issuer.cosekey'), cosekey);
  writeFileSync(join(root, 'trust/issuer.pem'), pem);
  writeFileSync(join(root, 'trust/documents/clearing.cbor'), world.clearing);
  const folder = join(root, 'inbound-answers');
  const nameOf = (number: number): string =>
    `${issuer.key.hex}.${String(number).padStart(10, '0')}.answer`;
  const put = (number: number, signer: Signer = clearing): void =>
    writeFileSync(
      join(folder, nameOf(number)),
      signInboundAnswer(signer, {
        issuer: issuer.key.id,
        number,
        name: 'ISSUER.1.manifest',
        sha256: createHash('sha256').update('manifest').digest(),
        verdict: 'partly',
        code: '',
        detail: '',
        refusals: [{ record: 2, code: 'UNKNOWN_ARN' }],
        part: 1,
        parts: 1,
        answeredS: NOW_S,
      }),
    );
  const faults = async (): Promise<string[]> =>
    (await verifyFolder(root)).faults
      .filter(({ path }) => path.startsWith('inbound-answers/'))
      .map(({ reason }) => reason);
  for (const number of [4, 5, 6]) put(number);
  t.same(await faults(), []);
  const one = await verifyPath(join(folder, nameOf(5)));
  t.match(one.proven, ['ISSUER.1.manifest: partly, record 2 UNKNOWN_ARN']);
  rmSync(join(folder, nameOf(5)));
  t.match(await faults(), [/number 5 is missing/]);
  put(5, stranger);
  t.match(await faults(), [/not signed by this clearing/, /number 5 is missing/]);
  put(5);
  renameSync(join(folder, nameOf(6)), join(folder, nameOf(7)));
  t.match(await faults(), [/is the answer .*0000000006\.answer/]);
  mkdirSync(join(folder, 'below'));
  writeFileSync(join(folder, 'below', 'junk'), 'junk');
  t.match(await faults(), { length: 2 });
});
