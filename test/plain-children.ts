/**
 * Imported for its effect: processes that this test starts run as they do outside of a test run. Otherwise the runner loads a hook
 * into each that notes the covered lines; with it a start costs twice the CPU time, and a killed process notes nothing.
 */
const ON_SPAWN = Symbol.for('process-on-spawn@*:singletonId');

/** Where the runner's `process-on-spawn` keeps what is done to every child. */
interface Spawning {
  readonly listeners: unknown[];
}

const spawning = (globalThis as { [ON_SPAWN]?: Spawning })[ON_SPAWN];
spawning?.listeners.splice(0);
delete process.env['NODE_OPTIONS'];
