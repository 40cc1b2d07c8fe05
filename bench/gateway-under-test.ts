import { mkdtempSync, readdirSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Child } from './child.ts';
import type { GatewayMark, GatewayStart } from './gateway-child.ts';
import type { BenchWorld } from './world.ts';

const JOURNALS = ['money', 'signed', 'offers'] as const;
export type JournalFolder = (typeof JOURNALS)[number];

/** A gateway process with its journals in a folder of its own. */
export class GatewayUnderTest {
  readonly folder: string;
  readonly child: Child;
  readonly world: BenchWorld;
  port = 0;

  constructor(world: BenchWorld, execArgv: readonly string[] = []) {
    this.world = world;
    this.folder = mkdtempSync(join(tmpdir(), 'kiri-bench-'));
    this.child = new Child('gateway-child.js', execArgv);
  }

  async start(): Promise<this> {
    const { gateway, issuer, mandate, statusList } = this.world;
    const order: GatewayStart = {
      kind: 'start',
      folder: this.folder,
      pem: gateway.pem,
      issuerAlg: issuer.key.alg,
      issuerPoint: issuer.key.point,
      mandate,
      statusList,
    };
    this.port = await this.child.ask<number>(order);
    return this;
  }

  mark(): Promise<GatewayMark> {
    return this.child.ask<GatewayMark>({ kind: 'mark' });
  }

  /** Bytes of each journal's segments. */
  journalBytes(): Record<JournalFolder, number> {
    const sizes = { money: 0, signed: 0, offers: 0 };
    for (const name of JOURNALS) {
      const folder = join(this.folder, name);
      for (const file of readdirSync(folder)) sizes[name] += statSync(join(folder, file)).size;
    }
    return sizes;
  }

  async close(): Promise<void> {
    await this.child.close();
    rmSync(this.folder, { recursive: true, force: true });
  }
}
