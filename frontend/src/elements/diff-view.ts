import { css, html, LitElement, nothing, type TemplateResult } from "lit";
import { customElement, property } from "lit/decorators.js";
import type { Answer } from "../answers";
import type { Diff, DiffRow, MovedRow, Sides } from "../api";
import { formatCount, formatDifference, formatShape } from "../format";
import { base } from "../styles";
import "./capped-table";
import "./copy-button";
import "./elapsed";
import "./problem-note";

interface Section {
  title: string;
  testid: string;
  what: string;
  columns: string[];
  rows: readonly { row: DiffRow; cells: string[] }[];
}

/** How one checkpoint differs from another, the model's variables first; or that it is being found out, or why not. */
@customElement("ckptmeta-diff")
export class DiffView extends LitElement {
  static override styles = [
    base,
    css`
      :host {
        display: block;
        margin-top: 12px;
      }
      .pending,
      .summary {
        display: flex;
        flex-wrap: wrap;
        align-items: center;
        gap: 4px 8px;
      }
      .summary ckptmeta-copy {
        margin-left: auto;
      }
      .old {
        opacity: 0.5;
      }
      section {
        margin-top: 16px;
      }
      section h3 {
        margin-bottom: 2px;
      }
      .what {
        margin-bottom: 4px;
        color: var(--muted);
        font-size: 12px;
      }
      summary {
        width: fit-content;
        cursor: pointer;
        font-weight: 500;
      }
      details section {
        margin-top: 8px;
      }
      ul {
        margin: 4px 0 0;
        padding-left: 18px;
        overflow-wrap: anywhere;
      }
    `,
  ];

  @property({ attribute: false }) answer!: Answer<Diff>;

  protected override render() {
    const { running, askedAt, problem, value } = this.answer;
    return html`<div aria-live="polite" aria-busy=${running}>
      ${running
        ? html`<div class="pending" data-testid="diff-running">
            <span class="spinner"></span>
            <span>Comparing… <ckptmeta-elapsed .since=${askedAt}></ckptmeta-elapsed></span>
          </div>`
        : nothing}
      ${!running && problem
        ? html`<ckptmeta-problem testid="diff-error" severity="error" expanded .problem=${problem}></ckptmeta-problem>`
        : value
          ? html`<div class=${running ? "old" : ""}>${this.renderDiff(value)}</div>`
          : nothing}
    </div>`;
  }

  private renderDiff(diff: Diff) {
    const sections = list(diff);
    const own = sections.map((section) => only(section, false)).filter(({ rows }) => rows.length > 0);
    const kept = sections.map((section) => only(section, true)).filter(({ rows }) => rows.length > 0);
    const keptCount = kept.reduce((sum, { rows }) => sum + rows.length, 0);
    const same = diff.same - diff.same_bookkeeping;
    return html`
      <div class="summary" data-testid="diff-summary">
        ${own.map(({ title, rows }) => html`<span class="chip warn">${formatCount(rows.length)} ${title.toLowerCase()}</span>`)}
        <span class="chip ${own.length === 0 ? "good" : ""}">${formatCount(same)} the same</span>
        ${diff.moved === null ? html`<span class="what">Values were not compared.</span>` : nothing}
        <ckptmeta-copy label="Copy as JSON" .text=${JSON.stringify(diff, null, 2)}></ckptmeta-copy>
      </div>
      ${own.map((section) => this.renderSection(section, "diff"))}
      ${diff.notes.length > 0
        ? html`<section data-testid="diff-notes">
            <h3>Notes</h3>
            <ul>
              ${diff.notes.map((note) => html`<li>${note}</li>`)}
            </ul>
          </section>`
        : nothing}
      ${keptCount > 0
        ? html`<section data-testid="diff-bookkeeping">
            <details>
              <summary>Bookkeeping (${formatCount(keptCount)})</summary>
              <p class="what">Optimizer state, counters, and what else is the training's.</p>
              ${kept.map((section) => this.renderSection(section, "diff-bookkeeping"))}
            </details>
          </section>`
        : nothing}
    `;
  }

  private renderSection({ title, testid, what, columns, rows }: Section, prefix: string): TemplateResult {
    return html`<section data-testid="${prefix}-${testid}">
      <h3>${title} (${formatCount(rows.length)})</h3>
      <p class="what">${what}</p>
      <ckptmeta-table .columns=${columns} .rows=${rows.map(({ cells }) => cells)}></ckptmeta-table>
    </section>`;
  }
}

function list(diff: Diff): Section[] {
  const a = diff.a.name;
  const b = diff.b.name;
  const plain = (row: Diff["added"][number]) => ({ row, cells: [nameOf(row), formatShape(row.shape), row.dtype] });
  const changed = <T>(row: DiffRow & Sides<T>) => ({ row, cells: [nameOf(row), formatShape(row.a), formatShape(row.b)] });
  const moved = (row: MovedRow) => ({
    row,
    cells: [
      nameOf(row),
      formatNumber(row.relative_l2),
      formatNumber(row.max_abs),
      formatChange(row.nan),
      formatChange(row.inf),
    ],
  });
  return [
    {
      title: "Added",
      testid: "added",
      what: `In ${b}, and not in ${a}.`,
      columns: ["Variable", "Shape", "Dtype"],
      rows: diff.added.map(plain),
    },
    {
      title: "Removed",
      testid: "removed",
      what: `In ${a}, and not in ${b}.`,
      columns: ["Variable", "Shape", "Dtype"],
      rows: diff.removed.map(plain),
    },
    {
      title: "Reshaped",
      testid: "reshaped",
      what: "In both, of another shape.",
      columns: ["Variable", a, b],
      rows: diff.reshaped.map(changed),
    },
    {
      title: "Of another dtype",
      testid: "retyped",
      what: "In both, of another dtype.",
      columns: ["Variable", a, b],
      rows: diff.retyped.map(changed),
    },
    {
      title: "Moved",
      testid: "moved",
      what: `How far from ${a} to ${b}: the L2 norm of the difference over that of ${a}, and the largest difference.`,
      columns: ["Variable", "Relative L2", "Max abs", "NaN", "Infinite"],
      rows: (diff.moved ?? []).map(moved),
    },
  ];
}

function only(section: Section, bookkeeping: boolean): Section {
  return { ...section, rows: section.rows.filter(({ row }) => row.bookkeeping === bookkeeping) };
}

/** Where a variable is in the model says more than its key, which may be the optimizer's. */
function nameOf({ path, key }: DiffRow): string {
  return path ?? key;
}

function formatNumber(value: number | null): string {
  return value === null ? "–" : formatDifference(value);
}

function formatChange({ a, b }: Sides<number>): string {
  return a === b ? formatCount(a) : `${formatCount(a)} → ${formatCount(b)}`;
}
