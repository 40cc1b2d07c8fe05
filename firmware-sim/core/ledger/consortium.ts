import { toHex, utf8ToBytes } from '../../../protocol/bytes.ts';
import { invariant } from '../../../protocol/kiri-error.ts';
import type { PublicKey } from '../../../protocol/public-key.ts';
import type { Signer, Verify } from '../../../sync/ledger/core/note-key.ts';
import { encodeVerifierKey } from '../../../sync/ledger/core/note-key.ts';
import { logSigner, witnessSigner } from '../../../sync/ledger/core/note-ports.ts';
import { parsePolicy, type Policy } from '../../../sync/ledger/core/policy.ts';
import type { Signatures } from '../city.ts';

/** Witnesses and mirror of every world, by their names in the policy. */
export const WITNESSES = ['w1', 'w2', 'w3', 'w4'] as const;
export const MIRROR = 'm1';
/** Cosignatures of witnesses that the policy asks for, beside the mirror's. */
const WITNESS_QUORUM = 3;

/** Everybody's keys around the logs of one world, and the policy that makes a checkpoint final. */
export interface Consortium {
  readonly policy: Policy;
  /** By origin. */
  readonly logs: ReadonlyMap<string, Signer>;
  /** Witnesses and mirror, by name. */
  readonly cosigners: ReadonlyMap<string, Signer>;
  readonly verify: Verify;
}

/** 3 of 4 witnesses and the mirror: the policy for real use (docs/ledger.md). */
export function buildConsortium(
  origins: readonly string[],
  signatures: Signatures,
  secret: () => Uint8Array,
): Consortium {
  const keys = new Map<string, PublicKey>();
  const keySigner = () => {
    const signer = signatures.signer(secret());
    keys.set(toHex(signer.key.point), signer.key);
    return signer;
  };
  const logs = new Map(origins.map((origin) => [origin, logSigner(origin, keySigner())]));
  const cosigners = new Map(
    [...WITNESSES, MIRROR].map((name) => [name, witnessSigner(`sim/${name}`, keySigner())]),
  );
  const lines = [
    ...Array.from(logs.values(), ({ key }) => `log ${encodeVerifierKey(key)}`),
    ...Array.from(cosigners, ([name, { key }]) => `witness ${name} ${encodeVerifierKey(key)}`),
    `group W ${WITNESS_QUORUM} ${WITNESSES.join(' ')}`,
    `group Q all W ${MIRROR}`,
    'quorum Q',
  ];
  const policy = parsePolicy(utf8ToBytes(`${lines.join('\n')}\n`));
  invariant(policy.ok, 'the consortium writes a policy that can be read');
  const verify: Verify = (point, message, signature) => {
    const key = keys.get(toHex(point));
    return key !== undefined && signatures.verifier.verify(key, message, signature);
  };
  return { policy: policy.value, logs, cosigners, verify };
}
