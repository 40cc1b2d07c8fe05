import { amountMicro, MAX_AMOUNT_MICRO } from '../../protocol/amount.ts';
import type { Close, Credit } from '../../protocol/messages/after-payment.ts';
import type { FinalThrough } from '../../protocol/messages/final-through.ts';
import type { Offer } from '../../protocol/messages/offer.ts';
import type { Payment } from '../../protocol/messages/payment.ts';
import type { SpentTotals } from '../../protocol/messages/spent-totals.ts';
import type { Receipt } from '../../protocol/messages/receipt.ts';
import type { Refusal } from '../../protocol/messages/refusal.ts';
import { fill } from './helpers.ts';

export const OFFER_SAMPLE: Offer = {
  payee: fill(16, 0x33),
  approver: fill(16, 0x22),
  challenge: fill(24, 0x44),
  acceptByMs: 600_000,
  lifetimeMs: 30_000,
  currency: 392,
  amountMicro: amountMicro(120_000_000n),
  tariffHash: fill(32, 0x55),
  tariffVersion: 7,
  readingHash: fill(32, 0x66),
  item: 'lane 1',
};

export const PAYMENT_SAMPLE: Payment = {
  line: fill(16, 0x11),
  approver: fill(16, 0x22),
  payee: fill(16, 0x33),
  counter: 5,
  amountMicro: amountMicro(120_000_000n),
  totalMicro: amountMicro(600_000_000n),
  currency: 392,
  offerHash: fill(20, 0x77),
  timeS: 1_795_296_000,
  timeQuality: 2,
};

/** Every field at its largest: what DESIGN §3 bounds at 202 bytes. */
export const PAYMENT_LARGEST: Payment = {
  ...PAYMENT_SAMPLE,
  counter: 0xffff_ffff,
  amountMicro: amountMicro(MAX_AMOUNT_MICRO / 4n),
  totalMicro: amountMicro(MAX_AMOUNT_MICRO),
  releasedMicro: amountMicro(MAX_AMOUNT_MICRO / 4n),
  currency: 999,
  timeS: 0xffff_ffff,
  timeQuality: 3,
};

export const RECEIPT_SAMPLE: Receipt = {
  paymentHash: fill(32, 0x88),
  epoch: fill(8, 0x99),
  sequence: 0xffff_ffff,
  timeS: 1_795_296_000,
  flags: 2,
  statusListVersion: 0xffff_ffff,
  nonce: fill(16, 0xaa),
};

export const RECEIPT_LARGEST: Receipt = {
  ...RECEIPT_SAMPLE,
  flags: 15,
  chargedMicro: amountMicro(MAX_AMOUNT_MICRO),
};

export const VOID_SAMPLE: Refusal = {
  paymentHash: fill(32, 0x88),
  code: 'OFFER_USED',
  final: true,
  timeS: 1_795_296_000,
  retryAfterMs: 1000,
  epoch: fill(8, 0x99),
  sequence: 12,
  nonce: fill(16, 0xaa),
  lastCounter: 5,
  lastTotalMicro: amountMicro(600_000_000n),
};

export const CREDIT_SAMPLE: Credit = {
  paymentHash: fill(32, 0x88),
  refundedMicro: amountMicro(20_000_000n),
  reason: 'gate did not open',
  timeS: 1_795_296_000,
};

export const FINAL_SAMPLE: FinalThrough = {
  approver: fill(16, 0x22),
  sequence: 70_000,
  origin: 'gateway.example/2026q4',
  size: 70_012,
  policyHash: fill(32, 0xee),
  timeS: 1_795_296_000,
};

export const SPENT_SAMPLE: SpentTotals = {
  approver: fill(16, 0x22),
  throughSequence: 70_100,
  timeS: 1_795_296_000,
  rows: fill(72, 0x0f),
};

export const CLOSE_SAMPLE: Close = {
  line: fill(16, 0x11),
  allowanceHash: fill(32, 0xbb),
  lastCounter: 5,
  totalMicro: amountMicro(600_000_000n),
  releasedMicro: amountMicro(1n),
  timeS: 1_795_296_000,
};
