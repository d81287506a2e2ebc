import { css, html, LitElement, nothing } from "lit";
import { customElement, property } from "lit/decorators.js";
import type { Check, Job } from "../api";
import type { Export } from "../exports";
import { formatBytes, formatDifference, formatExactBytes, formatSeconds } from "../format";
import { base } from "../styles";
import "./elapsed";
import "./problem-note";

/**
 * The progress of an export, and what came of it.
 *
 * @fires cancel - the export is to be stopped.
 */
@customElement("ckptmeta-export")
export class ExportView extends LitElement {
  static override styles = [
    base,
    css`
      :host {
        display: block;
      }
      .card {
        padding: 12px 14px;
      }
      header {
        display: flex;
        align-items: center;
        gap: 8px;
      }
      header .link {
        margin-left: auto;
      }
      ol {
        margin: 8px 0 0;
        padding: 0;
        list-style: none;
      }
      li {
        display: flex;
        align-items: center;
        gap: 8px;
        min-height: 22px;
      }
      .mark {
        display: inline-flex;
        justify-content: center;
        width: 14px;
        color: var(--good);
      }
      .seconds {
        color: var(--muted);
        font-variant-numeric: tabular-nums;
      }
      .result {
        display: flex;
        flex-wrap: wrap;
        align-items: baseline;
        gap: 2px 10px;
      }
      .check {
        margin-top: 4px;
        overflow-wrap: anywhere;
      }
      .good {
        color: var(--good);
      }
      .warn {
        color: var(--warn);
      }
      details {
        margin-top: 6px;
      }
      summary {
        width: fit-content;
        color: var(--muted);
        cursor: pointer;
        font-size: 12px;
      }
    `,
  ];

  @property({ attribute: false }) export!: Export;

  protected override render() {
    const { job, problem } = this.export;
    if (problem) {
      return html`<ckptmeta-problem testid="export-error" severity="error" .problem=${problem}></ckptmeta-problem>`;
    }
    if (job === null || job.state === "running") return this.renderRunning(job);
    if (job.state === "cancelled") return html`<div class="card muted" data-testid="export-cancelled">The export was cancelled.</div>`;
    if (job.state === "failed") {
      const error = job.error ?? { code: "unknown", message: "The export failed.", details: "" };
      return html`<ckptmeta-problem testid="export-error" severity="error" expanded .problem=${error}></ckptmeta-problem>`;
    }
    return this.renderResult(job);
  }

  private renderRunning(job: Job | null) {
    return html`<div class="card" data-testid="export-progress" aria-live="polite">
      <header>
        <span>Exporting <span class="muted">${this.export.request.builder ?? ""}</span></span>
        <span class="seconds"><ckptmeta-elapsed .since=${this.export.startedAt}></ckptmeta-elapsed></span>
        <button
          class="link"
          data-testid="export-cancel"
          ?disabled=${job === null}
          @click=${() => this.dispatchEvent(new CustomEvent("cancel"))}
        >
          Cancel
        </button>
      </header>
      ${job ? this.renderSteps(job) : nothing}
    </div>`;
  }

  private renderSteps(job: Job) {
    const listed = job.steps.some(({ name, seconds }) => seconds === null && name === job.step);
    // The step that runs may stand in the list already, or be told apart from it.
    const steps =
      listed || job.state !== "running" || job.step === "" ? job.steps : [...job.steps, { name: job.step, seconds: null }];
    return html`<ol>
      ${steps.map(
        ({ name, seconds }) =>
          html`<li>
            <span class="mark">${seconds === null ? html`<span class="spinner"></span>` : "✓"}</span>
            <span>${name}</span>
            <span class="seconds"
              >${seconds === null
                ? html`<ckptmeta-elapsed .since=${this.export.stepAt}></ckptmeta-elapsed>`
                : formatSeconds(seconds)}</span
            >
          </li>`,
      )}
    </ol>`;
  }

  private renderResult(job: Job) {
    const { result } = job;
    if (result === null) return nothing;
    return html`<div class="card" data-testid="export-result" aria-live="polite">
      <div class="result">
        <span>Exported <code>${result.filename}</code></span>
        <span class="muted" title=${formatExactBytes(result.bytes)}>${formatBytes(result.bytes)}</span>
        <a href=${this.export.url} download=${result.filename} data-testid="export-download">Download again</a>
      </div>
      ${this.renderCheck(result.check)}
      ${job.steps.length > 0
        ? html`<details>
            <summary>Steps</summary>
            ${this.renderSteps(job)}
          </details>`
        : nothing}
    </div>`;
  }

  private renderCheck(check: Check) {
    const note = check.note ? html`<div class="muted">${check.note}</div>` : nothing;
    if (check.status !== "passed") {
      return html`<div class="check warn" data-testid="export-check-result" data-status=${check.status}>
        Not checked. ${note}
      </div>`;
    }
    const difference =
      check.max_abs_difference === null
        ? ""
        : `: max abs difference ${formatDifference(check.max_abs_difference)} against ${check.reference}`;
    const tolerance = check.tolerance === null ? "" : ` (tolerance ${formatDifference(check.tolerance)})`;
    return html`<div class="check" data-testid="export-check-result" data-status="passed">
      <span class="good">✓ Checked</span>${difference}<span class="muted">${tolerance}</span>${note}
    </div>`;
  }
}
