import { html, LitElement, nothing, type PropertyValues } from "lit";
import { customElement, property, query, state } from "lit/decorators.js";
import { type Answer, Answers } from "../answers";
import {
  ApiError,
  type Builder,
  type BuildersAnswer,
  type BuildersState,
  type Checkpoint,
  type CheckpointsAnswer,
  type Contents,
  listBuilders,
  listCheckpoints,
  listSources,
  type OpenedGraph,
  openGraph,
  type Problem,
  type Ranking,
  rankBuilders,
  readContents,
  solveArguments,
  type Source,
  takeVerdict,
  type Verdict,
  type VerdictStatus,
} from "../api";
import {
  addRenames,
  chooseArguments,
  type Choice,
  choiceByPairing,
  type Plan,
  planRebuild,
  subjectKey,
} from "../choice";
import { type Compared, Comparisons } from "../comparisons";
import { Exports } from "../exports";
import { formatCount, formatNumberOf } from "../format";
import { goToGraphs, graphsUrl } from "../graphs-link";
import { keep, readKept } from "../kept";
import { NEWEST_FIRST, sortCheckpoints } from "../listing";
import { base } from "../styles";
import { isInFront, watchFront, watchTheme } from "../surroundings";
import { layout } from "./app-styles";
import "./checkpoint-detail";
import type { CheckpointList } from "./checkpoint-list";
import "./checkpoint-list";
import "./empty-note";
import "./problem-note";
import type { ExportOptions } from "./rebuild-form";
import type { Taken } from "./which-view";

const POLL_MILLISECONDS = 10_000;
// Builders are read by a worker process at start; the wait for it is short.
const LOADING_POLL_MILLISECONDS = 1_000;
const SHOWN_PROBLEMS = 3;
// A listing has one question only.
const ALL = "all";

/** The tab: what was listed, what is selected, and what was asked about it. */
@customElement("ckptmeta-app")
export class App extends LitElement {
  static override styles = [base, layout];

  @property({ type: Boolean, reflect: true }) dark = false;

  @state() private selected = readKept<string | null>("selected", null);
  @state() private allProblems = false;

  /** What people chose, by checkpoint; a checkpoint that nobody touched follows its pairing. */
  #choices = new Map<string, Choice>();
  #opened = readKept<Record<string, OpenedGraph>>("opened", {});
  #verdictStatuses: ReadonlyMap<string, VerdictStatus> = new Map();

  readonly #listing = new Answers<CheckpointsAnswer>(() => this.requestUpdate());
  readonly #builders = new Answers<BuildersAnswer>(() => this.requestUpdate());
  readonly #verdicts = new Answers<Verdict>(() => this.requestUpdate());
  readonly #rankings = new Answers<Ranking>(() => this.requestUpdate());
  /** The checkpoints whose rankings were put away. */
  readonly #closed = new Set<string>();
  readonly #graphs = new Answers<OpenedGraph>(() => this.requestUpdate());
  readonly #sources = new Answers<Source[]>(() => this.requestUpdate());
  readonly #contents = new Answers<Contents>(() => this.requestUpdate());
  readonly #comparisons = new Comparisons(() => this.requestUpdate());
  readonly #exports = new Exports(() => this.requestUpdate());

  @query("ckptmeta-list") private list!: CheckpointList | null;
  @query(".right") private right!: HTMLElement | null;

  #timer: ReturnType<typeof setTimeout> | undefined;
  #stops: (() => void)[] = [];

  override connectedCallback(): void {
    super.connectedCallback();
    this.#stops = [
      watchTheme((dark) => (this.dark = dark)),
      watchFront((front) => (front ? void this.reload() : clearTimeout(this.#timer))),
    ];
    document.addEventListener("keydown", this.onKey);
    void this.reload();
  }

  override disconnectedCallback(): void {
    super.disconnectedCallback();
    for (const stop of this.#stops) stop();
    document.removeEventListener("keydown", this.onKey);
    clearTimeout(this.#timer);
  }

  protected override willUpdate(): void {
    const listed = this.#listing.get(ALL)?.value;
    // Something to look at from the start: the newest. It costs nothing, a verdict is taken only when asked for.
    if (listed && (this.selected === null || !listed.checkpoints.some(({ id }) => id === this.selected))) {
      this.selected = sortCheckpoints(listed.checkpoints, NEWEST_FIRST)[0]?.id ?? null;
    }
  }

  protected override updated(changed: PropertyValues): void {
    this.askAboutSelected();
    if (!changed.has("selected")) return;
    keep("selected", this.selected);
    this.right?.scrollTo({ top: 0 });
  }

  protected override render() {
    const answer = this.#listing.get(ALL);
    const listed = answer?.value ?? null;
    return html`
      <div class="top">
        <h1>Checkpoints</h1>
        <span class="summary">${listed ? this.summarize(listed) : nothing}</span>
        <button class="button" data-testid="reload" title="Read the log directories again" @click=${this.reload}>
          Reload
        </button>
      </div>
      ${this.renderProblems()} ${this.renderBody(listed, answer?.problem ?? null)}
    `;
  }

  private renderBody(listed: CheckpointsAnswer | null, problem: Problem | null) {
    if (listed === null) {
      return html`<div class="whole">
        ${problem
          ? nothing
          : html`<div class="waiting" data-testid="loading">
              <span class="spinner"></span>Reading the log directories…
            </div>`}
      </div>`;
    }
    if (listed.checkpoints.length === 0) {
      return html`<div class="whole">
        <ckptmeta-empty
          kind="no-checkpoints"
          .logdirs=${listed.logdirs}
          .builders=${this.buildersState !== "none"}
        ></ckptmeta-empty>
      </div>`;
    }
    const checkpoint = listed.checkpoints.find(({ id }) => id === this.selected);
    return html`<div class="panes">
      <ckptmeta-list
        .checkpoints=${listed.checkpoints}
        .selected=${this.selected}
        .verdicts=${this.#verdictStatuses}
        @select=${(event: CustomEvent<string>) => (this.selected = event.detail)}
      ></ckptmeta-list>
      <div class="right" tabindex="-1">${checkpoint ? this.renderDetail(checkpoint, listed) : nothing}</div>
    </div>`;
  }

  private renderDetail(checkpoint: Checkpoint, listed: CheckpointsAnswer) {
    const choice = this.choiceOf(checkpoint);
    const plan = this.planOf(checkpoint);
    const key = subjectKey(checkpoint, plan.subject, plan.unknown);
    const opened = this.#graphs.get(key);
    const graph = opened?.value ?? this.#opened[key] ?? null;
    return html`<ckptmeta-detail
      .checkpoint=${checkpoint}
      .builders=${this.builderList}
      .sources=${this.sourcesOf(checkpoint)}
      .contents=${this.#contents.get(fileKey(checkpoint))}
      .buildersState=${this.buildersState}
      .logdirs=${listed.logdirs}
      .choice=${choice}
      .plan=${plan}
      .verdict=${this.#verdicts.get(key)}
      .ranking=${this.findRanking(checkpoint)}
      .export=${this.#exports.get(checkpoint.id)}
      .graphs=${listed.graphs}
      .graph=${graph}
      .graphProblem=${opened?.running ? null : (opened?.problem ?? null)}
      .opening=${opened?.running ?? false}
      .graphUrl=${graph ? this.graphUrl(graph).href : ""}
      .comparison=${this.#comparisons.get(checkpoint, listed.checkpoints)}
      @load-contents=${() => this.loadContents(checkpoint)}
      @choice=${(event: CustomEvent<Choice>) => this.choose(checkpoint, event.detail)}
      @verify=${() => this.verify(checkpoint)}
      @which=${() => this.rankBuilders(checkpoint)}
      @take-builder=${(event: CustomEvent<Taken>) => this.takeBuilder(checkpoint, event.detail)}
      @close-which=${() => this.closeRanking(checkpoint)}
      @open-graph=${(event: CustomEvent<{ newTab: boolean }>) => this.openGraphs(checkpoint, event.detail.newTab)}
      @export=${(event: CustomEvent<ExportOptions>) => this.#exports.run({ ...plan.subject, ...event.detail })}
      @cancel-export=${() => this.#exports.cancel(checkpoint.id)}
      @rename=${(event: CustomEvent<string[]>) => this.rename(checkpoint, event.detail)}
      @comparison=${(event: CustomEvent<Compared>) => this.#comparisons.choose(checkpoint, event.detail)}
      @compare=${() => this.#comparisons.compare(checkpoint, listed.checkpoints)}
    ></ckptmeta-detail>`;
  }

  private renderProblems() {
    const problems = this.collectProblems();
    if (problems.length === 0) return nothing;
    const shown = this.allProblems ? problems : problems.slice(0, SHOWN_PROBLEMS);
    return html`<div class="problems">
      ${shown.map(
        (problem) => html`<ckptmeta-problem .problem=${problem}></ckptmeta-problem>`,
      )}
      ${problems.length > SHOWN_PROBLEMS
        ? html`<button class="link" @click=${() => (this.allProblems = !this.allProblems)}>
            ${this.allProblems ? "Show fewer problems" : `Show all ${formatCount(problems.length)} problems`}
          </button>`
        : nothing}
    </div>`;
  }

  private collectProblems(): Problem[] {
    const listing = this.#listing.get(ALL);
    const builders = this.#builders.get(ALL);
    const failed = [listing?.problem, builders?.problem].filter((problem) => problem != null);
    // One server that does not answer is one problem, however many questions it leaves open.
    const distinct = failed.filter(({ message }, i) => failed.findIndex((p) => p.message === message) === i);
    const fromScan = (listing?.value?.problems ?? []).map((message) => ({ code: "", message, details: "" }));
    return [...distinct, ...(builders?.value?.problems ?? []), ...fromScan];
  }

  private summarize({ checkpoints, logdirs }: CheckpointsAnswer): string {
    const runs = new Set(checkpoints.map(({ run }) => run)).size;
    const where = logdirs.map(({ name, path }) => (name ? `${name}:${path}` : path)).join(", ");
    if (checkpoints.length === 0) return where;
    return `${formatNumberOf(checkpoints.length, "checkpoint")} in ${formatNumberOf(runs, "run")} of ${where}`;
  }

  private get builderList(): readonly Builder[] {
    return this.#builders.get(ALL)?.value?.builders ?? [];
  }

  private get buildersState(): BuildersState {
    return this.#builders.get(ALL)?.value?.state ?? this.#listing.get(ALL)?.value?.builders.state ?? "loading";
  }

  private choiceOf(checkpoint: Checkpoint): Choice {
    return this.#choices.get(checkpoint.id) ?? choiceByPairing(checkpoint, this.builderList);
  }

  private planOf(checkpoint: Checkpoint): Plan {
    return planRebuild(checkpoint, this.choiceOf(checkpoint), this.builderList, this.sourcesOf(checkpoint));
  }

  private sourcesOf(checkpoint: Checkpoint): readonly Source[] {
    return this.#sources.get(fileKey(checkpoint))?.value ?? [];
  }

  /** Names tell the sources of what is selected; without a builder its tree is what there is to see, and is read. */
  private askAboutSelected(): void {
    const checkpoint = this.#listing.get(ALL)?.value?.checkpoints.find(({ id }) => id === this.selected);
    if (!checkpoint) return;
    const key = fileKey(checkpoint);
    if (this.#sources.get(key) === null) void this.#sources.ask(key, () => listSources(checkpoint.id));
    const builderless = checkpoint.pairing.builder === null && this.buildersState !== "loading";
    if (builderless && this.#contents.get(key) === null) this.loadContents(checkpoint);
  }

  private loadContents(checkpoint: Checkpoint): void {
    void this.#contents.ask(fileKey(checkpoint), () => readContents(checkpoint.id));
  }

  private choose(checkpoint: Checkpoint, choice: Choice): void {
    this.#choices.set(checkpoint.id, choice);
    this.requestUpdate();
  }

  /** Lists again, now, and then every ten seconds while the tab is in front. */
  private readonly reload = async (): Promise<void> => {
    clearTimeout(this.#timer);
    await Promise.all([this.#listing.ask(ALL, listCheckpoints), this.#builders.ask(ALL, listBuilders)]);
    this.schedule();
  };

  private schedule(): void {
    clearTimeout(this.#timer);
    if (!this.isConnected || !isInFront()) return;
    const loading = this.#builders.get(ALL)?.value?.state === "loading";
    this.#timer = setTimeout(
      () => void (loading ? this.awaitBuilders() : this.reload()),
      loading ? LOADING_POLL_MILLISECONDS : POLL_MILLISECONDS,
    );
  }

  private async awaitBuilders(): Promise<void> {
    await this.#builders.ask(ALL, listBuilders);
    // Pairings depend on the builders: once those are known, the checkpoints are listed anew.
    if (this.buildersState === "loading") this.schedule();
    else await this.reload();
  }

  private async rankBuilders(checkpoint: Checkpoint): Promise<void> {
    this.#closed.delete(checkpoint.id);
    await this.#rankings.ask(subjectKey(checkpoint, { checkpoint: checkpoint.id }), () => rankBuilders(checkpoint.id));
    // Every rebuild reads the builders again, and the index: problems and the format may be newer now.
    void this.reload();
  }

  private findRanking(checkpoint: Checkpoint): Answer<Ranking> | null {
    if (this.#closed.has(checkpoint.id)) return null;
    return this.#rankings.get(subjectKey(checkpoint, { checkpoint: checkpoint.id }));
  }

  private closeRanking(checkpoint: Checkpoint): void {
    this.#closed.add(checkpoint.id);
    this.requestUpdate();
  }

  private takeBuilder(checkpoint: Checkpoint, taken: Taken): void {
    this.choose(checkpoint, chooseArguments(taken.builder, taken.arguments, this.builderList));
    this.closeRanking(checkpoint);
    void this.verify(checkpoint);
  }

  private async verify(checkpoint: Checkpoint): Promise<void> {
    const choice = this.choiceOf(checkpoint);
    const { subject, unknown } = this.planOf(checkpoint);
    let key = subjectKey(checkpoint, subject, unknown);
    await this.#verdicts.ask(key, async () => {
      if (unknown.length === 0) return takeVerdict(subject);
      const { arguments: values, determined, reason, verdict } = await solveArguments(subject, unknown);
      if (!determined || verdict === null) {
        throw new ApiError("not_determined", `The checkpoint does not determine ${unknown.join(" and ")}: ${reason}.`);
      }
      // What was found stands in the form, unless somebody has gone on typing; its verdict is under that question.
      key = subjectKey(checkpoint, { ...subject, arguments: values });
      await this.#verdicts.ask(key, async () => verdict);
      if (this.choiceOf(checkpoint) === choice) {
        this.choose(checkpoint, chooseArguments(choice.builder, values, this.builderList, choice.renames));
      }
      return verdict;
    });
    const answer = this.#verdicts.get(key);
    if (!answer || answer.running) return;
    const statuses = new Map(this.#verdictStatuses);
    statuses.set(checkpoint.id, answer.problem ? "error" : (answer.value?.status ?? "error"));
    this.#verdictStatuses = statuses;
    this.requestUpdate();
    // A rebuild reads the index, and the builders again: state, format and problems may be newer now.
    void this.reload();
  }

  private rename(checkpoint: Checkpoint, rules: string[]): void {
    this.choose(checkpoint, addRenames(this.choiceOf(checkpoint), rules));
    void this.verify(checkpoint);
  }

  private async openGraphs(checkpoint: Checkpoint, newTab: boolean): Promise<void> {
    const { subject } = this.planOf(checkpoint);
    const key = subjectKey(checkpoint, subject);
    await this.#graphs.ask(key, () => openGraph(subject));
    const answer = this.#graphs.get(key);
    if (!answer?.value || answer.running || answer.problem) return;
    this.#opened = { ...this.#opened, [key]: answer.value };
    keep("opened", this.#opened);
    await this.updateComplete;
    const url = this.graphUrl(answer.value);
    if (newTab) window.open(url, "_blank");
    // Somebody who has gone on to another checkpoint meanwhile is not to be torn away from it.
    else if (this.selected === checkpoint.id) goToGraphs(window.parent, url);
  }

  private graphUrl({ key }: OpenedGraph): URL {
    return graphsUrl(window.location.href, parentSearch(), key);
  }

  private readonly onKey = (event: KeyboardEvent): void => {
    if (event.key !== "/" || event.ctrlKey || event.metaKey || event.altKey) return;
    const typing = event.composedPath().some((target) => target instanceof Element && target.matches("input, select, textarea"));
    if (typing || !this.list) return;
    event.preventDefault();
    this.list.focusFilter();
  };
}

// Training may write a checkpoint of this name again, with other contents.
function fileKey({ id, modified }: Checkpoint): string {
  return JSON.stringify([id, modified]);
}

function parentSearch(): string {
  try {
    return window.parent.location.search;
  } catch {
    return "";
  }
}
