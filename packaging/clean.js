import { rmSync } from 'node:fs';

// tsc leaves the output of deleted sources behind, and tap would run their tests.
rmSync(new URL('../build', import.meta.url), { recursive: true, force: true });
