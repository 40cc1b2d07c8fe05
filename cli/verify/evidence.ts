import { bytesEqual, toHex } from '../../protocol/bytes.ts';
import { currencyOf, microPerMinor } from '../../protocol/currency.ts';
import { FLAG_TIME_QUALITY } from '../../protocol/messages/receipt.ts';
import type { VerifiedPayer } from '../../identity/core/chain.ts';
import { keyIdOf, type AggregateKey } from '../../sync/clearing/core/aggregate.ts';
import { netOfEntries, verifyEvidence, type Evidence } from '../../sync/clearing/core/evidence.ts';
import { conflictBetween } from '../../sync/clearing/core/ingest.ts';
import type { FileLine } from '../../sync/clearing/core/lines-file.ts';
import type { Artefacts } from './artefacts.ts';
import type { Findings } from './findings.ts';
import type { LogView } from './log.ts';
import type { CheckedReceipt, ReceiptBook } from './receipts.ts';

/** Evidence stands on receipts and logs; a bundle looked at alone is checked in itself only. */
export interface EvidenceContext {
  readonly files: Artefacts;
  readonly findings: Findings;
  readonly logs?: readonly LogView[];
  readonly receipts?: ReceiptBook;
  /** Aggregates that settlement files name, with their line; `undefined` as value: without a line of their own. */
  readonly named?: ReadonlyMap<string, FileLine | undefined>;
  /** Aggregates whose evidence stands elsewhere: of the files before an archive's period, or deleted after their years. */
  readonly earlier?: ReadonlySet<string>;
  /** Accounts that the credentials of a party have named, by party. */
  readonly accounts?: ReadonlyMap<string, ReadonlySet<string>>;
}

interface Opened {
  readonly path: string;
  readonly id: string;
  readonly keyId: string;
  readonly value: Evidence;
}

function open({ files, findings }: EvidenceContext, path: string): Opened | undefined {
  const bytes = files.read(path);
  if (!bytes) return undefined;
  findings.count('evidence');
  const checked = findings.guard(path, () => verifyEvidence(bytes));
  if (checked && !checked.ok) findings.fault(path, checked.fault);
  if (!checked?.ok) return undefined;
  const { id, keyId, value } = checked;
  if (path.slice(path.lastIndexOf('/') + 1) !== `${id}.cbor`) {
    findings.fault(path, 'is not named after its own hash');
    return undefined;
  }
  return { path, id, keyId, value };
}

/** Whose money goes where, as the documents behind a receipt and the credential of its account say it (DESIGN §6). */
const keyOf = (
  { payee, payment }: CheckedReceipt,
  { party, partyHex }: Pick<VerifiedPayer, 'party' | 'partyHex'>,
): AggregateKey => ({
  issuer: toHex(party.issuer),
  acquirer: toHex(payee.acquirer.subject),
  merchant: payee.merchant.merchantId,
  programme: payee.merchant.programme,
  account: party.fundingAccount,
  party: partyHex,
  mcc: String(payee.merchant.mcc).padStart(4, '0'),
  currency: payment.currency,
  sign: 'debit',
});

/** From the first payment of an aggregate to its last, UTC seconds. */
type Span = Pick<Evidence, 'firstPaidS' | 'lastPaidS'>;

/**
 * The chains that may have been charged. Clearing takes the one in force at the receipt's own time; where that is unknown, or
 * later than its first cosignature, one that was in force while the aggregate's payments were made.
 */
function chargedChains(
  receipt: CheckedReceipt,
  { firstPaidS, lastPaidS }: Span,
): readonly VerifiedPayer[] {
  const { timeS, flags } = receipt.receipt;
  const isTimed = (flags & FLAG_TIME_QUALITY) !== 0;
  if (isTimed && firstPaidS <= timeS && timeS <= lastPaidS) return [receipt.payer];
  return receipt.payers.filter(
    ({ period }) => period.notBeforeS <= lastPaidS && firstPaidS < period.expiresS,
  );
}

/** Every leaf is a receipt that verified, charges what it says, and lies where it says in the log. */
function checkLeaves(
  context: EvidenceContext,
  { path, keyId, value }: Opened,
  used: Set<string>,
): void {
  const { findings, receipts, logs } = context;
  for (const leaf of value.leaves) {
    const hash = toHex(leaf.receiptHash);
    if (used.has(hash)) findings.fault(path, `receipt ${hash} is presented twice`);
    used.add(hash);
    const receipt = receipts?.get(hash);
    if (receipts && !receipt) {
      findings.fault(path, `receipt ${hash} is not among the receipts that verify`);
    } else if (receipt) {
      const same =
        bytesEqual(receipt.paymentHash, leaf.paymentHash) &&
        receipt.chargedMicro === leaf.amountMicro &&
        chargedChains(receipt, value).some((chain) => keyIdOf(keyOf(receipt, chain)) === keyId);
      if (!same) findings.fault(path, `receipt ${hash} says otherwise than its leaf`);
    }
    const origin = value.origins[leaf.origin];
    const log = logs?.find((one) => one.origin === origin);
    if (log?.isRetired === true) findings.count('receipts of retired logs');
    else if (logs && log?.places.get(hash) !== leaf.leafIndex) {
      findings.fault(path, `receipt ${hash} is not entry ${leaf.leafIndex} of ${origin}`);
    }
  }
}

/** Refunds of one Payment, over all aggregates that were looked at. */
interface Refunds {
  readonly receipts: ReadonlyMap<string, CheckedReceipt>;
  readonly refundedMicro: Map<string, bigint>;
}

/**
 * Every leaf of a credit line gives back a part of a Payment that was charged to the same key: once, and in all no more
 * than was charged. The Credits themselves lie sealed in the log, under the entries that the leaves name.
 */
function checkRefunds(
  { findings, receipts, accounts }: EvidenceContext,
  { path, keyId, value }: Opened,
  used: Set<string>,
  refunds: Refunds,
): void {
  for (const leaf of value.leaves) {
    const hash = toHex(leaf.receiptHash);
    // A Void corrects one Payment; its hash may be that of no receipt, so credits are counted among themselves.
    if (used.has(`credit ${hash}`)) findings.fault(path, `credit ${hash} is presented twice`);
    used.add(`credit ${hash}`);
    const payment = toHex(leaf.paymentHash);
    const receipt = refunds.receipts.get(payment);
    if (receipts && !receipt) {
      findings.fault(path, `credit ${hash} is for a Payment that is not among those that verify`);
    }
    if (!receipt) continue;
    const refunded = (refunds.refundedMicro.get(payment) ?? 0n) + leaf.amountMicro;
    refunds.refundedMicro.set(payment, refunded);
    if (refunded > receipt.chargedMicro) {
      findings.fault(path, `more is given back of Payment ${payment} than it charged`);
    }
    const own = keyOf(receipt, receipt.payer);
    // Where the account was replaced since, it is the party's new one; where the receipt has no time, any that it had.
    const { account } = value.key;
    const isOfParty =
      accounts?.get(own.party)?.has(account) === true ||
      receipt.payers.some(({ party }) => party.fundingAccount === account);
    if (!isOfParty || keyIdOf({ ...own, account, sign: 'credit' }) !== keyId) {
      findings.fault(path, `credit ${hash} is not on the key of its Payment`);
    }
  }
}

/** A receipt of the conflict lane contradicts the Payment that is named beside it, where that one is at hand. */
function checkConflicts({ findings, receipts }: EvidenceContext, { path, value }: Opened): void {
  // A correction names the Void that it follows from; that lies in the log.
  if (value.key.sign === 'credit') return;
  const known = new Map<string, CheckedReceipt>();
  if (value.conflicts.length > 0) {
    for (const one of receipts?.values() ?? []) known.set(toHex(one.paymentHash), one);
  }
  for (const { paymentHash, otherHash, rule } of value.conflicts) {
    const [own, other] = [paymentHash, otherHash].map((hash) => known.get(toHex(hash)));
    if (!own || !other) continue;
    const found =
      own.bound.lineHex === other.bound.lineHex &&
      conflictBetween(
        { ...own.payment, paymentHash: own.paymentHash },
        { ...other.payment, paymentHash: other.paymentHash },
      );
    if (found !== rule) findings.fault(path, `${toHex(paymentHash)} is in no conflict ${rule}`);
  }
}

/** The line of the settlement file presents exactly this aggregate. */
function checkLine({ findings, named }: EvidenceContext, { path, id, value }: Opened): void {
  if (!named) return;
  if (!named.has(id)) {
    findings.fault(path, 'no settlement file names this aggregate');
    return;
  }
  const line = named.get(id);
  const currency = String(value.key.currency).padStart(3, '0');
  const same = line
    ? (line.cycle === 2
        ? line.amountMinor <= value.amountMinor
        : line.amountMinor === value.amountMinor) &&
      line.sign === value.key.sign &&
      line.currency === currency
    : value.amountMinor === 0n;
  if (!same) findings.fault(path, 'its line in the settlement file presents another sum');
}

/**
 * Residuals are handed on from aggregate to aggregate of one key and lane, without a gap but for the entries that the
 * later one names.
 */
function checkChain(
  { findings, earlier }: EvidenceContext,
  { path, keyId, value }: Opened,
  all: ReadonlyMap<string, Opened>,
): void {
  const { previous, number, lane, openingMicro } = value;
  const broughtMicro = openingMicro - netOfEntries(value.entries);
  if (number === 1) {
    if (previous !== undefined || broughtMicro !== 0n) {
      findings.fault(path, 'the first aggregate of a key opens with something');
    }
    return;
  }
  const before = previous === undefined ? undefined : all.get(previous);
  if (!before && previous !== undefined && earlier?.has(previous) === true) {
    findings.count('evidence that goes on from an earlier archive');
    return;
  }
  const follows =
    before?.keyId === keyId &&
    before.value.lane === lane &&
    before.value.number === number - 1 &&
    before.value.closingMicro === broughtMicro;
  if (!follows) findings.fault(path, 'does not go on from the aggregate before it');
}

/** A residual moves in from the account that was replaced, whole and once: same party and merchant, same lane. */
function checkMoves(
  { findings, accounts, earlier }: EvidenceContext,
  { path, keyId, value }: Opened,
  all: ReadonlyMap<string, Opened>,
  moved: Set<string>,
): void {
  for (const { from, amountMicro } of value.entries) {
    if (from === undefined) continue;
    const old = all.get(from);
    const isElsewhere = !old && earlier?.has(from) === true;
    const fits =
      isElsewhere ||
      (old !== undefined &&
        old.keyId !== keyId &&
        accounts?.get(value.key.party)?.has(value.key.account) === true &&
        keyIdOf({ ...old.value.key, account: value.key.account }) === keyId &&
        old.value.lane === value.lane &&
        old.value.closingMicro === amountMicro);
    if (!fits) findings.fault(path, `what it takes over is not the residual of ${from}`);
    if (moved.has(from)) findings.fault(path, `the residual of ${from} is taken over twice`);
    moved.add(from);
  }
}

/** Checks evidence documents. @returns what they present in all, in micro-units */
export function checkEvidence(context: EvidenceContext, paths: readonly string[]): bigint {
  const opened = new Map<string, Opened>();
  for (const path of paths) {
    const one = open(context, path);
    if (one) opened.set(one.id, one);
  }
  const used = new Set<string>();
  const moved = new Set<string>();
  const receipts = new Map(
    [...(context.receipts?.values() ?? [])].map((one) => [toHex(one.paymentHash), one]),
  );
  const refunds: Refunds = { receipts, refundedMicro: new Map() };
  let presentedMicro = 0n;
  for (const one of opened.values()) {
    if (one.value.key.sign === 'credit') checkRefunds(context, one, used, refunds);
    else checkLeaves(context, one, used);
    checkConflicts(context, one);
    checkLine(context, one);
    if (context.named) {
      checkChain(context, one, opened);
      checkMoves(context, one, opened, moved);
    }
    const currency = currencyOf(one.value.key.currency);
    if (currency) presentedMicro += one.value.amountMinor * microPerMinor(currency);
  }
  for (const id of context.named?.keys() ?? []) {
    const path = `evidence/${id}.cbor`;
    if (!context.files.has(path))
      context.findings.fault(path, 'missing: a settlement file names it');
  }
  return presentedMicro;
}
