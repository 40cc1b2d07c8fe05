import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { issueStatusList } from '../../identity/core/issue.ts';
import { packStatuses } from '../../identity/edge/status-zlib.ts';
import type { Clock } from '../../platform/ports.ts';
import { startGateway, type RunningGateway } from '../../fog-gateway/gateway.ts';
import type { Sale } from '../../agent/core/payee.ts';
import { startPayee, type Payee } from '../../agent/edge/payee-device.ts';
import { startPayer, type Payer } from '../../agent/edge/payer-device.ts';
import { LIST, NOW_S, VALID } from '../identity/fixture.ts';
import { documentsOf, payeeDocumentsOf, type Kit } from './harness.ts';

/** Wall clock at the fixture's time, so that its documents are valid. */
const clock: Clock = {
  now: () => {
    const monotonicMs = performance.now();
    return { unixMs: NOW_S * 1_000 + monotonicMs, monotonicMs, timeQuality: 1 };
  },
};

/** Gateway, payee and payer over real sockets and files, each in a folder of its own. */
export class Site {
  readonly folder: string = mkdtempSync(join(tmpdir(), 'kiri-agent-'));
  readonly sales: Sale[] = [];
  readonly notices: string[] = [];
  readonly kit: Kit;
  gateway: RunningGateway | undefined;
  payee: Payee | undefined;
  payer: Payer | undefined;
  port = 0;
  ledgerLevels: string | undefined;
  intakeUrl: string | undefined;
  #onSale: () => void = () => {};

  constructor(kit: Kit) {
    this.kit = kit;
  }

  /** A sale reaches the payee on its own way, after the payer's Receipt perhaps. */
  async sold(count: number): Promise<void> {
    while (this.sales.length < count) {
      await new Promise<void>((resolve) => {
        this.#onSale = resolve;
      });
    }
  }

  async startGateway(): Promise<RunningGateway> {
    const { signers, trust, mandate } = this.kit.world;
    const statusList = issueStatusList(signers.issuer, {
      issuedS: NOW_S,
      expiresS: VALID.expiresS,
      uri: LIST,
      version: 1,
      ttlS: 86_400,
      packed: packStatuses(64, []),
    });
    this.gateway = await startGateway({
      folder: join(this.folder, 'gateway'),
      signer: signers.gateway,
      issuerKey: trust.issuerKey,
      mandate,
      statusList,
      mqttPort: this.port,
      httpPort: 0,
      ...(this.ledgerLevels === undefined ? {} : { ledgerLevels: this.ledgerLevels }),
      ...(this.intakeUrl === undefined ? {} : { intakeUrl: this.intakeUrl }),
      host: '127.0.0.1',
      clock,
    });
    this.port = this.gateway.mqttPort;
    return this.gateway;
  }

  async startPayee(): Promise<Payee> {
    this.payee = await startPayee({
      ...this.#common(),
      dataDir: join(this.folder, 'payee'),
      documents: payeeDocumentsOf(this.kit),
      signer: this.kit.world.signers.payee,
      onSale: (sale) => {
        this.sales.push(sale);
        this.#onSale();
      },
    });
    return this.payee;
  }

  async startPayer(): Promise<Payer> {
    this.payer = await startPayer({
      ...this.#common(),
      dataDir: join(this.folder, 'payer'),
      documents: documentsOf(this.kit),
      signer: this.kit.world.signers.device,
    });
    return this.payer;
  }

  /** All three, ready to pay. */
  async start(): Promise<{ gateway: RunningGateway; payer: Payer; payee: Payee }> {
    const gateway = await this.startGateway();
    const [payee, payer] = await Promise.all([this.startPayee(), this.startPayer()]);
    await Promise.all([payer.ready(), payee.ready()]);
    return { gateway, payer, payee };
  }

  async stop(): Promise<void> {
    await this.payer?.close();
    await this.payee?.close();
    await this.gateway?.close();
    rmSync(this.folder, { recursive: true, force: true });
  }

  #common(): Pick<
    Parameters<typeof startPayee>[0],
    'gateway' | 'clock' | 'issuerKey' | 'onNotice'
  > {
    const { signers, trust } = this.kit.world;
    return {
      gateway: { host: '127.0.0.1', port: this.port, approver: signers.gateway.key.id },
      issuerKey: trust.issuerKey,
      clock,
      onNotice: (code, reason) => this.notices.push(`${code}: ${reason}`),
    };
  }
}
