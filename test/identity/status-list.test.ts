import { deflateSync } from 'node:zlib';
import fc from 'fast-check';
import t from 'tap';
import { verifyStatusList } from '../../identity/core/centre.ts';
import type { StatusListToken } from '../../identity/core/documents/status-list.ts';
import { issueStatusList } from '../../identity/core/issue.ts';
import {
  chainStatus,
  listAgeS,
  statusAt,
  STATUS_INVALID,
  STATUS_VALID,
  type StatusList,
} from '../../identity/core/status-list.ts';
import { inflateStatusList, packStatuses } from '../../identity/edge/status-zlib.ts';
import { fromHex } from '../../protocol/bytes.ts';
import { LIST, newWorld, NOW_S } from './fixture.ts';

const { trust, signers } = newWorld();

function token(packed: StatusListToken['packed']): Uint8Array {
  return issueStatusList(signers.issuer, {
    uri: LIST,
    issuedS: NOW_S,
    expiresS: NOW_S + 86_400,
    ttlS: 3600,
    version: 12,
    packed,
  });
}

function opened(packed: StatusListToken['packed']): StatusListToken {
  const result = verifyStatusList(trust, token(packed));
  if (!result.ok) throw new Error(result.reason);
  return result.value.value;
}

function inflated(packed: StatusListToken['packed']): StatusList {
  const result = inflateStatusList(opened(packed));
  if (!result.ok) throw new Error(result.reason);
  return result.value;
}

/** The worked example of draft-ietf-oauth-status-list §4: entries and their bytes. */
const EXAMPLE_1_BIT = { bytes: 'b9a3', entries: [1, 0, 0, 1, 1, 1, 0, 1, 1, 1, 0, 0, 0, 1, 0, 1] };
const EXAMPLE_2_BITS = { bytes: 'c944f9', entries: [1, 2, 0, 3, 0, 1, 0, 1, 1, 2, 3, 3] };

void t.test('entries are read as in the worked examples of the draft', async (t) => {
  for (const [bits, example] of [
    [1, EXAMPLE_1_BIT],
    [2, EXAMPLE_2_BITS],
  ] as const) {
    const compressed = new Uint8Array(deflateSync(fromHex(example.bytes)));
    const list = inflated({ bits, compressed });
    t.strictSame(
      example.entries.map((_, i) => statusAt(list, i)),
      example.entries,
    );
    t.equal(statusAt(list, example.entries.length), undefined, 'beyond the end');
  }
});

void t.test('property: what was revoked is read as revoked, and nothing else', async () => {
  fc.assert(
    fc.property(fc.uniqueArray(fc.nat(4999), { maxLength: 40 }), (revoked) => {
      const list = inflated(packStatuses(5000, revoked));
      const seen: number[] = [];
      for (let i = 0; i < 5000; i += 1) if (statusAt(list, i) === STATUS_INVALID) seen.push(i);
      return seen.join() === revoked.toSorted((a, b) => a - b).join();
    }),
    { numRuns: 20 },
  );
});

void t.test(
  'one revoked document revokes the chain; a list that cannot know says so',
  async (t) => {
    const list = inflated(packStatuses(16, [4]));
    const at = (...indexes: number[]): string =>
      chainStatus(
        list,
        indexes.map((index) => ({ uri: LIST, index })),
      );
    t.equal(statusAt(list, 1), STATUS_VALID);
    t.equal(at(1, 2, 3), 'valid');
    t.equal(at(1, 2, 4), 'revoked');
    t.equal(at(1, 16), 'unknown', 'the list is older than the document');
    t.equal(at(16, 4), 'revoked', 'known bad beats unknown');
    t.equal(chainStatus(list, [{ uri: 'urn:other', index: 1 }]), 'unknown');
    t.equal(listAgeS(list, NOW_S + 90), 90);
    t.equal(listAgeS(list, NOW_S - 90), 0, 'a list from the future is not of negative age');
    t.equal(list.version, 12);
  },
);

void t.test('a foreign or damaged list is refused, a bomb is not inflated', async (t) => {
  const packed = packStatuses(16, []);
  const foreign = { ...trust, issuerKey: signers.stranger.key };
  t.match(verifyStatusList(foreign, token(packed)), { ok: false, code: 'CREDENTIAL_INVALID' });
  const bomb = new Uint8Array(deflateSync(new Uint8Array(2 ** 20 + 1)));
  t.ok(bomb.length < 2000);
  t.match(inflateStatusList(opened({ bits: 8, compressed: bomb })), { code: 'TOO_LARGE' });
  const whole = new Uint8Array(deflateSync(new Uint8Array(2 ** 20)));
  t.match(inflateStatusList(opened({ bits: 8, compressed: whole })), { ok: true });
  const cut = packed.compressed.subarray(0, 5);
  t.match(inflateStatusList(opened({ bits: 1, compressed: cut })), { code: 'MALFORMED' });
  t.throws(() => token({ bits: 3 as 4, compressed: cut }), { code: 'DOCUMENT_INVALID' });
  t.throws(() => token({ bits: 1, compressed: new Uint8Array(0) }), { code: 'DOCUMENT_INVALID' });
});
