import { mkdirSync, writeFileSync } from 'node:fs';
import { join, relative } from 'node:path';
import { encodeCanonical } from '../../protocol/cbor/encode.ts';
import { coseKeyOf } from '../../protocol/public-key.ts';
import { freePort } from './free-port.ts';
import { paths, type EnrolledDevice, type World } from './identities.ts';
import { Program, type Json } from './processes.ts';
import { logVkey, WITNESS_NAME, writeTrust } from './trust-folder.ts';
import { openUplink, type Uplink } from './uplink.ts';

/** All programs of the story, each a process of its own, and the uplink between the two places. */
export interface Site {
  readonly world: World;
  readonly outDir: string;
  readonly mqttPort: number;
  gateway: Program;
  readonly witness: Program;
  readonly ledger: Program;
  readonly clearing: Program;
  /** Device programs by the refs of their devices. */
  readonly devices: ReadonlyMap<string, Program>;
  readonly programs: Set<Program>;
  readonly uplinks: readonly Uplink[];
}

const LEDGER_FOLDER = 'ledger';

export function ledgerFolder(stateDir: string): string {
  return join(stateDir, LEDGER_FOLDER, 'log');
}

export function gatewayFolder(stateDir: string): string {
  return join(stateDir, 'gateway', 'data');
}

function writeConfig(stateDir: string, name: string, values: Json): string {
  const file = join(stateDir, `${name}.config.json`);
  writeFileSync(file, `${JSON.stringify(values, null, 2)}\n`, { mode: 0o600 });
  return file;
}

function documentFiles(stateDir: string, name: string, documents: readonly Uint8Array[]): string[] {
  const folder = join(stateDir, 'documents', name);
  mkdirSync(folder, { recursive: true });
  return documents.map((bytes, i) => {
    const file = join(folder, `${i}.cbor`);
    writeFileSync(file, bytes);
    return relative(stateDir, file);
  });
}

/** @returns the file for `kiri gateway --config` */
export function gatewayConfig(
  world: World,
  trust: string,
  ports: { mqtt: number; http: number },
): string {
  const { stateDir } = world;
  const [statusList] = documentFiles(stateDir, 'status', [world.statusList]);
  return writeConfig(stateDir, 'gateway', {
    folder: 'gateway/data',
    keyFile: 'gateway/key.json',
    issuerKey: join(trust, 'issuer.cosekey'),
    mandate: join(trust, 'documents', 'mandate.cbor'),
    clearing: join(trust, 'documents', 'clearing.cbor'),
    statusList,
    mqttPort: ports.mqtt,
    httpPort: ports.http,
  });
}

function devicesConfig(
  world: World,
  trust: string,
  name: string,
  part: { mqttPort: number; payers: readonly EnrolledDevice[]; payees: readonly EnrolledDevice[] },
): string {
  const { stateDir } = world;
  const rows = (devices: readonly EnrolledDevice[]): Json[] =>
    devices.map((device) => ({
      ref: device.ref,
      folder: relative(stateDir, device.folder),
      keyFile: relative(stateDir, device.keyFile),
      documents: documentFiles(stateDir, device.ref, device.documents),
    }));
  const common = ['acquirer', 'mandate', ...[...world.documents.keys()].filter(isPublicDocument)];
  return writeConfig(stateDir, name, {
    gateway: { port: part.mqttPort },
    approverKey: join(trust, 'keys', 'approver.cosekey'),
    issuerKey: join(trust, 'issuer.cosekey'),
    documents: common.map((document) => join(trust, 'documents', `${document}.cbor`)),
    payers: rows(part.payers),
    payees: rows(part.payees),
  });
}

/** What a payer needs of others before it signs: who is paid, and at what price. */
function isPublicDocument(name: string): boolean {
  return name.startsWith('merchant-') || name.startsWith('tariff-');
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

export async function startGatewayProgram(site: {
  world: World;
  programs: Set<Program>;
}): Promise<Program> {
  const file = join(site.world.stateDir, 'gateway.config.json');
  return Program.start('gateway', ['gateway', '--config', file], site.programs);
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

interface Starting {
  readonly world: World;
  readonly outDir: string;
  readonly trust: string;
  readonly mqttPort: number;
  readonly attackers: ReadonlySet<string>;
  readonly programs: Set<Program>;
  readonly uplinks: Uplink[];
}

async function startPrograms(starting: Starting): Promise<Site> {
  const { world, outDir, trust, mqttPort, attackers, programs, uplinks } = starting;
  const start = (name: string, ...args: string[]): Promise<Program> =>
    Program.start(name, args, programs);
  const [gateway, witness] = await Promise.all([
    startGatewayProgram({ world, programs }),
    start('witness', 'witness', '--config', witnessConfig(world)),
  ]);
  const toWitness = await openUplink(() => Number(witness.ready['port']));
  uplinks.push(toWitness);
  const ledger = await start(
    'ledger',
    'sync',
    'ledger',
    '--config',
    ledgerConfig(world, trust, `http://127.0.0.1:${toWitness.port}`),
  );
  const toLedger = await openUplink(() => Number(ledger.ready['port']));
  uplinks.push(toLedger);
  const clearingFile = clearingConfig(world, trust, outDir, `http://127.0.0.1:${toLedger.port}`);
  const clearingStart = start('clearing', 'sync', 'clearing', '--config', clearingFile);
  const devices = new Map<string, Program>();
  const honest = { ...world, payers: world.payers.filter(({ ref }) => !attackers.has(ref)) };
  const starts = deviceGroups(honest).map(async ([name, payers, payees]) => {
    const file = devicesConfig(world, trust, name, { mqttPort, payers, payees });
    const program = await start(name, 'devices', '--config', file);
    for (const { ref } of [...payers, ...payees]) devices.set(ref, program);
  });
  const [clearing] = await Promise.all([clearingStart, ...starts]);
  return {
    world,
    outDir,
    mqttPort,
    gateway,
    witness,
    ledger,
    clearing,
    devices,
    programs,
    uplinks,
  };
}

function witnessConfig(world: World): string {
  return writeConfig(world.stateDir, 'witness', {
    folder: 'witness/data',
    keyFile: 'witness/key.json',
    name: WITNESS_NAME,
    logs: [{ origin: world.origin, vkey: logVkey(world) }],
  });
}

function ledgerConfig(world: World, trust: string, witnessUrl: string): string {
  const { stateDir } = world;
  writeFileSync(
    join(stateDir, 'content-key.cosekey'),
    encodeCanonical(coseKeyOf(world.contentKey)),
  );
  return writeConfig(stateDir, 'ledger', {
    folder: relative(stateDir, ledgerFolder(stateDir)),
    origin: world.origin,
    keyFile: 'ledger/key.json',
    gatewayFolder: relative(stateDir, gatewayFolder(stateDir)),
    approverKey: join(trust, 'keys', 'approver.cosekey'),
    contentKey: 'content-key.cosekey',
    policy: join(trust, 'policy.txt'),
    witnesses: [{ name: 'w1', url: witnessUrl }],
  });
}

function clearingConfig(world: World, trust: string, outDir: string, logUrl: string): string {
  return writeConfig(world.stateDir, 'clearing', {
    folder: 'clearing/data',
    keyFile: 'clearing/key.json',
    contentKeyFile: relative(world.stateDir, paths.contentKey(world.stateDir)),
    issuerKey: join(trust, 'issuer.cosekey'),
    policy: join(trust, 'policy.txt'),
    origin: world.origin,
    logUrl,
    outFolder: outDir,
    documents: [...world.documents.keys()].map((name) => join(trust, 'documents', `${name}.cbor`)),
  });
}

async function stopAll(programs: ReadonlySet<Program>, uplinks: readonly Uplink[]): Promise<void> {
  await Promise.all([...programs].map((program) => program.stop()));
  await Promise.all(uplinks.map((uplink) => uplink.close()));
}

export async function stopSite(site: Site): Promise<void> {
  await stopAll(site.programs, site.uplinks);
}
