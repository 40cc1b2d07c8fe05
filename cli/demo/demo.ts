import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { readTraceFile } from '../../firmware-sim/trace-file.ts';
import type { Trace } from '../../firmware-sim/core/trace.ts';
import { formatMajor } from '../../protocol/amount.ts';
import { toHex } from '../../protocol/bytes.ts';
import { currencyOf } from '../../protocol/currency.ts';
import { ratio } from '../../sync/clearing/cost.ts';
import { readFinality } from '../../sync/ledger/finality-file.ts';
import { parsePolicy } from '../../sync/ledger/core/policy.ts';
import { EXIT_FAILED, EXIT_OK } from '../command.ts';
import { ATTACKERS, TAMPERED } from './attacks.ts';
import { writeContents } from '../verify/contents.ts';
import { SUMMARY_FILE } from '../verify/summary.ts';
import {
  collectInclusionProofs,
  collectLedger,
  collectProofs,
  collectReceipts,
} from './collect.ts';
import { ledgerFolder } from './configs.ts';
import { dropState, prepareFolders } from './folders.ts';
import { makeWorld, type World } from './identities.ts';
import { parseDemoOptions, type DemoOptions } from './options.ts';
import { storyPlan, tracePlan, withAttackers, type Plan } from './plan.ts';
import type { Json } from './processes.ts';
import { openReport, type Report } from './report.ts';
import { startSite, stopSite, type Site } from './site.ts';
import { Story, type Told } from './story.ts';
import { summarise, type Summary } from './summary.ts';

interface Traffic {
  readonly plan: Plan;
  readonly trace?: Json;
}

/** The recorded traffic is read, and refused if it must be, before anything starts. */
function readTraffic(options: DemoOptions, report: Report): Traffic {
  if (options.trace === undefined) return { plan: storyPlan() };
  const trace = readTraceFile({
    tracePath: options.trace,
    ...(options.rates === undefined ? {} : { ratesPath: options.rates }),
  });
  for (const { line, reason } of trace.badRows) report.line('bad row', `line ${line}: ${reason}`);
  const refs = [...new Set(trace.events.map((event) => event.payerRef))];
  return { plan: tracePlan(trace, refs), trace: spokenTrace(options.trace, trace) };
}

function spokenTrace(file: string, trace: Trace): Json {
  const { kind, rows, badRowCount, freeRowCount, longSessionCount } = trace;
  const payable = trace.events.length;
  return {
    file: file.split('/').at(-1),
    kind,
    rows,
    payable,
    badRows: badRowCount,
    freeRows: freeRowCount,
    over24h: longSessionCount,
  };
}

async function finish(
  site: Site,
  plan: Plan,
  told: Told,
  trace: Json | undefined,
): Promise<Summary> {
  const { world, outDir } = site;
  const held = await collectReceipts(site, told.honest);
  await stopSite(site);
  collectLedger(world, outDir);
  await collectInclusionProofs(outDir, world.origin);
  await collectProofs(world, outDir);
  const policy = parsePolicy(readFileSync(join(outDir, 'trust', 'policy.txt')));
  const { name, purpose } = world.policy;
  const later = await readFinality(ledgerFolder(world.stateDir));
  const summary = summarise({
    title: plan.title,
    currency: currencyOf(plan.currency)!,
    origin: world.origin,
    policy: { name, purpose, hash: policy.ok ? toHex(policy.value.hash) : '' },
    told,
    held,
    finality: [...(told.lostLog?.finality ?? []), ...later],
    ...(trace ? { trace } : {}),
  });
  writeFileSync(join(outDir, SUMMARY_FILE), `${JSON.stringify(summary, null, 2)}\n`);
  await writeContents(outDir, world.clearing);
  return summary;
}

function span({ p50, p99 }: Summary['approvalMs']): string {
  return p50 === null ? '-' : `${p50} / ${p99} ms`;
}

function closingTable(report: Report, summary: Summary, outDir: string): void {
  const { payments, approvalMs, finalityMs, totals, currency, counts, policy, restored } = summary;
  const presentments = summary.files.reduce((sum, file) => sum + file.presentments, 0);
  const money = (text: string): string => `${currency} ${text}`;
  const refused = Object.entries(payments.refused).map(
    ([code, n]) => [`  ${code}`, String(n)] as const,
  );
  report.table('what happened', [
    ['payments accepted', String(payments.accepted)],
    ['payments unknown', String(payments.unknown)],
    ['voided by the restart, paid anew', String(payments.paidAnew)],
    ['refused, by code', String(refused.reduce((sum, [, n]) => sum + Number(n), 0))],
    ...refused,
    ['approval p50 / p99', span(approvalMs)],
  ]);
  report.table(`final (L2) under policy "${policy.name}", SHA-256 ${policy.hash.slice(0, 16)}`, [
    ['policy', policy.purpose],
    ['L2 online p50 / p99', span(finalityMs.online)],
    ...(finalityMs.witnessGone
      ? [['L2 with one witness dead p50 / p99', span(finalityMs.witnessGone)] as const]
      : []),
    ['backlog L2 after', `${finalityMs.backlogDrainedMs} ms`],
    ...(restored
      ? [
          [
            'log restored from the mirror',
            `${restored.entries} entries in ${restored.ms} ms`,
          ] as const,
        ]
      : []),
  ]);
  report.table('do the totals agree', [
    [`device receipts (${counts.deviceReceipts})`, money(totals.deviceReceipts)],
    [`gateway accepted (${counts.gatewayAccepted})`, money(totals.gatewayAccepted)],
    [`ledger (${counts.ledger})`, money(totals.ledger)],
    ['presented in files', money(totals.presented)],
    ['receipts per presentment', ratio(counts.ledger, presentments) ?? '-'],
    ['acknowledged by the issuer', money(formatMajor(BigInt(summary.issuer.acknowledgedMicro)))],
    ['carried to the next file', money(totals.carried)],
    ['in other states', money(totals.otherStates)],
    ['reconciles', summary.reconciles ? 'yes' : 'NO'],
  ]);
  report.line('artefacts', `${outDir}; check them with: npx kiri verify ${outDir}`);
}

function spoken({ cosigners }: World): string {
  const of = (kind: string): number => cosigners.filter((one) => one.kind === kind).length;
  const witnesses = of('witness') === 1 ? 'witness' : `${of('witness')} witnesses`;
  return of('mirror') === 0 ? witnesses : `${witnesses}, mirror`;
}

/** `kiri demo`: the main job, end to end. Exit code 0 only if all of it reconciles and every attack failed. */
export async function runDemo(argv: readonly string[]): Promise<number> {
  const options = parseDemoOptions(argv);
  const report = openReport(options.json);
  const { plan: traffic, trace } = readTraffic(options, report);
  const plan = withAttackers(traffic, ATTACKERS, TAMPERED);
  const folders = prepareFolders(options.outDir);

  report.step(`identities and credentials: ${plan.title}`);
  const world = makeWorld(plan, folders.stateDir, Math.floor(Date.now() / 1000), options.policy);
  report.line(
    'enrolled',
    `${world.payers.length} payers of ${plan.parties} liable parties, ${world.payees.length} payees`,
  );
  report.step(`start gateway, ${spoken(world)}, ledger, clearing and devices`);
  const site = await startSite(world, options.outDir, ATTACKERS);
  const abort = (): void => {
    for (const program of site.programs) program.kill();
  };
  process.once('exit', abort);
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
    process.once(signal, () => process.exit(EXIT_FAILED));
  }
  let summary: Summary;
  try {
    report.line(
      'programs',
      [...site.programs].map((program) => `${program.name} ${program.pid}`).join(', '),
    );
    const told = await new Story(site, plan, report, options.speed).tell();
    summary = await finish(site, plan, told, trace);
  } finally {
    await stopSite(site);
    process.removeListener('exit', abort);
  }
  closingTable(report, summary, options.outDir);
  if (options.json) process.stdout.write(`${JSON.stringify(summary, null, 2)}\n`);
  const isGood = summary.reconciles && summary.attacks.every(({ held }) => held);
  if (isGood && !options.keep) dropState(folders);
  else report.line('kept', `${folders.stateDir}: the secret keys and journals of this run`);
  return isGood ? EXIT_OK : EXIT_FAILED;
}
