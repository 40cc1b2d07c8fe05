import { cpus } from 'node:os';
import { parseArgs } from 'node:util';
import { measureAgent } from './agent.ts';
import { measureApproval } from './approval.ts';
import { Devices } from './devices.ts';
import { isMissed, table, type Figure } from './figure.ts';
import { GatewayUnderTest } from './gateway-under-test.ts';
import { measureAllCores, measureIngest } from './clearing-ingest.ts';
import { measureCut } from './clearing-cut.ts';
import { measureMemory } from './clearing-memory.ts';
import { measureNetting } from './clearing-netting.ts';
import { measureStores, NO_SERVER } from './clearing-stores.ts';
import { measureStore } from './ledger-store.ts';
import { measureWitness } from './ledger-witness.ts';
import { measureLatency } from './latency.ts';
import { measureLedgerProof } from './ledger-proof.ts';
import { measureParts } from './parts.ts';
import { measureSizes } from './sizes.ts';
import { measureFinality } from './ledger-finality.ts';
import { measureSettlementFile } from './settlement-file.ts';
import { makeWorld } from './world.ts';

const HELP = `npm run bench [-- OPTIONS]

  --json    figures as one JSON object
  --quick   fewer rounds: shows that it runs, not how fast
  --check   exit 1 when a goal is missed
`;

/** How much of everything; the odd numbers of rounds give a median that was measured. */
const FULL = {
  payers: 64,
  approval: { rounds: 25, warmUps: 5, count: 640 },
  lone: 1_000,
  agentRuns: 9,
  rounds: 7,
  ingest: 512,
  ingestBatches: 16,
  netting: 10_000_000,
  memory: { few: 10_000, many: 200_000 },
  stores: 20_000,
  cut: { opened: 2_000, few: 1_000, many: 10_000 },
  file: { rounds: 3, lines: 1_000_000 },
  storeEntries: 65_536,
  dayBundles: 4,
  witnessS: 20,
  finality: { loadMs: 8_000, backlog: 32_768, checkpoints: 10 },
};
const QUICK: typeof FULL = {
  payers: 16,
  approval: { rounds: 1, warmUps: 1, count: 128 },
  lone: 20,
  agentRuns: 1,
  rounds: 1,
  ingest: 64,
  ingestBatches: 1,
  netting: 40_000,
  memory: { few: 1_024, many: 2_048 },
  stores: 400,
  cut: { opened: 16, few: 32, many: 128 },
  file: { rounds: 1, lines: 20_000 },
  storeEntries: 512,
  dayBundles: 1,
  witnessS: 2,
  finality: { loadMs: 500, backlog: 512, checkpoints: 1 },
};

async function measure(plan: typeof FULL, say: (section: string) => void): Promise<Figure[]> {
  const world = makeWorld(plan.payers);
  const figures = [...measureSizes(world)];
  const gateway = new GatewayUnderTest(world);
  try {
    await gateway.start();
    const devices = await Devices.connect(world, gateway.port);
    say('approvals');
    figures.push(...(await measureApproval(gateway, devices, plan.approval)));
    say('lone payments');
    figures.push(...(await measureLatency(gateway, devices, plan.lone)));
    devices.close();
    say('agent');
    figures.push(...(await measureAgent(gateway, plan.agentRuns)));
  } finally {
    await gateway.close();
  }
  say('building blocks');
  figures.push(...(await measureParts(world, plan.rounds)));
  say('log store');
  figures.push(...(await measureStore(plan)));
  say('clearing');
  figures.push(...(await measureIngest(world, plan.rounds, plan.ingest)));
  figures.push(...(await measureAllCores(world, plan.rounds, plan.ingestBatches)));
  say('netting');
  figures.push(...(await measureNetting(plan.netting)));
  say('memory of ingest');
  figures.push(...(await measureMemory(plan.memory.few, plan.memory.many)));
  say('stores');
  figures.push(...(await measureStores(plan.stores)));
  say('opening and cutting');
  figures.push(...(await measureCut(plan.cut)));
  say('settlement file');
  figures.push(...(await measureSettlementFile(plan.file.rounds, plan.file.lines)));
  say('inclusion proofs');
  figures.push(...measureLedgerProof(plan.rounds));
  say('witness');
  figures.push(...(await measureWitness(plan.witnessS)));
  say('finality');
  figures.push(...(await measureFinality(plan.finality)));
  return figures;
}

const { values: options } = parseArgs({
  options: {
    help: { type: 'boolean', default: false },
    json: { type: 'boolean', default: false },
    quick: { type: 'boolean', default: false },
    check: { type: 'boolean', default: false },
  },
});

if (options.help) process.stdout.write(HELP);
else {
  const say = (section: string): void => {
    if (!options.json) process.stderr.write(`measuring ${section} …\n`);
  };
  const machine = `Node ${process.versions.node}, ${cpus().length} × ${cpus()[0]?.model ?? '?'}`;
  const figures = await measure(options.quick ? QUICK : FULL, say);
  const missed = figures.filter(isMissed).map(({ name }) => name);
  const notes = NO_SERVER === undefined ? [] : [NO_SERVER];
  process.stdout.write(
    options.json
      ? `${JSON.stringify({ machine, quick: options.quick, figures, missed, notes })}\n`
      : `${[machine, table(figures), ...notes].join('\n\n')}\n`,
  );
  if (options.check && missed.length > 0) process.exitCode = 1;
}
