import t from 'tap';
import { concatBytes, utf8ToBytes } from '../../../../protocol/bytes.ts';
import { encodeCheckpoint } from '../../../../sync/ledger/core/checkpoint.ts';
import { EMPTY_ROOT } from '../../../../sync/ledger/core/merkle.ts';
import { parseNote, signNote } from '../../../../sync/ledger/core/note.ts';
import { verifyNote } from '../../../../sync/ledger/core/note-verify.ts';
import { encodeBase64 } from '../../../../sync/ledger/core/text.ts';
import {
  MAX_REQUEST_BYTES,
  type WitnessAnswer,
  type WitnessEffect,
  type WitnessState,
  type WitnessedHead,
  encodeAddCheckpoint,
  restoreHead,
  stepWitness,
  witnessState,
} from '../../../../sync/ledger/core/witness.ts';
import { ORIGIN, fakeLog, fakeVerify, fakeWitness } from '../keys.ts';
import { mth, proof } from '../rfc6962.ts';

const log = fakeLog();
const ports = { signer: fakeWitness('witness.example/w1'), verify: fakeVerify };
const NOW_MS = 1_700_000_000_999;
const leaves = Array.from({ length: 40 }, (_, at) => Uint8Array.of(at));
const forked = leaves.map((leaf, at) => (at === 3 ? Uint8Array.of(99) : leaf));

const checkpoint = (size: number, from = leaves, signer = log, origin = ORIGIN): string =>
  signNote(encodeCheckpoint({ origin, size, root: mth(from.slice(0, size)) }), signer);
const request = (
  old: number,
  size: number,
  from = leaves,
  note = checkpoint(size, from),
): Uint8Array =>
  encodeAddCheckpoint(
    old,
    old === 0 ? [] : proof(old, from.slice(0, size)).map(encodeBase64),
    note,
  );
const fresh = (): WitnessState => witnessState(new Map([[ORIGIN, [log.key]]]), []);

let requests = 0;
/** Sends a request and, where a head is to be stored, reports it stored. */
const ask = (state: WitnessState, body: Uint8Array): WitnessAnswer & { stored?: WitnessedHead } => {
  requests += 1;
  const run = (effects: readonly WitnessEffect[]): WitnessAnswer & { stored?: WitnessedHead } => {
    const [effect] = effects;
    if (effect?.kind === 'respond') return effect.answer;
    if (effect?.kind !== 'persist') throw new Error('no effect');
    const { requestId } = effect;
    const answer = run(stepWitness(state, { kind: 'persisted', requestId }, NOW_MS, ports));
    return { ...answer, stored: effect.head };
  };
  return run(
    stepWitness(state, { kind: 'addCheckpoint', requestId: requests, body }, NOW_MS, ports),
  );
};

t.test('an honest log is cosigned from size 0 on, with a cosignature that verifies', async (t) => {
  const state = fresh();
  for (const [old, size] of [
    [0, 0],
    [0, 5],
    [5, 5],
    [5, 16],
    [16, 40],
  ] as const) {
    const answer = ask(state, request(old, size));
    t.equal(answer.status, 200, `${old} to ${size}: ${answer.body}`);
    const text = checkpoint(size).split('\n\n')[0];
    const note = parseNote(utf8ToBytes(`${text}\n\n${answer.body}`));
    const signed = note.ok ? verifyNote(note.value, [ports.signer.key], fakeVerify) : note;
    t.equal(signed.ok && signed.value[0]?.timeS, 1_700_000_000);
  }
  t.equal(state.heads.get(ORIGIN)?.size, 40);
});

t.test('the refusals of tlog-witness, each with its status', async (t) => {
  const state = fresh();
  ask(state, request(0, 16));
  const otherLog = fakeLog('other.example/log');
  const stranger = { key: log.key, sign: otherLog.sign };
  const good = checkpoint(20);
  const table: readonly [string, number, Uint8Array][] = [
    [
      'unknown origin',
      404,
      request(0, 5, leaves, checkpoint(5, leaves, otherLog, 'other.example/log')),
    ],
    [
      'bad signature of the known key',
      403,
      request(16, 20, leaves, checkpoint(20, leaves, stranger)),
    ],
    ['no signature of a known key', 403, request(16, 20, leaves, checkpoint(20, leaves, otherLog))],
    ['old size above the checkpoint', 400, encodeAddCheckpoint(21, [], good)],
    ['old size below the latest', 409, request(5, 20)],
    ['old size 0 after a start', 409, request(0, 20)],
    ['rollback', 409, request(5, 10)],
    ['fork under a larger tree', 422, request(16, 20, forked)],
    ['empty proof', 422, encodeAddCheckpoint(16, [], good)],
    [
      'proof between equal sizes',
      422,
      encodeAddCheckpoint(16, [encodeBase64(EMPTY_ROOT)], checkpoint(16)),
    ],
    ['fork at the same size', 409, encodeAddCheckpoint(16, [], checkpoint(16, forked))],
    ['nothing', 400, new Uint8Array(0)],
    ['no empty line', 400, utf8ToBytes(`old 16\n${good}`.replaceAll('\n\n', '\n'))],
    ['old size with a leading zero', 400, utf8ToBytes(`old 016\n\n${good}`)],
    ['missing old line', 400, utf8ToBytes(`16\n\n${good}`)],
    ['hash of 31 bytes', 400, encodeAddCheckpoint(16, [encodeBase64(EMPTY_ROOT.slice(1))], good)],
    [
      '64 proof lines',
      400,
      encodeAddCheckpoint(
        16,
        Array.from({ length: 64 }, () => encodeBase64(EMPTY_ROOT)),
        good,
      ),
    ],
    ['no note', 400, utf8ToBytes('old 16\n\njunk\n')],
    ['no checkpoint', 400, encodeAddCheckpoint(16, [], signNote('junk\n', log))],
    ['bytes that are no text', 400, concatBytes(Uint8Array.of(0xff), request(16, 20))],
    ['oversize', 400, concatBytes(request(16, 20), new Uint8Array(MAX_REQUEST_BYTES))],
  ];
  for (const [what, status, body] of table) {
    const answer = ask(state, body);
    t.equal(answer.status, status, `${what}: ${answer.body}`);
    t.equal(answer.stored, undefined, `${what} stores nothing`);
    if (status === 409) t.same([answer.body, answer.contentType], ['16\n', 'text/x.tlog.size']);
  }
  t.equal(ask(state, request(16, 20)).status, 200, 'the honest extension still passes');
  const empty = fresh();
  t.equal(
    ask(empty, encodeAddCheckpoint(0, [encodeBase64(EMPTY_ROOT)], checkpoint(5))).status,
    422,
  );
  const notEmpty = signNote(
    encodeCheckpoint({ origin: ORIGIN, size: 0, root: new Uint8Array(32) }),
    log,
  );
  t.equal(ask(empty, encodeAddCheckpoint(0, [], notEmpty)).status, 422, 'size 0 with a root');
  t.equal(ask(empty, request(7, 9)).body, '0\n', 'a log never seen has size 0');
});

t.test(
  'no cosignature leaves before its head is stored, and a racing request sees the reserved head',
  async (t) => {
    const state = fresh();
    const send = (requestId: number, body: Uint8Array) =>
      stepWitness(state, { kind: 'addCheckpoint', requestId, body }, NOW_MS, ports);
    const first = send(1_001, request(0, 8));
    t.same(
      first.map((effect) => effect.kind),
      ['persist'],
    );
    const racing = send(1_002, request(0, 12));
    t.match(racing, [{ kind: 'respond', answer: { status: 409, body: '8\n' } }]);
    const next = send(1_003, request(8, 12));
    t.same(
      next.map((effect) => effect.kind),
      ['persist'],
    );
    const answer = stepWitness(state, { kind: 'persisted', requestId: 1_001 }, NOW_MS, ports);
    t.match(answer, [{ kind: 'respond', requestId: 1_001, answer: { status: 200 } }]);
    t.throws(() => stepWitness(state, { kind: 'persisted', requestId: 9_999 }, NOW_MS, ports), {
      code: 'INVARIANT_BROKEN',
    });
  },
);

t.test(
  'a stored head is read back by its own cosignature and still refuses the fork',
  async (t) => {
    const state = fresh();
    // A log that adds junk lines must not be able to spoil what is stored.
    const noisy = checkpoint(16) + '\u2014 junk AAAAAAAA\n'.repeat(60);
    const stored = ask(state, request(0, 16, leaves, noisy)).stored;
    const bytes = utf8ToBytes(stored?.note ?? '');
    const head = restoreHead(bytes, ports.signer.key, fakeVerify);
    t.ok(head.ok && head.value.size === 16);
    const restarted = witnessState(new Map([[ORIGIN, [log.key]]]), head.ok ? [head.value] : []);
    t.equal(ask(restarted, request(16, 20, forked)).status, 422);
    t.equal(ask(restarted, request(0, 20)).body, '16\n');
    t.equal(ask(restarted, request(16, 20)).status, 200);
    let taken = 0;
    for (let at = 0; at < bytes.length; at += 1) {
      const changed = bytes.slice();
      changed[at] = (changed[at] ?? 0) ^ 1;
      const back = restoreHead(changed, ports.signer.key, fakeVerify);
      // The log's own line is not covered by our cosignature; head and cosignature are.
      if (back.ok && (back.value.size !== 16 || back.value.origin !== ORIGIN)) taken += 1;
    }
    t.equal(taken, 0);
    t.notOk(restoreHead(new Uint8Array(0), ports.signer.key, fakeVerify).ok);
  },
);
