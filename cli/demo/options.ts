import { resolve } from 'node:path';
import { parseArgs } from 'node:util';
import { UsageError } from '../command.ts';
import { POLICIES, type FinalityPolicy } from './finality-policy.ts';

export interface DemoOptions {
  readonly trace?: string;
  readonly rates?: string;
  /** 0: as fast as it goes. */
  readonly speed: number;
  readonly policy: FinalityPolicy;
  readonly outDir: string;
  readonly json: boolean;
  readonly keep: boolean;
}

export function parseDemoOptions(argv: readonly string[]): DemoOptions {
  const values = parsed(argv);
  const speed = Number(values.speed ?? '0');
  if (!Number.isFinite(speed) || speed < 0) {
    throw new UsageError(`--speed ${values.speed} is not a number from 0 on`);
  }
  if (values.rates !== undefined && values.trace === undefined) {
    throw new UsageError('--rates goes with --trace');
  }
  return {
    ...(values.trace === undefined ? {} : { trace: values.trace }),
    ...(values.rates === undefined ? {} : { rates: values.rates }),
    speed,
    policy: policyNamed(values.policy ?? 'demo'),
    outDir: resolve(values.out ?? 'out'),
    json: values.json ?? false,
    keep: values.keep ?? false,
  };
}

function policyNamed(name: string): FinalityPolicy {
  if (name === 'demo' || name === 'full') return POLICIES[name];
  const known = Object.keys(POLICIES).join(' or ');
  throw new UsageError(`--policy ${name} is not a policy of the demonstration: ${known}`);
}

function parsed(argv: readonly string[]): {
  trace?: string;
  rates?: string;
  speed?: string;
  policy?: string;
  out?: string;
  json?: boolean;
  keep?: boolean;
} {
  try {
    return parseArgs({
      args: [...argv],
      options: {
        trace: { type: 'string' },
        rates: { type: 'string' },
        speed: { type: 'string' },
        policy: { type: 'string' },
        out: { type: 'string' },
        json: { type: 'boolean' },
        keep: { type: 'boolean' },
      },
    }).values;
  } catch (error) {
    throw new UsageError((error as Error).message);
  }
}
