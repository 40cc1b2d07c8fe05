import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import t from 'tap';
import { X509Certificate } from 'node:crypto';
import { utf8ToBytes } from '../../protocol/bytes.ts';
import { timeStampAnchor } from '../../sync/ledger/anchor/timestamp-anchor.ts';
import { verifyTimeStamp } from '../../sync/ledger/anchor/timestamp-check.ts';
import { encodeTimeStampReq } from '../../sync/ledger/core/anchor-timestamp.ts';
import { startTsa, type Tsa } from './tsa.ts';

const NOTE = utf8ToBytes('rollup.example/1\n7\nAAAA\n\n— x y\n');
const der = (pem: string): Uint8Array => new Uint8Array(new X509Certificate(pem).raw);
const kept: string[] = [];
const keep = async (ref: string): Promise<void> => {
  kept.push(ref);
};

const anchorOf = (tsa: Tsa, more: { policies?: string[]; timeoutMs?: number } = {}) =>
  timeStampAnchor({
    url: tsa.url,
    timeoutMs: more.timeoutMs ?? 10_000,
    trust: {
      roots: [der(tsa.rootPem)],
      ...(more.policies === undefined ? {} : { policies: more.policies }),
    },
  });

for (const kind of ['rsa', 'ec'] as const) {
  t.test(`an openssl authority with ${kind} keys stamps a note, and openssl agrees`, async (t) => {
    const tsa = await startTsa(kind);
    t.teardown(() => tsa.stop());
    const anchor = anchorOf(tsa);
    const ref = await anchor.submit(NOTE, keep);
    t.equal(kept.at(-1), ref);
    t.equal(tsa.requests, 0, 'nothing leaves before the nonce is kept');
    const before = Math.floor(Date.now() / 1000);
    const status = await anchor.status(ref, NOTE);
    if (status.kind !== 'final') return t.fail(JSON.stringify(status));
    const trust = { roots: [der(tsa.rootPem)] };
    const verified = verifyTimeStamp(trust)(status.evidence, NOTE);
    t.match(verified, { ok: true, value: { by: /CN=stamper/ } });
    if (verified.ok)
      t.ok(Math.abs(verified.value.anchoredAtS - before) < 60, 'the authority’s time');

    await writeFile(join(tsa.folder, 'stored.tsr'), status.evidence);
    await writeFile(join(tsa.folder, 'note'), NOTE);
    const said = await tsa.openssl(
      'ts',
      '-verify',
      '-in',
      'stored.tsr',
      '-data',
      'note',
      '-CAfile',
      'root.pem',
      '-untrusted',
      'middle.pem',
    );
    t.match(said, /Verification: OK/);

    const pinned = { roots: [der(await readFile(join(tsa.folder, 'stamper.pem'), 'latin1'))] };
    t.ok(
      verifyTimeStamp(pinned)(status.evidence, NOTE).ok,
      'the authority’s own certificate may be the root',
    );
    const strange = { roots: [der(await readFile(join(tsa.folder, 'stranger.pem'), 'latin1'))] };
    t.match(verifyTimeStamp(strange)(status.evidence, NOTE), {
      ok: false,
      reason: /leads to no root/,
    });
    t.match(verifyTimeStamp(trust)(status.evidence, utf8ToBytes('another')), {
      ok: false,
      reason: /another note/,
    });
    t.match(verifyTimeStamp({ ...trust, policies: ['1.2.3.4.2'] })(status.evidence, NOTE), {
      ok: false,
      reason: /1\.2\.3\.4\.1 is not accepted/,
    });
    t.ok(verifyTimeStamp({ ...trust, policies: ['1.2.3.4.1'] })(status.evidence, NOTE).ok);

    for (let length = 0; length < status.evidence.length; length += 1) {
      if (verifyTimeStamp(trust)(status.evidence.slice(0, length), NOTE).ok)
        t.fail(`cut at ${length}`);
    }
    const holds: number[] = [];
    for (let at = 0; at < status.evidence.length; at += 1) {
      const changed = status.evidence.slice();
      changed[at] = (changed[at] ?? 0) ^ 0x01;
      if (verifyTimeStamp(trust)(changed, NOTE).ok) holds.push(at);
    }
    // Not under the signature: names of algorithms in front, certificates that the chain does not need.
    t.ok(holds.length < status.evidence.length / 4, `${holds.length} bytes may change`);
  });
}

t.test('an authority that answers wrongly is not believed', async (t) => {
  const tsa = await startTsa('ec');
  t.teardown(() => tsa.stop());
  const anchor = anchorOf(tsa);
  const ref = await anchor.submit(NOTE, keep);
  const answer = async (body: Promise<Uint8Array> | Uint8Array, status?: number) => {
    const bytes = await body;
    tsa.instead = async () => ({ body: bytes, ...(status === undefined ? {} : { status }) });
    return anchor.status(ref, NOTE);
  };
  const nonce = new Uint8Array(Buffer.from(ref, 'hex'));
  const other = Uint8Array.of(1, 2, 3, 4, 5, 6, 7, 8);
  t.match(await answer(tsa.reply(encodeTimeStampReq(NOTE, other))), {
    kind: 'failed',
    reason: /another nonce/,
  });
  t.match(await answer(tsa.reply(encodeTimeStampReq(utf8ToBytes('x'), nonce))), {
    kind: 'failed',
    reason: /another note/,
  });
  t.match(await answer(new Uint8Array(0)), { kind: 'failed', reason: /malformed/ });
  await t.rejects(answer(new Uint8Array(65_537)), { code: 'HTTP_TOO_LARGE' });
  await t.rejects(answer(new Uint8Array(0), 503), { code: 'ANCHOR_UNREACHABLE' });
  // openssl itself refuses to stamp with a certificate that is not for it, and says so in the answer.
  await t.rejects(tsa.reply(encodeTimeStampReq(NOTE, nonce), 'web'));
  const refused = await tsa.reply(encodeTimeStampReq(NOTE, nonce).slice(0, 40));
  t.match(await answer(refused), { kind: 'failed', reason: /refused: status 2/ });

  tsa.instead = () => new Promise(() => {});
  await t.rejects(anchorOf(tsa, { timeoutMs: 200 }).status(ref, NOTE), { code: 'HTTP_TIMEOUT' });
  tsa.instead = undefined;
  t.match(await anchor.status(ref, NOTE), { kind: 'final' }, 'the same request, asked again');
  t.match(await anchor.status('no nonce', NOTE), { kind: 'failed' });
});

t.test('a certificate counts at the stamped time only', async (t) => {
  const tsa = await startTsa('ec');
  t.teardown(() => tsa.stop());
  const csr = [
    'x509',
    '-req',
    '-in',
    'stamper.csr',
    '-CA',
    'root.pem',
    '-CAkey',
    'root.key',
    '-CAcreateserial',
    '-sha256',
    '-extfile',
    'openssl.cnf',
  ];
  // A validity that is over: days counted back from now.
  await tsa.openssl(...csr, '-days', '-1', '-extensions', 'stamper', '-out', 'stamper.pem');
  const anchor = anchorOf(tsa);
  const ref = await anchor.submit(NOTE, keep);
  t.match(await anchor.status(ref, NOTE), {
    kind: 'failed',
    reason: /not valid at the stamped time/,
  });
  t.ok(
    (await tsa.openssl(...csr, '-days', '9', '-extensions', 'stamper', '-out', 'stamper.pem')) !==
      undefined,
  );
  t.match(await anchor.status(ref, NOTE), { kind: 'final' });
});
