/** What TensorBoard does around the iframe: its theme, and whether this tab is the one in front. */

/**
 * Calls `changed` with whether TensorBoard is dark, now and whenever that changes.
 *
 * TensorBoard tells an iframe nothing of it; the class on its body is what its own pages go by.
 */
export function watchTheme(changed: (dark: boolean) => void): () => void {
  const body = parentBody();
  if (body === null) {
    const media = window.matchMedia("(prefers-color-scheme: dark)");
    const tell = () => changed(media.matches);
    media.addEventListener("change", tell);
    tell();
    return () => media.removeEventListener("change", tell);
  }
  const tell = () => changed(body.classList.contains("dark-mode"));
  const observer = new MutationObserver(tell);
  observer.observe(body, { attributeFilter: ["class"] });
  tell();
  return () => observer.disconnect();
}

/** Calls `changed` whenever the tab comes to the front or leaves it. */
export function watchFront(changed: (front: boolean) => void): () => void {
  let last = isInFront();
  const tell = () => {
    const front = isInFront();
    if (front !== last) changed((last = front));
  };
  document.addEventListener("visibilitychange", tell);
  // TensorBoard keeps the iframe of a tab that is left, and hides it by its style.
  const frame = ownFrame();
  const observer = new MutationObserver(tell);
  if (frame !== null) observer.observe(frame, { attributeFilter: ["style", "class", "hidden"] });
  return () => {
    document.removeEventListener("visibilitychange", tell);
    observer.disconnect();
  };
}

export function isInFront(): boolean {
  if (document.visibilityState !== "visible") return false;
  const frame = ownFrame();
  if (frame === null) return true;
  const style = frame.ownerDocument.defaultView?.getComputedStyle(frame);
  return style?.visibility !== "hidden" && style?.display !== "none";
}

// Both are null for a page of its own, and throw where the page around comes from another origin.
function ownFrame(): Element | null {
  try {
    return window.frameElement;
  } catch {
    return null;
  }
}

function parentBody(): HTMLElement | null {
  try {
    return window.parent === window ? null : window.parent.document.body;
  } catch {
    return null;
  }
}
