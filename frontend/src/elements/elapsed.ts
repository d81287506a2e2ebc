import { LitElement } from "lit";
import { customElement, property } from "lit/decorators.js";
import { formatSeconds } from "../format";

/** Counts the seconds since `since` (milliseconds since the epoch), for work whose end is not known. */
@customElement("ckptmeta-elapsed")
export class Elapsed extends LitElement {
  @property({ type: Number }) since = Date.now();

  #timer: ReturnType<typeof setInterval> | undefined;

  override connectedCallback(): void {
    super.connectedCallback();
    this.#timer = setInterval(() => this.requestUpdate(), 1_000);
  }

  override disconnectedCallback(): void {
    super.disconnectedCallback();
    clearInterval(this.#timer);
  }

  protected override render() {
    return formatSeconds(Math.max(0, Math.floor((Date.now() - this.since) / 1_000))).replace(".0", "");
  }
}
