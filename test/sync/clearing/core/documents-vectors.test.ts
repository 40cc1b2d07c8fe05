/** Every signed or hashed document of the clearing: golden bytes, and protocol/kiri.cddl as a second description of them. */
import { readFileSync, writeFileSync } from 'node:fs';
import t from 'tap';
import { fromHex, toHex } from '../../../../protocol/bytes.ts';
import { decodeCanonical } from '../../../../protocol/cbor/decode.ts';
import { decodeSign1, signSign1, verifySign1 } from '../../../../protocol/cose.ts';
import { amountMicro } from '../../../../protocol/amount.ts';
import { encodeEvidence, verifyEvidence } from '../../../../sync/clearing/core/evidence.ts';
import {
  openInboundAnswer,
  signInboundAnswer,
  type InboundAnswer,
} from '../../../../sync/clearing/core/inbound-answer.ts';
import { LINE_ACCOUNT, RUN_SETTLED } from '../../../../sync/clearing/core/line-account.ts';
import {
  LINE_ACCOUNTS_MANIFEST,
  LINE_ACCOUNTS_TYP,
} from '../../../../sync/clearing/core/line-accounts-manifest.ts';
import { MANIFEST, MANIFEST_TYP } from '../../../../sync/clearing/core/manifest.ts';
import {
  PAYOUT_MANIFEST,
  PAYOUT_MANIFEST_TYP,
} from '../../../../sync/clearing/core/payout-manifest.ts';
import { CLOSED_BOOKS, signClosedBooks } from '../../../../sync/clearing/core/closed-books.ts';
import { RETENTION, signRetention } from '../../../../sync/clearing/core/retention.ts';
import { sumTreeRoot } from '../../../../sync/clearing/core/sum-tree.ts';
import {
  openVaultStatement,
  signVaultStatement,
} from '../../../../sync/clearing/core/vault-statement.ts';
import { fill, testSigner, testVerifier } from '../../../protocol/helpers.ts';
import { parseCddl } from '../../../protocol/mini-cddl.ts';

const root = new URL('../../../../../', import.meta.url);
const VECTORS = new URL('test/vectors/clearing.json', root);
const rules = parseCddl(readFileSync(new URL('protocol/kiri.cddl', root), 'utf8'));
const clearing = testSigner(43);
const vault = testSigner(44);
/** 2026-11-22 00:00 UTC. */
const AT_S = 1_795_305_600;
const FILE_ID = '0022611210000003281502201';
const totals = [{ currency: 392, sign: 'debit', lines: 1, amountMinor: '3850' }];

const file = {
  fileName: 'KIRI.kiri-ipm-member.00000032815.D261121.S02201.T.pre.ipm',
  fileId: FILE_ID,
  profile: 'kiri-ipm-member',
  profileVersion: 1,
  charset: 'latin1',
  blocking: '1014',
  fileSha256: fill(32, 0xf1),
  fileBytes: 1014,
  records: 3,
  totals,
  linesSha256: fill(32, 0xf2),
  policyHash: fill(32, 0xf3),
  cutS: AT_S,
};
const payout = {
  fileName: 'KIRI.zengin-sougou.0000012345.D261124.S00001.T.txt',
  profile: 'zengin-sougou',
  profileVersion: 1,
  lineEnd: 'crlf',
  fileSha256: fill(32, 0xf1),
  fileBytes: 488,
  transfers: 1,
  totalYen: '3850',
  linesSha256: fill(32, 0xf2),
  cutS: AT_S,
};
const statement = {
  direction: 'outward',
  fileId: FILE_ID,
  preSha256: fill(32, 0xf1),
  preBytes: 1014,
  finalSha256: fill(32, 0xf4),
  finalBytes: 1014,
  records: 3,
  cardNumbers: 1,
  totals,
  differsOnlyInDe2: true,
  createdS: AT_S,
} as const;
const retention = {
  atS: AT_S,
  horizonS: AT_S - 548 * 86_400,
  receipts: 2,
  chargeMicro: '7700000',
  receiptsSha256: fill(32, 0xf5),
};
const closed = {
  atS: AT_S,
  throughS: AT_S - 10 * 366 * 86_400,
  files: 3,
  listSha256: fill(32, 0xf6),
};
const exported = { fileSha256: fill(32, 0xf1), fileBytes: 260, lines: 1, asOfS: AT_S };
const listed = { paymentHash: fill(32, 0xa1), amountMicro: amountMicro(1_000_000n) };
const account = {
  line: fill(16, 0xc2),
  party: 'c3'.repeat(16),
  currency: 392,
  afterCounter: 0,
  releasedBeforeMicro: amountMicro(0n),
  throughCounter: 2,
  runs: [
    {
      kind: RUN_SETTLED,
      from: 1,
      to: 2,
      sumMicro: amountMicro(7_700_000n),
      releasedMicro: amountMicro(0n),
    },
  ],
  highestCounter: 2,
  totalMicro: amountMicro(7_700_000n),
  chargedMicro: amountMicro(7_700_000n),
  settledMicro: amountMicro(7_700_000n),
  missingMicro: amountMicro(0n),
  highestNetMicro: amountMicro(7_700_000n),
  lastPaidS: AT_S,
  conflicts: 0,
  credits: [listed],
  disputes: [listed],
  heads: [{ origin: 'gw1.example/2026q4', size: 2, root: fill(32, 0xf6) }],
};
const leaf = { receiptHash: fill(32, 0xb1), paymentHash: fill(32, 0xa1), amountMicro: 3_850_000n };
const tree = sumTreeRoot([leaf]);
const evidence = {
  key: {
    issuer: 'c1'.repeat(16),
    acquirer: 'c4'.repeat(16),
    merchant: 'MERCHANT-1',
    programme: 'BILATERAL',
    account: 'KIRI-ACC-001',
    party: 'c3'.repeat(16),
    mcc: '4784',
    currency: 392,
    sign: 'debit',
  },
  lane: 'conflict',
  number: 2,
  previous: 'd1'.repeat(32),
  openingMicro: 150_000n,
  amountMinor: 4n,
  closingMicro: 0n,
  firstPaidS: AT_S,
  lastPaidS: AT_S,
  root: tree.hash,
  sumMicro: tree.sumMicro,
  origins: ['gw1.example/2026q4'],
  leaves: [{ ...leaf, origin: 0, leafIndex: 7 }],
  entries: [],
  conflicts: [{ paymentHash: fill(32, 0xa1), otherHash: fill(32, 0xa2), rule: 'COUNTER_REUSED' }],
} as const;

const answer: InboundAnswer = {
  issuer: fill(16, 0xc1),
  number: 3,
  name: 'ISSUER.1.manifest',
  sha256: fill(32, 0xf4),
  verdict: 'partly',
  code: '',
  detail: '',
  refusals: [{ record: 2, code: 'UNKNOWN_ARN' }],
  part: 1,
  parts: 1,
  answeredS: AT_S,
};

const byClearing = (payload: Uint8Array, typ: string): Uint8Array =>
  signSign1(clearing, payload, { kid: clearing.key.id, typ });

/** By rule of kiri.cddl; signed ones as COSE_Sign1. */
const made = (): Record<string, string> => ({
  'settlement-manifest': toHex(
    byClearing(MANIFEST.encode({ ...file, stage: 'pre' }), MANIFEST_TYP),
  ),
  'payout-manifest': toHex(byClearing(PAYOUT_MANIFEST.encode(payout), PAYOUT_MANIFEST_TYP)),
  'vault-statement': toHex(signVaultStatement(vault, statement)),
  'inbound-answer': toHex(signInboundAnswer(clearing, answer)),
  'retention-statement': toHex(signRetention(clearing, retention)),
  'closed-books': toHex(signClosedBooks(clearing, closed)),
  'line-accounts-manifest': toHex(
    byClearing(LINE_ACCOUNTS_MANIFEST.encode(exported), LINE_ACCOUNTS_TYP),
  ),
  'line-account': toHex(LINE_ACCOUNT.encode(account)),
  'aggregate-evidence': toHex(encodeEvidence(evidence)),
});

/** What may be missing. */
const OPTIONAL: Readonly<Record<string, number>> = {
  'settlement-manifest': 14,
  'aggregate-evidence': 4,
};

if (process.env['KIRI_NEW_VECTORS']) {
  writeFileSync(VECTORS, `${JSON.stringify(made(), undefined, 2)}\n`);
}
const golden = JSON.parse(readFileSync(VECTORS, 'utf8')) as Record<string, string>;

const payloadOf = (name: string): Uint8Array => {
  const bytes = fromHex(golden[name]!);
  const sign1 = decodeSign1(bytes);
  return sign1.ok ? sign1.value.payload : bytes;
};

const fieldsOf = (name: string): Map<unknown, unknown> => {
  const decoded = decodeCanonical(payloadOf(name), { maxBytes: 16_384 });
  if (!decoded.ok || !(decoded.value instanceof Map)) throw new Error(`${name} is not a map`);
  return decoded.value;
};

t.test(
  'every document has the bytes of its golden vector, and reads as what was written',
  async (t) => {
    t.same(made(), golden);
    const read = (name: string, codec: { decode: (bytes: Uint8Array) => unknown }): unknown =>
      codec.decode(payloadOf(name));
    t.match(read('settlement-manifest', MANIFEST), { ok: true, value: { ...file, stage: 'pre' } });
    t.match(read('payout-manifest', PAYOUT_MANIFEST), { ok: true, value: payout });
    t.match(read('retention-statement', RETENTION), { ok: true, value: retention });
    t.match(read('closed-books', CLOSED_BOOKS), { ok: true, value: closed });
    t.match(read('line-accounts-manifest', LINE_ACCOUNTS_MANIFEST), { ok: true, value: exported });
    t.match(read('line-account', LINE_ACCOUNT), { ok: true, value: account });
    const told = { verifier: testVerifier, clearing: clearing.key };
    t.match(openInboundAnswer(fromHex(golden['inbound-answer']!), told), { value: answer });
    t.notOk(openInboundAnswer(fromHex(golden['vault-statement']!), told).ok);
    t.notOk(openInboundAnswer(fromHex(golden['retention-statement']!), told).ok, 'another type');
    t.notOk(
      openInboundAnswer(fromHex(golden['inbound-answer']!), { ...told, clearing: vault.key }).ok,
    );
    const trust = { verifier: testVerifier, vaults: [vault.key] };
    t.match(openVaultStatement(fromHex(golden['vault-statement']!), trust), { value: statement });
    t.match(verifyEvidence(fromHex(golden['aggregate-evidence']!)), { ok: true, value: evidence });
    for (const [name, cose] of Object.entries(golden)) {
      const sign1 = decodeSign1(fromHex(cose));
      if (!sign1.ok) continue;
      const { key } = name === 'vault-statement' ? vault : clearing;
      t.ok(verifySign1(testVerifier, key, sign1.value), `${name} is signed`);
    }
  },
);

t.test('kiri.cddl describes each, and every field but the optional ones is needed', async (t) => {
  for (const name of Object.keys(golden)) {
    const rule = rules.get(name)!;
    t.equal(rule(fieldsOf(name)), undefined, name);
    for (const key of fieldsOf(name).keys()) {
      const less = fieldsOf(name);
      less.delete(key);
      t.equal(rule(less) === undefined, OPTIONAL[name] === key, `${name} without ${String(key)}`);
    }
    t.match(rule(fieldsOf(name).set(99, 1n)), /unknown key 99/, name);
    t.match(rule(fieldsOf(name).set(0, 1n)), /key 0/, name);
  }
  t.match(rules.get('vault-statement')!(fieldsOf('vault-statement').set(10, false)), /key 10/);
  t.match(
    rules.get('settlement-manifest')!(fieldsOf('settlement-manifest').set(14, 'final')),
    /key 14/,
  );
});

// Map heads, keys and values written by hand from kiri.cddl; 548 days are 47,347,200 seconds.
t.test('a retention statement laid out by hand is the golden one', async (t) => {
  const at = AT_S.toString(16);
  const horizon = (AT_S - 47_347_200).toString(16);
  const payload = [
    'a6', // map of six
    '001843', // 0: type 67
    `011a${at}`, // 1: four bytes
    `021a${horizon}`, // 2: 548 days before
    '0302', // 3: two receipts
    '046737373030303030', // 4: text of 7, "7700000"
    `055820${'f5'.repeat(32)}`, // 5: 32 bytes
  ].join('');
  t.equal(toHex(payloadOf('retention-statement')), payload);
});

t.test('no two messages or documents of kiri.cddl have one type number', async (t) => {
  const page = readFileSync(new URL('protocol/kiri.cddl', root), 'utf8');
  const types = [...page.matchAll(/(?:^ {2}|= \{ )0: (\d+)\b/gm)].map(([, type]) => type);
  t.ok(types.length > 20);
  t.same(types, [...new Set(types)]);
});
