import { css, html, LitElement, nothing } from "lit";
import { customElement, property, state } from "lit/decorators.js";
import { formatCount } from "../format";
import { base } from "../styles";

const CAP = 8;

/** A table that begins with its first rows and shows the rest when asked. */
@customElement("ckptmeta-table")
export class CappedTable extends LitElement {
  static override styles = [
    base,
    css`
      :host {
        display: block;
      }
      .scroll {
        overflow: auto;
        max-height: 60vh;
      }
      table {
        width: 100%;
        border-collapse: collapse;
      }
      th {
        position: sticky;
        top: 0;
        padding: 2px 12px 2px 0;
        font-weight: 400;
        font-size: 11px;
        text-align: left;
        color: var(--muted);
        background: var(--raised);
      }
      td {
        padding: 3px 12px 3px 0;
        border-top: 1px solid var(--line);
        vertical-align: top;
        font-variant-numeric: tabular-nums;
      }
      td:not(.wide) {
        white-space: nowrap;
      }
      td.wide {
        width: calc(76% / var(--wide));
        min-width: 120px;
      }
      .link {
        margin-top: 6px;
      }
    `,
  ];

  @property({ attribute: false }) columns: readonly string[] = [];
  /** Cells by row, as many as there are columns. */
  @property({ attribute: false }) rows: readonly (readonly string[])[] = [];
  /** How many of the first columns hold long names, which may wrap. */
  @property({ type: Number }) wide = 1;
  @state() private all = false;

  protected override render() {
    const shown = this.all ? this.rows : this.rows.slice(0, CAP);
    return html`<div class="scroll">
        <table style="--wide: ${this.wide}">
          <thead>
            <tr>
              ${this.columns.map((column) => html`<th scope="col">${column}</th>`)}
            </tr>
          </thead>
          <tbody>
            ${shown.map(
              (cells) =>
                html`<tr>
                  ${cells.map((cell, i) => html`<td class="mono ${i < this.wide ? "wide" : ""}">${cell}</td>`)}
                </tr>`,
            )}
          </tbody>
        </table>
      </div>
      ${this.rows.length > CAP
        ? html`<button class="link" data-testid="show-all" @click=${() => (this.all = !this.all)}>
            ${this.all ? "Show fewer" : `Show all ${formatCount(this.rows.length)}`}
          </button>`
        : nothing}`;
  }
}
