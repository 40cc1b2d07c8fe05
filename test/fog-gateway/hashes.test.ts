import { createHmac } from 'node:crypto';
import fc from 'fast-check';
import t from 'tap';
import { nodeHmacSha256 } from '../../fog-gateway/hashes.ts';
import { toHex, utf8ToBytes } from '../../protocol/bytes.ts';

t.test('HMAC-SHA256 of RFC 4231, cases 1, 2 and 6', async (t) => {
  const hmac = nodeHmacSha256();
  const fill = (length: number, byte: number): Uint8Array => new Uint8Array(length).fill(byte);
  const cases: [Uint8Array, Uint8Array, string][] = [
    [
      fill(20, 0x0b),
      utf8ToBytes('Hi There'),
      'b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7',
    ],
    [
      utf8ToBytes('Jefe'),
      utf8ToBytes('what do ya want for nothing?'),
      '5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843',
    ],
    [
      fill(131, 0xaa),
      utf8ToBytes('Test Using Larger Than Block-Size Key - Hash Key First'),
      '60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54',
    ],
  ];
  for (const [key, message, expected] of cases) t.equal(toHex(hmac(key, message)), expected);
});

t.test('gives what node:crypto gives, whatever key came before', async (t) => {
  const hmac = nodeHmacSha256();
  const keys = fc.array(fc.uint8Array({ maxLength: 130 }), { minLength: 1, maxLength: 3 });
  fc.assert(
    fc.property(
      keys,
      fc.array(fc.uint8Array({ maxLength: 300 }), { maxLength: 6 }),
      (ring, texts) => {
        for (const [i, text] of texts.entries()) {
          const key = ring[i % ring.length]!;
          const expected = createHmac('sha256', key).update(text).digest('hex');
          if (toHex(hmac(key, text)) !== expected) return false;
        }
        return true;
      },
    ),
  );
  t.pass('agreed');
});
