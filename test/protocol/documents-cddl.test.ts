import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t from 'tap';
import { makeWorld } from '../../cli/demo/identities.ts';
import { storyPlan, withAttackers } from '../../cli/demo/plan.ts';
import * as issue from '../../identity/core/issue.ts';
import { amountMicro } from '../../protocol/amount.ts';
import { decodeCanonical } from '../../protocol/cbor/decode.ts';
import type { CborValue } from '../../protocol/cbor/value.ts';
import { decodeSign, decodeSign1 } from '../../protocol/cose.ts';
import { fill } from './helpers.ts';
import { parseCddl } from './mini-cddl.ts';

const root = new URL('../../../', import.meta.url);
const rules = parseCddl(readFileSync(new URL('protocol/kiri.cddl', root), 'utf8'));
const folder = mkdtempSync(join(tmpdir(), 'kiri-cddl-'));
t.teardown(() => rmSync(folder, { recursive: true, force: true }));
const world = makeWorld(withAttackers(storyPlan(), ['rogue'], 'rogue'), folder, 1_795_000_000);

function claimsOf(cose: Uint8Array): Map<number, CborValue> {
  const single = decodeSign1(cose);
  const several = single.ok ? undefined : decodeSign(cose);
  const payload = single.ok
    ? single.value.payload
    : several?.ok
      ? several.value.payload
      : fill(1, 0);
  const decoded = decodeCanonical(payload, { maxBytes: 16_384 });
  if (!decoded.ok || !(decoded.value instanceof Map)) throw new Error('not a map');
  return decoded.value as Map<number, CborValue>;
}

const { issuer, clearing } = world;
const issuedS = 1_795_000_000;
const hash = fill(32, 7);
const [payer] = world.payers;

/** Every document there is: those of the demonstration, and those that it has no use for. */
const documents = new Map<string, Uint8Array>([
  ...world.documents,
  ['status-list', world.statusList],
  [
    'acknowledgement',
    issue.issueAcknowledgement(clearing, {
      issuedS,
      approver: fill(16, 1),
      currency: 392,
      throughSequence: 5,
      count: 4,
      sumMicro: amountMicro(9n),
    }),
  ],
  [
    'approver-closing',
    issue.issueApproverClosing(issuer, {
      issuedS,
      approver: fill(16, 1),
      throughSequence: 5,
      reason: 'board dead',
    }),
  ],
  [
    'statement',
    issue.issueStatement(issuer, {
      issuedS,
      line: payer!.line,
      number: 1,
      currency: 392,
      heads: [{ origin: 'a.example', size: 3, root: hash }],
      recordedThrough: 9,
      except: [4],
      settled: [{ from: 1, to: 3, sumMicro: amountMicro(5n) }],
      settledTotalMicro: amountMicro(5n),
      open: [5],
      releasedMicro: amountMicro(1n),
      credits: [{ paymentHash: hash, amountMicro: amountMicro(2n) }],
      disputes: [],
      allowance: payer!.documents[3]!,
    }),
  ],
  [
    'log-policy',
    issue.issueLogPolicy(issuer, {
      issuedS,
      version: 2,
      inForceFromS: issuedS,
      text: 'quorum none\n',
      previous: hash,
    }),
  ],
  [
    'log-enrolment',
    issue.issueLogEnrolment(clearing, {
      issuedS,
      origin: 'a.example/gw1',
      logKey: clearing.key,
      url: 'https://a.example:8443/log',
    }),
  ],
  [
    'erasure-request',
    issue.issueErasureRequest(issuer, {
      issuedS,
      origin: 'a.example',
      period: '2026-11',
      kids: [fill(16, 3)],
      reason: 1,
      holders: [{ name: 'gateway', key: clearing.key }],
    }),
  ],
  [
    'erasure-confirmation',
    issue.issueErasureConfirmation(clearing, {
      issuedS,
      requestHash: hash,
      origin: 'a.example',
      period: '2026-11',
      kid: fill(16, 3),
      holder: 'gateway',
      wrappedCopies: 1,
      plainCopies: 1,
      reason: 1,
    }),
  ],
  [
    'closing',
    issue.issueClosing(
      { party: issuer, registrar: clearing },
      {
        issuedS,
        subject: payer!.key.id,
        line: payer!.line,
        bindingHash: hash,
        lastCounter: 3,
        totalMicro: amountMicro(5n),
        open: [hash],
      },
    ),
  ],
]);

t.test(
  'kiri.cddl describes every kind of document, and each required claim is required',
  async (t) => {
    const seen = new Set<string>();
    for (const [name, cose] of documents) {
      const ruleName = rules.has(name) ? name : name.replace(/-.*$/, '');
      seen.add(ruleName);
      const rule = rules.get(ruleName)!;
      t.equal(rule(claimsOf(cose)), undefined, name);
      for (const key of claimsOf(cose).keys()) {
        const less = claimsOf(cose);
        less.delete(key);
        t.match(rule(less), /is missing/, `${name} without ${key}`);
      }
      t.match(rule(claimsOf(cose).set(-80_000, 1n)), /unknown key/, name);
    }
    t.same([...seen].toSorted(), [
      'acknowledgement',
      'acquirer',
      'allowance',
      'approver-closing',
      'binding',
      'clearing',
      'closing',
      'erasure-confirmation',
      'erasure-request',
      'log-enrolment',
      'log-policy',
      'mandate',
      'merchant',
      'party',
      'policy',
      'registrar',
      'statement',
      'status-list',
      'tariff',
    ]);
  },
);
