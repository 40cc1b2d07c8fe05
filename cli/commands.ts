import type { Command } from './command.ts';

/** Every `kiri` command by name. */
export const COMMANDS: Readonly<Record<string, Command>> = {};
