import { css, html, LitElement, nothing } from "lit";
import { customElement, property } from "lit/decorators.js";
import type { Logdir } from "../api";
import { BUILDER_EXAMPLE, SAVING_EXAMPLE } from "../examples";
import { base } from "../styles";
import "./copy-button";

/** Says what to do where there is nothing to show: no checkpoints, or no builders. */
@customElement("ckptmeta-empty")
export class EmptyNote extends LitElement {
  static override styles = [
    base,
    css`
      :host {
        display: block;
      }
      h2 {
        font-size: 16px;
      }
      p,
      ul {
        margin: 8px 0;
        line-height: 1.5;
      }
      ul {
        padding-left: 18px;
      }
      .code {
        position: relative;
        margin: 8px 0;
      }
      ckptmeta-copy {
        position: absolute;
        top: 6px;
        right: 10px;
        padding: 2px 4px;
        background: var(--sunken);
      }
      summary {
        width: fit-content;
        color: var(--link);
        cursor: pointer;
      }
    `,
  ];

  @property() kind: "no-checkpoints" | "no-builders" = "no-checkpoints";
  @property({ attribute: false }) logdirs: readonly Logdir[] = [];
  @property({ type: Boolean }) builders = true;

  protected override render() {
    return this.kind === "no-builders" ? this.renderBuilders("No builders are registered") : this.renderCheckpoints();
  }

  private renderCheckpoints() {
    return html`<div data-testid="empty" data-kind="no-checkpoints">
      <h2>No checkpoints yet</h2>
      ${this.logdirs.length > 0
        ? html`<p>Nothing in ${this.logdirs.length === 1 ? "this log directory" : "these log directories"} is a checkpoint:</p>
            <ul>
              ${this.logdirs.map(
                ({ name, path }) => html`<li>${name ? html`${name}: ` : nothing}<code>${path}</code></li>`,
              )}
            </ul>`
        : html`<p>TensorBoard was started without a log directory; give it one with <code>--logdir</code>.</p>`}
      <p>
        A checkpoint is what TensorFlow writes as <code>ckpt-1.index</code> and <code>ckpt-1.data-…</code>. Save one below
        the log directory, and it appears here within ten seconds:
      </p>
      ${this.renderCode(SAVING_EXAMPLE)}
      ${this.builders ? nothing : this.renderBuilders("Then register a builder")}
    </div>`;
  }

  private renderBuilders(title: string) {
    const logdir = this.logdirs.length === 1 ? (this.logdirs[0]?.path ?? "LOGDIR") : "LOGDIR";
    const flag = `tensorboard --logdir ${quote(logdir)} --ckptmeta_builders my_builders.py`;
    return html`<div
      data-testid=${this.kind === "no-builders" ? "empty" : nothing}
      data-kind=${this.kind === "no-builders" ? "no-builders" : nothing}
    >
      <h2>${title}</h2>
      <p>
        A checkpoint holds values and no graph. A builder is a function of yours that re-creates the model; start TensorBoard
        with the file that has it:
      </p>
      ${this.renderCode(flag)}
      <details>
        <summary>What stands in my_builders.py?</summary>
        ${this.renderCode(BUILDER_EXAMPLE)}
      </details>
    </div>`;
  }

  private renderCode(text: string) {
    return html`<div class="code"><pre>${text}</pre><ckptmeta-copy .text=${text}></ckptmeta-copy></div>`;
  }
}

// The line is made to be pasted into a shell, and paths have spaces.
function quote(path: string): string {
  return /^[\w@%+=:,./-]+$/.test(path) ? path : `'${path.replaceAll("'", `'\\''`)}'`;
}
