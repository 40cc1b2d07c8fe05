/** The running clearing, asked one thing after the other: what is wrong is answered with a code, and it goes on. */
import { spawn, type ChildProcess } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import t from 'tap';
import { clearingConfig, clearingInbox } from '../../cli/demo/configs.ts';
import { makeWorld, paths } from '../../cli/demo/identities.ts';
import { storyPlan } from '../../cli/demo/plan.ts';
import { writeTrust } from '../../cli/demo/trust-folder.ts';
import { loadSigner } from '../../identity/edge/key-file.ts';
import { ClearingService } from '../../sync/clearing/clearing-service.ts';
import { openSqlite } from '../../sync/clearing/sql.ts';
import { anchors, directoryOf, history, policyHash } from '../sync/clearing/sample.ts';
import { LAUNCHER, kiri } from './command.ts';

type Json = Record<string, unknown>;

/** Speaks the program's own lines, so that nothing between hides what it says. */
class Talk {
  readonly #child: ChildProcess;
  readonly #lines: AsyncIterator<string>;

  constructor(args: readonly string[]) {
    this.#child = spawn(process.execPath, [LAUNCHER, ...args], {
      stdio: ['pipe', 'pipe', 'ignore'],
    });
    this.#lines = createInterface({ input: this.#child.stdout! })[Symbol.asyncIterator]();
  }

  async next(): Promise<Json> {
    const { value, done } = await this.#lines.next();
    if (done === true) throw new Error('the program ended');
    return JSON.parse(value) as Json;
  }

  async raw(line: string): Promise<Json> {
    this.#child.stdin!.write(`${line}\n`);
    return this.next();
  }

  ask(request: Json): Promise<Json> {
    return this.raw(JSON.stringify(request));
  }

  async end(): Promise<number | null> {
    const closed = once(this.#child, 'close');
    this.#child.stdin!.end();
    await closed;
    return this.#child.exitCode;
  }

  kill(): void {
    this.#child.kill('SIGKILL');
  }
}

t.test('the clearing answers every request, and a bad one with a code', async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'kiri-clearing-program-'));
  t.teardown(() => rmSync(folder, { recursive: true, force: true }));
  const at = (...names: string[]): string => join(folder, ...names);
  const stateDir = at('state');
  mkdirSync(stateDir);
  const nowS = Math.floor(Date.now() / 1000);
  const world = makeWorld(storyPlan(), stateDir, nowS);
  writeTrust(at('trust'), world);
  // No log answers here: what was read before is in the store.
  const config = clearingConfig(world, at('trust'), at('out'), 'http://127.0.0.1:9');
  const values = JSON.parse(readFileSync(config, 'utf8')) as Record<string, string>;
  writeFileSync(config, JSON.stringify({ ...values, folder: at('store') }));

  mkdirSync(at('store'));
  const service = await ClearingService.open(
    {
      database: openSqlite(at('store', 'clearing.sqlite')),
      signer: loadSigner(join(dirname(config), values['keyFile']!)),
      outFolder: at('out'),
      directory: directoryOf(),
      policyHash,
      mode: 'T',
    },
    nowS,
  );
  await service.ingestBatch(
    history().map((item) => ({ ...item, businessTimeS: nowS - 60 })),
    nowS,
  );
  const [file] = (await service.cut(nowS, anchors, true)).files;
  await service.close();
  const fileName = file!.fileName.replace(/\.ipm$/, '');

  const inbox = clearingInbox(stateDir);
  const key = paths.issuerKey(stateDir);
  const desk = ['--key', key, '--member', '00000099990', '--state', at('desk'), '--out', inbox];
  const ingest = ['issuer', 'ingest', at('out', 'clearing', file!.fileName), '--json'];
  const told = await kiri([...ingest, '--trust', at('trust'), ...desk]);
  t.match(JSON.parse(told.stdout), { verdict: 'accepted' });

  const clearing = new Talk(['sync', 'clearing', '--config', config]);
  t.teardown(() => clearing.kill());
  t.match(await clearing.next(), { ready: true });

  const bad: readonly (readonly [string, Json, string])[] = [
    ['no such request', { do: 'dance' }, 'REQUEST_INVALID'],
    ['no request', {}, 'REQUEST_INVALID'],
    ['payout without configured payouts', { do: 'payout' }, 'REQUEST_INVALID'],
    ['payout on no day', { do: 'payout', transferDay: 11 }, 'REQUEST_INVALID'],
    ['a hold without reason', { do: 'hold', kind: 'file', reference: fileName }, 'HOLD_INVALID'],
    [
      'a hold of nothing known',
      { do: 'hold', kind: 'x', reference: 'y', reason: 'z' },
      'HOLD_INVALID',
    ],
    ['a statement that is nowhere', { do: 'vault-statement', file: at('none') }, 'FILE_UNREADABLE'],
    ['resubmit without file', { do: 'resubmit' }, 'REQUEST_INVALID'],
    ['represent without reason', { do: 'represent', arn: '1' }, 'REQUEST_INVALID'],
    [
      'represent of half a yen',
      { do: 'represent', arn: '1', reason: '2002', amountMinor: 0.5 },
      'REQUEST_INVALID',
    ],
    ['park without a line', { do: 'park' }, 'REQUEST_INVALID'],
  ];
  for (const [index, [what, request, code]] of bad.entries()) {
    const answer = await clearing.ask({ id: index, ...request });
    t.match(answer, { id: index, code, error: /\S/ }, what);
  }
  for (const line of ['no JSON', '7', 'null', '{"do":']) {
    t.match(await clearing.raw(line), { code: 'REQUEST_INVALID' }, line);
  }
  t.match(await clearing.ask({ do: 'payout' }), { error: /payouts of the configuration/ });

  // Questions in form about things that are not there: an answer that says so, or a code.
  writeFileSync(at('garbage'), 'no statement');
  for (const request of [
    { do: 'vault-statement', file: at('garbage') },
    { do: 'resubmit', file: 'KIRI.no-such-file' },
    { do: 'represent', arn: '0'.repeat(23), reason: '2002' },
    { do: 'requeue', arn: '0'.repeat(23) },
    { do: 'accept-chargeback', arn: '0'.repeat(23) },
  ]) {
    const answer = await clearing.ask({ id: 'x', ...request });
    t.equal(answer['id'], 'x');
    t.match(String(answer['code']), /^[A-Z][A-Z_]+$/, `${request.do}: ${JSON.stringify(answer)}`);
  }

  const before = await clearing.ask({ do: 'reconcile' });
  t.match(before, { reconciles: true });
  t.match(await clearing.ask({ do: 'read-back' }), { inbox: [{ kind: 'taken', number: 1 }] });
  t.ok(readdirSync(join(inbox, 'taken')).some((name) => name.startsWith(fileName)));
  t.match(await clearing.ask({ do: 'read-back' }), { inbox: [] }, 'nothing is read twice');
  t.match(await clearing.ask({ do: 'seal' }), { sealed: [] }, 'nothing is a month old');

  const hold = { kind: 'file', reference: fileName, reason: 'a court asked' };
  t.match(await clearing.ask({ do: 'hold', ...hold }), { set: true });
  t.match(await clearing.ask({ do: 'hold', ...hold }), { set: false }, 'it stands already');
  const retained = await clearing.ask({ do: 'retain' });
  t.notOk(retained['error'], JSON.stringify(retained));
  t.match(await clearing.ask({ do: 'lift-hold', ...hold }), { lifted: true });
  t.match(await clearing.ask({ do: 'lift-hold', ...hold }), { lifted: false });

  // Not one log answers: that is said, and neither books nor program suffer from it.
  for (const request of ['pull', 'cut', 'acknowledge']) {
    t.match(await clearing.ask({ do: request }), { code: 'HTTP_UNREACHABLE', error: /:9\// });
  }
  t.match(await clearing.ask({ do: 'reconcile' }), { reconciles: true });
  t.equal(await clearing.end(), 0);
});
