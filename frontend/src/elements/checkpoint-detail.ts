import { css, html, LitElement, nothing } from "lit";
import { customElement, property } from "lit/decorators.js";
import { keyed } from "lit/directives/keyed.js";
import type { Answer } from "../answers";
import type {
  Builder,
  BuildersState,
  Checkpoint,
  Contents,
  Logdir,
  OpenedGraph,
  Problem,
  Ranking,
  Source,
  Verdict,
} from "../api";
import type { Choice, Plan } from "../choice";
import type { Comparison } from "../comparisons";
import { type Export, isRunning } from "../exports";
import { base } from "../styles";
import "./checkpoint-facts";
import "./compare-form";
import "./contents-tree";
import "./empty-note";
import "./export-view";
import "./graph-view";
import "./rebuild-form";
import "./verdict-view";
import "./which-view";

/**
 * Everything about the selected checkpoint.
 *
 * @fires choice, verify, which, open-graph, export - passed on from `ckptmeta-rebuild`.
 * @fires take-builder, close-which - from `ckptmeta-which`.
 * @fires load-contents - the tree of what the checkpoint holds is wanted.
 * @fires cancel-export - passed on from `ckptmeta-export`.
 * @fires rename - passed on from `ckptmeta-verdict`.
 * @fires comparison, compare - passed on from `ckptmeta-compare`.
 */
@customElement("ckptmeta-detail")
export class CheckpointDetail extends LitElement {
  static override styles = [
    base,
    css`
      :host {
        display: block;
      }
      .column {
        display: grid;
        gap: 12px;
        max-width: 1100px;
        grid-template-columns: minmax(0, 1fr);
      }
      .builders {
        padding: 14px;
      }
    `,
  ];

  @property({ attribute: false }) checkpoint!: Checkpoint;
  @property({ attribute: false }) builders: readonly Builder[] = [];
  @property({ attribute: false }) sources: readonly Source[] = [];
  @property({ attribute: false }) contents: Answer<Contents> | null = null;
  @property() buildersState: BuildersState = "loading";
  @property({ attribute: false }) logdirs: readonly Logdir[] = [];
  @property({ attribute: false }) choice!: Choice;
  @property({ attribute: false }) plan!: Plan;
  @property({ attribute: false }) verdict: Answer<Verdict> | null = null;
  @property({ attribute: false }) ranking: Answer<Ranking> | null = null;
  @property({ attribute: false }) export: Export | null = null;
  @property({ attribute: false }) graphs: { attached: boolean; problem: string } = { attached: true, problem: "" };
  @property({ attribute: false }) graph: OpenedGraph | null = null;
  @property({ attribute: false }) graphProblem: Problem | null = null;
  @property({ type: Boolean }) opening = false;
  @property() graphUrl = "";
  @property({ attribute: false }) comparison: Comparison | null = null;

  protected override render() {
    return html`<div class="column" data-testid="detail" data-checkpoint-id=${this.checkpoint.id}>
      <ckptmeta-facts .checkpoint=${this.checkpoint}></ckptmeta-facts>
      <ckptmeta-rebuild
        .checkpoint=${this.checkpoint}
        .builders=${this.builders}
        .sources=${this.sources}
        .buildersState=${this.buildersState}
        .choice=${this.choice}
        .plan=${this.plan}
        .graphs=${this.graphs}
        .verifying=${this.verdict?.running ?? false}
        .ranking=${this.ranking?.running ?? false}
        .opening=${this.opening}
        .exporting=${this.export !== null && isRunning(this.export)}
        @choice=${this.pass}
        @verify=${this.pass}
        @which=${this.pass}
        @open-graph=${this.pass}
        @export=${this.pass}
      ></ckptmeta-rebuild>
      ${this.ranking
        ? html`<ckptmeta-which
            .answer=${this.ranking}
            @take=${(event: CustomEvent) => this.dispatchEvent(new CustomEvent("take-builder", { detail: event.detail }))}
            @close=${() => this.dispatchEvent(new CustomEvent("close-which"))}
          ></ckptmeta-which>`
        : nothing}
      ${this.graph || this.graphProblem
        ? html`<ckptmeta-graph .graph=${this.graph} .problem=${this.graphProblem} .url=${this.graphUrl}></ckptmeta-graph>`
        : nothing}
      ${this.export
        ? html`<ckptmeta-export
            .export=${this.export}
            @cancel=${() => this.dispatchEvent(new CustomEvent("cancel-export"))}
          ></ckptmeta-export>`
        : nothing}
      ${this.plan.noVerdict ? nothing : html`<ckptmeta-verdict .answer=${this.verdict} @rename=${this.pass}></ckptmeta-verdict>`}
      ${this.comparison?.groups.length
        ? html`<ckptmeta-compare
            .checkpoint=${this.checkpoint}
            .comparison=${this.comparison}
            @comparison=${this.pass}
            @compare=${this.pass}
          ></ckptmeta-compare>`
        : nothing}
      ${keyed(
        this.checkpoint.id,
        html`<ckptmeta-contents
          ?first=${this.checkpoint.pairing.builder === null}
          .answer=${this.contents}
          @load=${() => this.dispatchEvent(new CustomEvent("load-contents"))}
        ></ckptmeta-contents>`,
      )}
      ${this.buildersState === "none" && this.builders.length === 0
        ? html`<div class="card builders">
            <ckptmeta-empty kind="no-builders" .logdirs=${this.logdirs}></ckptmeta-empty>
          </div>`
        : nothing}
    </div>`;
  }

  private pass(event: CustomEvent): void {
    this.dispatchEvent(new CustomEvent(event.type, { detail: event.detail }));
  }
}
