import { css, html, LitElement, nothing, type TemplateResult } from "lit";
import { customElement, property } from "lit/decorators.js";
import type { MismatchRow, Verdict, VariableRow, VerdictStatus } from "../api";
import type { Answer } from "../answers";
import { formatCount, formatKey, formatPlace, formatShape, formatTime } from "../format";
import { base } from "../styles";
import "./capped-table";
import "./copy-button";
import "./elapsed";
import "./problem-note";

const TONES: Record<VerdictStatus, string> = { match: "good", partial: "warn", mismatch: "bad", error: "bad" };

const SENTENCES: Record<VerdictStatus, string> = {
  match: "Every variable that the graph reads is bound to a key of the same shape and dtype.",
  partial: "Nothing conflicts, but something is missing or left over.",
  mismatch: "The model and the checkpoint do not fit.",
  error: "No verdict could be made.",
};

/**
 * One verdict in full, or that it is being taken, or why it could not be.
 *
 * @fires rename - the proposed rules FROM=TO, to be applied.
 */
@customElement("ckptmeta-verdict")
export class VerdictView extends LitElement {
  static override styles = [
    base,
    css`
      :host {
        display: block;
      }
      .card {
        padding: 12px 14px;
      }
      .pending {
        display: flex;
        align-items: center;
        gap: 8px;
      }
      .summary {
        display: flex;
        flex-wrap: wrap;
        align-items: center;
        gap: 4px 12px;
      }
      .status {
        padding: 3px 10px;
        border-radius: 4px;
        font-weight: 500;
        font-size: 14px;
      }
      .bound {
        font-weight: 500;
        font-variant-numeric: tabular-nums;
      }
      .taken {
        margin-left: auto;
        display: flex;
        gap: 12px;
        color: var(--muted);
        font-size: 12px;
      }
      .sentence {
        margin-top: 8px;
        color: var(--muted);
      }
      .old {
        opacity: 0.5;
      }
      .bar {
        height: 4px;
        margin-top: 10px;
        border-radius: 2px;
        background: var(--neutral-weak);
        overflow: hidden;
      }
      .bar div {
        height: 100%;
        background: var(--good);
      }
      section {
        margin-top: 16px;
      }
      section h3 {
        margin-bottom: 2px;
      }
      section .what {
        margin-bottom: 4px;
        color: var(--muted);
        font-size: 12px;
      }
      summary {
        width: fit-content;
        cursor: pointer;
        font-weight: 500;
      }
      ul {
        margin: 4px 0 0;
        padding-left: 18px;
        overflow-wrap: anywhere;
      }
      ckptmeta-problem {
        margin-top: 10px;
      }
      section .button {
        margin-top: 8px;
      }
    `,
  ];

  @property({ attribute: false }) answer: Answer<Verdict> | null = null;

  protected override render() {
    const { answer } = this;
    if (answer === null) {
      return html`<div class="card muted" data-testid="verdict-none">
        No verdict yet. Verify rebuilds the model in a worker process and compares it with the checkpoint, variable by
        variable; importing TensorFlow there takes seconds.
      </div>`;
    }
    return html`<div class="card" aria-live="polite" aria-busy=${answer.running}>
      ${answer.running
        ? html`<div class="pending" data-testid="verdict-running">
            <span class="spinner"></span>
            <span>Rebuilding the model and comparing… <ckptmeta-elapsed .since=${answer.askedAt}></ckptmeta-elapsed></span>
          </div>`
        : nothing}
      ${!answer.running && answer.problem
        ? html`<ckptmeta-problem testid="verdict-error" severity="error" expanded .problem=${answer.problem}></ckptmeta-problem>`
        : answer.value
          ? html`<div class=${answer.running ? "old" : ""}>${this.renderVerdict(answer.value, answer.answeredAt)}</div>`
          : nothing}
    </div>`;
  }

  private renderVerdict(verdict: Verdict, takenAt: number) {
    const { status, variables, bound, error } = verdict;
    return html`
      <div class="summary">
        <span class="chip status ${TONES[status]}" data-testid="verdict-status" data-status=${status}>${status}</span>
        ${status === "error"
          ? nothing
          : html`<span class="bound" data-testid="verdict-bound"
              >${formatCount(bound)} of ${formatCount(variables)} variables bound</span
            >`}
        <span class="taken">
          <span>taken ${formatTime(takenAt / 1_000).slice(11)}</span>
          <ckptmeta-copy label="Copy as JSON" .text=${JSON.stringify(verdict, null, 2)}></ckptmeta-copy>
        </span>
      </div>
      ${status !== "error" && variables > 0
        ? html`<div class="bar"><div style="width: ${(100 * bound) / variables}%"></div></div>`
        : nothing}
      <p class="sentence">${SENTENCES[status]}</p>
      ${error
        ? html`<ckptmeta-problem testid="verdict-error" severity="error" expanded .problem=${error}></ckptmeta-problem>`
        : nothing}
      ${this.renderRenames(verdict)}
      ${this.renderMismatches("Shape mismatches", "shape-mismatches", verdict.shape_mismatches)}
      ${this.renderMismatches("Dtype mismatches", "dtype-mismatches", verdict.dtype_mismatches)}
      ${this.renderSection(
        "Missing",
        "missing",
        "The graph reads it; the checkpoint does not hold it.",
        ["Variable", "Closest in the checkpoint", "Shape", "Dtype"],
        verdict.missing.map(({ name, shape, dtype, closest, closest_place: place }: VariableRow) => [
          name,
          closest === null ? "" : formatPlace(place ?? formatKey(closest), closest),
          formatShape(shape),
          dtype,
        ]),
        2,
      )}
      ${this.renderSection(
        "Unexpected",
        "unexpected",
        "In the model's part of the checkpoint, and unknown to the model.",
        ["In the checkpoint", "Closest variable", "Shape", "Dtype"],
        verdict.unexpected.map(({ key, place, shape, dtype, closest }) => [
          formatPlace(place, key),
          closest ?? "",
          formatShape(shape),
          dtype,
        ]),
        2,
      )}
      ${verdict.notes.length > 0
        ? html`<section data-testid="verdict-notes">
            <h3>Notes</h3>
            <ul>
              ${verdict.notes.map((note) => html`<li>${note}</li>`)}
            </ul>
          </section>`
        : nothing}
      ${this.renderFolded(
        "Saved beside the model",
        "beside",
        "Of other objects of the checkpoint: this graph reads none of it.",
        ["Key", "Object", "Shape", "Dtype"],
        verdict.bookkeeping.flatMap(({ key, shape, dtype, beside }) =>
          beside ? [[formatKey(key), beside, formatShape(shape), dtype]] : [],
        ),
      )}
      ${this.renderFolded(
        "Bookkeeping",
        "bookkeeping",
        "The training's own: optimizer state, counters.",
        ["Key", "Shape", "Dtype"],
        verdict.bookkeeping.flatMap(({ key, shape, dtype, beside }) =>
          beside ? [] : [[formatKey(key), formatShape(shape), dtype]],
        ),
      )}
    `;
  }

  /** What a match may hold, too: it is there for who looks. */
  private renderFolded(title: string, id: string, what: string, columns: string[], rows: string[][]) {
    if (rows.length === 0) return nothing;
    return html`<section data-testid=${`verdict-${id}`}>
      <details>
        <summary>${title} (${formatCount(rows.length)})</summary>
        <p class="what">${what}</p>
        <ckptmeta-table .columns=${columns} .rows=${rows}></ckptmeta-table>
      </details>
    </section>`;
  }

  private renderRenames({ renames, ambiguous_renames: ambiguous, renamed_status: status }: Verdict) {
    const proposed = renames.filter(({ applied }) => !applied);
    const cells = (rows: typeof renames) =>
      rows.map(({ from, to, count, of }) => [from, to, `${formatCount(count)} of ${formatCount(of)}`]);
    const columns = ["In the checkpoint", "In the model", "Bound"];
    return html`
      ${this.renderSection(
        "Renamed",
        "renamed",
        "What you said was renamed.",
        columns,
        cells(renames.filter(({ applied }) => applied)),
        2,
      )}
      ${proposed.length > 0
        ? html`<section data-testid="verdict-renames">
            <h3>Renamed, it seems (${formatCount(proposed.length)})</h3>
            <p class="what">
              ${status === "match" ? "Under these renames it would match." : "Under these renames more would be bound."}
              Shapes and names say so; whether it is so, you know.
            </p>
            <ckptmeta-table .columns=${columns} .rows=${cells(proposed)} .wide=${2}></ckptmeta-table>
            <button
              class="button"
              data-testid="apply-renames"
              @click=${() =>
                this.dispatchEvent(
                  new CustomEvent("rename", { detail: proposed.map(({ from, to }) => `${from}=${to}`) }),
                )}
            >
              Apply and verify
            </button>
          </section>`
        : nothing}
      ${this.renderSection(
        "Ambiguous",
        "ambiguous",
        "Renamed, but their shapes do not tell to what. Say which, as a rename FROM=TO in the form above.",
        ["In the checkpoint", "In the model, likeliest first", "Variables"],
        ambiguous.map(({ from, to, count }) => [from, to.join(", "), formatCount(count)]),
        2,
      )}
    `;
  }

  private renderMismatches(title: string, testid: string, rows: readonly MismatchRow<unknown>[]) {
    return this.renderSection(
      title,
      testid,
      "Held by both, and they do not fit.",
      ["Variable", "In the checkpoint", "Model", "Checkpoint"],
      rows.map(({ name, key, place, model, checkpoint }) => [
        name,
        formatPlace(place, key),
        formatShape(model),
        formatShape(checkpoint),
      ]),
      2,
    );
  }

  private renderSection(
    title: string,
    testid: string,
    what: string,
    columns: string[],
    rows: string[][],
    wide = 1,
  ): TemplateResult | typeof nothing {
    if (rows.length === 0) return nothing;
    return html`<section data-testid="verdict-${testid}">
      <h3>${title} (${formatCount(rows.length)})</h3>
      <p class="what">${what}</p>
      <ckptmeta-table .columns=${columns} .rows=${rows} .wide=${wide}></ckptmeta-table>
    </section>`;
  }
}
