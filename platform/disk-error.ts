import { KiriError } from '../protocol/kiri-error.ts';

const CODES: Readonly<Record<string, string>> = {
  ENOSPC: 'DISK_FULL',
  EDQUOT: 'DISK_FULL',
  EACCES: 'DISK_UNWRITABLE',
  EPERM: 'DISK_UNWRITABLE',
  EROFS: 'DISK_UNWRITABLE',
};

/** The `code` of a Node system error, or undefined. */
export function systemCode(error: unknown): string | undefined {
  const code = error instanceof Error && 'code' in error ? error.code : undefined;
  return typeof code === 'string' ? code : undefined;
}

/** A file-system error as KiriError DISK_FULL, DISK_UNWRITABLE or DISK_FAILED that names the path. */
export function toDiskError(error: unknown, doing: string, path: string): KiriError {
  if (error instanceof KiriError) return error;
  const reason = error instanceof Error ? error.message : String(error);
  const code = CODES[systemCode(error) ?? ''] ?? 'DISK_FAILED';
  return new KiriError(code, `cannot ${doing} ${path}: ${reason}`, { cause: error });
}
