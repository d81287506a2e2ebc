import { css, html, LitElement, nothing } from "lit";
import { customElement, property } from "lit/decorators.js";
import type { Problem } from "../api";
import { base } from "../styles";
import "./copy-button";

/** One problem: its sentence, and its details (a traceback, most often) behind a disclosure. */
@customElement("ckptmeta-problem")
export class ProblemNote extends LitElement {
  static override styles = [
    base,
    css`
      :host {
        display: block;
      }
      .note {
        padding: 8px 12px;
        border-radius: 4px;
        border-left: 3px solid var(--warn);
        background: var(--warn-weak);
      }
      .note.error {
        border-left-color: var(--bad);
        background: var(--bad-weak);
      }
      .message {
        overflow-wrap: anywhere;
        white-space: pre-wrap;
      }
      summary {
        margin-top: 4px;
        width: fit-content;
        color: var(--link);
        cursor: pointer;
      }
      .details {
        position: relative;
        margin-top: 6px;
      }
      ckptmeta-copy {
        position: absolute;
        top: 8px;
        right: 18px;
        padding: 0 4px;
        background: var(--sunken);
      }
      code {
        color: var(--muted);
        font-size: 11px;
      }
    `,
  ];

  @property({ attribute: false }) problem: Problem = { code: "", message: "", details: "" };
  @property() severity: "warning" | "error" = "warning";
  /** Stands on the note itself: the text of a host with a shadow is empty to a browser test. */
  @property() testid = "problem";
  /** Shows the details at once. */
  @property({ type: Boolean }) expanded = false;

  protected override render() {
    const { code, message, details } = this.problem;
    return html`<div
      class="note ${this.severity}"
      role=${this.severity === "error" ? "alert" : "status"}
      data-testid=${this.testid}
    >
      <div class="message">${message} ${code ? html`<code title="The error's code">${code}</code>` : nothing}</div>
      ${details
        ? html`<details ?open=${this.expanded}>
            <summary>Details</summary>
            <div class="details">
              <pre tabindex="0">${details}</pre>
              <ckptmeta-copy .text=${details}></ckptmeta-copy>
            </div>
          </details>`
        : nothing}
    </div>`;
  }
}
