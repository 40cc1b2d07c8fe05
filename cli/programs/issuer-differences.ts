import { verifyClearing } from '../../identity/core/centre.ts';
import { LOSS_BY_ISSUER } from '../../identity/core/documents/allowance.ts';
import { nodeVerifier } from '../../identity/edge/node-signatures.ts';
import { toHex } from '../../protocol/bytes.ts';
import { KiriError } from '../../protocol/kiri-error.ts';
import type { Registry } from '../../sync/clearing/core/registry.ts';
import { checkLineAccounts, lineAccountsIn } from '../../sync/clearing/line-accounts-file.ts';
import {
  differencesOf,
  type LineDifferences,
  type LocalWord,
  type TrustedBooks,
} from '../../sync/issuer/core/difference-report.ts';
import { readDeviceExport, readLocalWord } from '../../sync/issuer/local-words.ts';
import { EXIT_OK, UsageError } from '../command.ts';
import { readBytes, readPublicKey } from './config.ts';
import { filesOf, registryOf } from './issuer-statements.ts';
import { toolOptions, type ToolOptions } from './tool-options.ts';

/** Faults that are listed; all are counted. */
const FAULTS_MAX = 100;

interface Words {
  readonly byLine: Map<string, LocalWord[]>;
  readonly faults: string[];
}

function readWords(options: ToolOptions, registry: Registry): Words {
  const byLine = new Map<string, LocalWord[]>();
  const faults: string[] = [];
  const take = (words: readonly LocalWord[] | undefined, what: string): void => {
    if (!words && faults.length < FAULTS_MAX) faults.push(what);
    for (const word of words ?? []) {
      const held = byLine.get(word.line);
      if (held) held.push(word);
      else byLine.set(word.line, [word]);
    }
  };
  const [told, devices] = [options.text('told'), options.text('devices')];
  for (const [at, cose] of (told === undefined ? [] : filesOf(told)).entries()) {
    const words = readLocalWord(cose, registry, nodeVerifier());
    take(
      words,
      `--told, file ${at + 1}: no spent totals of a known gateway and no Close of a device`,
    );
  }
  const rows = devices === undefined ? '' : new TextDecoder().decode(readBytes(devices));
  for (const [at, text] of rows.split('\n').entries()) {
    if (text.trim() === '') continue;
    const word = readDeviceExport(text);
    take(word && [word], `--devices, line ${at + 1}: not {"line","counter","totalMicro"}`);
  }
  return { byLine, faults };
}

function ruleOf(text: string): TrustedBooks {
  if (text === 'local' || text === 'centre') return text;
  throw new UsageError('--rule is local or centre');
}

const inText = (value: unknown): string =>
  JSON.stringify(value, (_key, one: unknown) => (typeof one === 'bigint' ? one.toString() : one));

const spoken = (one: LineDifferences): string =>
  [
    `line ${one.line}, party ${one.party}: ${one.trusted} counts; balance ${one.balanceMicro}, charged ${one.chargedMicro}, held ${one.heldMicro} micro-units of ${one.currency}`,
    ...one.differences.map(
      ({ kind, source, by, from, to, sumMicro, bearer }) =>
        `  ${kind} (${source} ${by}): counters ${from}..${to}, ${sumMicro} micro-units${bearer ? `; ${bearer} bears the loss` : ''}`,
    ),
  ].join('\n');

/** `kiri issuer report differences`: one line for each line of an account that differs, faults and counts at the end. */
export async function runDifferences(argv: readonly string[]): Promise<number> {
  const names = ['issuer-key', 'documents', 'clearing', 'accounts', 'rule', 'told', 'devices'];
  const options = toolOptions(argv, names);
  const rule = ruleOf(options.need('rule'));
  const accounts = options.need('accounts');
  const verifier = nodeVerifier();
  const trust = { issuerKey: readPublicKey(options.need('issuer-key')), verifier };
  const nowS = Math.floor(Date.now() / 1000);
  const clearing = verifyClearing(trust, readBytes(options.need('clearing')), nowS);
  if (!clearing.ok) throw new KiriError('DOCUMENT_INVALID', `clearing: ${clearing.reason}`);
  const registry = registryOf(trust, filesOf(options.need('documents')));
  const { byLine, faults } = readWords(options, registry);
  const { asOfS } = await checkLineAccounts(accounts, clearing.value.value.key, verifier);
  let [lines, differing] = [0, 0];
  for await (const account of lineAccountsIn(accounts)) {
    const line = toHex(account.line);
    const words = byLine.get(line) ?? [];
    byLine.delete(line);
    lines += 1;
    const payer = registry.payers.get(line)?.[0];
    if (!payer) {
      faults.push(`line ${line}: no binding and allowance of it is known`);
      continue;
    }
    const { ceilingMicro, lossRule } = payer.allowance;
    const bearer = lossRule === LOSS_BY_ISSUER ? 'issuer' : 'party';
    const terms = { party: account.party, ceilingMicro, bearer } as const;
    const found = differencesOf(line, account, words, terms, rule);
    if (found.differences.length === 0) continue;
    differing += 1;
    process.stdout.write(`${options.json ? inText(found) : spoken(found)}\n`);
  }
  for (const line of byLine.keys()) faults.push(`line ${line}: the centre has nothing of it`);
  const counts = { ok: true, rule, asOfS, lines, differing, faults: faults.slice(0, FAULTS_MAX) };
  const closing = [`${differing} of ${lines} lines differ, rule ${rule}`, ...counts.faults];
  process.stdout.write(`${options.json ? inText(counts) : closing.join('\n')}\n`);
  return EXIT_OK;
}
