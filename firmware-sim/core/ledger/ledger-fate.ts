import { toHex } from '../../../protocol/bytes.ts';
import { count } from '../machine.ts';
import { NO_DISK_FAULTS } from '../virtual-disk.ts';
import { NO_NET_FAULTS } from '../virtual-net.ts';
import type { LedgerNode } from './ledger-node.ts';
import type { LedgerWorld, WorldLog } from './ledger-world.ts';
import { HEAD_PATH, readHead } from './log-files.ts';
import { restoredFolder } from './restored-folder.ts';
import { keyPath } from './sealed-record.ts';

/** The operator looks after a log that stopped this often. */
const OPERATOR_MS = 2_000;
const ERASE_EVERY_MS = 500;

/** Blows of fate to the machines around the logs, the one event of the world, and an operator who follows the runbook. */
export class LedgerFate {
  readonly #world: LedgerWorld;
  /** The log that the event befalls. */
  readonly #log: WorldLog;
  #isStormy = true;
  #isForging = false;
  /** The folder is lost or older: it has to be restored from the mirror. */
  #isLost = false;
  #isRestored = false;
  /** The journal went with the folder. */
  #hasJournal = true;
  /** The runbook ends here: the origin is retired. */
  #isRetired = false;

  constructor(world: LedgerWorld) {
    this.#world = world;
    this.#log = world.logs[0]!;
  }

  begin(): void {
    const world = this.#world;
    for (const { writer } of world.logs) writer.start();
    for (const node of [...world.witnesses, world.mirror]) node.start();
    this.#storm();
    this.#plan();
    this.#operate();
  }

  calm(): void {
    const world = this.#world;
    this.#isStormy = false;
    world.crashPerEffect = 0;
    world.net.faults = NO_NET_FAULTS;
    world.disk.faults = NO_DISK_FAULTS;
    world.net.healAll();
    const { event } = world.scenario;
    if (event === 'dead-mirror') this.#revive(world.mirror);
    if (event === 'two-dead-witnesses') world.witnesses.forEach((node) => this.#revive(node));
  }

  /** Nothing more will happen to the logs: all is final, or the origin has ended as it should. */
  get isQuiet(): boolean {
    const { checker, logs } = this.#world;
    return logs.every(({ writer }) => {
      if (this.#isForging && writer === this.#log.writer) return this.#hasForgeryEnded;
      if (this.#isRetired && writer === this.#log.writer) return checker.isStopped(writer.origin);
      return writer.isQuiet;
    });
  }

  get #hasForgeryEnded(): boolean {
    const { checker } = this.#world;
    const { origin } = this.#log.writer;
    return checker.isStopped(origin) || checker.isAccused(origin);
  }

  /** Holds the end of the world against what has to be true of each log. */
  finish(): void {
    const { checker, logs, mirror } = this.#world;
    for (const { source, writer, before } of logs) {
      const { origin, folder } = writer;
      const isBefallen = writer === this.#log.writer;
      const hashes = before.flat().map((entry) => toHex(entry.receiptPayloadHash));
      checker.finish(origin, {
        read: (path) => folder.readDurable(path),
        mirror: mirror.durableFilesOf(origin),
        expected: [...hashes, ...source.expected()],
        isRetired: isBefallen && (this.#isRetired || this.#isForging || !this.#hasJournal),
        pastEntries: before.length,
      });
      if (isBefallen && this.#isForging) checker.finishForgery(origin);
    }
  }

  #every(pauseMs: () => number, act: () => void, inCalm = false): void {
    this.#world.clock.after(pauseMs(), () => {
      if (!this.#isStormy && !inCalm) return;
      act();
      this.#every(pauseMs, act, inCalm);
    });
  }

  #storm(): void {
    const { seed, scenario } = this.#world;
    this.#every(
      () => seed.between(0, 2 * scenario.fateEveryMs),
      () => this.#strike(),
    );
  }

  #strike(): void {
    const { seed, net, clock, logs, witnesses, mirror } = this.#world;
    const { writer } = seed.pick(logs);
    const cosigner = seed.pick([...witnesses, mirror]);
    switch (seed.below(5)) {
      case 0:
        writer.crash('at a random moment');
        return;
      case 1:
        cosigner.crash('at a random moment');
        return;
      case 2: {
        const lane = [writer.name, cosigner.name] as const;
        const [from, to] = seed.chance(0.5) ? lane : ([lane[1], lane[0]] as const);
        net.cut(from, to);
        clock.after(seed.between(200, 10_000), () => net.heal(from, to));
        return;
      }
      case 3: {
        count(this.#world, 'uplink cut');
        for (const { name } of [...witnesses, mirror]) net.cut(writer.name, name);
        clock.after(seed.between(200, 15_000), () => {
          for (const { name } of [...witnesses, mirror]) net.heal(writer.name, name);
        });
        return;
      }
      default:
        cosigner.wallOffsetMs = seed.between(-86_400_000, 86_400_000);
    }
  }

  #plan(): void {
    const { scenario, safetyMs, clock } = this.#world;
    const at = (part: number, act: () => void): void =>
      clock.after(part * safetyMs, () => this.#isStormy && act());
    const { firstAt, secondAt } = scenario;
    switch (scenario.event) {
      case 'weather':
        return;
      case 'fork':
        at(secondAt, () => this.#fork());
        return;
      case 'older-copy':
        at(firstAt, () => {
          const copy = this.#log.writer.folder.backup();
          at(secondAt - firstAt, () => this.#putBack(copy));
        });
        return;
      case 'lost-disk':
      case 'lost-disk-and-journals':
        at(secondAt, () => this.#loseDisk(scenario.event === 'lost-disk'));
        return;
      case 'lost-witness':
      case 'restarted-witness':
        at(secondAt, () => this.#loseWitness(scenario.event === 'lost-witness'));
        return;
      case 'erased-payload':
        at(secondAt, () => this.#erase());
        return;
      case 'dead-mirror':
        at(firstAt, () => this.#kill(this.#world.mirror));
        return;
      case 'two-dead-witnesses':
        at(firstAt, () => this.#world.witnesses.slice(1, 3).forEach((node) => this.#kill(node)));
    }
  }

  #kill(node: LedgerNode): void {
    node.isAway = true;
    node.crash('for long');
  }

  #revive(node: LedgerNode): void {
    node.isAway = false;
    node.start();
  }

  #fork(): void {
    const { forger, checker } = this.#world;
    const { writer } = this.#log;
    if (writer.folder.readDurable(HEAD_PATH) === undefined) return;
    this.#isForging = true;
    checker.forges(writer.origin);
    forger.forge((path) => writer.folder.readDurable(path));
    forger.start();
  }

  #putBack(copy: ReadonlyMap<string, Uint8Array>): void {
    const { checker } = this.#world;
    const { writer } = this.#log;
    const older = readHead((path) => copy.get(path)).size;
    writer.crash('for an older copy');
    writer.folder.replace(copy);
    checker.replaced(writer.origin, older);
    count(this.#world, 'ledger older copy put back');
  }

  #loseDisk(hasJournal: boolean): void {
    const { writer } = this.#log;
    this.#kill(writer);
    writer.folder.replace(new Map());
    this.#hasJournal = hasJournal;
    this.#isLost = true;
  }

  #loseWitness(isNoticed: boolean): void {
    const { seed, witnesses } = this.#world;
    const witness = seed.pick(witnesses);
    witness.crash('losing its state');
    witness.loseState(isNoticed ? 'damaged' : 'empty');
    // Started anew from nothing it is a second liar to no log: 3 of 4 allow for one such.
    if (!isNoticed && seed.chance(0.5)) this.#fork();
  }

  /** One party's payloads of a time: the key goes at the log and at the mirror, once nobody has to copy it any more. */
  #erase(): void {
    const { checker, mirror, clock } = this.#world;
    const { writer } = this.#log;
    const [kid] = writer.parties().map((party) => writer.rotateKey(party));
    if (kid === undefined) return;
    const path = keyPath(kid);
    const tryAgain = (): void => {
      const isCopied = mirror.isUp && mirror.copiedSize(writer.origin) === writer.recordedSize;
      if (!writer.isQuiet || !isCopied) {
        clock.after(ERASE_EVERY_MS, tryAgain);
        return;
      }
      writer.folder.destroy(path);
      mirror.destroy(writer.origin, path);
      checker.erased(path);
      count(this.#world, 'ledger content key erased');
    };
    tryAgain();
  }

  /** docs/ledger.md: a log that is an older copy, or is lost, comes back from the mirror; where that fails it is retired. */
  #operate(): void {
    this.#every(
      () => OPERATOR_MS,
      () => this.#restoreIfNeeded(),
      true,
    );
  }

  #restoreIfNeeded(): void {
    const { checker, consortium, mirror } = this.#world;
    const { writer } = this.#log;
    const isStopped = checker.isStopped(writer.origin);
    if (this.#isForging || this.#isRetired || (!this.#isLost && !isStopped)) return;
    if (isStopped && this.#isRestored) {
      this.#retire('ahead of every copy');
      return;
    }
    if (!mirror.isUp) return;
    const feed = this.#hasJournal ? writer.feed : undefined;
    const restored = restoredFolder(mirror.filesOf(writer.origin), consortium, feed);
    if (!restored.ok) {
      if (!this.#isStormy) this.#retire(restored.reason);
      return;
    }
    const { size, files } = restored.value;
    if (!this.#isLost) this.#kill(writer);
    if (!this.#hasJournal) writer.feed = { read: () => [] };
    writer.folder.replace(files);
    checker.replaced(writer.origin, size);
    this.#isLost = false;
    this.#isRestored = true;
    count(this.#world, 'ledger restored from the mirror');
    this.#revive(writer);
  }

  #retire(why: string): void {
    this.#isRetired = true;
    this.#kill(this.#log.writer);
    this.#world.checker.retired(this.#log.writer.origin);
    count(this.#world, `ledger origin retired: ${why}`);
  }
}
