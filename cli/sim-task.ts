import type { Signatures } from '../firmware-sim/core/city.ts';
import type { LedgerEvent } from '../firmware-sim/core/ledger/ledger-scenario.ts';
import { runSeed, type SeedResult } from '../firmware-sim/core/run-seed.ts';
import { stubSigner, stubVerifier } from '../firmware-sim/core/stub-signatures.ts';
import { nobleSigner } from '../identity/core/noble-signatures.ts';
import { nodeVerifier } from '../identity/edge/node-signatures.ts';
import { ALG_EDDSA } from '../protocol/public-key.ts';

/** Which worlds are to be run, and how. */
export interface SimTask {
  readonly first: number;
  readonly seeds: number;
  readonly lastEvents: number;
  readonly ledgerEvent: LedgerEvent | undefined;
}

/** Every so many seeds one runs with true Ed25519 signatures; the others with stand-ins, about ten times as fast. */
const REAL_EVERY = 50;

export function isReal(seed: number): boolean {
  return seed % REAL_EVERY === 0;
}

const STAND_INS: Signatures = { signer: stubSigner, verifier: stubVerifier() };
const REAL: Signatures = {
  signer: (secret) => nobleSigner(ALG_EDDSA, secret),
  verifier: nodeVerifier(),
};

/** One world from its beginning to its end. */
export function runWorld(seed: number, { lastEvents, ledgerEvent }: SimTask): SeedResult {
  return runSeed(seed, {
    signatures: isReal(seed) ? REAL : STAND_INS,
    lastEvents,
    ...(ledgerEvent === undefined ? {} : { ledgerEvent }),
  });
}
