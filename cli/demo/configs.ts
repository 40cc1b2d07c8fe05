import { mkdirSync, writeFileSync } from 'node:fs';
import { join, relative } from 'node:path';
import { encodeCanonical } from '../../protocol/cbor/encode.ts';
import { coseKeyOf } from '../../protocol/public-key.ts';
import { paths, type EnrolledDevice, type World } from './identities.ts';
import type { Json } from './processes.ts';
import { logVkey } from './trust-folder.ts';

const LEDGER_FOLDER = 'ledger';

export function ledgerFolder(stateDir: string): string {
  return join(stateDir, LEDGER_FOLDER, 'log');
}

export function gatewayFolder(stateDir: string): string {
  return join(stateDir, 'gateway', 'data');
}

/** What `--config` names for a program of the story. */
export function configFile(stateDir: string, name: string): string {
  return join(stateDir, `${name}.config.json`);
}

function writeConfig(stateDir: string, name: string, values: Json): string {
  const file = configFile(stateDir, name);
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
    ledgerLevels: relative(stateDir, join(ledgerFolder(stateDir), 'state', 'levels')),
    mqttPort: ports.mqtt,
    httpPort: ports.http,
  });
}

export function devicesConfig(
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

/** A witness, or a mirror: it fetches the log from `logUrl`, and knows whose word erases a content key. */
export function cosignerConfig(
  world: World,
  trust: string,
  { place, kind, keyName }: World['cosigners'][number],
  logUrl: string,
  port = 0,
): string {
  const log = { origin: world.origin, vkey: logVkey(world) };
  return writeConfig(world.stateDir, place, {
    folder: `${place}/data`,
    keyFile: `${place}/key.json`,
    name: keyName,
    logs: [kind === 'mirror' ? { ...log, url: logUrl } : log],
    ...(kind === 'mirror' ? { issuerKey: join(trust, 'issuer.cosekey') } : {}),
    port,
  });
}

export function ledgerConfig(
  world: World,
  trust: string,
  port: number,
  gatewayUrl: string,
  cosignerUrls: ReadonlyMap<string, string>,
): string {
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
    gatewayUrl,
    approverKey: join(trust, 'keys', 'approver.cosekey'),
    contentKey: 'content-key.cosekey',
    policy: join(trust, 'policy.txt'),
    issuerKey: join(trust, 'issuer.cosekey'),
    witnesses: [...cosignerUrls].map(([name, url]) => ({ name, url })),
    port,
  });
}

/** Where the issuer's answers arrive. */
export const clearingInbox = (stateDir: string): string => join(stateDir, 'clearing', 'inbox');

export function clearingConfig(
  world: World,
  trust: string,
  outDir: string,
  logUrl: string,
): string {
  return writeConfig(world.stateDir, 'clearing', {
    folder: 'clearing/data',
    keyFile: 'clearing/key.json',
    contentKeyFile: relative(world.stateDir, paths.contentKey(world.stateDir)),
    issuerKey: join(trust, 'issuer.cosekey'),
    policy: join(trust, 'policy.txt'),
    origin: world.origin,
    logUrl,
    outFolder: outDir,
    inbox: relative(world.stateDir, clearingInbox(world.stateDir)),
    documents: [...world.documents.keys()].map((name) => join(trust, 'documents', `${name}.cbor`)),
  });
}
