/** Holds the store it is given until it is killed or its standard input ends. */
import { openStore } from '../../../sync/clearing/open-store.ts';

const database = await openStore(process.argv[2] ?? '');
process.stdout.write('held\n');
for await (const _ of process.stdin);
await database.close();
