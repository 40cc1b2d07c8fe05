import { section, type Figure } from './figure.ts';
import { sampleSale, worstSale } from './samples.ts';
import type { BenchWorld } from './world.ts';

const figure = section('Sizes');
const GOAL_PAYMENT_BYTES = 210;
export const GOAL_PAIR_BYTES = 375;

/** A purchase on the 1,000th counter of a line, and one with every number at its longest. */
export function measureSizes(world: BenchWorld): readonly Figure[] {
  const typical = sampleSale(world, 0, 1_000);
  const worst = worstSale(world);
  return [
    figure('Payment, typical', typical.payment.length, 'B', GOAL_PAYMENT_BYTES),
    figure('Payment, longest', worst.payment.length, 'B', GOAL_PAYMENT_BYTES),
    figure(
      'Payment + Receipt, typical',
      typical.payment.length + typical.receipt.length,
      'B',
      GOAL_PAIR_BYTES,
    ),
    figure(
      'Payment + Receipt, longest',
      worst.payment.length + worst.receipt.length,
      'B',
      GOAL_PAIR_BYTES,
    ),
    figure('Offer, typical', typical.offer.length, 'B'),
  ];
}
