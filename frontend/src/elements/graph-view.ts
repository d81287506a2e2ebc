import { css, html, LitElement, nothing } from "lit";
import { customElement, property } from "lit/decorators.js";
import type { OpenedGraph, Problem } from "../api";
import { base } from "../styles";
import "./copy-button";
import "./problem-note";

/** Under which run and tag the Graphs dashboard has the graph, and the link that lands on it. */
@customElement("ckptmeta-graph")
export class GraphView extends LitElement {
  static override styles = [
    base,
    css`
      :host {
        display: block;
      }
      .card {
        display: flex;
        flex-wrap: wrap;
        align-items: baseline;
        gap: 2px 12px;
        padding: 10px 14px;
      }
      .run {
        font-weight: 500;
        overflow-wrap: anywhere;
        /* Names may hold runs of spaces, and are searched for by them. */
        white-space: pre-wrap;
      }
    `,
  ];

  @property({ attribute: false }) graph: OpenedGraph | null = null;
  @property({ attribute: false }) problem: Problem | null = null;
  @property() url = "";

  protected override render() {
    if (this.problem) {
      return html`<ckptmeta-problem testid="graph-error" severity="error" .problem=${this.problem}></ckptmeta-problem>`;
    }
    if (this.graph === null) return nothing;
    return html`<div class="card">
      <span class="muted">In Graphs as run</span>
      <span class="run" data-testid="graph-run">${this.graph.run}</span>
      <span><span class="muted">tag</span> <span data-testid="graph-tag">${this.graph.tag}</span></span>
      <ckptmeta-copy label="Copy run" .text=${this.graph.run}></ckptmeta-copy>
      <a href=${this.url} target="_blank" rel="opener" data-testid="graph-link">New tab</a>
    </div>`;
  }
}
