import fc from 'fast-check';
import t from 'tap';
import {
  connected,
  disconnected,
  RECONNECT_LIMITS,
  RECONNECT_START,
  type ReconnectState,
} from '../../../platform/core/reconnect.ts';

const unit = fc.double({ min: 0, max: 1, noNaN: true, maxExcluded: true });

t.test('every delay lies in [0, min(cap, base × 2^attempt))', async (t) => {
  fc.assert(
    fc.property(fc.nat(5000), unit, (attempt, random) => {
      const { delayMs, state } = disconnected({ attempt, upSinceMs: undefined }, 0, random);
      const bound = Math.min(30_000, 200 * 2 ** attempt);
      return delayMs >= 0 && delayMs < bound && state.attempt === attempt + 1;
    }),
  );
  t.pass();
});

t.test('the jitter is full: delays reach both ends of the interval', async (t) => {
  const state: ReconnectState = { attempt: 3, upSinceMs: undefined };
  t.equal(disconnected(state, 0, 0).delayMs, 0);
  t.equal(disconnected(state, 0, 0.5).delayMs, 800);
  t.ok(disconnected(state, 0, 0.9999).delayMs > 1599);
});

t.test('only a connection that was stable starts the schedule anew', async (t) => {
  let state: ReconnectState = RECONNECT_START;
  for (let i = 0; i < 6; i += 1) state = disconnected(state, i, 0.5).state;
  t.equal(state.attempt, 6);
  const flapping = disconnected(connected(state, 100), 100 + RECONNECT_LIMITS.stableMs - 1, 0.5);
  t.equal(flapping.state.attempt, 7);
  t.equal(flapping.delayMs, 0.5 * 200 * 64);
  const stable = disconnected(connected(state, 100), 100 + RECONNECT_LIMITS.stableMs, 0.5);
  t.equal(stable.state.attempt, 1);
  t.equal(stable.delayMs, 100);
});
