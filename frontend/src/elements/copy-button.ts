import { css, html, LitElement } from "lit";
import { customElement, property, state } from "lit/decorators.js";
import { base } from "../styles";

const SHOWN_MILLISECONDS = 1_500;

/** Copies `text`, and says that it did. */
@customElement("ckptmeta-copy")
export class CopyButton extends LitElement {
  static override styles = [
    base,
    css`
      .link {
        font-size: 12px;
        white-space: nowrap;
      }
    `,
  ];

  @property({ attribute: false }) text = "";
  @property() label = "Copy";
  @state() private said = "";

  protected override render() {
    return html`<button class="link" aria-live="polite" @click=${this.copy}>${this.said || this.label}</button>`;
  }

  private async copy(): Promise<void> {
    this.said = (await copyText(this.text)) ? "Copied" : "Copying is not allowed here";
    setTimeout(() => (this.said = ""), SHOWN_MILLISECONDS);
  }
}

async function copyText(text: string): Promise<boolean> {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    // Plain HTTP has no clipboard API, and TensorBoard on another machine is most often plain HTTP.
    const area = document.createElement("textarea");
    area.value = text;
    area.style.position = "fixed";
    area.style.opacity = "0";
    document.body.append(area);
    area.select();
    const copied = document.execCommand("copy");
    area.remove();
    return copied;
  }
}
