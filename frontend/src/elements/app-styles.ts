/** How the whole tab is laid out, and its colours in light and dark. */

import { css } from "lit";

export const layout = css`
  :host {
    --page: #fff;
    --pane: #fafafa;
    --raised: #fff;
    --sunken: #f6f7f8;
    --field: #fff;
    --band: #f1f2f3;
    --hover: rgb(0 0 0 / 4%);
    --selected: #fdeedd;
    --line: #e4e5e7;
    --line-strong: #c7cacf;
    --text: #202124;
    --muted: #5f6368;
    --faint: #8a8f96;
    --link: #1565c0;
    --focus: #1976d2;
    --accent: #f57c00;
    --accent-fill: #bf5600;
    --accent-fill-hover: #a84c00;
    --on-accent: #fff;
    --neutral-weak: #eceef0;
    --good: #1b7a43;
    --good-weak: #e2f3e8;
    --warn: #8f5a00;
    --warn-weak: #fff3d6;
    --bad: #b3261e;
    --bad-weak: #fce8e6;
    display: flex;
    flex-direction: column;
    height: 100vh;
    overflow: hidden;
    font: 13px/1.4 Roboto, "Helvetica Neue", Arial, system-ui, sans-serif;
    color: var(--text);
    background: var(--page);
    color-scheme: light;
  }
  :host([dark]) {
    --page: #303030;
    --pane: #2b2b2b;
    --raised: #383838;
    --sunken: #2a2a2a;
    --field: #2b2b2b;
    --band: #353535;
    --hover: rgb(255 255 255 / 6%);
    --selected: #4b3a26;
    --line: #474747;
    --line-strong: #656565;
    --text: #ececec;
    --muted: #b3b3b3;
    --faint: #8f8f8f;
    --link: #7fbdf5;
    --focus: #64b5f6;
    --accent: #ff9d3f;
    --accent-fill: #f08c2e;
    --accent-fill-hover: #ff9d3f;
    --on-accent: #1f1200;
    --neutral-weak: #4a4a4a;
    --good: #7fd6a0;
    --good-weak: #24412f;
    --warn: #f5c46b;
    --warn-weak: #473a1c;
    --bad: #ff9c93;
    --bad-weak: #4d2a28;
    color-scheme: dark;
  }
  .top {
    flex: none;
    display: flex;
    align-items: center;
    gap: 12px;
    padding: 8px 16px 8px 15px;
    border-bottom: 1px solid var(--line);
  }
  .top .summary {
    flex: 1;
    min-width: 0;
    color: var(--muted);
    overflow: hidden;
    text-overflow: ellipsis;
    white-space: nowrap;
  }
  .top h1 {
    margin: 0;
    font-size: 15px;
    font-weight: 500;
  }
  .problems {
    flex: none;
    display: grid;
    gap: 6px;
    max-height: 40vh;
    overflow: auto;
    padding: 8px 12px;
    border-bottom: 1px solid var(--line);
  }
  .panes {
    flex: 1;
    min-height: 0;
    display: grid;
    grid-template-columns: minmax(340px, 44%) minmax(0, 1fr);
  }
  ckptmeta-list {
    border-right: 1px solid var(--line);
    background: var(--pane);
  }
  .right {
    overflow-y: auto;
    padding: 16px 20px 32px;
  }
  .whole {
    flex: 1;
    overflow: auto;
    padding: 32px 24px;
  }
  .whole > * {
    display: block;
    max-width: 720px;
    margin: 0 auto;
  }
  .waiting {
    display: flex;
    justify-content: center;
    gap: 10px;
    align-items: center;
    color: var(--muted);
  }
  @media (max-width: 719px) {
    .panes {
      grid-template: minmax(160px, 45%) minmax(0, 1fr) / minmax(0, 1fr);
    }
    ckptmeta-list {
      border-right: 0;
      border-bottom: 1px solid var(--line);
    }
  }
`;
