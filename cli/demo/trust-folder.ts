import { createPublicKey, type JsonWebKey } from 'node:crypto';
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { encodeCanonical } from '../../protocol/cbor/encode.ts';
import { ALG_EDDSA, coseKeyOf, type PublicKey } from '../../protocol/public-key.ts';
import {
  encodeVerifierKey,
  TYPE_COSIGNATURE,
  TYPE_ED25519,
  verifierKey,
} from '../../sync/ledger/core/note-key.ts';
import type { World } from './identities.ts';

export const WITNESS_NAME = 'witness-1.kiri.example';
const POLICY_NAME = 'demo';

export function logVkey(world: World): string {
  return encodeVerifierKey(verifierKey(world.origin, TYPE_ED25519, world.logKey.point));
}

function witnessVkey(world: World): string {
  return encodeVerifierKey(verifierKey(WITNESS_NAME, TYPE_COSIGNATURE, world.witnessKey.point));
}

function base64url(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString('base64url');
}

function cose(key: PublicKey): Uint8Array {
  return encodeCanonical(coseKeyOf(key));
}

function pemOf(key: PublicKey): string {
  const jwk: JsonWebKey =
    key.alg === ALG_EDDSA
      ? { kty: 'OKP', crv: 'Ed25519', x: base64url(key.point) }
      : {
          kty: 'EC',
          crv: 'P-256',
          x: base64url(key.point.subarray(0, 32)),
          y: base64url(key.point.subarray(32)),
        };
  return createPublicKey({ key: jwk, format: 'jwk' })
    .export({ type: 'spki', format: 'pem' })
    .toString();
}

/** One witness and no mirror: enough to show finality, named for what it is. */
function policyText(world: World): string {
  const log = logVkey(world);
  const witness = witnessVkey(world);
  return `# policy "${POLICY_NAME}": one witness, for demonstration only\nlog ${log}\nwitness w1 ${witness}\nquorum w1\n`;
}

/** Everything that others need to check this run, in standard forms; no secret among it. */
export function writeTrust(folder: string, world: World): void {
  mkdirSync(join(folder, 'keys'), { recursive: true });
  mkdirSync(join(folder, 'documents'), { recursive: true });
  writeFileSync(join(folder, 'issuer.cosekey'), cose(world.issuer.key));
  writeFileSync(join(folder, 'issuer.pem'), pemOf(world.issuer.key));
  writeFileSync(join(folder, 'log.vkey'), `${logVkey(world)}\n`);
  writeFileSync(join(folder, 'witness.vkey'), `${witnessVkey(world)}\n`);
  writeFileSync(join(folder, 'policy.txt'), policyText(world));
  for (const [name, bytes] of world.documents) {
    writeFileSync(join(folder, 'documents', `${name}.cbor`), bytes);
  }
  const keys: (readonly [string, PublicKey])[] = [
    ['approver', world.gatewayKey],
    ['clearing', world.clearing.key],
    ...[...world.payees, ...world.payers].map((device) => [device.ref, device.key] as const),
  ];
  for (const [name, key] of keys) {
    writeFileSync(join(folder, 'keys', `${name}.pem`), pemOf(key));
    writeFileSync(join(folder, 'keys', `${name}.cosekey`), cose(key));
  }
}
