import { css, html, LitElement, nothing, type PropertyValues, type TemplateResult } from "lit";
import { customElement, property, state } from "lit/decorators.js";
import type { Answer } from "../answers";
import type { Contents, TreeNode } from "../api";
import { formatBytes, formatCount, formatNumberOf, formatShape } from "../format";
import { base } from "../styles";
import "./problem-note";

// What is shown open at first: as many rows as one looks at, and no more.
const FIRST_ROWS = 40;
const MOST_CHILDREN = 200;

/**
 * What a checkpoint holds, as a tree with shapes and sizes.
 *
 * @fires load - it was opened for the first time, and has nothing to show yet.
 */
@customElement("ckptmeta-contents")
export class ContentsTree extends LitElement {
  static override styles = [
    base,
    css`
      :host {
        display: block;
      }
      .card {
        padding: 10px 14px;
      }
      header {
        display: flex;
        flex-wrap: wrap;
        align-items: baseline;
        gap: 4px 12px;
      }
      .title {
        display: flex;
        gap: 6px;
        align-items: baseline;
        padding: 0;
        border: 0;
        background: none;
        font-weight: 500;
        cursor: pointer;
      }
      header label {
        margin-left: auto;
        display: flex;
        align-items: center;
        gap: 5px;
      }
      .rows {
        margin-top: 8px;
        max-height: 60vh;
        overflow: auto;
      }
      .row {
        display: flex;
        align-items: baseline;
        gap: 12px;
        padding: 1px 0 1px calc(var(--depth) * 16px);
        border-top: 1px solid var(--line);
        font-variant-numeric: tabular-nums;
      }
      .name {
        flex: 1 1 auto;
        min-width: 0;
        display: flex;
        gap: 4px;
        align-items: baseline;
      }
      .name > span:last-child {
        overflow-wrap: anywhere;
      }
      .toggle {
        flex: none;
        width: 16px;
        padding: 0;
        border: 0;
        background: none;
        color: var(--muted);
        cursor: pointer;
      }
      .leaf {
        flex: none;
        width: 16px;
      }
      .row > :not(.name) {
        flex: none;
        white-space: nowrap;
      }
      .size {
        min-width: 72px;
        text-align: right;
      }
      .own,
      .reference {
        color: var(--muted);
      }
      .waiting {
        display: flex;
        gap: 8px;
        align-items: center;
        margin-top: 8px;
        color: var(--muted);
      }
    `,
  ];

  @property({ attribute: false }) answer: Answer<Contents> | null = null;
  /** Whether it is open before anybody has touched it. */
  @property({ type: Boolean }) first = false;

  @state() private touched: boolean | null = null;
  @state() private training = false;
  @state() private expanded: ReadonlySet<string> = new Set();
  @state() private all: ReadonlySet<string> = new Set();

  protected override willUpdate(changed: PropertyValues): void {
    if (!changed.has("answer")) return;
    const before = (changed.get("answer") as Answer<Contents> | null | undefined)?.value;
    const root = this.answer?.value?.root;
    if (root && this.answer?.value !== before) this.expanded = expandFirst(root);
  }

  private get open(): boolean {
    return this.touched ?? this.first;
  }

  protected override render() {
    const { answer, open } = this;
    const contents = answer?.value ?? null;
    return html`<div class="card" data-testid="contents">
      <header>
        <button class="title" aria-expanded=${open} data-testid="contents-toggle" @click=${this.onToggle}>
          <span aria-hidden="true">${open ? "▾" : "▸"}</span><span>What the checkpoint holds</span>
        </button>
        ${contents ? html`<span class="muted" data-testid="contents-totals">${describeTotals(contents.root)}</span>` : nothing}
        ${open && contents && countOwn(contents.root) > 0
          ? html`<label
              ><input
                type="checkbox"
                data-testid="contents-training"
                .checked=${this.training}
                @change=${(event: Event) => (this.training = (event.target as HTMLInputElement).checked)}
              />the training's own (${formatCount(countOwn(contents.root))})</label
            >`
          : nothing}
      </header>
      ${open ? this.renderBody(contents) : nothing}
    </div>`;
  }

  private renderBody(contents: Contents | null) {
    if (this.answer?.problem) {
      return html`<ckptmeta-problem testid="contents-error" severity="error" .problem=${this.answer.problem}></ckptmeta-problem>`;
    }
    if (contents === null) return html`<div class="waiting"><span class="spinner"></span>Reading the index…</div>`;
    return html`<div class="rows">${this.renderChildren(contents.root, "", 0)}</div>
      ${contents.left_out > 0
        ? html`<p class="muted">${formatNumberOf(contents.left_out, "variable")} more, too many to show.</p>`
        : nothing}
      ${contents.notes.map((note) => html`<p class="muted">${note}</p>`)}`;
  }

  private renderChildren(node: TreeNode, path: string, depth: number): TemplateResult {
    const children = number(node, path).filter(({ node }) => this.training || !node.bookkeeping);
    const shown = this.all.has(path) ? children : children.slice(0, MOST_CHILDREN);
    return html`${shown.map((child) => this.renderNode(child.node, child.path, depth))}
    ${shown.length < children.length
      ? html`<button class="link" @click=${() => (this.all = new Set(this.all).add(path))}>
          Show all ${formatCount(children.length)}
        </button>`
      : nothing}`;
  }

  private renderNode(node: TreeNode, path: string, depth: number): TemplateResult {
    const group = node.children !== undefined;
    const open = group && this.expanded.has(path);
    return html`<div class="row ${node.bookkeeping ? "own" : ""}" style="--depth: ${depth}" data-testid="contents-row">
        <span class="name">
          ${group
            ? html`<button
                class="toggle"
                aria-expanded=${open}
                aria-label="${open ? "Close" : "Open"} ${node.name}"
                @click=${() => this.toggle(path)}
              >
                ${open ? "▾" : "▸"}
              </button>`
            : html`<span class="leaf"></span>`}
          <span class="mono" title=${node.key ?? ""}>${node.name}</span>
        </span>
        ${this.renderFacts(node)}
      </div>
      ${open ? this.renderChildren(node, path, depth + 1) : nothing}`;
  }

  private renderFacts(node: TreeNode) {
    if (node.same_as !== undefined) return html`<span class="reference mono">→ ${node.same_as}</span>`;
    const size = html`<span class="size">${formatBytes(node.bytes ?? 0)}</span>`;
    if (node.key === undefined) return html`<span class="muted">${formatNumberOf(node.variables ?? 0, "variable")}</span>${size}`;
    return html`<span class="mono">${formatShape(node.shape)} ${node.dtype}</span>${size}`;
  }

  private readonly onToggle = (): void => {
    this.touched = !this.open;
    if (this.touched && this.answer === null) this.dispatchEvent(new CustomEvent("load"));
  };

  private toggle(path: string): void {
    const expanded = new Set(this.expanded);
    if (!expanded.delete(path)) expanded.add(path);
    this.expanded = expanded;
  }
}

function describeTotals(root: TreeNode): string {
  const { variables = 0, parameters = 0, bytes = 0 } = root;
  return `${formatNumberOf(variables, "variable")}, ${formatNumberOf(parameters, "parameter")}, ${formatBytes(bytes)}`;
}

interface Placed {
  node: TreeNode;
  path: string;
}

/** A node's children with their paths, by place: names need not differ, and hiding some moves no other. */
function number(node: TreeNode, path: string): Placed[] {
  return (node.children ?? []).map((child, i) => ({ node: child, path: `${path}/${i}` }));
}

/** The groups that are open at first: level by level, while there is room. */
function expandFirst(root: TreeNode): Set<string> {
  const expanded = new Set<string>();
  const visible = (placed: Placed[]) => placed.filter(({ node }) => !node.bookkeeping);
  let level = visible(number(root, ""));
  let rows = level.length;
  while (level.length > 0) {
    const next: Placed[] = [];
    for (const { node, path } of level) {
      const children = visible(number(node, path));
      if (node.children === undefined || rows + children.length > FIRST_ROWS) continue;
      rows += children.length;
      expanded.add(path);
      next.push(...children);
    }
    level = next;
  }
  return expanded;
}

function countOwn(node: TreeNode): number {
  if (node.bookkeeping) return node.variables ?? 0;
  return (node.children ?? []).reduce((sum, child) => sum + countOwn(child), 0);
}
