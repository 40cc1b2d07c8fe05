import t from 'tap';
import { issueLogPolicy } from '../../../../identity/core/issue.ts';
import { nobleSigner, nobleVerifier } from '../../../../identity/core/noble-signatures.ts';
import { openDocument } from '../../../../identity/core/document.ts';
import { LOG_POLICY } from '../../../../identity/core/documents/log-policy.ts';
import { toHex, utf8ToBytes } from '../../../../protocol/bytes.ts';
import { encodeCanonical } from '../../../../protocol/cbor/encode.ts';
import { ALG_EDDSA } from '../../../../protocol/public-key.ts';
import { encodeCheckpoint } from '../../../../sync/ledger/core/checkpoint.ts';
import { cosign } from '../../../../sync/ledger/core/cosignature.ts';
import { verifyFinalCheckpoint } from '../../../../sync/ledger/core/final-checkpoint.ts';
import { signNote } from '../../../../sync/ledger/core/note.ts';
import type { Signer } from '../../../../sync/ledger/core/note-key.ts';
import { parsePolicy } from '../../../../sync/ledger/core/policy.ts';
import {
  POLICY_SKEW_S,
  type PolicyBook,
  encodePolicyBook,
  isPolicyBook,
  openPolicyBook,
  policyAt,
} from '../../../../sync/ledger/core/policy-book.ts';
import {
  ORIGIN,
  fakeLog,
  fakeWitness,
  policyOf,
  policyText,
  realLog,
  realVerify,
  realWitness,
} from '../keys.ts';
import { World } from '../log-world.ts';

const must = <T>(outcome: { ok: true; value: T } | { ok: false; reason: string }): T => {
  if (!outcome.ok) throw new Error(outcome.reason);
  return outcome.value;
};

const issuer = nobleSigner(ALG_EDDSA, new Uint8Array(32).fill(5));
const stranger = nobleSigner(ALG_EDDSA, new Uint8Array(32).fill(6));
const verifier = nobleVerifier();
const log = realLog();
const [w1, w2, w2b, w3] = ['1', '2', '2b', '3'].map((name) => realWitness(`w.example/${name}`)) as [
  Signer,
  Signer,
  Signer,
  Signer,
];
const RULE = 'group W 2 w1 w2 w3\nquorum W';
const TEXTS = [policyText(log, [w1, w2, w3], RULE), policyText(log, [w1, w2b, w3], RULE)];
const START_S = 1_000_000;
const SWITCH_S = 2_000_000;

const documents = (texts: readonly string[] = TEXTS, times = [START_S, SWITCH_S]): Uint8Array[] => {
  const made: Uint8Array[] = [];
  let previous: Uint8Array | undefined;
  for (const [at, text] of texts.entries()) {
    const facts = { issuedS: 900_000, version: at + 1, inForceFromS: times[at] ?? 0, text };
    const cose = issueLogPolicy(issuer, previous === undefined ? facts : { ...facts, previous });
    const opened = openDocument(verifier, issuer.key, LOG_POLICY, cose);
    if (!opened.ok) throw new Error(opened.reason);
    previous = opened.value.hash;
    made.push(cose);
  }
  return made;
};
const open = (bytes: Uint8Array) => openPolicyBook(bytes, issuer.key, verifier);
const book = must(open(encodePolicyBook(documents())));

t.test('a book gives the text in force at a time, and its hash', async (t) => {
  const { createHash } = await import('node:crypto');
  const hashOf = (text: string): string => createHash('sha256').update(text).digest('hex');
  const [first = '', second = ''] = TEXTS.map(hashOf);
  for (const [timeS, hash] of [
    [0, first],
    [START_S, first],
    [SWITCH_S - 1, first],
    [SWITCH_S, second],
    [Infinity, second],
  ] as const) {
    t.equal(toHex(policyAt(book, timeS).hash), hash, `at ${timeS}`);
  }
  const plain = must(parsePolicy(utf8ToBytes(TEXTS[0] ?? '')));
  t.equal(policyAt(plain, 5), plain, 'a plain policy holds for ever');
  t.ok(isPolicyBook(encodePolicyBook(documents())));
  t.notOk(isPolicyBook(utf8ToBytes(TEXTS[0] ?? '')));
  t.notOk(isPolicyBook(new Uint8Array(0)));
});

t.test('a book that is not wholly the issuer’s, or has a gap, is refused', async (t) => {
  const [one, two] = documents() as [Uint8Array, Uint8Array];
  const other = documents([`${TEXTS[0]}# changed\n`, TEXTS[1] ?? ''])[1] ?? two;
  const refused: [string, Uint8Array, RegExp][] = [
    ['nothing', new Uint8Array(0), /array/],
    ['no version', encodeCanonical([]), /array/],
    ['a text', utf8ToBytes(TEXTS[0] ?? ''), /array/],
    ['no documents', encodeCanonical([1n]), /version 1 is no document/],
    ['a gap at the start', encodePolicyBook([two]), /numbered 2/],
    ['a version twice', encodePolicyBook([one, one]), /numbered 1/],
    ['the wrong order', encodePolicyBook([two, one]), /numbered 2/],
    ['another version before', encodePolicyBook([one, other]), /does not follow/],
    ['times out of order', encodePolicyBook(documents(TEXTS, [5, 5])), /not later/],
    ['no policy', encodePolicyBook(documents(['junk\n'])), /policy line 1/],
    ['257 versions', encodeCanonical(Array.from({ length: 257 }, () => one)), /256/],
    ['a byte behind', Uint8Array.of(...encodePolicyBook([one]), 0), /array/],
  ];
  for (const [what, bytes, reason] of refused) {
    const opened = open(bytes);
    t.notOk(opened.ok, what);
    if (!opened.ok) t.match(opened.reason, reason, what);
  }
  t.notOk(openPolicyBook(encodePolicyBook([one]), stranger.key, verifier).ok, 'another issuer');
  const bytes = encodePolicyBook([one, two]);
  let passed = 0;
  for (let at = 0; at < bytes.length; at += 7) {
    const changed = bytes.slice();
    changed[at]! ^= 1 << (at % 8);
    if (open(changed).ok) passed += 1;
  }
  t.equal(passed, 0, 'one changed bit anywhere');
  t.throws(() => issueLogPolicy(issuer, { issuedS: 1, version: 0, inForceFromS: 1, text: '' }));
  t.throws(() => issueLogPolicy(issuer, { issuedS: 1, version: 2, inForceFromS: 1, text: '' }));
});

t.test('a head counts only as it was final while its policy was in force', async (t) => {
  const text = encodeCheckpoint({ origin: ORIGIN, size: 9, root: new Uint8Array(32).fill(3) });
  const note = (...by: readonly [Signer, number][]): Uint8Array =>
    utf8ToBytes(
      signNote(text, log) + by.map(([signer, timeS]) => cosign(text, signer, timeS)).join(''),
    );
  const before = SWITCH_S - 1_000;
  const after = SWITCH_S + 1_000;
  const skew = POLICY_SKEW_S;
  const cases: [string, Uint8Array, number | undefined][] = [
    ['two of the first version in its time', note([w1, before], [w2, before]), 0],
    ['the retired key afterwards', note([w1, after], [w2, after]), undefined],
    [
      'the retired key alone afterwards, another before',
      note([w1, before], [w2, after]),
      undefined,
    ],
    ['the new key in its time', note([w1, after], [w2b, after]), 1],
    ['the new key for the past', note([w1, before], [w2b, before]), undefined],
    ['one before and one after', note([w1, before], [w2b, after]), undefined],
    ['witnesses of both versions, before', note([w1, before], [w3, before]), 0],
    ['witnesses of both versions, after', note([w1, after], [w3, after]), 1],
    ['one witness of both, at two times', note([w1, before], [w1, after]), undefined],
    ['the retired key within the skew', note([w1, before], [w2, SWITCH_S + skew - 1]), 0],
    [
      'the retired key at the end of the skew',
      note([w1, before], [w2, SWITCH_S + skew]),
      undefined,
    ],
    ['the new key within the skew', note([w1, after], [w2b, SWITCH_S - skew]), 1],
    ['the new key too early', note([w1, after], [w2b, SWITCH_S - skew - 1]), undefined],
    ['before the first version', note([w1, START_S - skew - 1], [w2, before]), undefined],
  ];
  for (const [what, bytes, version] of cases) {
    const head = verifyFinalCheckpoint(bytes, book, realVerify);
    t.equal(
      head.ok ? book.versions.findIndex((one) => one.policy === head.value.policy) : undefined,
      version,
      what,
    );
  }
  const unsigned = utf8ToBytes(`${text}\n${cosign(text, w1, before)}${cosign(text, w2, before)}`);
  t.notOk(verifyFinalCheckpoint(unsigned, book, realVerify).ok, 'the log itself has not signed');
});

t.test(
  'a witness key is lost: the next version goes on with another, nothing is signed again',
  async (t) => {
    const world = new World(3, RULE);
    const signers = ['1', '2', '3'].map((name) => fakeWitness(`w.example/${name}`));
    const fresh = fakeWitness('w.example/2b');
    const next = [signers[0]!, fresh, signers[2]!];
    const rules: PolicyBook = {
      versions: [
        { version: 1, inForceFromS: 0, policy: policyOf(fakeLog(), signers, RULE) },
        { version: 2, inForceFromS: 1_000, policy: policyOf(fakeLog(), next, RULE) },
      ],
    };
    world.ports = { ...world.ports, policy: rules };
    world.crash();
    const grow = (count: number): void => {
      world.entries(count);
      for (let turn = 0; turn < 3; turn += 1) {
        world.tick();
        world.settle();
      }
    };
    grow(300);
    t.equal(world.publishedSize(), 300);
    // Two witnesses die with their keys: 2 of 3 is not met, nothing more becomes final.
    const dead = world.witnesses.get('w3')!;
    world.replaceWitness('w2', fresh);
    world.replaceWitness('w3', fakeWitness('w.example/nobody'));
    world.entries(5);
    world.tick();
    while (world.pending.length > 0) world.runOne();
    t.equal(world.publishedSize(), 300, 'the new key alone does not count before its version');
    const signedBefore = new Set(world.signedHeads);
    world.witnesses.set('w3', dead);
    world.tick(5_000);
    world.pending = [];
    world.nowMs = 1_000_000;
    world.crash();
    world.nextEntry = 300;
    world.tick();
    const asked = world.pending.filter((effect) => effect.kind === 'requestCosignature');
    t.same(
      asked.map((effect) => effect.witness),
      ['w1', 'w2', 'w3'],
    );
    world.settle();
    for (const head of signedBefore) t.ok(world.signedHeads.has(head));
    grow(20);
    t.ok(world.publishedSize() >= 320, 'the log goes on');
    t.equal(world.witnesses.get('w2')?.state.heads.get(ORIGIN)?.size, world.publishedSize());
    const first = world.done.find(
      (effect) =>
        effect.kind === 'requestCosignature' &&
        effect.witness === 'w2' &&
        effect.oldSize === 0 &&
        effect.size >= 300,
    );
    t.ok(first, 'the new witness is given the whole log from size 0');
  },
);

t.test('the version changes while requests are under way', async (t) => {
  const world = new World(3, RULE);
  const signers = ['1', '2', '3'].map((name) => fakeWitness(`w.example/${name}`));
  const fresh = fakeWitness('w.example/2b');
  const two = policyOf(fakeLog(), [signers[0]!, fresh], 'group W all w1 w2\nquorum W');
  world.ports = {
    ...world.ports,
    policy: {
      versions: [
        { version: 1, inForceFromS: 0, policy: policyOf(fakeLog(), signers, RULE) },
        { version: 2, inForceFromS: 1_000, policy: two },
      ],
    },
  };
  world.crash();
  world.tick();
  world.settle();
  world.entries(7);
  world.tick();
  while (world.pending[0]?.kind !== 'requestCosignature') world.runOne();
  const old = world.pending.splice(0);
  t.equal(old.length, 3);
  world.feed(world.apply(old[0]!)!);
  t.equal(world.state.round?.cosignatures.size, 1);
  world.nowMs = 1_000_000;
  world.tick();
  t.equal(world.state.round?.cosignatures.size, 0, 'cosigned under the version before');
  t.same(
    world.pending.map((effect) => effect.kind === 'requestCosignature' && effect.witness),
    ['w1'],
    'w2’s old key owes an answer first',
  );
  // The old key's answers arrive, one of them a conflict that would stop the log.
  world.feed({ kind: 'witnessConflict', witness: 'w2', theirSize: 1_000 });
  world.feed({ kind: 'witnessFailed', witness: 'w3', trouble: 'gone' });
  t.equal(world.state.phase.kind, 'running');
  world.replaceWitness('w2', fresh);
  world.settle();
  world.tick();
  world.settle();
  t.equal(world.publishedSize(), 7);
  t.throws(() => world.feed({ kind: 'witnessFailed', witness: 'nobody', trouble: '' }));
});

t.test('a witness rolled back is told by a writer that was started anew in between', async (t) => {
  const world = new World(3, RULE);
  world.tick();
  world.settle();
  world.entries(9);
  world.tick();
  world.settle();
  t.equal(world.publishedSize(), 9);
  world.crash();
  const counted = world.state.witnesses.filter((link) => link.cosignedSize === 9);
  t.ok(counted.length >= 2, 'from the cosignatures on the published checkpoint');
  const [{ name } = { name: '' }] = counted;
  world.witnesses.get(name)?.state.heads.clear();
  world.tick();
  world.settle();
  const link = world.state.witnesses.find((one) => one.name === name);
  t.ok(link?.lost);
  t.match(link?.trouble, 'answers 0 after cosigning 9: its state is lost');
});
