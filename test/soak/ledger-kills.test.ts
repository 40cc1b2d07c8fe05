import { createHash } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { pathOfIndex } from '../c2sp/tlog.ts';
import { bundleChild } from './child-bundle.ts';
import { LedgerRig } from './ledger-rig.ts';
import type { Shape } from './soak-keys.ts';

/** `npm run soak` asks for a thousand. */
const KILLS = Number(process.env['KIRI_LEDGER_KILLS'] ?? 10);
/** Rigs that run at once. In a pair every single process is needed; the full policy lives on without one of them. */
const SHAPES: readonly Shape[] = KILLS > 100 ? ['pair', 'full', 'pair', 'full'] : ['pair', 'full'];
/** A kill falls within this time after all came up. */
const LIFE_MS = 400;
/** After so many kills they are left alone until something new became final. */
const REST_EVERY = 8;
const REST_LIMIT_MS = 20_000;
const SAY_EVERY = 50;
/** Kills beyond this are not made, and the run fails by their number. */
const LIMIT_MS = 480_000;

t.setTimeout(600_000);

/** Kills and what came of it, over all rigs. */
function summary(rigs: readonly LedgerRig[]): string {
  const total = (count: (rig: LedgerRig) => number): number =>
    rigs.reduce((sum, rig) => sum + count(rig), 0);
  const kills = rigs.flatMap((rig) => Object.values(rig.kills())).reduce((sum, n) => sum + n, 0);
  const byRole = [...new Set(rigs.flatMap(({ roles }) => roles))].map(
    (role) => `${role} ${total((rig) => rig.kills()[role] ?? 0)}`,
  );
  return [
    `${kills} of ${KILLS} kills (${byRole.join(', ')})`,
    `${total(({ paid }) => paid)} payments`,
    `${total(({ published }) => published)} checkpoints published`,
    `${total(({ observer }) => observer.heads)} heads`,
  ].join(', ');
}

/** Takes kills from the common stock until it is empty, something broke or time is up. */
async function kill(rig: LedgerRig, next: () => boolean): Promise<void> {
  for (let done = 1; next(); done += 1) {
    await rig.killOne(rig.roles[Math.floor(Math.random() * rig.roles.length)]!, LIFE_MS);
    if (done % REST_EVERY === 0) await rig.rest(REST_LIMIT_MS);
  }
}

/** The hash before every ciphertext: which payment stands where. */
function receiptHashes(base: string, size: number): string[] {
  const hashes: string[] = [];
  for (let bundle = 0; hashes.length < size; bundle += 1) {
    const bytes = readFileSync(join(base, 'log/payload', pathOfIndex(bundle)));
    for (let at = 0; at < bytes.length && hashes.length < size; at += 2 + bytes.readUInt16BE(at)) {
      hashes.push(bytes.subarray(at + 2, at + 34).toString('hex'));
    }
  }
  return hashes;
}

const hashOfPayment = (number: number): string =>
  createHash('sha256').update(`payment ${number}`).digest('hex');

/** Every check that needs the end: the log whole, every head ever seen of one history, the mirror's copy right. */
async function judgeRig(t: Test, rig: LedgerRig): Promise<void> {
  const log = await rig.settle();
  const { observer, paid } = rig;
  t.equal(log.size, paid, 'every payment became final');
  const order = receiptHashes(rig.base, log.size);
  const isOrder = order.every((hash, at) => hash === hashOfPayment(at));
  t.ok(isOrder && order.length === paid, 'each once, in the order of the journal');
  observer.check(log.entries);
  t.same(rig.faults(), [], 'all signed heads are prefixes of one another and of the final log');
  const copy = rig.copy();
  t.equal(copy.right || copy.reason, true, 'the mirror’s copy is a log of its own right');
  t.ok(rig.published > 0, 'checkpoints were acknowledged meanwhile');
}

t.test(
  `${KILLS} SIGKILLs of writer, witnesses and mirror: nothing acknowledged is lost`,
  async (t) => {
    const startedMs = Date.now();
    const folder = mkdtempSync(join(tmpdir(), 'kiri-soak-child-'));
    t.teardown(() => rmSync(folder, { recursive: true, force: true }));
    const launcher = await bundleChild(folder);
    const rigs: LedgerRig[] = [];
    t.teardown(() => Promise.all(rigs.map((rig) => rig.close())));
    for (const shape of SHAPES) rigs.push(await LedgerRig.open(shape, launcher));
    const say = (): void => {
      t.comment(`${Math.round((Date.now() - startedMs) / 1000)} s: ${summary(rigs)}`);
    };
    let taken = 0;
    const next = (): boolean => {
      const isOver =
        taken >= KILLS ||
        Date.now() - startedMs > LIMIT_MS ||
        rigs.some((rig) => rig.faults().length > 0);
      if (isOver) return false;
      taken += 1;
      if (taken % SAY_EVERY === 0) say();
      return true;
    };
    await Promise.all(rigs.map((rig) => kill(rig, next)));
    const faults = rigs.flatMap((rig) => rig.faults());
    t.same(faults, [], 'no process ended by itself, no log stopped, no promise was broken');
    if (faults.length === 0) for (const rig of rigs) await judgeRig(t, rig);
    t.equal(taken, KILLS, 'all of them within the time');
    say();
  },
);
