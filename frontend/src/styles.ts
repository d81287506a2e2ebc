/** The look that all elements share; colours come from the custom properties of `ckptmeta-app`. */

import { css } from "lit";

export const base = css`
  :host {
    box-sizing: border-box;
  }
  :host([hidden]) {
    display: none;
  }
  *,
  *::before,
  *::after {
    box-sizing: inherit;
  }
  p {
    margin: 0;
  }
  .muted {
    color: var(--muted);
  }
  .mono,
  code,
  pre {
    font-family: "Roboto Mono", ui-monospace, SFMono-Regular, Menlo, Consolas, monospace;
    font-size: 12px;
  }
  code,
  .mono {
    overflow-wrap: anywhere;
  }
  pre {
    margin: 0;
    padding: 10px 12px;
    max-height: 340px;
    overflow: auto;
    white-space: pre-wrap;
    overflow-wrap: anywhere;
    line-height: 1.5;
    background: var(--sunken);
    border: 1px solid var(--line);
    border-radius: 4px;
  }
  h2,
  h3 {
    margin: 0;
    font-weight: 500;
  }
  h3 {
    font-size: 13px;
  }
  button,
  select,
  input {
    font: inherit;
    color: inherit;
  }
  :focus-visible {
    outline: 2px solid var(--focus);
    outline-offset: 1px;
  }
  .button {
    height: 30px;
    padding: 0 12px;
    border: 1px solid var(--line-strong);
    border-radius: 4px;
    background: var(--raised);
    font-weight: 500;
    white-space: nowrap;
    cursor: pointer;
  }
  .button:hover:not(:disabled) {
    background: var(--hover);
  }
  .button.primary {
    background: var(--accent-fill);
    border-color: var(--accent-fill);
    color: var(--on-accent);
  }
  .button.primary:hover:not(:disabled) {
    background: var(--accent-fill-hover);
  }
  .button:disabled {
    opacity: 0.5;
    cursor: default;
  }
  .link {
    padding: 0;
    border: 0;
    background: none;
    color: var(--link);
    text-align: left;
    cursor: pointer;
  }
  .link:hover,
  a:hover {
    text-decoration: underline;
  }
  a {
    color: var(--link);
    text-decoration: none;
  }
  .field {
    height: 30px;
    padding: 0 8px;
    border: 1px solid var(--line-strong);
    border-radius: 4px;
    background: var(--field);
    min-width: 0;
  }
  .field::placeholder {
    color: var(--faint);
    opacity: 1;
  }
  .field[aria-invalid="true"] {
    border-color: var(--bad);
  }
  .card {
    border: 1px solid var(--line);
    border-radius: 6px;
    background: var(--raised);
  }
  .visually-hidden {
    position: absolute;
    width: 1px;
    height: 1px;
    overflow: hidden;
    clip-path: inset(50%);
    white-space: nowrap;
  }
  .chip {
    display: inline-block;
    padding: 0 6px;
    border-radius: 3px;
    font-size: 11px;
    line-height: 18px;
    font-weight: 500;
    white-space: nowrap;
    color: var(--muted);
    background: var(--neutral-weak);
  }
  .chip.good {
    color: var(--good);
    background: var(--good-weak);
  }
  .chip.warn {
    color: var(--warn);
    background: var(--warn-weak);
  }
  .chip.bad {
    color: var(--bad);
    background: var(--bad-weak);
  }
  .spinner {
    display: inline-block;
    width: 12px;
    height: 12px;
    border: 2px solid var(--line-strong);
    border-top-color: var(--accent);
    border-radius: 50%;
    animation: turn 0.9s linear infinite;
    flex: none;
  }
  @keyframes turn {
    to {
      transform: rotate(1turn);
    }
  }
  @media (prefers-reduced-motion: reduce) {
    .spinner {
      animation-duration: 4s;
    }
  }
`;
