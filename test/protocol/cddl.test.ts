import { readFileSync } from 'node:fs';
import t from 'tap';
import { decodeCanonical } from '../../protocol/cbor/decode.ts';
import type { CborValue } from '../../protocol/cbor/value.ts';
import { decodeSign1 } from '../../protocol/cose.ts';
import { makeConnectToken } from '../../protocol/messages/connect.ts';
import { ALG_ES256, publicKey } from '../../protocol/public-key.ts';
import { fill, hex, testSigner, unhex } from './helpers.ts';
import { parseCddl } from './mini-cddl.ts';

const root = new URL('../../../', import.meta.url);
const rules = parseCddl(readFileSync(new URL('protocol/kiri.cddl', root), 'utf8'));
const vectors = JSON.parse(
  readFileSync(new URL('test/vectors/messages.json', root), 'utf8'),
) as readonly { name: string; payload: string }[];

function decoded(payload: string): Map<number, CborValue> {
  const result = decodeCanonical(unhex(payload), { maxBytes: 16_384 });
  if (!result.ok || !(result.value instanceof Map)) throw new Error('vector is not a map');
  return result.value as Map<number, CborValue>;
}

const ruleNameOf = (vector: string): string =>
  vector === 'void' ? 'refusal' : vector.replace(/-largest$|-with-close$/, '');

t.test('kiri.cddl describes the golden vector of every message', async (t) => {
  for (const { name, payload } of vectors) {
    const rule = rules.get(ruleNameOf(name));
    t.ok(rule, `${name} has a rule`);
    t.equal(rule?.(decoded(payload)), undefined, name);
  }
});

t.test(
  'kiri.cddl refuses a vector with any one required field taken away or one added',
  async (t) => {
    const optional: Record<string, number[]> = {
      offer: [10, 11],
      payment: [7],
      receipt: [8],
      refusal: [5, 6, 7, 8, 9, 10],
      'hand-in': [4, 5],
      evidence: [3],
      close: [5],
    };
    for (const { name, payload } of vectors) {
      const ruleName = ruleNameOf(name);
      const rule = rules.get(ruleName)!;
      for (const key of decoded(payload).keys()) {
        const less = decoded(payload);
        less.delete(key);
        const mayMiss = optional[ruleName]?.includes(key) ?? false;
        t.equal(rule(less) === undefined, mayMiss, `${name} without ${key}`);
      }
      t.match(rule(decoded(payload).set(99, 1n)), /unknown key 99/, name);
    }
  },
);

t.test('kiri.cddl describes the connect token, for both kinds of key', async (t) => {
  const rule = rules.get('connect-token')!;
  for (const key of [testSigner(3).key, publicKey(ALG_ES256, fill(64, 4))!]) {
    const numb = { key, sign: (): Uint8Array => fill(64, 0) };
    const token = makeConnectToken(numb, { approver: fill(16, 1), timeS: 7, nonce: fill(16, 2) });
    const sign1 = decodeSign1(token);
    if (!sign1.ok) return t.fail(sign1.reason);
    const map = decoded(hex(sign1.value.payload));
    t.equal(rule(map), undefined);
    map.delete(2);
    t.match(rule(map), /key 2 is missing/);
  }
});
