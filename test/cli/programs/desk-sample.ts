import { mkdirSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { issueClearing } from '../../../identity/core/issue.ts';
import { createKeyFile } from '../../../identity/edge/key-file.ts';
import { keyFilesOf } from '../../../cli/verify/key-files.ts';
import type { Signer } from '../../../protocol/public-key.ts';
import { ClearingService } from '../../../sync/clearing/clearing-service.ts';
import { anchors, directoryOf, history, policyHash } from '../../sync/clearing/sample.ts';
import { openTestStore } from '../../sync/clearing/store.ts';

/** Keys, a trust folder and a real cut of the clearing below `folder`. */
export interface DeskFolders {
  readonly issuer: Signer;
  readonly clearing: Signer;
  /** The settlement file. */
  readonly path: string;
  /** The options that every command of the desk takes, `--trust` apart. */
  readonly options: readonly string[];
}

export const makeDeskFolders = async (folder: string, nowS: number): Promise<DeskFolders> => {
  const at = (...names: string[]): string => join(folder, ...names);
  const issuer = createKeyFile(at('issuer.json')).signer;
  const clearing = createKeyFile(at('clearing.json')).signer;
  mkdirSync(at('trust', 'documents'), { recursive: true });
  writeFileSync(at('trust', 'issuer.cosekey'), keyFilesOf(issuer.key).cosekey);
  writeFileSync(at('trust', 'issuer.pem'), keyFilesOf(issuer.key).pem);
  const credential = issueClearing(issuer, {
    key: clearing.key,
    issuedS: nowS - 60,
    notBeforeS: nowS - 60,
    expiresS: nowS + 86_400,
    status: { uri: 'urn:example:status:1', index: 3 },
    reference: 'clearing-1',
  });
  writeFileSync(at('trust', 'documents', 'clearing.cbor'), credential);
  const writeFile = async (path: string, bytes: Uint8Array | string): Promise<void> => {
    mkdirSync(dirname(path), { recursive: true });
    writeFileSync(path, bytes);
  };
  const database = await openTestStore();
  const store = { database, signer: clearing, outFolder: at('cut'), directory: directoryOf() };
  const service = await ClearingService.open({ ...store, policyHash, mode: 'T', writeFile }, nowS);
  // Payments of today: a file of tomorrow would be rejected.
  const items = history().map((item) => ({ ...item, businessTimeS: nowS - 60 }));
  await service.ingestBatch(items, nowS);
  const { files } = await service.cut(nowS, anchors, true);
  await service.close();
  const path = at('cut', 'clearing', files[0]!.fileName);
  const options = ['--key', at('issuer.json'), '--member', '00000099990', '--state', at('state')];
  return { issuer, clearing, path, options: [...options, '--out', at('out'), '--json'] };
};
