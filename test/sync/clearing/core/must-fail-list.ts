/** One thing that must fail (or hold), and the test that shows it: its file below test/ and its name. */
type Row = { readonly row: string; readonly file: string; readonly name: string };

const CORE = 'sync/clearing/core';
const here = (row: string, name: string): Row => ({ row, file: `${CORE}/must-fail.test.ts`, name });
const codec = (row: string, name: string): Row => ({ row, file: `${CORE}/codec.test.ts`, name });
const ipmFile = (row: string, name: string): Row => ({
  row,
  file: `${CORE}/ipm-file.test.ts`,
  name,
});
const verifier = (row: string, name: string): Row => ({
  row,
  file: `${CORE}/verify-ipm.test.ts`,
  name,
});
const booking = (row: string, name: string): Row => ({
  row,
  file: `${CORE}/booking.test.ts`,
  name,
});
const service = (row: string, name: string): Row => ({
  row,
  file: 'sync/clearing/clearing-service.test.ts',
  name,
});

const readBack = (row: string, name: string): Row => ({
  row,
  file: 'sync/clearing/read-back.test.ts',
  name,
});
const disputes = (row: string, name: string): Row => ({
  row,
  file: 'sync/clearing/read-back-disputes.test.ts',
  name,
});

const LENIENT = 'what lenient writers cut short or let through is refused with its field';
const DAMAGE = 'the reader refuses every damage of the hand-made file at its offset';
const TOTALS = 'totals, counts and identity that lenient readers let pass are found';
const WINDOWS = 'windows are days of the zone: midnight in Tokyo, year end, leap day, summer time';

/** Every case of the must-fail list of settlement files, in its order; then what lenient readers let pass. */
export const MUST_FAIL: readonly Row[] = [
  service(
    'same receipt via two gateways',
    'the same payment through two gateways, twice, and at L1 before L2 counts once',
  ),
  {
    row: 'crash between assign and write, and between rename and mark',
    file: 'sync/clearing/clearing-faults.test.ts',
    name: 'a crash between any two steps loses no receipt, doubles none and reuses no sequence',
  },
  {
    row: 're-run = identical bytes',
    file: 'sync/clearing/clearing-faults.test.ts',
    name: 'a second run over the same receipts is all duplicates and cuts nothing',
  },
  verifier('sequence gap or reuse', TOTALS),
  booking('midnight JST against UTC, year-end YDDD, leap day', WINDOWS),
  {
    row: 'clock-skewed receipt',
    file: 'sync/clearing/pull-log.test.ts',
    name: 'a first cosignature after the hand-in delay puts a receipt on a late line',
  },
  here(
    'JPY, KWD and a currency of four decimals',
    'a currency with another number of decimals than ISO 4217 gives it',
  ),
  booking('total above 12 digits', 'a total above twelve digits is split, never cut'),
  codec('PDS spill edge 999', 'PDS fill their carriers to 999 characters and spill in order'),
  here(
    '1012-byte boundary and record above 6000',
    'records that end just before, on and after a block boundary',
  ),
  here(
    'cp500 file read as cp037',
    'cp500 and cp037: what we write reads alike, what differs is refused',
  ),
  here(
    'lower case or backslash under IBM290',
    'lower case and backslash, which IBM290 has elsewhere, never leave in EBCDIC',
  ),
  here(
    '0-yen aggregate, empty batch',
    'nothing to present gives no file, and a file of nothing is refused',
  ),
  {
    row: 'forged inner-node sum',
    file: `${CORE}/evidence.test.ts`,
    name: 'a forged inner sum, a moved leaf and a wrong length of proof fail',
  },
  here('truncation at every byte of a file', 'a file cut off at any byte of one record is refused'),
  here(
    'truncation at every byte of a record',
    'a record that lost its end at any byte is refused inside that record',
  ),
  here('wrong character in any element', 'a wrong character in any element is refused at its byte'),
  here('unknown element', 'a bit for an element that is not in the table is refused by number'),
  here('file from the future', 'a file or a payment from the future is found'),
  // What issuers send back, refunds, and the end of an account.
  readBack(
    'acknowledgement twice',
    'an acknowledgement counts once, for our very bytes and totals',
  ),
  readBack(
    'acknowledgement for an unknown file',
    'an acknowledgement of an unknown file, of other bytes or totals moves nothing',
  ),
  readBack(
    'acknowledgements out of order',
    'a gap in the numbers is listed, later documents are taken, and it closes',
  ),
  readBack('691 naming the header', 'a 691 that names the header is no message of ours'),
  disputes(
    'partial chargeback above the original',
    'a chargeback that does not fit our books moves nothing and is listed',
  ),
  disputes(
    'chargeback after evidence expiry',
    'a chargeback after the evidence is gone is refused',
  ),
  disputes(
    'chargeback of an aggregate with one bad receipt',
    'an aggregate with one bad receipt: disputed, 282 without it, arbitration',
  ),
  {
    row: 'refund after presentment',
    file: 'sync/clearing/credits.test.ts',
    name: 'a refund after presentment, resale or the end of an account follows the charge',
  },
  {
    row: 'account that ends in mid window',
    file: 'sync/clearing/programmes.test.ts',
    name: 'a funding account that ends closes its lanes early; an age limit closes any',
  },
  {
    row: 'token replaced, same PAR (new key, residual moves by explicit entry)',
    file: 'sync/clearing/account-lifecycle.test.ts',
    name: 'an account that is replaced: its remainder moves once, by an entry on both keys that evidence names',
  },
  {
    row: 'key revoked mid-window',
    file: 'sync/clearing/account-lifecycle.test.ts',
    name: 'revoked in mid window: what was paid before is presented at once, what came after is withheld',
  },
  {
    row: 'remainder of an account that has ended',
    file: 'sync/clearing/account-lifecycle.test.ts',
    name: 'an account that ends and is not replaced: below one minor unit is written off after the age limit, once',
  },
  {
    row: 'record of an issuer cut at every byte',
    file: `${CORE}/inbound-hostile.test.ts`,
    name: 'a record cut at every byte of it is refused',
  },
  // What one reader of the field accepts or silently changes.
  ipmFile('no terminator, garbage after it, bad pad, wrong encoding, wrong framing', DAMAGE),
  codec('bad block pad bytes at every boundary', 'blocks: boundary, padding and tail'),
  verifier('wrong PDS0301 or PDS0306', TOTALS),
  verifier('no header or trailer, duplicate DE71 or DE31', 'order, roles and duplicates'),
  verifier('bad ARN check digit', 'check digit, date, currency, empty amount and missing fields'),
  codec('DE4 of 10^12 or below zero, DE42 of 20, LLVAR of 100, DE128, DE39', LENIENT),
  ipmFile(
    'DE43 that is not its parts',
    'a record that is not exactly of the profile is not read as a line',
  ),
];
