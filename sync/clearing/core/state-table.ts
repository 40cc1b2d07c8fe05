/**
 * What one event does in one state. A table of these answers every pair, so that no message of another side can find
 * the books without an answer: it moves, it was known (nothing moves), or it is refused with a code.
 */
export type StateAnswer<State, Code> =
  | { readonly kind: 'move'; readonly to: State }
  | { readonly kind: 'repeated' }
  | { readonly kind: 'refused'; readonly code: Code };

/** Every state × every event. */
export type StateTable<State extends string, Event extends string, Code> = Readonly<
  Record<State, Readonly<Record<Event, StateAnswer<State, Code>>>>
>;

export const to = <State extends string>(
  state: State,
): { readonly kind: 'move'; readonly to: State } => ({ kind: 'move', to: state });

export const REPEATED: { readonly kind: 'repeated' } = { kind: 'repeated' };

export const refuse = <Code extends string>(
  code: Code,
): { readonly kind: 'refused'; readonly code: Code } => ({ kind: 'refused', code });
