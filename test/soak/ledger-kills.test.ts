import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { LedgerRig, ROLES, type Moment } from './ledger-rig.ts';

/** `.ci/run` asks for a thousand. */
const KILLS = Number(process.env['KIRI_LEDGER_KILLS'] ?? 30);
const RIGS = KILLS > 100 ? 3 : 1;
/** A kill falls within this time after all came up, spread evenly. */
const LIFE_MS = 400;
/** After so many kills the three are left alone until something new became final. */
const REST_EVERY = 8;
const SAY_EVERY = 50;
const REST_LIMIT_MS = 20_000;

t.setTimeout(1_800_000);

async function rest(rig: LedgerRig): Promise<void> {
  const before = rig.published;
  const until = Date.now() + REST_LIMIT_MS;
  while (rig.published === before && rig.faults().length === 0 && Date.now() < until) {
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}

async function kill(rig: LedgerRig, kills: number, say: (text: string) => void): Promise<void> {
  for (let done = 0; done < kills && rig.faults().length === 0; done += 1) {
    const role = ROLES[Math.floor(Math.random() * ROLES.length)]!;
    const moment: Moment = Math.random() < 0.5 ? 'inWork' : 'random';
    await rig.killOne(role, moment, LIFE_MS);
    if (done % REST_EVERY === REST_EVERY - 1) await rest(rig);
    if (done % SAY_EVERY === SAY_EVERY - 1) say(`${done + 1} of ${kills} kills in one rig`);
  }
}

/** The hash before every ciphertext: which payment stands where. */
function receiptHashes(base: string, size: number): string[] {
  const hashes: string[] = [];
  for (let bundle = 0; hashes.length < size; bundle += 1) {
    const digits = String(bundle).padStart(3, '0');
    const bytes = readFileSync(join(base, 'log/payload', digits));
    for (let at = 0; at < bytes.length && hashes.length < size; at += 2 + bytes.readUInt16BE(at)) {
      hashes.push(bytes.subarray(at + 2, at + 34).toString('hex'));
    }
  }
  return hashes;
}

const hashOfPayment = (_: unknown, number: number): string =>
  createHash('sha256').update(`payment ${number}`).digest('hex');

t.test(
  `${KILLS} SIGKILLs of writer, witness and mirror: nothing acknowledged is lost`,
  async (t) => {
    const startedMs = Date.now();
    const rigs = await Promise.all(Array.from({ length: RIGS }, () => LedgerRig.open()));
    t.teardown(() => Promise.all(rigs.map((rig) => rig.close())));
    await Promise.all(
      rigs.map((rig, at) => kill(rig, Math.floor((KILLS + at) / RIGS), (text) => t.comment(text))),
    );
    for (const rig of rigs) {
      t.same(rig.faults(), [], 'every start succeeds, no log stops');
      const log = await rig.settle();
      const { observer, paid, kills } = rig;
      t.equal(log.size, paid, 'every payment became final');
      t.same(
        receiptHashes(rig.base, log.size),
        Array.from({ length: paid }, hashOfPayment),
        'each once, in the order of the journal',
      );
      observer.check(log.entries);
      t.same(
        observer.broken,
        [],
        'all signed heads are prefixes of one another and of the final log',
      );
      t.match(rig.copy(), { right: true }, 'the mirror’s copy is a log of its own right');
      const heads = (['log', 'witness', 'mirror', 'published'] as const)
        .map((voice) => `${observer.count(voice)} by ${voice}`)
        .join(', ');
      t.ok(observer.count('published') > 0, 'checkpoints were acknowledged meanwhile');
      t.comment(`kills ${JSON.stringify(kills)}; ${paid} payments; heads: ${heads}`);
    }
    const killed = rigs.flatMap((rig) => Object.values(rig.kills)).reduce((sum, n) => sum + n, 0);
    t.equal(killed, KILLS);
    t.comment(`${killed} kills in ${Math.round((Date.now() - startedMs) / 1000)} s`);
  },
);
