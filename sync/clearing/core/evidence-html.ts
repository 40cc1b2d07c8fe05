import { formatMajor } from '../../../protocol/amount.ts';
import { toHex } from '../../../protocol/bytes.ts';
import { currencyOf, microPerMinor } from '../../../protocol/currency.ts';
import { JST, civilTime, isoDate } from './civil-time.ts';
import type { EntryKind, Evidence } from './evidence.ts';

// No script, no request of any kind: what is printed in court is what is in the file.
const POLICY = "default-src 'none'; style-src 'unsafe-inline'";

const STYLE = `body{font:14px/1.45 sans-serif;margin:2em auto;max-width:70em;padding:0 1em;color:#000;background:#fff}
table{border-collapse:collapse;width:100%;margin:.5em 0 1.5em}
th,td{border-bottom:1px solid #999;padding:.25em .5em;text-align:left;vertical-align:top;overflow-wrap:anywhere}
th{font-weight:600}td.n{text-align:right;white-space:nowrap;font-variant-numeric:tabular-nums}
code{font:12px/1.4 monospace}tr.t td,tr.t th{border-top:2px solid #000;font-weight:600}
thead{display:table-header-group}tr{break-inside:avoid}
@media print{body{margin:0;max-width:none;font-size:10px}code{font-size:8px}a{color:inherit;text-decoration:none}}`;

const ENTITIES: Readonly<Record<string, string>> = {
  '&': '&amp;',
  '<': '&lt;',
  '>': '&gt;',
  '"': '&quot;',
  "'": '&#39;',
};

/** Text of other parties' documents: no markup, and nothing invisible that would show another text than it holds. */
const escape = (text: string): string =>
  text
    .replaceAll(/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}\p{Cs}]/gu, '\uFFFD')
    .replaceAll(/[&<>"']/g, (character) => ENTITIES[character] ?? '');

const code = (text: string): string => `<code>${escape(text)}</code>`;

const two = (value: number): string => String(value).padStart(2, '0');

const clock = (timeS: number): string => {
  const local = civilTime(timeS, JST);
  const { secondOfDay } = local;
  const minute = Math.floor(secondOfDay / 60) % 60;
  return `${isoDate(local)} ${two(Math.floor(secondOfDay / 3600))}:${two(minute)}:${two(secondOfDay % 60)} +09:00`;
};

type Money = (micro: bigint) => string;

const row = (name: string, value: string): string => `<tr><th>${name}</th><td>${value}</td></tr>`;

const ENTRY_NAMES: Readonly<Record<EntryKind, string>> = {
  'moved-in': 'Taken over from the account before',
  'moved-out': 'Moved on to the account that follows',
  'written-off': 'Written off',
};

const headTable = (evidence: Evidence, id: string, money: Money): string => {
  const { key, lane, previous, number } = evidence;
  const rows = [
    row('Aggregate', code(id)),
    row('Number within its account and lane', `${number}, ${escape(lane)}`),
    row('Aggregate before it', previous === undefined ? 'none' : code(previous)),
    ...evidence.entries.map(({ kind, amountMicro, from }) =>
      row(
        ENTRY_NAMES[kind],
        `${money(amountMicro)}${from === undefined ? '' : `, closing residual of ${code(from)}`}`,
      ),
    ),
    row('Merchant', escape(key.merchant)),
    row('Merchant category', escape(key.mcc)),
    row('Acquirer', code(key.acquirer)),
    row('Liable party (reference)', code(key.party)),
    row('Funding account (reference)', escape(key.account)),
    row('Issuer', code(key.issuer)),
    row('Programme', escape(key.programme)),
    row('Kind', key.sign === 'debit' ? 'debit (purchase)' : 'credit (refund)'),
    row('First payment', clock(evidence.firstPaidS)),
    row('Last payment', clock(evidence.lastPaidS)),
    row('Root of the sum tree', code(toHex(evidence.root))),
  ];
  return `<table>\n${rows.join('\n')}\n</table>`;
};

const balanceTable = (evidence: Evidence, money: Money, presentedMicro: bigint): string => {
  const line = (name: string, micro: bigint, kind = ''): string =>
    `<tr${kind}><th>${name}</th><td class="n">${money(micro)}</td></tr>`;
  const total = ' class="t"';
  return `<table>
${line('Opening residual', evidence.openingMicro)}
${line(`Receipts (${evidence.leaves.length})`, evidence.sumMicro)}
${line('Opening residual and receipts', evidence.openingMicro + evidence.sumMicro, total)}
${line('Presented', presentedMicro)}
${line('Closing residual, carried on', evidence.closingMicro)}
${line('Presented and closing residual', presentedMicro + evidence.closingMicro, total)}
</table>`;
};

const receiptTable = (evidence: Evidence, money: Money): string => {
  const rows = evidence.leaves.map((leaf, at) => {
    const payment = toHex(leaf.paymentHash);
    const origin = escape(evidence.origins[leaf.origin] ?? '');
    const hashes = `receipt ${code(toHex(leaf.receiptHash))}<br>payment ${code(payment)}`;
    return `<tr id="p${payment}"><td class="n">${at + 1}</td><td>${hashes}</td><td>${origin}</td><td class="n">${leaf.leafIndex}</td><td class="n">${money(leaf.amountMicro)}</td></tr>`;
  });
  const head =
    '<tr><th>No.</th><th>SHA-256 of the receipt and of its payment</th><th>Log</th><th>Leaf</th><th>Charged</th></tr>';
  const sum = `<tr class="t"><td colspan="4">Sum</td><td class="n">${money(evidence.sumMicro)}</td></tr>`;
  return `<table>\n<thead>${head}</thead>\n<tbody>\n${rows.join('\n')}\n${sum}\n</tbody>\n</table>`;
};

const conflictTable = (evidence: Evidence): string => {
  if (evidence.conflicts.length === 0) return '';
  const rows = evidence.conflicts.map(({ paymentHash, otherHash, rule }) => {
    const payment = toHex(paymentHash);
    const link = `<a href="#p${payment}">${code(payment)}</a>`;
    return `<tr><td>${link}</td><td>${code(toHex(otherHash))}</td><td>${escape(rule)}</td></tr>`;
  });
  const head = '<tr><th>Payment</th><th>Contradicts payment</th><th>Rule</th></tr>';
  return `<h2>Conflicts</h2>\n<table>\n<thead>${head}</thead>\n<tbody>\n${rows.join('\n')}\n</tbody>\n</table>\n`;
};

/**
 * Evidence that {@link verifyEvidence} accepted, as one self-contained page for people and for print. `id` is the
 * aggregate's id; times are in Japan time. Says nothing that the machine form does not say.
 */
export const evidenceHtml = (evidence: Evidence, id: string): string => {
  const currency = currencyOf(evidence.key.currency);
  const decimals = currency?.exponent ?? 0;
  const unit = currency?.alpha ?? String(evidence.key.currency);
  const money: Money = (micro) => `${formatMajor(micro, decimals)} ${unit}`;
  const presentedMicro = currency ? evidence.amountMinor * microPerMinor(currency) : 0n;
  return `<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="${POLICY}">
<meta name="viewport" content="width=device-width">
<title>Evidence ${escape(id)}</title>
<style>
${STYLE}
</style>
</head>
<body>
<h1>Evidence of ${money(presentedMicro)}</h1>
${headTable(evidence, id, money)}
<h2>Balance</h2>
${balanceTable(evidence, money, presentedMicro)}
${conflictTable(evidence)}<h2>Receipts</h2>
<p>Leaf i of the sum tree is SHA-256 over 0, the receipt's hash and its charge in micro-units (8 bytes); an inner
node is SHA-256 over 1 and, left and right, hash and sum. A receipt lies in the named log at the named leaf.</p>
${receiptTable(evidence, money)}
</body>
</html>
`;
};
