import { css, html, LitElement, nothing } from "lit";
import { customElement, property } from "lit/decorators.js";
import type { Checkpoint } from "../api";
import type { Compared, Comparison } from "../comparisons";
import { fullName } from "../listing";
import { base } from "../styles";
import "./diff-view";

/**
 * Which other checkpoint this one is compared with, and what came of it.
 *
 * @fires comparison - another checkpoint was chosen, or whether values count; `detail` is a `Compared`.
 * @fires compare - the diff is asked for.
 */
@customElement("ckptmeta-compare")
export class CompareForm extends LitElement {
  static override styles = [
    base,
    css`
      :host {
        display: block;
      }
      .card {
        padding: 12px 14px;
      }
      form {
        display: flex;
        flex-wrap: wrap;
        align-items: center;
        gap: 8px 10px;
      }
      form > label:first-child {
        font-weight: 500;
      }
      select {
        flex: 0 1 260px;
      }
      .values {
        display: flex;
        align-items: center;
        gap: 5px;
        white-space: nowrap;
      }
    `,
  ];

  @property({ attribute: false }) checkpoint!: Checkpoint;
  @property({ attribute: false }) comparison!: Comparison;

  protected override render() {
    const { groups, other, values, answer } = this.comparison;
    const running = answer?.running ?? false;
    return html`<div class="card">
      <form @submit=${this.onSubmit}>
        <label for="other">Compare with</label>
        <select id="other" class="field" data-testid="compare-other" @change=${this.onOther}>
          ${groups.map(
            ({ label, checkpoints }) =>
              html`<optgroup label=${label}>
                ${checkpoints.map(
                  (each) => html`<option value=${each.id} .selected=${each.id === other?.id}>
                    ${each.run === this.checkpoint.run ? each.name : fullName(each)}
                  </option>`,
                )}
              </optgroup>`,
          )}
        </select>
        <label class="values" title="Reads the values of both: minutes for many gigabytes">
          <input type="checkbox" data-testid="compare-values" .checked=${values} @change=${this.onValues} />
          how far each moved
        </label>
        <button class="button" data-testid="compare" ?disabled=${other === null || running}>
          ${running ? "Comparing…" : "Compare"}
        </button>
      </form>
      ${answer ? html`<ckptmeta-diff .answer=${answer}></ckptmeta-diff>` : nothing}
    </div>`;
  }

  private onSubmit(event: Event): void {
    event.preventDefault();
    this.dispatchEvent(new CustomEvent("compare"));
  }

  private onOther(event: Event): void {
    this.change({ other: (event.target as HTMLSelectElement).value, values: this.comparison.values });
  }

  private onValues(event: Event): void {
    this.change({
      other: this.comparison.other?.id ?? "",
      values: (event.target as HTMLInputElement).checked,
    });
  }

  private change(detail: Compared): void {
    this.dispatchEvent(new CustomEvent("comparison", { detail }));
  }
}
