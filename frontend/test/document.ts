/** A document for the elements, outside of a browser. Import it before any element. */

import { Window } from "happy-dom";

const window = new Window({ url: "http://localhost:6006/data/plugin/ckptmeta/" });
const names = [
  "window",
  "document",
  "customElements",
  "Comment",
  "CSSStyleSheet",
  "CustomEvent",
  "Document",
  "DocumentFragment",
  "Element",
  "Event",
  "HTMLElement",
  "MutationObserver",
  "Node",
  "ResizeObserver",
  "ShadowRoot",
] as const;
for (const name of names) Reflect.set(globalThis, name, Reflect.get(window, name));
