import { nodeVerifier } from '../../identity/edge/node-signatures.ts';
import type { VerifiedPayer } from '../../identity/core/chain.ts';
import { LOSS_BY_ISSUER } from '../../identity/core/documents/allowance.ts';
import { formatMajor } from '../../protocol/amount.ts';
import { currencyOf } from '../../protocol/currency.ts';
import { KiriError } from '../../protocol/kiri-error.ts';
import { openStoreReadOnly } from '../../sync/clearing/open-store.ts';
import type { Registry } from '../../sync/clearing/core/registry.ts';
import { checkVersion } from '../../sync/clearing/schema.ts';
import {
  exposureReport,
  type ExposureApprover,
  type ExposureLine,
  type ExposureReport,
} from '../../sync/issuer/core/exposure-report.ts';
import { HOLD_AFTER_EXPIRY_S } from '../../sync/issuer/core/holds.ts';
import { MAX_SUMS, readLineSums } from '../../sync/issuer/line-sums.ts';
import { EXIT_OK, UsageError } from '../command.ts';
import { readPublicKey } from './config.ts';
import { runDifferences } from './issuer-differences.ts';
import { filesOf, registryOf } from './issuer-statements.ts';
import { storePlace } from './store-place.ts';
import { toolOptions } from './tool-options.ts';

const nowS = (): number => Math.floor(Date.now() / 1000);

/** Parties that the text lists; `--json` has all. */
const LISTED = 20;

function lineOf(line: string, payers: readonly VerifiedPayer[]): ExposureLine[] {
  const [newest] = payers;
  if (!newest) return [];
  const { currency, lossRule } = newest.allowance;
  return [
    {
      line,
      party: newest.partyHex,
      currency,
      allowances: payers.map(({ allowance }) => allowance),
      bearer: lossRule === LOSS_BY_ISSUER ? 'issuer' : 'party',
    },
  ];
}

const most = (values: readonly bigint[]): bigint =>
  values.reduce((top, value) => (value > top ? value : top), 0n);

/** Every mandate under which receipts may still come; of several in one currency the largest limits. */
function approversOf({ approvers }: Registry, atS: number): ExposureApprover[] {
  return [...approvers].flatMap(([approver, chains]) => {
    const held = chains
      .map(({ mandate }) => mandate)
      .filter(({ expiresS }) => atS < expiresS + HOLD_AFTER_EXPIRY_S);
    const currencies = [...new Set(held.map(({ currency }) => currency))];
    return currencies.map((currency) => {
      const mandates = held.filter((one) => one.currency === currency);
      // Mandates may follow each other: only neighbours that all of them name are shared with.
      const named = mandates.map((one) =>
        one.neighbours.map((id) => Buffer.from(id).toString('hex')),
      );
      return {
        approver,
        currency,
        deviceLimitMicro: most(mandates.map((one) => one.deviceLimitMicro)),
        partyLimitMicro: most(mandates.map((one) => one.partyLimitMicro)),
        maxUnacknowledgedMicro: most(mandates.map((one) => one.maxUnacknowledgedMicro)),
        neighbours: (named[0] ?? []).filter((id) => named.every((ids) => ids.includes(id))),
      };
    });
  });
}

const inText = (value: unknown): string =>
  JSON.stringify(value, (_key, one: unknown) => (typeof one === 'bigint' ? one.toString() : one));

const money = (micro: bigint, currency: number): string => {
  const known = currencyOf(currency);
  const sign = micro < 0n ? '-' : '';
  const sum = formatMajor(micro < 0n ? -micro : micro, known?.exponent ?? 0);
  return `${known?.alpha ?? String(currency)} ${sign}${sum}`;
};

const above = (one: { worstMicro: bigint; leftMicro: bigint }): bigint =>
  one.worstMicro > one.leftMicro ? one.worstMicro - one.leftMicro : 0n;

function spokenExposure({ parties, totals }: ExposureReport): string {
  const lines = totals.flatMap((total) => {
    const say = (micro: bigint): string => money(micro, total.currency);
    return [
      `worst case now: ${say(total.worstMicro)} at ${total.approvers} approvers, not known at the centre`,
      `  allowances leave ${say(total.leftMicro)}; above them ${say(above(total))}`,
      `  borne by loss rule, line by line: party ${say(total.byBearer.party)}, issuer ${say(total.byBearer.issuer)}`,
    ];
  });
  const listed = parties.slice(0, LISTED).map((one) => {
    const say = (micro: bigint): string => money(micro, one.currency);
    return `party ${one.party}, ${one.lines} lines: worst ${say(one.worstMicro)}, allowances leave ${say(one.leftMicro)}, above ${say(above(one))}`;
  });
  const rest = parties.length - listed.length;
  return [...lines, ...listed, ...(rest > 0 ? [`and ${rest} parties with less`] : [])].join('\n');
}

async function exposure(argv: readonly string[]): Promise<number> {
  const names = ['issuer-key', 'documents', 'store', 'store-password-file', 'neighbours'];
  const options = toolOptions(argv, names);
  const neighbours = options.text('neighbours') ?? 'alone';
  if (neighbours !== 'alone' && neighbours !== 'share') {
    throw new UsageError('--neighbours is alone or share');
  }
  const place = storePlace(options.need('store'), options.text('store-password-file'));
  const trust = {
    issuerKey: readPublicKey(options.need('issuer-key')),
    verifier: nodeVerifier(),
  };
  const registry = registryOf(trust, filesOf(options.need('documents')));
  const database = await openStoreReadOnly(place.location, place.access);
  try {
    await checkVersion(database);
    const acknowledged = await database.transaction(readLineSums);
    if (!acknowledged) {
      throw new KiriError('STORE_TOO_LARGE', `more than ${MAX_SUMS} pairs of line and approver`);
    }
    const asOfS = nowS();
    const report = exposureReport({
      lines: [...registry.payers].flatMap(([line, payers]) => lineOf(line, payers)),
      approvers: approversOf(registry, asOfS),
      acknowledged,
      neighboursShare: neighbours === 'share',
      nowS: asOfS,
    });
    const text = options.json
      ? inText({ ok: true, asOfS, neighbours, ...report })
      : spokenExposure(report);
    process.stdout.write(`${text}\n`);
  } finally {
    await database.close();
  }
  return EXIT_OK;
}

/** `kiri issuer report exposure|differences`: what the issuer risks, and where local and central books differ. */
export async function runReports([part, ...rest]: readonly string[]): Promise<number> {
  if (part === 'exposure') return exposure(rest);
  if (part === 'differences') return runDifferences(rest);
  throw new UsageError('kiri issuer report wants exposure or differences');
}
