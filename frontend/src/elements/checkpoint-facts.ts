import { css, html, LitElement, nothing } from "lit";
import { customElement, property } from "lit/decorators.js";
import type { Checkpoint, State } from "../api";
import { formatAge, formatBytes, formatCount, formatExactBytes, formatRun, formatTime } from "../format";
import { base } from "../styles";
import "./copy-button";
import "./problem-note";

const FORMATS: Record<string, string> = {
  object: "object-based",
  name: "name-based",
  v1: "TF1 (V1)",
  "keras-weights": "Keras weights",
  keras: "Keras archive",
};

export const STATE_TONES: Record<State, "" | "good" | "warn" | "bad"> = {
  listed: "",
  complete: "good",
  incomplete: "warn",
  corrupt: "bad",
  unreadable: "bad",
};

/** What is known of one checkpoint without rebuilding anything. */
@customElement("ckptmeta-facts")
export class CheckpointFacts extends LitElement {
  static override styles = [
    base,
    css`
      :host {
        display: block;
      }
      header {
        display: flex;
        align-items: baseline;
        flex-wrap: wrap;
        gap: 2px 10px;
      }
      h2 {
        font-size: 20px;
        overflow-wrap: anywhere;
      }
      .prefix {
        display: flex;
        gap: 8px;
        margin-top: 2px;
        color: var(--muted);
      }
      dl {
        display: flex;
        flex-wrap: wrap;
        gap: 10px 28px;
        margin: 12px 0 0;
      }
      dt {
        font-size: 11px;
        color: var(--muted);
      }
      dd {
        margin: 0;
        font-variant-numeric: tabular-nums;
      }
      ckptmeta-problem {
        margin-top: 12px;
      }
    `,
  ];

  @property({ attribute: false }) checkpoint!: Checkpoint;

  protected override render() {
    const { run, name, prefix, step, bytes, modified, format, state, problem } = this.checkpoint;
    return html`
      <header>
        <h2 data-testid="detail-name">${name}</h2>
        <span class="muted">run ${formatRun(run)}</span>
        <span class="chip ${STATE_TONES[state]}" title=${stateTitle(state)}>${state}</span>
      </header>
      <div class="prefix"><span class="mono">${prefix}</span><ckptmeta-copy .text=${prefix}></ckptmeta-copy></div>
      <dl>
        <div><dt>Step</dt><dd>${step === null ? "–" : formatCount(step)}</dd></div>
        <div><dt>Size</dt><dd title=${formatExactBytes(bytes)}>${formatBytes(bytes)}</dd></div>
        <div>
          <dt>Modified</dt>
          <dd>${formatTime(modified)} <span class="muted">(${formatAge(modified, Date.now() / 1_000)})</span></dd>
        </div>
        ${format === null ? nothing : html`<div><dt>Format</dt><dd>${FORMATS[format] ?? format}</dd></div>`}
      </dl>
      ${problem
        ? html`<ckptmeta-problem
            severity=${STATE_TONES[state] === "bad" ? "error" : "warning"}
            .problem=${{ code: "", message: problem, details: "" }}
          ></ckptmeta-problem>`
        : nothing}
    `;
  }
}

export function stateTitle(state: State): string {
  switch (state) {
    case "listed":
      return "Listed by its files' names; its index has not been read yet";
    case "complete":
      return "Its index has been read, and every shard is there";
    case "incomplete":
      return "A file of it is missing";
    case "corrupt":
      return "Its index does not hold what it must";
    case "unreadable":
      return "Its files cannot be read";
  }
}
