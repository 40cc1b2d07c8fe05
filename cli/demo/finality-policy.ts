import { encodeVerifierKey, type VerifierKey } from '../../sync/ledger/core/note-key.ts';

/** A program that has to sign before a receipt is final, each at an operator of its own. */
export interface Cosigner {
  readonly kind: 'witness' | 'mirror';
  /** In the policy's text. */
  readonly name: string;
  /** Of its program, its folder and its vkey file. */
  readonly place: string;
  /** Of its key in signed notes; says whose it is. */
  readonly keyName: string;
}

/** Who must have signed before a receipt of a run is final (L2). */
export interface FinalityPolicy {
  readonly name: string;
  /** What it is good for, in words; stands beside every "L2". */
  readonly purpose: string;
  readonly cosigners: readonly Cosigner[];
  /** Groups and quorum, C2SP tlog-policy. */
  readonly quorum: readonly string[];
  /** The place of a witness without which the policy can still be met. */
  readonly spare?: string;
}

const OPERATORS = ['issuer', 'car-maker', 'acquirer', 'road'];

export const POLICIES: Readonly<Record<'demo' | 'full', FinalityPolicy>> = {
  demo: {
    name: 'demo',
    purpose: "the demonstration's policy: one witness, no mirror",
    cosigners: [
      { kind: 'witness', name: 'w1', place: 'witness', keyName: 'witness-1.kiri.example' },
    ],
    quorum: ['quorum w1'],
  },
  full: {
    name: 'full',
    purpose: 'for real use: 3 of 4 witnesses and a mirror, each at another operator',
    cosigners: [
      ...OPERATORS.map((operator, i) => ({
        kind: 'witness' as const,
        name: `w${i + 1}`,
        place: `witness-${i + 1}`,
        keyName: `witness.${operator}.example`,
      })),
      { kind: 'mirror', name: 'm1', place: 'mirror', keyName: 'mirror.archive.example' },
    ],
    quorum: ['group W 3 w1 w2 w3 w4', 'group M any m1', 'group Q all W M', 'quorum Q'],
    spare: 'witness-2',
  },
};

/** The policy with the keys of one run, as C2SP tlog-policy. */
export function policyText(
  { name, purpose, quorum }: FinalityPolicy,
  logKey: VerifierKey,
  witnesses: readonly (readonly [name: string, key: VerifierKey])[],
): string {
  const lines = [
    `# policy "${name}", ${purpose}`,
    `log ${encodeVerifierKey(logKey)}`,
    ...witnesses.map(([witness, key]) => `witness ${witness} ${encodeVerifierKey(key)}`),
    ...quorum,
  ];
  return `${lines.join('\n')}\n`;
}
