import { toHex } from './bytes.ts';

/**
 * MQTT topics. A device writes only under its own id and reads only its own inbox, so an
 * access rule is one comparison:
 *
 *   kiri/1/<approver>/up/<device>/<verb>          device → approver
 *   kiri/1/<approver>/up/<device>/<verb>/<peer>   device → approver, relayed to the peer's inbox
 *   kiri/1/<approver>/to/<device>/<verb>          approver → device
 *
 * Ids are 32 lower-case hex digits.
 */
export const UP_VERBS = [
  'pay',
  'query',
  'offers',
  'present',
  'challenges',
  'hand-in',
  'ask',
  'offer',
] as const;
export type UpVerb = (typeof UP_VERBS)[number];

export type DownVerb =
  | 'receipt'
  | 'refusal'
  | 'challenges'
  | 'presented'
  | 'handed-in'
  | 'ask'
  | 'offer'
  | 'paid'
  | 'final'
  | 'statement';

/** Verbs whose topic ends in a peer that gets the message too. */
const RELAYED: ReadonlySet<string> = new Set<UpVerb>(['ask', 'offer']);

const PREFIX = 'kiri/1/';
const ID = /^[0-9a-f]{32}$/;
/** No Kiri topic is longer; checked before splitting. */
const MAX_TOPIC_LENGTH = 160;

export function upTopic(
  approver: Uint8Array,
  device: Uint8Array,
  verb: UpVerb,
  peer?: Uint8Array,
): string {
  const base = `${PREFIX}${toHex(approver)}/up/${toHex(device)}/${verb}`;
  return peer ? `${base}/${toHex(peer)}` : base;
}

export function downTopic(approverHex: string, deviceHex: string, verb: DownVerb): string {
  return `${PREFIX}${approverHex}/to/${deviceHex}/${verb}`;
}

/** The one filter a device may subscribe to. */
export function inboxFilter(approverHex: string, deviceHex: string): string {
  return `${PREFIX}${approverHex}/to/${deviceHex}/#`;
}

export interface UpTopic {
  readonly approverHex: string;
  readonly deviceHex: string;
  readonly verb: UpVerb;
  readonly peerHex?: string;
}

/** Undefined for every topic that is not exactly one of the "up" forms. */
export function parseUpTopic(topic: string): UpTopic | undefined {
  if (topic.length > MAX_TOPIC_LENGTH || !topic.startsWith(PREFIX)) return undefined;
  const [approverHex, direction, deviceHex, verb, peerHex, ...rest] = topic
    .slice(PREFIX.length)
    .split('/');
  if (direction !== 'up' || rest.length > 0 || !approverHex || !deviceHex || !verb)
    return undefined;
  if (!ID.test(approverHex) || !ID.test(deviceHex)) return undefined;
  if (!(UP_VERBS as readonly string[]).includes(verb)) return undefined;
  if (RELAYED.has(verb) !== (peerHex !== undefined)) return undefined;
  if (peerHex !== undefined && !ID.test(peerHex)) return undefined;
  return {
    approverHex,
    deviceHex,
    verb: verb as UpVerb,
    ...(peerHex === undefined ? {} : { peerHex }),
  };
}

/** The verb of a message in one's own inbox. */
export function parseDownTopic(
  topic: string,
  approverHex: string,
  deviceHex: string,
): string | undefined {
  const prefix = `${PREFIX}${approverHex}/to/${deviceHex}/`;
  return topic.startsWith(prefix) ? topic.slice(prefix.length) : undefined;
}
