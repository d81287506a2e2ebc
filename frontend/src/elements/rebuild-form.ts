import { css, html, LitElement, nothing } from "lit";
import { customElement, property, state } from "lit/decorators.js";
import type { Builder, BuildersState, Checkpoint, ExportFormat, Parameter, Source, SourceKind } from "../api";
import { describeDefault, isSolvable } from "../arguments";
import { addRenames, type Choice, chooseBuilder, type Plan } from "../choice";
import { base } from "../styles";

export interface ExportOptions {
  format: ExportFormat;
  allow_partial: boolean;
  check: boolean;
}

const FORMATS: { value: ExportFormat; label: string }[] = [
  { value: "metagraph", label: "MetaGraphDef (.meta)" },
  { value: "metagraph-text", label: "MetaGraphDef as text (.pbtxt)" },
  { value: "saved_model", label: "SavedModel (.zip)" },
  { value: "frozen", label: "Frozen graph (.pb)" },
  { value: "checkpoint", label: "TF1 checkpoint with .meta (.zip)" },
  { value: "onnx", label: "ONNX (.onnx)" },
];

// How the value of a source begins among those of builders, whose names cannot hold it.
const SOURCE = "•";

/**
 * What to rebuild a checkpoint with, and what to do with it then.
 *
 * @fires choice - builder or arguments changed; `detail` is the new `Choice`.
 * @fires verify - a verdict is asked for.
 * @fires which - every builder's verdict is asked for.
 * @fires open-graph - Graphs is asked for; `detail.newTab` with Ctrl or Command held.
 * @fires export - an export is asked for; `detail` is an `ExportOptions`.
 */
@customElement("ckptmeta-rebuild")
export class RebuildForm extends LitElement {
  static override styles = [
    base,
    css`
      :host {
        display: block;
      }
      form {
        padding: 12px 14px;
      }
      .builder {
        display: flex;
        flex-wrap: wrap;
        align-items: center;
        gap: 6px 10px;
      }
      .builder select {
        flex: 0 1 260px;
      }
      .builder label {
        font-weight: 500;
      }
      .reason {
        flex: 1 1 200px;
        color: var(--muted);
        overflow-wrap: anywhere;
      }
      .reason.warn {
        color: var(--warn);
      }
      .about {
        margin-top: 8px;
        color: var(--muted);
        overflow-wrap: anywhere;
      }
      .about .documentation {
        color: var(--text);
        white-space: pre-line;
      }
      .arguments {
        display: grid;
        grid-template-columns: repeat(auto-fill, minmax(180px, 1fr));
        gap: 10px 14px;
        margin-top: 12px;
      }
      .argument label {
        display: flex;
        gap: 6px;
        align-items: baseline;
        margin-bottom: 3px;
      }
      .argument .field {
        width: 100%;
      }
      .argument .type {
        color: var(--muted);
      }
      .argument .wrong {
        margin-top: 2px;
        color: var(--bad);
        font-size: 12px;
      }
      .renames {
        display: flex;
        flex-wrap: wrap;
        gap: 6px;
        align-items: center;
        margin-top: 12px;
      }
      .renames .chip {
        padding: 2px 4px 2px 8px;
        overflow-wrap: anywhere;
        white-space: normal;
      }
      .renames .field {
        flex: 1 1 180px;
        max-width: 320px;
      }
      .actions {
        display: flex;
        flex-wrap: wrap;
        gap: 8px;
        align-items: center;
        margin-top: 14px;
      }
      .export {
        display: flex;
        flex-wrap: wrap;
        gap: 8px;
        align-items: center;
        margin-top: 12px;
        padding-top: 12px;
        border-top: 1px solid var(--line);
      }
      .export label {
        display: flex;
        align-items: center;
        gap: 5px;
        white-space: nowrap;
      }
      .hint {
        flex: 1 1 160px;
        color: var(--muted);
        font-size: 12px;
        overflow-wrap: anywhere;
      }
      .hint.warn {
        color: var(--warn);
      }
    `,
  ];

  @property({ attribute: false }) checkpoint!: Checkpoint;
  @property({ attribute: false }) builders: readonly Builder[] = [];
  @property({ attribute: false }) sources: readonly Source[] = [];
  @property() buildersState: BuildersState = "loading";
  @property({ attribute: false }) choice!: Choice;
  @property({ attribute: false }) plan!: Plan;
  @property({ attribute: false }) graphs: { attached: boolean; problem: string } = { attached: true, problem: "" };
  @property({ type: Boolean }) verifying = false;
  /** Every builder's verdict is being taken. */
  @property({ type: Boolean }) ranking = false;
  @property({ type: Boolean }) opening = false;
  @property({ type: Boolean }) exporting = false;

  // Kept while one walks through the checkpoints: the same export is often wanted of several.
  @state() private format: ExportFormat = "metagraph";
  @state() private allowPartial = false;
  @state() private check = true;

  protected override render() {
    const builder = this.builders.find(({ name }) => name === this.choice.builder);
    const { blocked, unknown } = this.plan;
    // Only a verdict finds what is unknown; then the rest can go on with it.
    const undecided = blocked !== "" || unknown.length > 0;
    return html`<form class="card" @submit=${this.onSubmit}>
      <div class="builder">
        <label for="builder">${this.source ? "Source" : "Builder"}</label>
        <select id="builder" class="field" data-testid="builder-select" @change=${this.onBuilder}>
          ${this.renderChoices()}
        </select>
        <button
          class="button"
          type="button"
          data-testid="which"
          title="Rebuild every registered builder and compare each with the checkpoint"
          ?disabled=${this.ranking || this.builders.length === 0}
          @click=${() => this.tell("which", null)}
        >
          ${this.ranking ? "Comparing…" : "Which builder?"}
        </button>
        ${this.renderReason(builder)}
      </div>
      ${builder ? this.renderBuilder(builder) : nothing} ${this.source ? nothing : this.renderRenames()}
      <div class="actions">
        <button
          class="button primary"
          data-testid="verify"
          title=${this.plan.noVerdict ?? ""}
          ?disabled=${blocked !== "" || Boolean(this.plan.noVerdict) || this.verifying}
        >
          ${this.verifying ? "Verifying…" : this.source?.asked ? "Rebuild from the Keras configuration" : "Verify"}
        </button>
        <button
          class="button"
          type="button"
          data-testid="open-graphs"
          ?disabled=${undecided || this.opening || !this.graphs.attached}
          @click=${(event: MouseEvent) => this.tell("open-graph", { newTab: event.ctrlKey || event.metaKey })}
        >
          ${this.opening ? "Opening…" : "Open in Graphs"}
        </button>
        ${this.renderConfiguration()} ${this.renderHint(blocked, unknown)}
      </div>
      <div class="export">
        <button
          class="button"
          type="button"
          data-testid="export"
          title=${this.plan.noExport ?? ""}
          ?disabled=${undecided || Boolean(this.plan.noExport) || this.exporting}
          @click=${this.onExport}
        >
          Export
        </button>
        <select
          class="field"
          aria-label="Export format"
          data-testid="export-format"
          @change=${(event: Event) => (this.format = (event.target as HTMLSelectElement).value as ExportFormat)}
        >
          ${FORMATS.map(
            ({ value, label }) => html`<option value=${value} ?selected=${value === this.format}>${label}</option>`,
          )}
        </select>
        <label title="Re-import the file in a fresh process, restore the checkpoint and compare with TensorFlow's own restore">
          <input
            type="checkbox"
            data-testid="export-check"
            .checked=${this.check}
            @change=${(event: Event) => (this.check = (event.target as HTMLInputElement).checked)}
          />check the file
        </label>
        <label title="Export although some variables are not in the checkpoint; those keep the builder's own initializer">
          <input
            type="checkbox"
            data-testid="export-allow-partial"
            .checked=${this.allowPartial}
            @change=${(event: Event) => (this.allowPartial = (event.target as HTMLInputElement).checked)}
          />allow partial
        </label>
      </div>
    </form>`;
  }

  /** What stands in a builder's stead, chosen or for want of one. */
  private get source(): Source | undefined {
    return this.sources.find(({ kind }) => kind === this.plan.subject.source);
  }

  private renderChoices() {
    const { pairing } = this.checkpoint;
    const { builder: chosen } = this.choice;
    const { source } = this;
    const names = this.builders.map(({ name }) => name);
    // A record can name what nobody registered: it is shown as it is.
    const strangers = [...new Set([chosen, pairing.builder ?? "", ...pairing.claims])].filter(
      (name) => name !== "" && !names.includes(name),
    );
    const claimed = names.filter((name) => name === pairing.builder || pairing.claims.includes(name));
    const others = names.filter((name) => !claimed.includes(name));
    const option = (name: string, label = name) =>
      html`<option value=${name} .selected=${name === chosen}>${label}</option>`;
    const unknown = this.buildersState === "loading" ? "loading" : "not registered";
    return html`
      ${chosen === "" && !source ? option("", pairing.claims.length > 0 ? "Choose a builder…" : "No builder") : nothing}
      ${strangers.map((name) => option(name, `${name} (${unknown})`))}
      ${claimed.length > 0 && others.length > 0
        ? html`<optgroup label="Paired with this checkpoint">${claimed.map((name) => option(name))}</optgroup>
            <optgroup label="Other builders">${others.map((name) => option(name))}</optgroup>`
        : [...claimed, ...others].map((name) => option(name))}
      ${this.sources.length > 0
        ? html`<optgroup label="Without a builder">
            ${this.sources.map(
              ({ kind, title, where }) =>
                html`<option value=${SOURCE + kind} .selected=${kind === source?.kind}>${title}: ${where}</option>`,
            )}
          </optgroup>`
        : nothing}
    `;
  }

  private renderReason(builder: Builder | undefined) {
    const { pairing } = this.checkpoint;
    if (this.buildersState === "loading" && this.builders.length === 0) {
      return html`<span class="reason" data-testid="builders-loading">Builders are being read…</span>`;
    }
    if (this.source) {
      return html`<span class="reason" data-testid="source-description">${this.source.description}</span>`;
    }
    const chosen = this.choice.builder;
    if (chosen !== "" && chosen !== pairing.builder) {
      return builder ? html`<span class="reason">chosen by you</span>` : nothing;
    }
    const several = pairing.builder === null && pairing.claims.length > 1;
    const otherwise = chosen === "" ? "No builder claims this checkpoint." : "";
    const text = pairing.reason || (several ? `${pairing.claims.join(", ")} claim it` : otherwise);
    return html`<span class="reason ${several ? "warn" : ""}" data-testid="pairing-reason">${text}</span>`;
  }

  private renderBuilder(builder: Builder) {
    const { source, documentation, notes, parameters } = builder;
    return html`
      <div class="about">
        ${documentation ? html`<p class="documentation">${documentation}</p>` : nothing}
        <p><code>${source}</code></p>
        ${notes.map((note) => html`<p>${note}</p>`)}
      </div>
      ${parameters.length > 0
        ? html`<div class="arguments">${parameters.map((parameter) => this.renderArgument(parameter))}</div>`
        : nothing}
    `;
  }

  private renderArgument(parameter: Parameter) {
    const { name, annotation, required, optional, open } = parameter;
    const text = this.choice.texts[name] ?? "";
    const wrong = this.plan.wrong[name];
    const type = open ? "JSON object" : `${annotation ?? ""}${optional && annotation ? " | None" : ""}`;
    const common = { id: `argument-${name}`, testid: `argument-${name}` };
    const field =
      annotation === "bool"
        ? html`<select
            class="field"
            id=${common.id}
            data-testid=${common.testid}
            @change=${(event: Event) => this.setText(name, (event.target as HTMLSelectElement).value)}
          >
            <option value="" .selected=${text === ""}>${required ? "Choose…" : describeDefault(parameter)}</option>
            <option value="true" .selected=${text === "true"}>True</option>
            <option value="false" .selected=${text === "false"}>False</option>
            ${optional ? html`<option value="None" .selected=${text === "None"}>None</option>` : nothing}
          </select>`
        : html`<input
            class="field mono"
            id=${common.id}
            data-testid=${common.testid}
            autocomplete="off"
            spellcheck="false"
            title=${isSolvable(parameter) ? "Type ? to have it found from the checkpoint's shapes" : ""}
            placeholder=${open ? '{"name": value}' : describeDefault(parameter)}
            aria-invalid=${wrong !== undefined && text !== ""}
            .value=${text}
            @input=${(event: InputEvent) => this.setText(name, (event.target as HTMLInputElement).value)}
          />`;
    return html`<div class="argument">
      <label for=${common.id}
        ><span>${open ? `**${name}` : name}</span><span class="type">${type}${required ? ", required" : ""}</span></label
      >
      ${field} ${wrong !== undefined && text !== "" ? html`<div class="wrong">${wrong}</div>` : nothing}
    </div>`;
  }

  /** A Keras configuration is deserialised for no other reason than that somebody has asked for it. */
  private renderConfiguration() {
    const config = this.sources.find(({ asked }) => asked);
    if (!config || this.choice.builder !== "" || this.source?.asked) return nothing;
    return html`<button
      class="button"
      type="button"
      data-testid="rebuild-configuration"
      title=${config.description}
      ?disabled=${this.verifying}
      @click=${() => {
        this.tell("choice", { builder: "", texts: {}, renames: [], source: config.kind } satisfies Choice);
        this.tell("verify", null);
      }}
    >
      Rebuild from the Keras configuration
    </button>`;
  }

  private renderRenames() {
    const { renames } = this.choice;
    return html`<div class="renames" data-testid="renames">
      ${renames.map(
        (rule) =>
          html`<span class="chip mono" data-testid="rename"
            >${rule.replace("=", " → ")}
            <button
              class="link"
              type="button"
              aria-label="Do not rename ${rule}"
              @click=${() => this.setRenames(renames.filter((other) => other !== rule))}
            >
              ×
            </button></span
          >`,
      )}
      <input
        class="field mono"
        aria-label="Rename"
        data-testid="add-rename"
        autocomplete="off"
        spellcheck="false"
        placeholder="Renamed since? FROM=TO"
        title="What the checkpoint calls FROM is what the model calls TO, such as net=tower/model_v1"
        @keydown=${this.onRenameKey}
        @change=${(event: Event) => this.addRename(event.target as HTMLInputElement)}
      />
    </div>`;
  }

  private readonly onRenameKey = (event: KeyboardEvent): void => {
    if (event.key !== "Enter") return;
    // Enter adds the rule, and does not yet verify.
    event.preventDefault();
    this.addRename(event.target as HTMLInputElement);
  };

  private addRename(field: HTMLInputElement): void {
    const rule = field.value.trim();
    if (rule === "") return;
    field.value = "";
    this.setRenames(addRenames(this.choice, [rule]).renames);
  }

  private setRenames(renames: readonly string[]): void {
    this.tell("choice", { ...this.choice, renames } satisfies Choice);
  }

  private renderHint(blocked: string, unknown: readonly string[]) {
    if (blocked === "" && unknown.length > 0) {
      return html`<span class="hint" data-testid="unknown"
        >Verify finds ${unknown.join(" and ")} from the checkpoint's shapes first.</span
      >`;
    }
    if (blocked) return html`<span class="hint warn" data-testid="blocked">${blocked}</span>`;
    if (this.plan.noExport) return html`<span class="hint" data-testid="no-export">${this.plan.noExport}</span>`;
    if (!this.graphs.attached) {
      return html`<span class="hint warn" data-testid="graphs-problem"
        >The Graphs dashboard cannot show it: ${this.graphs.problem || "the plugin could not attach to it."}</span
      >`;
    }
    return nothing;
  }

  private setText(name: string, text: string): void {
    this.tell("choice", { ...this.choice, texts: { ...this.choice.texts, [name]: text } } satisfies Choice);
  }

  private onBuilder(event: Event): void {
    const { value } = event.target as HTMLSelectElement;
    if (value.startsWith(SOURCE)) {
      const source = value.slice(SOURCE.length) as SourceKind;
      this.tell("choice", { builder: "", texts: {}, renames: [], source } satisfies Choice);
      return;
    }
    this.tell("choice", chooseBuilder(value, this.checkpoint.pairing, this.builders));
  }

  private onSubmit(event: SubmitEvent): void {
    event.preventDefault();
    if (this.plan.blocked === "" && !this.plan.noVerdict && !this.verifying) this.tell("verify", null);
  }

  private onExport(): void {
    const options: ExportOptions = { format: this.format, allow_partial: this.allowPartial, check: this.check };
    this.tell("export", options);
  }

  private tell(name: string, detail: unknown): void {
    this.dispatchEvent(new CustomEvent(name, { detail }));
  }
}
