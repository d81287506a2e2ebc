/** Where the stock Graphs dashboard shows one graph, and how to get there from inside the iframe. */

/**
 * The page that opens Graphs on exactly the graph of `key`.
 *
 * The iframe's document is `<TensorBoard>/data/plugin_entry.html?name=…`, so TensorBoard itself, with
 * whatever path prefix, is one folder up. `search` is TensorBoard's own query, which keeps its flags.
 */
export function graphsUrl(frameUrl: string, search: string, key: string): URL {
  const url = new URL("../", frameUrl);
  const query = new URLSearchParams(search);
  query.delete("ckpt");
  const others = query.toString();
  url.search = `?ckpt=${encodeURIComponent(key)}${others ? `&${others}` : ""}`;
  url.hash = "#graphs";
  return url;
}

/** The part of `Window` that going there takes. */
export interface Page {
  location: Pick<Location, "href" | "search" | "reload">;
}

/**
 * Takes `page` there with a full load: Graphs reads its list of graphs once a load. `page` is the iframe's
 * parent and not the top window, because a notebook puts TensorBoard into an iframe of its own.
 */
export function goToGraphs(page: Page, url: URL): void {
  const { location } = page;
  const there = new URL(location.href);
  const stays = there.pathname === url.pathname && there.search === url.search;
  location.href = url.href;
  // Where only the hash differs, a browser stays on the page that it has.
  if (stays) location.reload();
}
