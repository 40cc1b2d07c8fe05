import { cpSync, existsSync, mkdirSync, readFileSync, readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { EQUIVOCATION_RECORD, recordType } from '../../approval/records.ts';
import { nodeVerifier } from '../../identity/edge/node-signatures.ts';
import { journalReader } from '../../platform/journal-reader.ts';
import type { JournalPosition } from '../../platform/ports.ts';
import { toHex } from '../../protocol/bytes.ts';
import { decodeSign1 } from '../../protocol/cose.ts';
import { payloadHash } from '../../protocol/ids.ts';
import { MISBEHAVIOUR_PROOF } from '../../protocol/messages/evidence.ts';
import { PAYMENT } from '../../protocol/messages/payment.ts';
import { noteVerify } from '../../sync/ledger/core/note-ports.ts';
import { parsePolicy } from '../../sync/ledger/core/policy.ts';
import { folderSource } from '../../sync/ledger/log-source.ts';
import { proveReceipts } from '../../sync/ledger/prove-receipts.ts';
import { RECEIPT_NAME_DIGITS } from '../programs/devices.ts';
import { nativeSha256 } from '../verify/artefacts.ts';
import { inclusionProofPath } from '../verify/inclusion.ts';
import { receiptStem } from '../verify/receipts.ts';
import type { HonestPayment } from './attacks.ts';
import type { World } from './identities.ts';
import { payerPrograms } from './play.ts';
import { gatewayFolder, ledgerFolder } from './configs.ts';
import type { Site } from './site.ts';

/** Receipts that devices hold, and their sum. */
export interface Held {
  readonly count: number;
  readonly sumMicro: bigint;
  readonly unknown: number;
}

/** `receipts/`: what the devices themselves hold, as COSE bytes as sent. */
export async function collectReceipts(site: Site, honest: readonly HonestPayment[]): Promise<Held> {
  const folder = join(site.outDir, 'receipts');
  mkdirSync(folder, { recursive: true });
  let count = honest.length;
  let unknown = 0;
  let sumMicro = honest.reduce((sum, { amountMicro }) => sum + amountMicro, 0n);
  for (const program of payerPrograms(site)) {
    const held = await program.request({ do: 'export', folder });
    count += Number(held['accepted']);
    unknown += Number(held['unknown']);
    sumMicro += BigInt(String(held['acceptedMicro']));
  }
  for (const { payment, offer, receipt } of honest) {
    const sign1 = decodeSign1(payment);
    if (!sign1.ok) continue;
    const name = toHex(payloadHash(sign1.value.payload)).slice(0, RECEIPT_NAME_DIGITS);
    writeFileSync(join(folder, `${name}.payment.cbor`), payment);
    writeFileSync(join(folder, `${name}.offer.cbor`), offer);
    writeFileSync(join(folder, `${name}.receipt.cbor`), receipt);
  }
  return { count, sumMicro, unknown };
}

/** `ledger/<origin>/`: what the log serves, without the writer's own state and secret keys. */
export function collectLedger(world: World, outDir: string): void {
  const from = ledgerFolder(world.stateDir);
  const to = join(outDir, 'ledger', world.origin);
  // Confirmations stand in the place of keys that were erased; most logs have none.
  for (const part of ['tlog', 'payload', 'keys', 'erased']) {
    if (existsSync(join(from, part))) cpSync(join(from, part), join(to, part), { recursive: true });
  }
}

/** `receipts/<name>.tlog-proof` beside every Receipt that lies under the log's published checkpoint. */
export async function collectInclusionProofs(outDir: string, origin: string): Promise<number> {
  const folder = join(outDir, 'receipts');
  const stems = new Map<string, string>();
  for (const name of readdirSync(folder)) {
    const stem = receiptStem(name);
    if (stem === undefined || !name.endsWith('.receipt.cbor')) continue;
    const sign1 = decodeSign1(readFileSync(join(folder, name)));
    if (sign1.ok) stems.set(toHex(payloadHash(sign1.value.payload)), stem);
  }
  const policy = parsePolicy(readFileSync(join(outDir, 'trust', 'policy.txt')));
  if (!policy.ok) return 0;
  const proofs = await proveReceipts(
    folderSource(join(outDir, 'ledger', origin)),
    new Set(stems.keys()),
    { policy: policy.value, verify: noteVerify(nodeVerifier()), hash: nativeSha256 },
  );
  for (const [hash, proof] of proofs) {
    writeFileSync(join(folder, inclusionProofPath(stems.get(hash) ?? hash)), proof);
  }
  return proofs.size;
}

/** `evidence/proof-N.cbor`: proofs of misbehaviour that the gateway journalled. */
export async function collectProofs(world: World, outDir: string): Promise<number> {
  const folder = join(outDir, 'evidence');
  mkdirSync(folder, { recursive: true });
  const reader = journalReader(join(gatewayFolder(world.stateDir), 'money'));
  let position: JournalPosition | undefined;
  let count = 0;
  for (;;) {
    const slice = await reader.readFrom(position);
    if (slice.records.length === 0) return count;
    position = slice.nextPosition;
    for (const { record } of slice.records) {
      if (recordType(record) !== EQUIVOCATION_RECORD.type) continue;
      const found = EQUIVOCATION_RECORD.decode(record);
      if (!found.ok) continue;
      const { earlier, later } = found.value;
      const binding = bindingOf(world, later);
      if (!binding) continue;
      count += 1;
      const proof = MISBEHAVIOUR_PROOF.encode({ earlier, later, binding });
      writeFileSync(join(folder, `proof-${count}.cbor`), proof);
    }
  }
}

function bindingOf(world: World, payment: Uint8Array): Uint8Array | undefined {
  const sign1 = decodeSign1(payment);
  const decoded = sign1.ok ? PAYMENT.decode(sign1.value.payload) : sign1;
  if (!decoded.ok) return undefined;
  const line = toHex(decoded.value.line);
  return world.payers.find((payer) => toHex(payer.line) === line)?.documents[2];
}
