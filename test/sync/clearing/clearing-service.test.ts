import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t from 'tap';
import type { Test } from 'tap';
import { ClearingService } from '../../../sync/clearing/clearing-service.ts';
import type { ClearingOptions } from '../../../sync/clearing/clearing-service.ts';
import { openSqlite } from '../../../sync/clearing/sql.ts';
import { DEFAULT_IPM_PROFILE } from '../../../sync/clearing/core/ipm-profile.ts';
import { readSettlementFile } from '../../../sync/clearing/core/ipm-file.ts';
import { verifyIpm } from '../../../sync/clearing/core/verify-ipm.ts';
import {
  DAY_S,
  LineOfReceipts,
  TOKYO_MIDNIGHT_S,
  directoryOf,
  policyHash,
  signer,
} from './sample.ts';

const NOON_S = TOKYO_MIDNIGHT_S + DAY_S / 2;
const anchors = [{ origin: 'gateway.example/2026q4', size: 1000, root: 'ab'.repeat(32) }];

const folder = async (test: Test): Promise<string> => {
  const path = await mkdtemp(join(tmpdir(), 'kiri-clearing-'));
  test.teardown(() => rm(path, { recursive: true, force: true }));
  return path;
};

const open = async (
  test: Test,
  outFolder: string,
  more: Partial<ClearingOptions> = {},
): Promise<ClearingService> => {
  const database = openSqlite(join(outFolder, 'clearing.sqlite'));
  const service = await ClearingService.open(
    { database, signer, outFolder, directory: directoryOf(), policyHash, mode: 'T', ...more },
    NOON_S,
  );
  test.teardown(() => service.close());
  return service;
};

t.test('a thousand minutes at 3.85 yen are presented as 3,850 yen exactly', async (t) => {
  const out = await folder(t);
  const service = await open(t, out);
  const line = new LineOfReceipts('car');
  const items = Array.from({ length: 1000 }, () => line.next(3_850_000n));
  t.match(await service.ingestBatch(items, NOON_S), { first: 1000, duplicate: 0 });
  const { files, blocked } = await service.cut(NOON_S, anchors, true);
  t.same(blocked, []);
  t.match(files, [{ presentments: 1, records: 3, sumMinor: 3850n }]);
  const bytes = await readFile(join(out, 'clearing', files[0]?.fileName ?? ''));
  t.same(verifyIpm(bytes, DEFAULT_IPM_PROFILE).findings, []);
  const read = readSettlementFile(bytes, DEFAULT_IPM_PROFILE);
  t.ok(read.ok);
  t.match(await service.reconcile(), { receipts: 1000, reconciles: true });
});
