import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { takeFinal, type Finals } from '../../agent/core/final-through.ts';
import type { PaymentOutcome } from '../../agent/edge/payer-device.ts';
import { MAX_FINALS } from '../../agent/core/limits.ts';
import type { TrustBook } from '../../agent/core/trust.ts';
import { fetchBytes } from '../../platform/http-client.ts';
import { toHex } from '../../protocol/bytes.ts';
import { signSign1 } from '../../protocol/cose.ts';
import { FINAL_THROUGH, type FinalThrough } from '../../protocol/messages/final-through.ts';
import { testSigner, testVerifier } from '../protocol/helpers.ts';
import { newKit, wantOf } from './harness.ts';
import { Site } from './site.ts';

const kit = newKit();
const POLICY = 'ab'.repeat(32);

const levels = (recorded: number, final: number): string =>
  JSON.stringify({
    origin: 'gateway.example/1',
    recorded: { size: recorded, throughSequence: recorded },
    final: { size: final, throughSequence: final },
    policyHash: POLICY,
    backlog: recorded - final,
    isBehindJournal: false,
    drainPerS: 0,
  });

const until = async (what: string, holds: () => Promise<boolean> | boolean): Promise<void> => {
  for (let tries = 0; tries < 1_000; tries += 1) {
    if (await holds()) return;
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
  throw new Error(`never: ${what}`);
};

const finals = async (kept: AsyncIterable<{ isFinal: boolean }>): Promise<boolean[]> => {
  const all: boolean[] = [];
  for await (const { isFinal } of kept) all.push(isFinal);
  return all;
};

t.test('a gateway tells its devices what is final, and they keep it', async (t) => {
  const site = new Site(kit);
  t.teardown(() => site.stop());
  const folder = join(site.folder, 'log/state');
  mkdirSync(folder, { recursive: true });
  const file = join(folder, 'levels');
  site.ledgerLevels = file;
  const { gateway, payer, payee } = await site.start();
  const paid: PaymentOutcome[] = [];
  for (const ref of ['a', 'b', 'c']) paid.push(await payer.pay(wantOf(kit, { ref })));
  await site.sold(3);
  t.same(await finals(payer.receipts()), [false, false, false]);

  writeFileSync(file, levels(3, 2));
  await until(
    'the payer knows',
    async () => (await finals(payer.receipts())).join() === 'true,true,false',
  );
  await until(
    'the payee knows',
    async () => (await finals(payee.receipts())).join() === 'true,true,false',
  );
  t.match(gateway.status().levels, { final: { throughSequence: 2 }, policyHash: POLICY });
  const lookUp = async (at: number): Promise<unknown> => {
    const { paymentHash } = paid[at] as { paymentHash: Uint8Array };
    const url = `http://127.0.0.1:${gateway.httpPort}/lookup?hash=${toHex(paymentHash)}`;
    const { body } = await fetchBytes(url, { timeoutMs: 5_000, maxBytes: 4_096 });
    return JSON.parse(Buffer.from(body).toString());
  };
  t.same(await lookUp(1), { held: 'accepted', sequence: 2, level: 'L2', policyHash: POLICY });
  t.same(await lookUp(2), { held: 'accepted', sequence: 3, level: 'L1', policyHash: POLICY });

  // The device is away when the rest becomes final, and restarts with what it knew.
  await payer.close();
  writeFileSync(file, levels(3, 3));
  await until('the gateway has seen it', () => gateway.status().levels?.final.size === 3);
  const again = await site.startPayer();
  t.same((await finals(again.receipts())).slice(0, 2), [true, true], 'from its journal');
  await until(
    'told on its return',
    async () => (await finals(again.receipts())).join() === 'true,true,true',
  );
  t.match(again.status(), { kept: 3 }, 'no receipt went for it');
});

const signer = testSigner(5);
const trust = {
  approvers: new Map([[signer.key.hex, { gatewayKey: signer.key }]]),
  trust: { verifier: testVerifier },
} as unknown as TrustBook;

const said = (changes: Partial<FinalThrough> = {}, by = signer): Uint8Array =>
  signSign1(
    by,
    FINAL_THROUGH.encode({
      approver: signer.key.id,
      sequence: 5,
      origin: 'o',
      size: 6,
      policyHash: new Uint8Array(32),
      timeS: 9,
      ...changes,
    }),
  );

t.test('only an approver’s own word that says more is taken', async (t) => {
  const known: Finals = new Map();
  const other = testSigner(6);
  t.notOk(takeFinal(known, trust, new Uint8Array(80)), 'noise');
  t.notOk(takeFinal(known, trust, said({}, other)), 'another signature');
  t.notOk(takeFinal(known, trust, said({ approver: other.key.id }, other)), 'not one of ours');
  t.notOk(takeFinal(known, trust, said({ sequence: 0 })), 'says nothing');
  t.equal(known.size, 0);
  t.ok(takeFinal(known, trust, said()));
  t.notOk(takeFinal(known, trust, said()), 'the same again');
  t.notOk(takeFinal(known, trust, said({ sequence: 4 })), 'less');
  t.ok(takeFinal(known, trust, said({ sequence: 8 })));
  t.equal(known.get(signer.key.hex)?.sequence, 8);
  const full: Finals = new Map();
  for (let at = 0; at < MAX_FINALS; at += 1) full.set(String(at), known.get(signer.key.hex)!);
  t.notOk(takeFinal(full, trust, said()), 'no room');
});
