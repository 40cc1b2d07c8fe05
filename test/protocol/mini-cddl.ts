/**
 * A reader of the CDDL subset that protocol/kiri.cddl uses, for the tests alone: it shares nothing
 * with protocol/schema.ts, so the file and the codecs check one another.
 */
type Rule = (value: unknown) => string | undefined;

const fail = (want: string, value: unknown): string =>
  `${want} expected, got ${String(value).slice(0, 40)}`;

function tokens(text: string): string[] {
  const bare = text.replaceAll(/;[^\n]*/g, '');
  return (
    bare.match(/\d+\.\.\d+|\d+\*\d+|\.(?:size|le)|"[^"]*"|[{}[\](),=?:/]|[a-z][a-z0-9-]*|-?\d+/g) ??
    []
  );
}

export function parseCddl(text: string): Map<string, Rule> {
  const rules = new Map<string, Rule>();
  const list = tokens(text);
  let at = 0;
  const next = (): string => list[at++] ?? '';
  const expect = (want: string): void => {
    const got = next();
    if (got !== want) throw new Error(`CDDL: ${want} expected, got ${got} at token ${at}`);
  };

  function size(): [number, number] {
    if (list[at] !== '.size') return [0, Infinity];
    next();
    if (list[at] !== '(') return [Number(list[at]), Number(next())];
    next();
    const [min, max] = next().split('..').map(Number) as [number, number];
    expect(')');
    return [min, max];
  }

  function map(): Rule {
    const fields = new Map<number | string, { optional: boolean; rule: Rule }>();
    while (list[at] !== '}') {
      const optional = list[at] === '?';
      if (optional) next();
      const word = next();
      const key = word.startsWith('"') ? word.slice(1, -1) : Number(word);
      expect(':');
      fields.set(key, { optional, rule: type() });
      if (list[at] === ',') next();
    }
    expect('}');
    return (value) => {
      if (!(value instanceof Map)) return fail('map', value);
      for (const key of value.keys())
        if (!fields.has(key as number | string)) return `unknown key ${key}`;
      for (const [key, { optional, rule }] of fields) {
        if (!value.has(key)) {
          if (optional) continue;
          return `key ${key} is missing`;
        }
        const wrong = rule(value.get(key));
        if (wrong) return `key ${key}: ${wrong}`;
      }
      return undefined;
    };
  }

  function array(): Rule {
    const [min, max] = next().split('*').map(Number) as [number, number];
    const item = type();
    expect(']');
    return (value) => {
      if (!Array.isArray(value) || value.length < min || value.length > max)
        return fail('array', value);
      for (const entry of value) {
        const wrong = item(entry);
        if (wrong) return wrong;
      }
      return undefined;
    };
  }

  function sized(kind: 'bytes' | 'text'): Rule {
    const [min, max] = size();
    return (value) => {
      const right = kind === 'bytes' ? value instanceof Uint8Array : typeof value === 'string';
      const length = right ? Buffer.from(value as string).length : -1;
      return length >= min && length <= max ? undefined : fail(`${kind} ${min}..${max}`, value);
    };
  }

  /** Alternatives, the first that fits. */
  function type(): Rule {
    const choices = [single()];
    while (list[at] === '/') {
      next();
      choices.push(single());
    }
    return (value) => {
      const faults = choices.map((rule) => rule(value));
      return faults.includes(undefined) ? undefined : faults.join(' / ');
    };
  }

  function single(): Rule {
    const word = next();
    if (word === '{') return map();
    if (word === '[') return array();
    if (word === 'bytes' || word === 'text') return sized(word);
    if (word === 'bool')
      return (value) => (typeof value === 'boolean' ? undefined : fail('bool', value));
    if (word === 'true') return (value) => (value === true ? undefined : fail('true', value));
    if (word === 'uint') {
      let max = (1n << 64n) - 1n;
      if (list[at] === '.le') {
        next();
        max = BigInt(next());
      }
      return (value) =>
        typeof value === 'bigint' && value >= 0n && value <= max
          ? undefined
          : fail(`uint ≤ ${max}`, value);
    }
    if (word.startsWith('"'))
      return (value) => (value === word.slice(1, -1) ? undefined : fail(word, value));
    if (/^-?\d+$/.test(word))
      return (value) => (value === BigInt(word) ? undefined : fail(word, value));
    return (value) => {
      const rule = rules.get(word);
      return rule ? rule(value) : `rule ${word} is not defined`;
    };
  }

  while (at < list.length) {
    const name = next();
    expect('=');
    rules.set(name, type());
  }
  return rules;
}
