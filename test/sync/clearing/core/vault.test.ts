import { createHash } from 'node:crypto';
import t from 'tap';
import { nodeVerifier } from '../../../../identity/edge/node-signatures.ts';
import { putCardNumber } from '../../../../sync/clearing/core/card-number.ts';
import type { Coded } from '../../../../sync/clearing/core/fault.ts';
import {
  openInboundManifest,
  signInboundManifest,
} from '../../../../sync/clearing/core/inbound-documents.ts';
import { readInbound } from '../../../../sync/clearing/core/inbound.ts';
import {
  chosenProfile,
  ipmProfile,
  preProfile,
} from '../../../../sync/clearing/core/ipm-profile.ts';
import type { IpmProfile } from '../../../../sync/clearing/core/ipm-profile.ts';
import { compareForms, vaultOver } from '../../../../sync/clearing/core/vault.ts';
import type { CardStore } from '../../../../sync/clearing/core/vault.ts';
import {
  openVaultStatement,
  signVaultStatement,
} from '../../../../sync/clearing/core/vault-statement.ts';
import { decodeVbs } from '../../../../sync/clearing/core/vbs.ts';
import { verifyIpm } from '../../../../sync/clearing/core/verify-ipm.ts';
import { testSigner } from '../../../protocol/helpers.ts';
import { fileOfRecords, handMadeFile } from './hand-made.ts';
import type { Variant } from './hand-made.ts';
import { BODIES, CREATED_S, issuer, trust, written } from './inbound-sample.ts';

const MEMBER = ipmProfile('kiri-ipm-member') as IpmProfile;
const MEMBER_CP500 = ipmProfile('kiri-ipm-member-cp500') as IpmProfile;
/** A number that is published for tests. */
const CARD = '3530111333300000';
const vaultKey = testSigner(77);
const cards: CardStore = {
  cardNumbers: async (references) =>
    new Map(references.filter((one) => one === 'KIRI-ACC-001').map((one) => [one, CARD])),
};
const vault = vaultOver(MEMBER, cards, vaultKey);
const PRE: Variant = { indicator: 'M' };
const FINAL: Variant = { indicator: 'M', card: `16${CARD}` };
const same = (bytes: number[]): number[] => bytes;
const pre = handMadeFile('latin1', '1014', same, PRE);
const final = handMadeFile('latin1', '1014', same, FINAL);

const sha256 = (bytes: Uint8Array): Uint8Array =>
  new Uint8Array(createHash('sha256').update(bytes).digest());
const hex = (bytes: Uint8Array): string => Buffer.from(bytes).toString('hex');
const faultOf = (result: Coded<unknown>): string =>
  result.ok ? 'accepted' : `${result.fault.code} ${result.fault.field}: ${result.fault.detail}`;

t.test('the filled file is the hand-made one with DE2, byte for byte', async (t) => {
  const filled = await vault.fill(pre, CREATED_S);
  t.ok(filled.ok);
  if (!filled.ok) return;
  t.equal(hex(filled.value.bytes), hex(final));
  t.same(verifyIpm(final, MEMBER).findings, [], 'and sound by itself');
  t.same(filled.value.statement, {
    direction: 'outward',
    fileId: '0022611210000003281502201',
    preSha256: sha256(pre),
    preBytes: pre.length,
    finalSha256: sha256(final),
    finalBytes: final.length,
    records: 4,
    cardNumbers: 2,
    totals: [
      { currency: 392, sign: 'debit', lines: 1, amountMinor: '3850' },
      { currency: 392, sign: 'credit', lines: 1, amountMinor: '150' },
    ],
    differsOnlyInDe2: true,
    createdS: CREATED_S,
  });
  const known = { verifier: nodeVerifier(), vaults: [vaultKey.key] };
  t.same(openVaultStatement(filled.value.signed, known), {
    ok: true,
    value: filled.value.statement,
  });
  const stranger = { verifier: nodeVerifier(), vaults: [testSigner(78).key] };
  t.match(openVaultStatement(filled.value.signed, stranger), { ok: false });
  for (let at = 0; at < filled.value.signed.length; at++) {
    const damaged = filled.value.signed.slice();
    damaged[at] = (damaged[at] ?? 0) ^ 1;
    if (openVaultStatement(damaged, known).ok) t.fail(`byte ${at} of the statement is not covered`);
  }
  const host = vaultOver(MEMBER_CP500, cards, vaultKey);
  const ebcdic = await host.fill(handMadeFile('cp500', '1014', same, PRE), CREATED_S);
  t.equal(
    ebcdic.ok && hex(ebcdic.value.bytes),
    hex(handMadeFile('cp500', '1014', same, FINAL)),
    'in cp500 too',
  );
});

t.test('a final file that differs in anything but DE2 is found, whatever the byte', async (t) => {
  t.match(compareForms(pre, final, MEMBER, 'outward'), { ok: true, value: { cardNumbers: 2 } });
  let found = 0;
  for (let at = 0; at < final.length; at++) {
    const damaged = final.slice();
    damaged[at] = (damaged[at] ?? 0) ^ 1;
    if (compareForms(pre, damaged, MEMBER, 'outward').ok) t.fail(`byte ${at} changed unseen`);
    else found++;
  }
  t.equal(found, final.length);
  const other = handMadeFile('latin1', '1014', same, {
    indicator: 'M',
    card: '164111111111111111',
  });
  t.ok(compareForms(pre, other, MEMBER, 'outward').ok, 'another card differs only in DE2');
  const wrong = handMadeFile('latin1', '1014', same, {
    indicator: 'M',
    card: '164111111111111112',
  });
  t.match(faultOf(compareForms(pre, wrong, MEMBER, 'outward')), /no card number by length/);
  t.match(faultOf(compareForms(pre, pre, MEMBER, 'outward')), /record 2: missing/);
  const cut = handMadeFile('latin1', '1014', same, FINAL).slice();
  t.match(faultOf(compareForms(cut, final, MEMBER, 'outward')), /differs in more than DE2/);
});

t.test('the vault fills nothing that is not right, and says no digit of a card', async (t) => {
  const refusal = async (file: Uint8Array, store: CardStore = cards): Promise<string> => {
    const text = faultOf(await vaultOver(MEMBER, store, vaultKey).fill(file, CREATED_S));
    t.notMatch(text, /3530|4111/);
    return text;
  };
  const none: CardStore = { cardNumbers: async () => new Map() };
  t.match(await refusal(pre, none), /MISSING_FIELD DE2: record 2: the card store knows no card/);
  const typo: CardStore = {
    cardNumbers: async (references) => new Map(references.map((one) => [one, '4111111111111112'])),
  };
  t.match(await refusal(pre, typo), /MISSING_FIELD DE2/);
  t.match(await refusal(final), /CARD_NUMBER DE2/, 'filled already');
  t.match(
    await refusal(handMadeFile('latin1', '1014')),
    /WRONG_VALUE record: record 2: not a record/,
    'on us',
  );
  const wrongSum = handMadeFile(
    'latin1',
    '1014',
    (bytes, at) => (at === 3 ? bytes.map((byte, place) => (place === 77 ? 0x39 : byte)) : bytes),
    PRE,
  );
  t.match(await refusal(wrongSum), /SUM|COUNT|FILE_ID/, 'a pre-file that does not add up');
  t.match(await refusal(pre.subarray(0, 900)), /BAD_FRAMING/);
});

/** A file of the issuer in both forms, with the manifest that it signs over the form with card numbers. */
const inbound = (reference = 'KIRI-ACC-001', card = CARD) => {
  const chargeback = { ...BODIES.chargeback, fundingReference: reference };
  const bodies = [chargeback as typeof BODIES.chargeback, BODIES['message-reject']];
  const sent = written(bodies, { profile: preProfile(MEMBER) });
  const records = decodeVbs(sent.file, MEMBER.blocking);
  if (!records.ok) throw new Error('unreadable');
  const file = fileOfRecords(
    records.value.map(({ bytes }, at) =>
      at === 1 || at === 2 ? putCardNumber(bytes, card, 'latin1') : bytes,
    ),
  );
  const opened = openInboundManifest(sent.manifest, trust);
  if (!opened.ok) throw new Error('no manifest');
  const manifest = signInboundManifest(issuer, {
    ...opened.value.value,
    fileSha256: sha256(file),
    fileBytes: file.length,
  });
  return { pre: sent.file, final: file, manifest };
};

t.test('what comes back is tokenised, and read only with the vault’s word for it', async (t) => {
  const sent = inbound();
  const taken = await vault.tokenise(sent.final, CREATED_S);
  t.ok(taken.ok, faultOf(taken));
  if (!taken.ok) return;
  t.equal(hex(taken.value.bytes), hex(sent.pre));
  t.match(taken.value.statement, { direction: 'inward', records: 4, cardNumbers: 2 });
  t.same(taken.value.statement.totals, [
    { currency: 392, sign: 'debit', lines: 1, amountMinor: '850' },
  ]);
  const withVault = { ...trust, vaults: [vaultKey.key] };
  const read = readInbound(sent.pre, sent.manifest, withVault, taken.value.signed);
  t.ok(read.ok, faultOf(read));
  t.match(read.ok && read.value.messages, [
    { kind: 'chargeback', fundingReference: 'KIRI-ACC-001', amountMinor: 850n },
    { kind: 'message-reject' },
  ]);
  t.match(faultOf(readInbound(sent.pre, sent.manifest, withVault)), /WRONG_FILE/, 'without it');
  const strangers = { ...trust, vaults: [testSigner(78).key] };
  t.match(
    faultOf(readInbound(sent.pre, sent.manifest, strangers, taken.value.signed)),
    /WRONG_FILE/,
  );
  const { statement } = taken.value;
  const states = (part: Partial<typeof statement>): string => {
    const signed = signVaultStatement(vaultKey, { ...statement, ...part });
    return faultOf(readInbound(sent.pre, sent.manifest, withVault, signed));
  };
  t.match(states({ cardNumbers: 0 }), /WRONG_FILE/, 'a chargeback without its card');
  t.match(states({ cardNumbers: 5 }), /WRONG_FILE/, 'more cards than records');
  t.match(states({ totals: [] }), /WRONG_FILE/, 'other totals');
  const other = await vault.fill(pre, CREATED_S);
  t.match(
    faultOf(readInbound(sent.pre, sent.manifest, withVault, other.ok ? other.value.signed : pre)),
    /WRONG_FILE/,
    'a statement about another file',
  );
  t.match(
    faultOf(readInbound(sent.final, sent.manifest, withVault, taken.value.signed)),
    /WRONG_FILE/,
    'the form with card numbers is not read at all',
  );
});

t.test('a chargeback of another card, or a card number in text, stays outside', async (t) => {
  const refusal = async (file: Uint8Array): Promise<string> => {
    const text = faultOf(await vault.tokenise(file, CREATED_S));
    t.notMatch(text, /3530|4111/);
    return text;
  };
  const stranger = inbound('KIRI-ACC-001', '4111111111111111');
  t.match(await refusal(stranger.final), /DE2: record 2: is not the card of its funding reference/);
  t.match(await refusal(inbound('KIRI-ACC-002').final), /DE2: record 2/);
  t.match(await refusal(pre), /DE2: record 2: missing/, 'a presentment without its card');
  t.match(await refusal(new Uint8Array(0)), /BAD_FRAMING/);
});

t.test('the profile of a line is the first rule that fits it', async (t) => {
  const rules = [
    { acquirer: 'a', programme: 'transit', profile: MEMBER_CP500 },
    { acquirer: 'a', profile: MEMBER },
  ];
  const named = (acquirer: string, programme: string): string =>
    chosenProfile(rules, { acquirer, programme })?.name ?? 'none';
  t.equal(named('a', 'transit'), 'kiri-ipm-member-cp500');
  t.equal(named('a', 'bilateral'), 'kiri-ipm-member');
  t.equal(named('b', 'transit'), 'none', 'left to its programme');
});
