import { readFileSync, statSync } from 'node:fs';
import { createHash } from 'node:crypto';
import { systemRandom } from '../../platform/system-random.ts';
import { KiriError } from '../../protocol/kiri-error.ts';
import { SITE_NAME } from '../../sync/ledger/core/tunnel.ts';
import { startRelayService } from '../../sync/ledger/relay-service.ts';
import { serve } from '../serve.ts';
import { configFromArgs, type Config } from './config.ts';

const TOKEN = /^[!-~]{32,128}$/;

/**
 * A token in a file that nobody else may read: 32 to 128 printable characters.
 * @throws KiriError FILE_UNREADABLE, TOKEN_FILE_MODE, TOKEN_INVALID
 */
export function readToken(path: string): string {
  let text: string;
  try {
    if (process.platform !== 'win32' && (statSync(path).mode & 0o077) !== 0) {
      throw new KiriError('TOKEN_FILE_MODE', `${path}: others may read it; run chmod 600 on it`);
    }
    text = readFileSync(path, 'utf8').replace(/\r?\n$/, '');
  } catch (error) {
    if (error instanceof KiriError) throw error;
    throw new KiriError('FILE_UNREADABLE', `${path}: ${(error as Error).message}`, {
      cause: error,
    });
  }
  if (TOKEN.test(text)) return text;
  // Without the text itself: messages end in logs.
  throw new KiriError(
    'TOKEN_INVALID',
    `${path}: a token is one line of 32 to 128 printable characters, as \`openssl rand -hex 32\` writes`,
  );
}

/** The name of a site: a client id and a part of topics and addresses. */
export function siteName(config: Config, key: string): string {
  const site = config.text(key);
  if (SITE_NAME.test(site)) return site;
  throw new KiriError('CONFIG_INVALID', `site "${site}": small letters, digits and -, at most 63`);
}

/** `kiri relay --config FILE`: the centre's end for gateways' sites that stand behind NAT. */
export async function runRelay(argv: readonly string[]): Promise<number> {
  const config = configFromArgs(argv);
  const tokens = new Map<string, Uint8Array>();
  for (const part of config.parts('sites')) {
    const token = readToken(part.path('tokenFile'));
    tokens.set(siteName(part, 'name'), createHash('sha256').update(token).digest());
  }
  const relay = await startRelayService({
    tokens,
    targets: new Map(config.parts('targets').map((part) => [part.text('name'), part.text('url')])),
    ...(config.has('mqttHost') ? { mqttHost: config.text('mqttHost') } : {}),
    mqttPort: config.port('mqttPort'),
    port: config.port('port'),
    random: systemRandom(),
  });
  return serve(
    { port: relay.port, mqttPort: relay.mqttPort },
    async () => relay.status(),
    () => relay.close(),
  );
}
