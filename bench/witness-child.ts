import { generateKeyPairSync, sign, verify } from 'node:crypto';
import { closeSync, fdatasync, openSync, unlinkSync, writeSync } from 'node:fs';
import { nodeSigner, nodeVerifier } from '../identity/edge/node-signatures.ts';
import { systemClock } from '../platform/system-clock.ts';
import { parseVerifierKey } from '../sync/ledger/core/note-key.ts';
import { noteVerify, witnessSigner } from '../sync/ledger/core/note-ports.ts';
import { startWitnessService, type WitnessService } from '../sync/ledger/witness-service.ts';
import { answering } from './child.ts';
import { cpuMicros } from './measure.ts';

export interface WitnessStart {
  readonly kind: 'start';
  readonly folder: string;
  /** Verifier keys of the logs. */
  readonly vkeys: readonly string[];
}

/** What a floor costs: one signature checked, one made, and a share of one write with its sync. */
export interface WitnessFloor {
  readonly kind: 'floor';
  readonly file: string;
  readonly count: number;
  /** Checkpoints of one sync. */
  readonly group: number;
  readonly recordBytes: number;
}

export interface WitnessMark {
  readonly cpuMicros: number;
  readonly commits: number;
}

const { privateKey, publicKey } = generateKeyPairSync('ed25519');
let witness: WitnessService | undefined;

async function start({ folder, vkeys }: WitnessStart): Promise<number> {
  const logs = new Map(
    vkeys.map((text) => {
      const key = parseVerifierKey(text);
      if (!key.ok) throw new Error(key.reason);
      return [key.value.name, [key.value]];
    }),
  );
  witness = await startWitnessService({
    root: folder,
    ports: {
      signer: witnessSigner('witness.example/bench', nodeSigner(privateKey)),
      verify: noteVerify(nodeVerifier()),
    },
    logs,
    port: 0,
    clock: systemClock(),
  });
  return witness.port;
}

async function floor({ file, count, group, recordBytes }: WitnessFloor): Promise<number> {
  const text = Buffer.alloc(120, 'x');
  const signature = sign(null, text, privateKey);
  const bytes = Buffer.alloc(recordBytes * group);
  const fd = openSync(file, 'w');
  const before = cpuMicros();
  for (let at = 0; at < count; at += group) {
    for (let i = 0; i < group; i += 1) {
      if (!verify(null, text, publicKey, signature)) throw new Error('bad');
      sign(null, text, privateKey);
    }
    writeSync(fd, bytes);
    await new Promise<void>((resolve, reject) => {
      fdatasync(fd, (error) => (error ? reject(error) : resolve()));
    });
  }
  const used = (cpuMicros() - before) / (Math.ceil(count / group) * group);
  closeSync(fd);
  unlinkSync(file);
  return used;
}

type Question = WitnessStart | WitnessFloor | { readonly kind: 'mark' };

answering((question: Question): Promise<number> | WitnessMark => {
  if (question.kind === 'start') return start(question);
  if (question.kind === 'floor') return floor(question);
  return { cpuMicros: cpuMicros(), commits: witness?.commits() ?? 0 };
});
process.once('disconnect', () => {
  void (witness?.close() ?? Promise.resolve()).finally(() => process.exit());
});
