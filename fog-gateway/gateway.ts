import { createHash } from 'node:crypto';
import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { createCredentials, mandateTerms } from '../approval/credential-port.ts';
import { overview, remembered, spentTotals, type ApproverOverview } from '../approval/overview.ts';
import type { ApproverConfig, CredentialPort } from '../approval/ports.ts';
import { foundAnswer } from '../approval/recovery.ts';
import { createApprover } from '../approval/step.ts';
import { verifyClearing } from '../identity/core/centre.ts';
import { verifyMandate, type Trust } from '../identity/core/chain.ts';
import { nodeVerifier } from '../identity/edge/node-signatures.ts';
import { inflateStatusList } from '../identity/edge/status-zlib.ts';
import { toDiskError } from '../platform/disk-error.ts';
import { makeFolder } from '../platform/make-folder.ts';
import { readIfPresent, writeFileDurable } from '../platform/durable-file.ts';
import type { JournalFs } from '../platform/journal-fs.ts';
import type { Clock, Random } from '../platform/ports.ts';
import { systemClock } from '../platform/system-clock.ts';
import { systemRandom } from '../platform/system-random.ts';
import { bytesEqual } from '../protocol/bytes.ts';
import { KiriError } from '../protocol/kiri-error.ts';
import { levelOfSequence, type LogLevels } from '../protocol/levels.ts';
import type { PublicKey, Signer } from '../protocol/public-key.ts';
import type { Checked } from '../protocol/refusal.ts';
import { startAdmin, type Held } from './admin.ts';
import { ApproverShell, type CentreAnswer, type ShellOptions } from './approver-shell.ts';
import { startBroker, type Broker, type ForApprover } from './broker.ts';
import { Finality } from './finality.ts';
import { nodeHmacSha256, nodeSha256 } from './hashes.ts';
import { startForwarder } from './hand-in-forwarder.ts';
import { StatementDelivery } from './statement-delivery.ts';
import { startGuard, type RunningGuard } from '../platform/mqtt-guard.ts';

const TICK_MS = 1_000;
/** A full disk is tried again this often. */
const REOPEN_MS = 1_000;
const LISTS_FOLDER = 'status-lists';

export interface GatewayOptions {
  /** Holds journals (money/, offers/, documents/), status lists and the admin token. */
  readonly folder: string;
  readonly signer: Signer;
  readonly issuerKey: PublicKey;
  /** COSE bytes of the issuer's mandate for this signer's key. */
  readonly mandate: Uint8Array;
  /** COSE bytes of the credential of who may acknowledge in the issuer's name. */
  readonly clearing?: Uint8Array;
  /** COSE bytes of a status list to begin with; newer ones come over the admin interface. */
  readonly statusList?: Uint8Array;
  /** `state/levels` of the log that is written beside this gateway, wherever its ledger keeps it. */
  readonly ledgerLevels?: string;
  /** Where hand-ins that name another approver go; without it they stay in the journal. */
  readonly intakeUrl?: string;
  /** 0: any free port. */
  readonly mqttPort: number;
  readonly httpPort: number;
  readonly host?: string;
  readonly clock?: Clock;
  readonly random?: Random;
  readonly files?: JournalFs;
  readonly maxConnections?: number;
  readonly maxConnectionsPerAddress?: number;
  /** A line for the operator's log. */
  readonly onEvent?: (event: string, detail: Readonly<Record<string, unknown>>) => void;
}

interface GatewayStatus extends ApproverOverview {
  readonly approver: string;
  readonly connected: number;
  readonly broker: Readonly<Record<string, number>>;
  readonly guard: Readonly<Record<string, number>>;
  /** What the ledger beside this gateway says of its log; absent where none was heard of. */
  readonly levels?: LogLevels;
}

export interface RunningGateway {
  readonly mqttPort: number;
  readonly httpPort: number;
  /** Bearer token file of the admin interface. */
  readonly adminTokenPath: string;
  status(): GatewayStatus;
  /** Resolves with the reason when the gateway had to stop by itself; never on `close`. */
  readonly stopped: Promise<KiriError>;
  close(): Promise<void>;
}

/**
 * Starts a fog gateway: recovery, a new epoch, then the doors. Nothing listens before the epoch is
 * durable. @throws KiriError MANDATE_INVALID, CLEARING_INVALID, FOLDER_LOCKED, JOURNAL_CORRUPT,
 * PORT_IN_USE, DISK_UNWRITABLE, DISK_FULL, DISK_FAILED
 */
export async function startGateway(options: GatewayOptions): Promise<RunningGateway> {
  const gateway = new Gateway(options);
  try {
    await gateway.start();
  } catch (error) {
    await gateway.close().catch(() => {});
    throw error;
  }
  return gateway;
}

function must<T>(checked: Checked<T>, code: string): T {
  if (checked.ok) return checked.value;
  throw new KiriError(code, `${checked.code}: ${checked.reason}`);
}

class Gateway implements RunningGateway {
  readonly #options: GatewayOptions;
  readonly #clock: Clock;
  readonly #config: ApproverConfig;
  readonly #credentials: CredentialPort;
  readonly #trust: Trust;
  readonly #shellOptions: ShellOptions;
  #shell: ApproverShell | undefined;
  #broker: Broker | undefined;
  #guard: RunningGuard | undefined;
  #finality: Finality | undefined;
  #statements: StatementDelivery | undefined;
  #admin: { port: number; close(): Promise<void> } | undefined;
  #forwarder: { close(): Promise<void> } | undefined;
  #tick: NodeJS.Timeout | undefined;
  #reopen: NodeJS.Timeout | undefined;
  #isClosed = false;
  #centre: CentreAnswer = { taken: false, reason: 'no answer' };
  #stop: (error: KiriError) => void = () => {};
  readonly stopped: Promise<KiriError> = new Promise((resolve) => {
    this.#stop = resolve;
  });

  constructor(options: GatewayOptions) {
    const { signer, folder } = options;
    this.#options = options;
    this.#clock = options.clock ?? systemClock();
    const random = options.random ?? systemRandom();
    const verifier = nodeVerifier();
    const trust: Trust = { issuerKey: options.issuerKey, verifier };
    this.#trust = trust;
    const { unixMs, timeQuality } = this.#clock.now();
    const nowS = timeQuality > 0 ? Math.floor(unixMs / 1_000) : undefined;
    const mandate = must(verifyMandate(trust, options.mandate, nowS), 'MANDATE_INVALID');
    if (!bytesEqual(mandate.gatewayKey.id, signer.key.id)) {
      throw new KiriError('MANDATE_INVALID', 'the mandate is for another key');
    }
    const clearing = options.clearing
      ? must(verifyClearing(trust, options.clearing, nowS), 'CLEARING_INVALID').value
      : undefined;
    this.#config = {
      mode: 'fog',
      mandate: mandateTerms(mandate.mandate),
      forwardsHandIns: options.intakeUrl !== undefined,
    };
    this.#credentials = createCredentials(trust, signer.key.id, inflateStatusList, clearing);
    const ports = {
      signer,
      verifier,
      sha256: nodeSha256,
      hmacSha256: nodeHmacSha256(),
      credentials: this.#credentials,
    };
    this.#shellOptions = {
      folder,
      approver: createApprover(this.#config, ports),
      clock: this.#clock,
      random,
      ...(options.files ? { files: options.files } : {}),
      send: (to, verb, bytes) => {
        this.#broker?.send(to, verb, bytes);
        this.#finality?.noteSent(to, verb);
        this.#statements?.noteSent(to, verb);
      },
      flush: () => this.#broker?.flush(),
      onCentre: (answer) => {
        this.#centre = answer;
      },
      onFailure: (error) => this.#failed(error),
    };
  }

  get mqttPort(): number {
    return this.#guard?.port ?? 0;
  }

  get httpPort(): number {
    return this.#admin?.port ?? 0;
  }

  get adminTokenPath(): string {
    return join(this.#options.folder, 'admin-token');
  }

  async start(): Promise<void> {
    const { folder, signer, mqttPort, httpPort, host } = this.#options;
    try {
      makeFolder(folder);
    } catch (error) {
      throw toDiskError(error, 'make', folder);
    }
    this.#shell = await ApproverShell.open(this.#shellOptions);
    await this.#loadLists(this.#shell);
    this.#broker = await startBroker({
      approver: signer.key.id,
      verifier: nodeVerifier(),
      clock: this.#clock,
      onMessage: (from, verb, payload) => this.#onMessage(from, verb, payload),
    });
    const { maxConnections, maxConnectionsPerAddress } = this.#options;
    this.#guard = await startGuard({
      port: mqttPort,
      onConnection: (socket) => this.#broker?.handle(socket),
      ...(host === undefined ? {} : { host }),
      ...(maxConnections === undefined ? {} : { maxConnections }),
      ...(maxConnectionsPerAddress === undefined
        ? {}
        : { maxPerAddress: maxConnectionsPerAddress }),
    });
    const statements = await StatementDelivery.open(folder, this.#trust, {
      broker: this.#broker,
      clock: this.#clock,
      state: () => this.#shell?.state,
      onFailure: (error) => this.#event('statement unreadable', { reason: String(error) }),
    });
    this.#statements = statements;
    this.#admin = await startAdmin(folder, httpPort, {
      isHealthy: () => this.#shell?.state.phase === 'open',
      status: () => this.status(),
      acknowledgement: async (bytes) => this.#tell({ kind: 'acknowledgement', bytes }),
      statusList: (bytes) => this.#takeStatusList(bytes),
      statement: (bytes) => statements.take(bytes),
      totals: () => {
        const shell = this.#shell;
        if (!shell) throw new KiriError('GATEWAY_STOPPED', 'the gateway is not running');
        return spentTotals(shell.state, signer, this.#clock.now());
      },
      lookUp: (hashes) => this.#lookUp(hashes),
    });
    this.#followLedger(this.#broker);
    this.#tick = setInterval(() => this.#shell?.feed({ kind: 'tick' }), TICK_MS).unref();
    const { intakeUrl, onEvent } = this.#options;
    if (intakeUrl !== undefined) {
      const approver = signer.key.id;
      this.#forwarder = await startForwarder({
        folder,
        intakeUrl,
        approver,
        ...(onEvent && { onEvent }),
      });
    }
    this.#event('listening', { mqttPort: this.mqttPort, httpPort: this.httpPort });
  }

  #followLedger(broker: Broker): void {
    const { ledgerLevels, signer } = this.#options;
    if (ledgerLevels === undefined) return;
    this.#finality = new Finality({
      path: ledgerLevels,
      signer,
      clock: this.#clock,
      lastSequence: () => (this.#shell?.state.nextSequence ?? 1) - 1,
      isListening: (device) => broker.isListening(device),
      send: (device, bytes) => {
        broker.send(device, 'final', bytes);
        broker.flush();
      },
    });
  }

  status(): GatewayStatus {
    const shell = this.#shell;
    if (!shell) throw new KiriError('GATEWAY_STOPPED', 'the gateway is not running');
    const levels = this.#finality?.levels;
    return {
      approver: this.#options.signer.key.hex,
      ...overview(shell.state, this.#config, this.#clock.now()),
      connected: this.#broker?.connected ?? 0,
      broker: this.#broker?.counts ?? {},
      guard: this.#guard?.counts ?? {},
      ...(levels === undefined ? {} : { levels }),
    };
  }

  async close(): Promise<void> {
    if (this.#isClosed) return;
    this.#isClosed = true;
    clearInterval(this.#tick);
    clearTimeout(this.#reopen);
    await this.#finality?.close();
    await this.#forwarder?.close();
    await this.#guard?.close();
    await this.#broker?.close();
    await this.#admin?.close();
    await this.#shell?.close();
  }

  #onMessage(from: string, verb: ForApprover, payload: Uint8Array): void {
    const shell = this.#shell;
    if (!shell) return;
    switch (verb) {
      case 'pay':
      case 'query':
        shell.payment(from, payload);
        return;
      case 'hand-in':
        shell.handIn(from, payload);
        return;
      case 'offers':
      case 'challenges':
      case 'present':
        this.#statements?.noteSaid(from, verb, payload);
        shell.feed({ kind: verb, from, bytes: payload });
    }
  }

  #tell(input: { kind: 'acknowledgement' | 'status-list'; bytes: Uint8Array }): CentreAnswer {
    this.#centre = { taken: false, reason: 'the gateway is not deciding now', isForNow: true };
    this.#shell?.feed(input);
    return this.#centre;
  }

  /** Newer lists outlive a restart in a file per URI. */
  async #takeStatusList(bytes: Uint8Array): Promise<CentreAnswer> {
    const answer = this.#tell({ kind: 'status-list', bytes });
    const facts = this.#credentials.statusList(bytes);
    if (answer.taken && facts.ok) {
      const name = createHash('sha256').update(facts.value.uri).digest('hex').slice(0, 32);
      await writeFileDurable(join(this.#options.folder, LISTS_FOLDER, `${name}.cwt`), bytes);
    }
    return answer;
  }

  async #loadLists(shell: ApproverShell): Promise<void> {
    const folder = join(this.#options.folder, LISTS_FOLDER);
    const names = await readdir(folder).catch(() => []);
    for (const name of names.filter((file) => file.endsWith('.cwt'))) {
      const bytes = await readIfPresent(join(folder, name));
      if (bytes) shell.feed({ kind: 'status-list', bytes });
    }
    const { statusList } = this.#options;
    if (!statusList) return;
    shell.feed({ kind: 'status-list', bytes: statusList });
    if (!this.#centre.taken) this.#event('status list not taken', { reason: this.#centre.reason });
  }

  async #lookUp(hashes: readonly Uint8Array[]): Promise<readonly Held[]> {
    const shell = this.#shell;
    if (!shell) throw new KiriError('GATEWAY_STOPPED', 'the gateway is not running');
    return Promise.all(
      hashes.map(async (hash) => {
        const known = remembered(shell.state, hash);
        const answer = known === 'unknown' ? foundAnswer(await shell.search(hash), hash) : known;
        if (answer === undefined) return { held: 'none' };
        const { kind: held, sequence } = answer;
        const levels = this.#finality?.levels;
        if (levels === undefined) return { held, sequence, level: 'L0' };
        const level = levelOfSequence(sequence, levels);
        return { held, sequence, level, policyHash: levels.policyHash };
      }),
    );
  }

  /** A full disk is waited out; everything else that stops a journal stops the gateway. */
  #failed(error: KiriError): void {
    this.#event('journal stopped', { code: error.code, reason: error.message });
    if (error.code === 'DISK_FULL') {
      this.#shell?.enterDiskFull();
      this.#reopen = setTimeout(() => void this.#tryReopen(), REOPEN_MS);
      return;
    }
    void this.close()
      .catch(() => {})
      .then(() => this.#stop(error));
  }

  /**
   * Recovery from the journal as after a crash, on a fresh state: what was durable is known, what
   * was not was never answered. The old state goes on refusing until the new one is open.
   */
  async #tryReopen(): Promise<void> {
    const old = this.#shell;
    await old?.close().catch(() => {});
    if (this.#isClosed) return;
    try {
      const shell = await ApproverShell.open(this.#shellOptions);
      await this.#loadLists(shell);
      this.#shell = shell;
      // A new epoch: challenges and credentials are asked for and shown again.
      this.#broker?.dropAll();
      this.#event('disk has room again', {});
    } catch (error) {
      const failure = toDiskError(error, 'open journals in', this.#options.folder);
      if (failure.code === 'DISK_FULL') {
        this.#reopen = setTimeout(() => void this.#tryReopen(), REOPEN_MS);
      } else this.#failed(failure);
    }
  }

  #event(event: string, detail: Readonly<Record<string, unknown>>): void {
    this.#options.onEvent?.(event, detail);
  }
}
