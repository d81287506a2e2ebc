/** How the list of checkpoints is laid out. */

import { css } from "lit";

/** Every row has this height: what is in view follows from the scroll position alone. */
export const ROW_PIXELS = 28;

export const listStyles = css`
  :host {
    display: flex;
    flex-direction: column;
    min-height: 0;
    min-width: 0;
    container-type: inline-size;
  }
  .bar {
    display: flex;
    align-items: center;
    gap: 10px;
    padding: 10px 12px 8px;
  }
  .bar .field {
    flex: 1;
  }
  .bar label {
    display: flex;
    align-items: center;
    gap: 4px;
    white-space: nowrap;
  }
  .count {
    color: var(--muted);
    white-space: nowrap;
    font-variant-numeric: tabular-nums;
  }
  .line {
    display: grid;
    grid-template-columns: 8px minmax(0, 1fr) 64px 62px 72px minmax(0, 108px);
    column-gap: 10px;
    align-items: center;
    height: ${ROW_PIXELS}px;
    padding: 0 12px;
    border-left: 3px solid transparent;
  }
  .head {
    flex: none;
    border-bottom: 1px solid var(--line);
    color: var(--muted);
    font-size: 12px;
    /* The scroll bar takes its width from the rows; the headings stay above their columns. */
    scrollbar-gutter: stable;
    scrollbar-width: thin;
    overflow: hidden;
  }
  .head button {
    width: 100%;
    height: 100%;
    padding: 0;
    border: 0;
    background: none;
    text-align: left;
    white-space: nowrap;
    cursor: pointer;
  }
  .head .number {
    text-align: right;
  }
  .head button:hover,
  .head .sorted {
    color: var(--text);
  }
  .number {
    text-align: right;
    font-variant-numeric: tabular-nums;
    white-space: nowrap;
  }
  .scroller {
    position: relative;
    flex: 1;
    min-height: 0;
    overflow-y: auto;
    scrollbar-gutter: stable;
    scrollbar-width: thin;
    /* We keep the place ourselves when the list is read again. */
    overflow-anchor: none;
  }
  .scroller:focus-visible {
    outline-offset: -2px;
  }
  .window {
    position: absolute;
    inset: 0 0 auto;
    will-change: transform;
  }
  .option {
    cursor: pointer;
  }
  .option:hover {
    background: var(--hover);
  }
  .option[aria-selected="true"] {
    background: var(--selected);
    border-left-color: var(--accent);
  }
  .cut {
    overflow: hidden;
    text-overflow: ellipsis;
    white-space: nowrap;
  }
  .name {
    display: flex;
    align-items: center;
    gap: 6px;
    min-width: 0;
  }
  .chip .sign {
    display: none;
  }
  .run {
    display: flex;
    align-items: center;
    gap: 8px;
    width: 100%;
    height: ${ROW_PIXELS}px;
    padding: 0 12px 0 8px;
    border: 0;
    border-top: 1px solid var(--line);
    border-bottom: 1px solid var(--line);
    background: var(--band);
    text-align: left;
    cursor: pointer;
  }
  .run .cut {
    font-weight: 500;
  }
  .run .amount {
    margin-left: auto;
    color: var(--muted);
    font-size: 12px;
    white-space: nowrap;
    font-variant-numeric: tabular-nums;
  }
  .pinned {
    position: sticky;
    top: 0;
    z-index: 1;
    height: 0;
  }
  .caret {
    width: 8px;
    height: 8px;
    flex: none;
    color: var(--muted);
    transition: transform 0.1s;
  }
  .open .caret {
    transform: rotate(90deg);
  }
  .dot {
    width: 8px;
    height: 8px;
    border-radius: 50%;
    border: 1.5px solid var(--faint);
  }
  .dot.good {
    border-color: var(--good);
    background: var(--good);
  }
  .dot.warn {
    border-color: var(--warn);
    background: linear-gradient(90deg, var(--warn) 50%, transparent 50%);
  }
  .dot.bad {
    border-color: var(--bad);
    background: var(--bad);
    border-radius: 1px;
  }
  .claims {
    color: var(--warn);
  }
  .nothing {
    padding: 24px;
    color: var(--muted);
    text-align: center;
  }
  @container (max-width: 540px) {
    .line {
      grid-template-columns: 8px minmax(0, 1fr) 58px 68px minmax(0, 96px);
      column-gap: 8px;
    }
    .step {
      display: none;
    }
  }
  @container (max-width: 460px) {
    .chip .word {
      display: none;
    }
    .chip .sign {
      display: inline;
    }
    /* The dot says it already. */
    .state:has(+ .chip) {
      display: none;
    }
  }
  @container (max-width: 380px) {
    .line {
      grid-template-columns: 8px minmax(0, 1fr) 58px 68px;
    }
    .builder,
    .bar label {
      display: none;
    }
  }
`;
