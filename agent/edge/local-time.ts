const zones = new Map<string, Intl.DateTimeFormat>();
/** Zones remembered; a device meets a handful. */
const MAX_ZONES = 64;

/**
 * Minute of the local day, 0 … 1439. @param zone IANA name; absent: the machine's own zone.
 * An unknown name counts as UTC.
 */
export function localMinuteOfDay(timeS: number, zone?: string): number {
  const date = new Date(timeS * 1_000);
  if (zone === undefined) return date.getHours() * 60 + date.getMinutes();
  const parts = formatFor(zone)?.formatToParts(date);
  if (!parts) return date.getUTCHours() * 60 + date.getUTCMinutes();
  const read = (type: string): number => Number(parts.find((part) => part.type === type)?.value);
  return read('hour') * 60 + read('minute');
}

function formatFor(zone: string): Intl.DateTimeFormat | undefined {
  const known = zones.get(zone);
  if (known) return known;
  try {
    const format = new Intl.DateTimeFormat('en-GB', {
      timeZone: zone,
      hour: '2-digit',
      minute: '2-digit',
      hourCycle: 'h23',
    });
    if (zones.size >= MAX_ZONES) zones.clear();
    zones.set(zone, format);
    return format;
  } catch {
    return undefined;
  }
}
