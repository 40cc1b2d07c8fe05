import { loadSigner } from '../../identity/edge/key-file.ts';
import { writeCloses } from '../../sync/clearing/closes.ts';
import { writeLineAccounts } from '../../sync/clearing/line-accounts-file.ts';
import { openStoreReadOnly } from '../../sync/clearing/open-store.ts';
import { checkVersion } from '../../sync/clearing/schema.ts';
import { EXIT_OK } from '../command.ts';
import { storePlace } from './store-place.ts';
import { say, toolOptions } from './tool-options.ts';

/** `kiri clearing line-accounts`: what the store knows of every line, signed, for the issuer's Statements. */
export async function runLineAccounts(argv: readonly string[]): Promise<number> {
  const options = toolOptions(argv, ['store', 'store-password-file', 'key', 'out', 'closes']);
  const place = storePlace(options.need('store'), options.text('store-password-file'));
  const out = options.need('out');
  const clearing = loadSigner(options.need('key'));
  const database = await openStoreReadOnly(place.location, place.access);
  try {
    await checkVersion(database);
    const nowS = Math.floor(Date.now() / 1000);
    const { lines, fileBytes } = await writeLineAccounts(database, clearing, out, nowS);
    const folder = options.text('closes');
    const closes = folder === undefined ? undefined : await writeCloses(database, folder);
    const spoken = `${lines} line accounts, ${fileBytes} bytes: ${out} and ${out}.manifest`;
    const more = closes === undefined ? '' : `; ${closes} Closes: ${folder}`;
    const facts = {
      lines,
      bytes: fileBytes,
      file: out,
      ...(closes === undefined ? {} : { closes }),
    };
    say(options.json, facts, spoken + more);
  } finally {
    await database.close();
  }
  return EXIT_OK;
}
