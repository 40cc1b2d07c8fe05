/** The soak itself on trial: three lies about what is durable, each planted in the product's code, must be found. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t from 'tap';
import { bundleChild, type PlantedFault } from './child-bundle.ts';
import { LedgerRig } from './ledger-rig.ts';
import type { Role } from './soak-keys.ts';

t.setTimeout(300_000);

const LIFE_MS = 400;
/** An honest rig would survive them all; a planted fault shows within a few. */
const MAX_KILLS = 100;
/** Longer than any life here: a short delay is sometimes over before the kill, on a slow machine nearly always. */
const LATE_MS = 60_000;

interface Trial {
  readonly lie: string;
  readonly victim: Role;
  readonly fault: PlantedFault;
  readonly found: RegExp;
}

const TRIALS: readonly Trial[] = [
  {
    lie: 'a witness that forgets its state at a restart',
    victim: 'witness',
    fault: {
      module: 'sync/ledger/witness-journal.js',
      line: 'const found = await readCurrent(options);',
      becomes: `for (const name of readdirSync(options.folder))
        if (/^(?:current|journal-)/.test(name)) await rm(join(options.folder, name), { recursive: true });
      const found = await readCurrent(options);`,
    },
    found: /^w1 cosigned \d+ and remembers 0$/m,
  },
  {
    lie: 'a writer that signs a head before it is durable',
    victim: 'writer',
    fault: {
      module: 'sync/ledger/ledger-service.js',
      line: 'await this.#room.write(() => writeHead(root, effect.head));',
      becomes: `setTimeout(() => void writeHead(root, effect.head), ${LATE_MS});`,
    },
    found: /^the writer signed \d+ and kept \d+$|ROLLED_BACK/m,
  },
  {
    lie: 'a mirror that cosigns before the contents are durable',
    victim: 'mirror',
    fault: {
      module: 'sync/ledger/log-copy.js',
      line: 'await this.#write({ files: [...files, ...held.values()], ...rest });',
      becomes: `const late = { files: [...files, ...held.values()], ...rest };
        setTimeout(() => void this.#write(late), ${LATE_MS});`,
    },
    found: /^the mirror cosigned \d+: .*(?:missing|ends)|^mirror ended with 1: .*LOG_/m,
  },
];

for (const { lie, victim, fault, found } of TRIALS) {
  t.test(`${lie} is found`, async (t) => {
    const folder = mkdtempSync(join(tmpdir(), 'kiri-soak-child-'));
    t.teardown(() => rmSync(folder, { recursive: true, force: true }));
    const rig = await LedgerRig.open('pair', await bundleChild(folder, fault));
    t.teardown(() => rig.close());
    let kills = 0;
    for (; kills < MAX_KILLS && rig.faults().length === 0; kills += 1) {
      await rig.rest(LIFE_MS);
      await rig.killOne(victim, LIFE_MS);
    }
    t.match(rig.faults().join('\n'), found);
    t.comment(`after ${kills} kills: ${rig.faults().join('; ').slice(0, 200)}`);
  });
}
