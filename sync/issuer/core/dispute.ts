import type { InboundBody } from '../../clearing/core/inbound-message.ts';
import type { IpmProfile } from '../../clearing/core/ipm-profile.ts';

/** What the desk has of a line: the first presentment, what came again, and what was charged back. */
export type LineHistory = {
  readonly amountMinor: bigint;
  readonly currency: string;
  readonly sign: 'debit' | 'credit';
  readonly account: string;
  /** Sum of second presentments. */
  readonly presentedAgainMinor: bigint;
  readonly firstMinor: bigint;
  readonly arbitrationMinor: bigint;
};

/** What a person at the desk asks for. */
export type DisputeRequest = {
  readonly arn: string;
  readonly cycle: 'first' | 'arbitration';
  readonly reason: string;
  /** Minor units; absent: everything that can still be charged back. */
  readonly amountMinor?: bigint;
  readonly text?: string;
};

type Checked<T> =
  { readonly ok: true; readonly value: T } | { readonly ok: false; readonly reason: string };

const refused = (reason: string): { readonly ok: false; readonly reason: string } => ({
  ok: false,
  reason,
});

const reasonFault = (
  code: string,
  use: 'chargeback' | 'retrieval',
  profile: IpmProfile,
): string | undefined => {
  const known = profile.inbound.reasons.filter((one) => one.use === use);
  if (known.some((one) => one.code === code)) return undefined;
  const list = known.map((one) => `${one.code} ${one.meaning}`).join('; ');
  return `${code} is no reason of a ${use}; there are: ${list}`;
};

/**
 * The chargeback of a line that was taken: one first chargeback of at most what was presented, one arbitration of at
 * most what came again.
 */
export const chargebackOf = (
  line: LineHistory | undefined,
  request: DisputeRequest,
  profile: IpmProfile,
): Checked<InboundBody> => {
  const { arn, cycle, reason, text } = request;
  if (!line) return refused(`no line ${arn} was taken`);
  if (line.sign === 'credit') return refused(`${arn} is a refund: there is nothing to charge back`);
  const fault = reasonFault(reason, 'chargeback', profile);
  if (fault !== undefined) return refused(fault);
  const isFirst = cycle === 'first';
  const mostMinor = isFirst ? line.amountMinor : line.presentedAgainMinor;
  if (mostMinor === 0n) return refused(`${arn} was not presented again`);
  if ((isFirst ? line.firstMinor : line.arbitrationMinor) > 0n) {
    return refused(`${arn} is charged back already`);
  }
  const amountMinor = request.amountMinor ?? mostMinor;
  if (amountMinor < 1n || amountMinor > mostMinor) {
    return refused(`${amountMinor} is not 1 to ${mostMinor} minor units`);
  }
  return {
    ok: true,
    value: {
      kind: 'chargeback',
      arn,
      cycle,
      isPartial: amountMinor < line.amountMinor,
      amountMinor,
      originalMinor: line.amountMinor,
      currency: line.currency,
      reason,
      fundingReference: line.account,
      ...(text === undefined ? {} : { text }),
    },
  };
};

/** The request for the documents of a line that was taken. */
export const retrievalOf = (
  line: LineHistory | undefined,
  request: Pick<DisputeRequest, 'arn' | 'reason' | 'text'>,
  profile: IpmProfile,
): Checked<InboundBody> => {
  const { arn, reason, text } = request;
  if (!line) return refused(`no line ${arn} was taken`);
  const fault = reasonFault(reason, 'retrieval', profile);
  if (fault !== undefined) return refused(fault);
  const body = { kind: 'retrieval' as const, arn, reason };
  return { ok: true, value: text === undefined ? body : { ...body, text } };
};
