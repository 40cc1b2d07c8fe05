import { join } from 'node:path';
import {
  clearingConfig,
  configFile,
  cosignerConfig,
  devicesConfig,
  gatewayConfig,
  ledgerConfig,
} from './configs.ts';
import { freePort } from './free-port.ts';
import type { EnrolledDevice, World } from './identities.ts';
import { Program } from './processes.ts';
import { writeTrust } from './trust-folder.ts';
import { openUplink, type Uplink } from './uplink.ts';

/** All programs of the story, each a process of its own, and the uplink between the two places. */
export interface Site {
  readonly world: World;
  readonly outDir: string;
  readonly trust: string;
  readonly mqttPort: number;
  gateway: Program;
  ledger: Program;
  /** Witnesses and mirror by their places, and where the ledger reaches them over the uplink. */
  readonly cosigners: ReadonlyMap<string, { readonly program: Program; readonly url: string }>;
  readonly clearing: Program;
  /** Device programs by the refs of their devices. */
  readonly devices: ReadonlyMap<string, Program>;
  readonly programs: Set<Program>;
  readonly uplinks: readonly Uplink[];
}

/** Devices by process: one payee and one payer alone, the others together by kind. */
function deviceGroups(
  world: World,
): readonly (readonly [string, readonly EnrolledDevice[], readonly EnrolledDevice[]])[] {
  const [payee, ...payees] = world.payees;
  const [payer, ...payers] = world.payers;
  const groups: [string, EnrolledDevice[], EnrolledDevice[]][] = [
    [payee!.ref, [], [payee!]],
    ['payees', [], payees],
    [payer!.ref, [payer!], []],
    ['fleet', payers, []],
  ];
  return groups.filter(([, some, others]) => some.length + others.length > 0);
}

interface Running {
  readonly world: World;
  readonly programs: Set<Program>;
}

export function startGatewayProgram({ world, programs }: Running): Promise<Program> {
  const file = configFile(world.stateDir, 'gateway');
  return Program.start('gateway', ['gateway', '--config', file], programs);
}

export function startLedgerProgram({ world, programs }: Running): Promise<Program> {
  const file = configFile(world.stateDir, 'ledger');
  return Program.start('ledger', ['sync', 'ledger', '--config', file], programs);
}

interface Starting extends Running {
  readonly outDir: string;
  readonly trust: string;
  readonly mqttPort: number;
  readonly attackers: ReadonlySet<string>;
  readonly uplinks: Uplink[];
}

/** Attackers run inside the demonstration itself and are no program. */
export async function startSite(
  world: World,
  outDir: string,
  attackers: ReadonlySet<string>,
): Promise<Site> {
  const trust = join(outDir, 'trust');
  writeTrust(trust, world);
  const mqttPort = await freePort();
  gatewayConfig(world, trust, { mqtt: mqttPort, http: await freePort() });
  const programs = new Set<Program>();
  const uplinks: Uplink[] = [];
  try {
    return await startPrograms({ world, outDir, trust, mqttPort, attackers, programs, uplinks });
  } catch (error) {
    await stopAll(programs, uplinks);
    throw error;
  }
}

/** Each witness and the mirror, behind an uplink of its own. */
async function startCosigners(starting: Starting, logUrl: string): Promise<Site['cosigners']> {
  const { world, trust, programs, uplinks } = starting;
  const started = world.cosigners.map(async (one) => {
    const file = cosignerConfig(world, trust, one, logUrl);
    const program = await Program.start(one.place, [one.kind, '--config', file], programs);
    const uplink = await openUplink(() => Number(program.ready['port']));
    uplinks.push(uplink);
    return [one.place, { program, url: `http://127.0.0.1:${uplink.port}` }] as const;
  });
  return new Map(await Promise.all(started));
}

async function startDevices(starting: Starting): Promise<Site['devices']> {
  const { world, trust, mqttPort, attackers, programs } = starting;
  const devices = new Map<string, Program>();
  const honest = { ...world, payers: world.payers.filter(({ ref }) => !attackers.has(ref)) };
  const starts = deviceGroups(honest).map(async ([name, payers, payees]) => {
    const file = devicesConfig(world, trust, name, { mqttPort, payers, payees });
    const program = await Program.start(name, ['devices', '--config', file], programs);
    for (const { ref } of [...payers, ...payees]) devices.set(ref, program);
  });
  await Promise.all(starts);
  return devices;
}

async function startPrograms(starting: Starting): Promise<Site> {
  const { world, outDir, trust, mqttPort, programs, uplinks } = starting;
  const ledgerPort = await freePort();
  const toLedger = await openUplink(() => ledgerPort);
  uplinks.push(toLedger);
  const logUrl = `http://127.0.0.1:${toLedger.port}`;
  const [gateway, cosigners] = await Promise.all([
    startGatewayProgram(starting),
    startCosigners(starting, logUrl),
  ]);
  const urls = world.cosigners.map((one) => [one.name, cosigners.get(one.place)!.url] as const);
  const gatewayUrl = `http://127.0.0.1:${String(gateway.ready['httpPort'])}`;
  ledgerConfig(world, trust, ledgerPort, gatewayUrl, new Map(urls));
  const ledger = await startLedgerProgram(starting);
  const clearingFile = clearingConfig(world, trust, outDir, logUrl);
  const [clearing, devices] = await Promise.all([
    Program.start('clearing', ['sync', 'clearing', '--config', clearingFile], programs),
    startDevices(starting),
  ]);
  return {
    world,
    outDir,
    trust,
    mqttPort,
    gateway,
    ledger,
    cosigners,
    clearing,
    devices,
    programs,
    uplinks,
  };
}

async function stopAll(programs: ReadonlySet<Program>, uplinks: readonly Uplink[]): Promise<void> {
  await Promise.all([...programs].map((program) => program.stop()));
  await Promise.all(uplinks.map((uplink) => uplink.close()));
}

export async function stopSite(site: Site): Promise<void> {
  await stopAll(site.programs, site.uplinks);
}
