import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { PublicKey } from '../../protocol/public-key.ts';
import {
  encodeVerifierKey,
  TYPE_COSIGNATURE,
  TYPE_ED25519,
  verifierKey,
  type VerifierKey,
} from '../../sync/ledger/core/note-key.ts';
import { keyFilesOf } from '../verify/key-files.ts';
import { policyText } from './finality-policy.ts';
import type { World } from './identities.ts';

function logKey(world: World): VerifierKey {
  return verifierKey(world.origin, TYPE_ED25519, world.logKey.point);
}

export function logVkey(world: World): string {
  return encodeVerifierKey(logKey(world));
}

function cosignerKey({ keyName, key }: World['cosigners'][number]): VerifierKey {
  return verifierKey(keyName, TYPE_COSIGNATURE, key.point);
}

/** Everything that others need to check this run, in standard forms; no secret among it. */
export function writeTrust(folder: string, world: World): void {
  mkdirSync(join(folder, 'keys'), { recursive: true });
  mkdirSync(join(folder, 'documents'), { recursive: true });
  const issuer = keyFilesOf(world.issuer.key);
  writeFileSync(join(folder, 'issuer.cosekey'), issuer.cosekey);
  writeFileSync(join(folder, 'issuer.pem'), issuer.pem);
  writeFileSync(join(folder, 'log.vkey'), `${logVkey(world)}\n`);
  for (const one of world.cosigners) {
    writeFileSync(join(folder, `${one.place}.vkey`), `${encodeVerifierKey(cosignerKey(one))}\n`);
  }
  const cosigners = world.cosigners.map((one) => [one.name, cosignerKey(one)] as const);
  writeFileSync(join(folder, 'policy.txt'), policyText(world.policy, logKey(world), cosigners));
  for (const [name, bytes] of world.documents) {
    writeFileSync(join(folder, 'documents', `${name}.cbor`), bytes);
  }
  const keys: (readonly [string, PublicKey])[] = [
    ['approver', world.gatewayKey],
    ['clearing', world.clearing.key],
    ...[...world.payees, ...world.payers].map((device) => [device.ref, device.key] as const),
  ];
  for (const [name, key] of keys) {
    const { pem, cosekey } = keyFilesOf(key);
    writeFileSync(join(folder, 'keys', `${name}.pem`), pem);
    writeFileSync(join(folder, 'keys', `${name}.cosekey`), cosekey);
  }
}
