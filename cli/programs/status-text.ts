import type { Level, LogLevels } from '../../protocol/levels.ts';
import type { LedgerStatus } from '../../sync/ledger/ledger-types.ts';

interface GatewayStatus {
  readonly place: string;
  readonly phase: string;
  readonly lastSequence: number;
  readonly finalThrough?: number;
  /** Receipts and Voids that are not L2, also those that the ledger has not read yet. */
  readonly notFinal?: number;
}

/** A log as its writer, its folder or the gateway beside it tells; the latter two know the levels only. */
export interface LogStatus extends Partial<Pick<LedgerStatus, 'phase' | 'witnesses' | 'uplink'>> {
  readonly place: string;
  readonly levels: LogLevels;
}

export interface ReceiptStatus {
  readonly paymentHash?: string;
  readonly sequence?: number;
  readonly origin?: string;
  readonly held?: 'accepted' | 'void' | 'none';
  readonly level?: Level;
  /** SHA-256 of the policy text that makes it L2. */
  readonly policyHash?: string;
  /** Leaf in the log. */
  readonly index?: number;
  /** `MERGE_DELAY_PASSED`: the log's operator has to answer for it. */
  readonly missing?: 'NOT_IN_LOG' | 'MERGE_DELAY_PASSED';
  /** Whether the approver's key was given and has signed it. */
  readonly isSigned?: boolean;
}

export interface Status {
  readonly gateways: GatewayStatus[];
  readonly logs: LogStatus[];
  readonly receipts: ReceiptStatus[];
  readonly offline: { readonly place: string; readonly reason: string }[];
}

const through = (mark: { throughSequence?: number }): string =>
  mark.throughSequence === undefined ? '' : ` through sequence ${mark.throughSequence}`;

const shownSpan = (seconds: number): string => {
  if (seconds < 120) return `${Math.round(seconds)} s`;
  return seconds < 7_200 ? `${Math.round(seconds / 60)} min` : `${(seconds / 3_600).toFixed(1)} h`;
};

function logLines({ place, levels, phase, witnesses, uplink }: LogStatus): string[] {
  const { recorded, final, anchored, policyHash } = levels;
  const oldest = levels.oldestUnfinalMs;
  const lines = [
    `${levels.origin}  (${place})`,
    ...(phase === undefined ? [] : [`  state     ${phase.kind}`]),
    ...(phase?.kind === 'stopped' ? [`            ${phase.reason}: ${phase.detail}`] : []),
    `  L1        ${recorded.size} recorded${through(recorded)}`,
    `  L2        ${final.size} final${through(final)}, policy ${policyHash}`,
    anchored === undefined
      ? '  L3        nothing anchored'
      : `  L3        ${anchored.size} anchored${through(anchored)} (${anchored.ref})`,
    `  backlog   ${levels.backlog}${levels.isBehindJournal ? ' and more in the journal' : ''}`,
  ];
  if (levels.backlog > 0) {
    const eta = levels.etaS === undefined ? 'not moving' : `${shownSpan(levels.etaS)} to go`;
    lines.push(`  drain     ${levels.drainPerS.toFixed(1)} entries/s, ${eta}`);
  }
  if (oldest !== undefined) {
    lines.push(`  oldest    ${shownSpan((Date.now() - oldest) / 1_000)} without L2`);
  }
  for (const { name, cosignedSize, trouble } of witnesses ?? []) {
    lines.push(`  ${name.padEnd(9)} cosigned ${cosignedSize}${trouble ? `: ${trouble}` : ''}`);
  }
  if (uplink !== undefined) {
    const { bytesUpPerCheckpoint: up, bytesDownPerCheckpoint: down, checkpoints } = uplink;
    lines.push(`  uplink    ${up} B up, ${down} B down a checkpoint (${checkpoints})`);
  }
  return lines;
}

function receiptLine(receipt: ReceiptStatus): string {
  const { paymentHash, sequence, origin, level, policyHash, held, missing } = receipt;
  const name = paymentHash ?? `sequence ${sequence ?? '?'}`;
  if (missing === 'MERGE_DELAY_PASSED') {
    return `${name}: MERGE_DELAY_PASSED: the operator of ${origin ?? '?'} has to answer for it`;
  }
  if (missing !== undefined) {
    const why = receipt.isSigned === false ? '; no approver key shows who signed it' : '';
    return `${name}: not in ${origin ?? '?'}, within the merge delay as far as is shown${why}`;
  }
  if (held === 'none') return `${name}: not known`;
  const policy = level === 'L2' || level === 'L3' ? `, policy ${policyHash ?? '?'}` : '';
  return `${name}: ${held === undefined ? '' : `${held}, `}${level ?? 'L0'}${policy}`;
}

/** The status for people; every L2 stands beside the hash of its policy. */
export function describeStatus({ gateways, logs, receipts, offline }: Status): string {
  const lines = gateways.map(({ place, phase, lastSequence, notFinal }) => {
    const open = notFinal === undefined ? '' : `, ${notFinal} of them not final`;
    return `gateway ${place}: ${phase}, answered through sequence ${lastSequence}${open}`;
  });
  for (const log of logs) lines.push(...logLines(log));
  lines.push(...receipts.map(receiptLine));
  for (const { place, reason } of offline) lines.push(`${place}: no answer: ${reason}`);
  return `${lines.join('\n')}\n`;
}
