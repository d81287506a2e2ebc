/** What outlives a page load within one browser tab: Open in Graphs is a full load, and people come back. */

export function readKept<T>(name: string, otherwise: T): T {
  try {
    const text = sessionStorage.getItem(storageKey(name));
    return text === null ? otherwise : (JSON.parse(text) as T);
  } catch {
    return otherwise;
  }
}

export function keep(name: string, value: unknown): void {
  try {
    sessionStorage.setItem(storageKey(name), JSON.stringify(value));
  } catch {
    // Storage can be full or forbidden; then nothing outlives the page, which is no loss of work.
  }
}

// Two TensorBoards behind one host have different paths.
function storageKey(name: string): string {
  return `ckptmeta:${document.baseURI}:${name}`;
}
