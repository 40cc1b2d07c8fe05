import { inboxFilter, parseUpTopic, type UpTopic } from '../../protocol/topics.ts';

/** The rights of one connection: it writes under its own id and reads its own inbox, nothing else. */
export interface Access {
  /** Undefined: forbidden. */
  up(topic: string): UpTopic | undefined;
  mayRead(filter: string): boolean;
}

/** Distinct topics of one connection that are parsed once; a device uses eight and its peers. */
const MAX_KNOWN_TOPICS = 64;

export function accessOf(approverHex: string, clientHex: string): Access {
  const known = new Map<string, UpTopic>();
  const inbox = inboxFilter(approverHex, clientHex);
  return {
    up(topic) {
      const cached = known.get(topic);
      if (cached) return cached;
      const parsed = parseUpTopic(topic);
      if (!parsed || parsed.approverHex !== approverHex || parsed.deviceHex !== clientHex) {
        return undefined;
      }
      if (known.size >= MAX_KNOWN_TOPICS) known.clear();
      known.set(topic, parsed);
      return parsed;
    },
    mayRead: (filter) => filter === inbox,
  };
}
