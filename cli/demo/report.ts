/** What a person sees of a run: a bar on a terminal, plain lines in a pipe, nothing with --json. */
export interface Report {
  /** A step of the story begins. */
  step(title: string): void;
  /** A fact of the present step. */
  line(label: string, text: string): void;
  /** Progress of the present step. */
  progress(done: number, total: number, what: string): void;
  table(title: string, rows: readonly (readonly [label: string, value: string])[]): void;
}

const BAR_WIDTH = 28;
const LABEL_WIDTH = 12;
/** A bar is drawn at most this often: drawing must not cost what is measured. */
const REDRAW_MS = 80;

class TerminalReport implements Report {
  readonly #out: NodeJS.WriteStream;
  readonly #startedMs = performance.now();
  #drawnMs = 0;
  #hasBar = false;

  constructor(out: NodeJS.WriteStream) {
    this.#out = out;
  }

  #clearBar(): void {
    if (!this.#hasBar) return;
    this.#out.write('\r\x1b[2K');
    this.#hasBar = false;
  }

  step(title: string): void {
    this.#clearBar();
    const seconds = ((performance.now() - this.#startedMs) / 1000).toFixed(1).padStart(5);
    this.#out.write(`\n${seconds} s  ${title}\n`);
  }

  line(label: string, text: string): void {
    this.#clearBar();
    this.#out.write(`   ${label.padEnd(LABEL_WIDTH)} ${text}\n`);
  }

  progress(done: number, total: number, what: string): void {
    if (!this.#out.isTTY) return;
    const nowMs = performance.now();
    if (done < total && nowMs - this.#drawnMs < REDRAW_MS) return;
    this.#drawnMs = nowMs;
    const filled = Math.round((BAR_WIDTH * done) / Math.max(1, total));
    const bar = '█'.repeat(filled) + '░'.repeat(BAR_WIDTH - filled);
    this.#out.write(`\r\x1b[2K   ${bar} ${done}/${total} ${what}`);
    this.#hasBar = true;
    if (done >= total) this.#clearBar();
  }

  table(title: string, rows: readonly (readonly [string, string])[]): void {
    this.#clearBar();
    const labels = Math.max(...rows.map(([label]) => label.length));
    const values = Math.max(...rows.map(([, value]) => value.length));
    const rule = '─'.repeat(labels + values + 5);
    this.#out.write(`\n   ${title}\n   ${rule}\n`);
    for (const [label, value] of rows) {
      this.#out.write(`   ${label.padEnd(labels)}  ${value.padStart(values)}\n`);
    }
    this.#out.write(`   ${rule}\n`);
  }
}

const SILENT: Report = { step() {}, line() {}, progress() {}, table() {} };

export function openReport(silent: boolean): Report {
  return silent ? SILENT : new TerminalReport(process.stdout);
}
