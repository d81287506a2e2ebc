import { html, LitElement, nothing, type PropertyValues } from "lit";
import { customElement, property, query, state } from "lit/decorators.js";
import { repeat } from "lit/directives/repeat.js";
import type { Checkpoint, VerdictStatus } from "../api";
import { formatAge, formatBytes, formatCount, formatExactBytes, formatNumberOf, formatRun, formatTime } from "../format";
import {
  type CheckpointRow,
  describePairing,
  filterCheckpoints,
  fullName,
  groupByRun,
  NEWEST_FIRST,
  type Row,
  rowKey,
  type RunRow,
  type Sort,
  sortCheckpoints,
  type SortKey,
} from "../listing";
import { base } from "../styles";
import { STATE_TONES, stateTitle } from "./checkpoint-facts";
import { listStyles, ROW_PIXELS } from "./checkpoint-list-styles";

/** Rows drawn beyond either edge, so that a fast scroll shows no gap. */
const MARGIN_ROWS = 12;

const VERDICT_TONES: Record<VerdictStatus, string> = { match: "good", partial: "warn", mismatch: "bad", error: "bad" };
const VERDICT_SIGNS: Record<VerdictStatus, string> = { match: "✓", partial: "~", mismatch: "≠", error: "×" };

const COLUMNS: { key: SortKey | null; label: string; title: string }[] = [
  { key: "name", label: "Checkpoint", title: "name" },
  { key: "step", label: "Step", title: "step" },
  { key: "bytes", label: "Size", title: "size" },
  { key: "modified", label: "Modified", title: "time" },
  { key: null, label: "Builder", title: "" },
];

/**
 * All checkpoints, under their runs; only the rows in view are in the document.
 *
 * @fires select - a checkpoint was chosen; `detail` is its id.
 */
@customElement("ckptmeta-list")
export class CheckpointList extends LitElement {
  static override styles = [base, listStyles];

  @property({ attribute: false }) checkpoints: readonly Checkpoint[] = [];
  @property({ attribute: false }) selected: string | null = null;
  /** The verdicts taken so far, by checkpoint id. */
  @property({ attribute: false }) verdicts: ReadonlyMap<string, VerdictStatus> = new Map();

  @state() private text = "";
  @state() private sort: Sort = NEWEST_FIRST;
  @state() private grouped = true;
  @state() private collapsed: ReadonlySet<string> = new Set();
  @state() private first = 0;
  @state() private inView = 40;
  @state() private scrolled = false;
  /** How far the next run's heading has pushed the pinned one out. */
  @state() private pushed = 0;

  @query(".scroller") private scroller!: HTMLElement;
  @query("input[type=search]") private search!: HTMLInputElement;

  #rows: Row[] = [];
  #found = 0;
  /** The row at the upper edge before an update, to find it again after. */
  #anchor: { key: string; index: number } | null = null;
  readonly #resized = new ResizeObserver(() => this.measure());

  /** Puts the cursor into the filter, for the app's `/` key. */
  focusFilter(): void {
    this.search.focus();
    this.search.select();
  }

  override disconnectedCallback(): void {
    super.disconnectedCallback();
    this.#resized.disconnect();
  }

  protected override firstUpdated(): void {
    this.#resized.observe(this.scroller);
    this.reveal(this.selected);
  }

  protected override willUpdate(changed: PropertyValues): void {
    const inputs = ["checkpoints", "text", "sort", "grouped", "collapsed"];
    if (!inputs.some((name) => changed.has(name))) return;
    // Read again by itself: what a person looks at must stay where it is. Sorted or filtered: start anew.
    const byItself = changed.has("checkpoints") && this.hasUpdated && this.scroller.scrollTop > 0;
    const top = byItself ? this.#rows[Math.floor(this.scroller.scrollTop / ROW_PIXELS)] : undefined;
    this.#anchor = top ? { key: rowKey(top), index: this.#rows.indexOf(top) } : null;
    const found = sortCheckpoints(filterCheckpoints(this.checkpoints, this.text), this.sort);
    this.#found = found.length;
    this.#rows = this.grouped
      ? groupByRun(found, this.collapsed)
      : found.map((checkpoint) => ({ kind: "checkpoint", checkpoint }));
  }

  protected override updated(changed: PropertyValues): void {
    const anchor = this.#anchor;
    this.#anchor = null;
    if (anchor) {
      const index = this.#rows.findIndex((row) => rowKey(row) === anchor.key);
      if (index >= 0 && index !== anchor.index) this.scroller.scrollTop += (index - anchor.index) * ROW_PIXELS;
    }
    if (changed.has("text") || changed.has("sort") || changed.has("grouped")) {
      if (changed.get("sort") !== undefined || changed.get("text") !== undefined) this.scroller.scrollTop = 0;
    }
    this.measure();
  }

  protected override render() {
    const from = Math.max(0, Math.min(this.first, this.#rows.length - 1) - MARGIN_ROWS);
    const rows = this.#rows.slice(from, this.first + this.inView + MARGIN_ROWS);
    const total = this.checkpoints.length;
    const now = Date.now() / 1_000;
    return html`
      <div class="bar">
        <input
          class="field"
          type="search"
          placeholder="Filter by run, name, builder"
          aria-label="Filter checkpoints by run, name, builder or state"
          title="Words that all occur in the run, name, builder or state ( / )"
          data-testid="filter"
          .value=${this.text}
          @input=${(event: InputEvent) => (this.text = (event.target as HTMLInputElement).value)}
          @keydown=${this.onFilterKey}
        />
        <label title="Group checkpoints by run">
          <input
            type="checkbox"
            data-testid="group-by-run"
            .checked=${this.grouped}
            @change=${(event: Event) => (this.grouped = (event.target as HTMLInputElement).checked)}
          />by run
        </label>
        <span class="count" role="status" data-testid="count"
          >${this.#found === total ? formatCount(total) : `${formatCount(this.#found)} of ${formatCount(total)}`}</span
        >
      </div>
      <div class="line head">
        <span></span>
        ${COLUMNS.map((column) => this.renderHeading(column))}
      </div>
      <div
        class="scroller"
        role="listbox"
        tabindex="0"
        aria-label="Checkpoints"
        aria-activedescendant=${this.selected === null ? nothing : `row-${this.selected}`}
        data-testid="checkpoint-list"
        @scroll=${this.measure}
        @keydown=${this.onListKey}
      >
        ${this.renderPinned()}
        <div style="height: ${this.#rows.length * ROW_PIXELS}px"></div>
        <div class="window" style="transform: translateY(${from * ROW_PIXELS}px)">
          ${repeat(rows, rowKey, (row) =>
            row.kind === "run" ? this.renderRun(row) : this.renderCheckpoint(row, now),
          )}
        </div>
        ${this.#found === 0 && total > 0
          ? html`<div class="nothing" data-testid="no-match">
              No checkpoint has “${this.text}”.
              <button class="link" @click=${() => (this.text = "")}>Clear the filter</button>
            </div>`
          : nothing}
      </div>
    `;
  }

  private renderHeading({ key, label, title }: (typeof COLUMNS)[number]) {
    const side = key === null || key === "name" ? "" : "number";
    const place = key === null ? "builder" : key === "step" ? "step" : "";
    if (key === null) return html`<span class=${place}>${label}</span>`;
    const sorted = this.sort.key === key;
    const arrow = !sorted ? "" : this.sort.descending ? " ↓" : " ↑";
    return html`<button
      class="${side} ${place} ${sorted ? "sorted" : ""}"
      data-testid="sort-${key}"
      aria-pressed=${sorted}
      title="Sort by ${title}"
      @click=${() => this.sortBy(key)}
    >
      ${label}${arrow}
    </button>`;
  }

  // The heading of the run that the upper edge of the view is in, so that one always knows where one is.
  private renderPinned() {
    if (!this.grouped || !this.scrolled) return nothing;
    for (let i = Math.min(this.first, this.#rows.length - 1); i >= 0; i--) {
      const row = this.#rows[i];
      if (row?.kind !== "run") continue;
      return html`<div class="pinned" aria-hidden="true" style="transform: translateY(${-this.pushed}px)">
        ${this.renderRun(row, "pinned-run")}
      </div>`;
    }
    return nothing;
  }

  private renderRun(row: RunRow, testid = "run-row") {
    return html`<button
      class="run ${row.collapsed ? "" : "open"}"
      tabindex="-1"
      data-testid=${testid}
      data-run=${row.run}
      aria-expanded=${!row.collapsed}
      title="${formatRun(row.run)}: click to ${row.collapsed ? "show" : "hide"} its checkpoints"
      @click=${() => this.toggleRun(row.run)}
    >
      <svg class="caret" viewBox="0 0 8 8" aria-hidden="true"><path d="M2 0l4 4-4 4z" fill="currentColor" /></svg>
      <span class="cut">${formatRun(row.run)}</span>
      <span class="amount" title=${formatExactBytes(row.bytes)}
        >${formatNumberOf(row.count, "checkpoint")} · ${formatBytes(row.bytes)}</span
      >
    </button>`;
  }

  private renderCheckpoint({ checkpoint }: CheckpointRow, now: number) {
    const { id, run, name, step, bytes, modified, state, problem, pairing } = checkpoint;
    const tone = STATE_TONES[state];
    const verdict = this.verdicts.get(id);
    const pairingTitle =
      pairing.claims.length > 1 && pairing.builder === null
        ? `Claimed by ${pairing.claims.join(", ")}. ${pairing.reason}`
        : pairing.reason || "No builder claims it";
    return html`<div
      class="line option"
      role="option"
      id="row-${id}"
      aria-selected=${id === this.selected}
      data-testid="checkpoint-row"
      data-checkpoint-name=${name}
      data-run=${run}
      data-state=${state}
      @click=${() => this.choose(id)}
    >
      <span class="dot ${tone}" title="${state}: ${problem || stateTitle(state)}"></span>
      <span class="name">
        <span class="cut" title=${fullName(checkpoint)}>${this.grouped ? name : fullName(checkpoint)}</span>
        ${tone === "warn" || tone === "bad"
          ? renderChip(`${tone} state`, state, "!", problem)
          : nothing}
        ${verdict
          ? renderChip(VERDICT_TONES[verdict], verdict, VERDICT_SIGNS[verdict], `The last verdict: ${verdict}`)
          : nothing}
      </span>
      <span class="number step">${step === null ? "–" : formatCount(step)}</span>
      <span class="number" title=${formatExactBytes(bytes)}>${formatBytes(bytes)}</span>
      <span class="number muted" title=${formatTime(modified)}>${formatAge(modified, now)}</span>
      <span class="cut builder ${pairing.builder === null && pairing.claims.length > 1 ? "claims" : ""}" title=${pairingTitle}
        >${describePairing(pairing) || html`<span class="muted">–</span>`}</span
      >
    </div>`;
  }

  private sortBy(key: SortKey): void {
    const descending = this.sort.key === key ? !this.sort.descending : key !== "name";
    this.sort = { key, descending };
  }

  private toggleRun(run: string): void {
    const collapsed = new Set(this.collapsed);
    if (!collapsed.delete(run)) collapsed.add(run);
    this.collapsed = collapsed;
  }

  private readonly measure = (): void => {
    const { scrollTop, clientHeight } = this.scroller;
    // Hidden by TensorBoard the list has no height; it keeps its rows for when it comes back.
    if (clientHeight === 0) return;
    this.first = Math.floor(scrollTop / ROW_PIXELS);
    this.inView = Math.ceil(clientHeight / ROW_PIXELS) + 1;
    this.scrolled = scrollTop > 0;
    this.pushed = this.#rows[this.first + 1]?.kind === "run" ? scrollTop % ROW_PIXELS : 0;
  };

  private choose(id: string): void {
    this.dispatchEvent(new CustomEvent("select", { detail: id }));
  }

  private onFilterKey(event: KeyboardEvent): void {
    if (event.key === "Escape" && this.text !== "") {
      this.text = "";
      event.preventDefault();
    } else if (event.key === "ArrowDown" || event.key === "Enter") {
      event.preventDefault();
      this.scroller.focus();
      const chosen = this.#rows.some((row) => row.kind === "checkpoint" && row.checkpoint.id === this.selected);
      if (!chosen) this.moveBy(1);
    }
  }

  private onListKey(event: KeyboardEvent): void {
    const page = Math.max(1, this.inView - 3);
    const moves: Record<string, number> = {
      ArrowDown: 1,
      ArrowUp: -1,
      PageDown: page,
      PageUp: -page,
      Home: -Infinity,
      End: Infinity,
    };
    const move = moves[event.key];
    if (event.altKey || event.ctrlKey || event.metaKey) return;
    if (move !== undefined) {
      event.preventDefault();
      this.moveBy(move);
    } else if (this.grouped && (event.key === "ArrowLeft" || event.key === "ArrowRight")) {
      const run = this.checkpoints.find(({ id }) => id === this.selected)?.run;
      if (run !== undefined && this.collapsed.has(run) === (event.key === "ArrowRight")) this.toggleRun(run);
    }
  }

  private moveBy(count: number): void {
    const ids = this.#rows.flatMap((row) => (row.kind === "checkpoint" ? [row.checkpoint.id] : []));
    const at = this.selected === null ? -1 : ids.indexOf(this.selected);
    const next = at < 0 && Math.abs(count) < Infinity ? 0 : Math.max(0, Math.min(ids.length - 1, at + count));
    const id = ids[next];
    if (id === undefined) return;
    this.choose(id);
    this.reveal(id);
  }

  private reveal(id: string | null): void {
    const index = this.#rows.findIndex((row) => row.kind === "checkpoint" && row.checkpoint.id === id);
    if (index < 0) return;
    const top = index * ROW_PIXELS;
    const { scrollTop, clientHeight } = this.scroller;
    // One row is kept free above for the pinned heading.
    const head = this.grouped ? ROW_PIXELS : 0;
    if (top - head < scrollTop) this.scroller.scrollTop = top - head;
    else if (top + ROW_PIXELS > scrollTop + clientHeight) this.scroller.scrollTop = top + ROW_PIXELS - clientHeight;
  }
}

// A narrow list has room for the sign only; the word stays in the title.
function renderChip(tone: string, word: string, sign: string, title: string) {
  return html`<span class="chip ${tone}" title=${title}
    ><span class="word">${word}</span><span class="sign" aria-hidden="true">${sign}</span></span
  >`;
}
