import { KiriError } from '../../protocol/kiri-error.ts';
import type { Json } from './processes.ts';

/** Readers of what programs answer: a missing figure is a failure, never a zero. */
function value(json: Json | undefined, key: string): string | number {
  const found = json?.[key];
  if (typeof found === 'string' || typeof found === 'number') return found;
  throw new KiriError('DEMO_FAILED', `a program's answer has no ${key}`);
}

export function numberIn(json: Json | undefined, key: string): number {
  return Number(value(json, key));
}

/** Amounts travel as decimal text. */
export function bigIn(json: Json | undefined, key: string): bigint {
  return BigInt(value(json, key));
}

export function textIn(json: Json | undefined, key: string): string {
  return String(value(json, key));
}
