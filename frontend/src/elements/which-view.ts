import { css, html, LitElement, nothing } from "lit";
import { customElement, property } from "lit/decorators.js";
import type { Answer } from "../answers";
import type { Arguments, Candidate, Ranking } from "../api";
import { formatCount } from "../format";
import { base } from "../styles";
import "./capped-table";
import "./elapsed";
import "./problem-note";

/** What `take` asks for: a builder with these arguments. */
export interface Taken {
  builder: string;
  arguments: Arguments;
}

/**
 * Every builder's verdict on one checkpoint, the best first, and the one that is proposed.
 *
 * @fires take - the proposal is taken; `detail` is a `Taken`.
 * @fires close - it is no longer wanted.
 */
@customElement("ckptmeta-which")
export class WhichView extends LitElement {
  static override styles = [
    base,
    css`
      :host {
        display: block;
      }
      .card {
        padding: 12px 14px;
      }
      .head,
      .pending,
      .proposed {
        display: flex;
        flex-wrap: wrap;
        align-items: center;
        gap: 6px 10px;
      }
      .head .link {
        margin-left: auto;
      }
      .sentence {
        margin: 6px 0 10px;
        overflow-wrap: anywhere;
      }
      .proposed {
        margin-bottom: 10px;
      }
      ul {
        margin: 8px 0 0;
        padding-left: 18px;
        color: var(--muted);
        overflow-wrap: anywhere;
      }
      .old {
        opacity: 0.5;
      }
      ckptmeta-problem {
        margin-top: 8px;
      }
    `,
  ];

  @property({ attribute: false }) answer: Answer<Ranking> | null = null;

  protected override render() {
    const { answer } = this;
    if (answer === null) return nothing;
    return html`<div class="card" aria-live="polite" aria-busy=${answer.running}>
      <div class="head">
        <h3>Which builder?</h3>
        ${answer.running
          ? html`<span class="pending" data-testid="which-running">
              <span class="spinner"></span>
              <span>Rebuilding every builder… <ckptmeta-elapsed .since=${answer.askedAt}></ckptmeta-elapsed></span>
            </span>`
          : html`<button class="link" data-testid="which-close" @click=${() => this.tell("close", null)}>Close</button>`}
      </div>
      ${!answer.running && answer.problem
        ? html`<ckptmeta-problem testid="which-error" severity="error" .problem=${answer.problem}></ckptmeta-problem>`
        : answer.value
          ? html`<div class=${answer.running ? "old" : ""}>${this.renderRanking(answer.value)}</div>`
          : nothing}
    </div>`;
  }

  private renderRanking({ candidates, proposed, reason }: Ranking) {
    const told = candidates.flatMap(describe);
    return html`
      <p class="sentence" data-testid="which-reason">${reason}</p>
      ${proposed
        ? html`<div class="proposed" data-testid="which-proposed">
            <span class="chip good">proposed</span>
            <code>${proposed.builder}${describeArguments(proposed.arguments, "(", ")")}</code>
            <button
              class="button primary"
              data-testid="which-take"
              @click=${() =>
                this.tell("take", { builder: proposed.builder, arguments: proposed.arguments } satisfies Taken)}
            >
              Take it
            </button>
          </div>`
        : nothing}
      <ckptmeta-table
        data-testid="which-candidates"
        .columns=${["Builder", "Arguments", "Verdict", "Bound", "Missing", "Unexpected"]}
        .rows=${candidates.map(cells)}
        .wide=${2}
      ></ckptmeta-table>
      ${told.length > 0
        ? html`<ul data-testid="which-told">
            ${told.map((text) => html`<li>${text}</li>`)}
          </ul>`
        : nothing}
    `;
  }

  private tell(name: string, detail: unknown): void {
    this.dispatchEvent(new CustomEvent(name, { detail }));
  }
}

function cells(candidate: Candidate): string[] {
  const { builder, status, bound, variables, missing, unexpected } = candidate;
  const counts =
    status === "error"
      ? ["–", "–", "–"]
      : [`${formatCount(bound)} of ${formatCount(variables)}`, formatCount(missing), formatCount(unexpected)];
  return [builder, describeArguments(candidate.arguments), status, ...counts];
}

function describeArguments(values: Arguments, before = "", after = ""): string {
  const text = Object.entries(values)
    .map(([name, value]) => `${name}=${JSON.stringify(value)}`)
    .join(", ");
  return text === "" ? "" : `${before}${text}${after}`;
}

/** What the table does not show: an error, or where arguments come from. */
function describe({ builder, error, reason }: Candidate): string[] {
  if (error) return [`${builder}: ${error.message}`];
  const solved = reason.split("; ").slice(1).join("; ");
  return solved ? [`${builder}: ${solved}`] : [];
}
