import assert from "node:assert/strict";
import { test } from "node:test";
import { goToGraphs, graphsUrl } from "../src/graphs-link";

const FRAME = "http://host:6006/team/tb/data/plugin_entry.html?name=ckptmeta";

test("graphs url stands one folder above the frame, prefix included", () => {
  assert.equal(graphsUrl(FRAME, "", "a-_1").href, "http://host:6006/team/tb/?ckpt=a-_1#graphs");
  assert.equal(
    graphsUrl("http://host:6006/data/plugin_entry.html?name=ckptmeta", "", "k").href,
    "http://host:6006/?ckpt=k#graphs",
  );
});

test("graphs url replaces an older key and keeps TensorBoard's own flags", () => {
  assert.equal(graphsUrl(FRAME, "?darkMode=true&ckpt=old", "new").search, "?ckpt=new&darkMode=true");
});

function page(href: string) {
  const seen: string[] = [];
  const location = {
    get href() {
      return href;
    },
    set href(value: string) {
      seen.push(`go ${value}`);
    },
    get search() {
      return new URL(href).search;
    },
    reload: () => void seen.push("reload"),
  };
  return { seen, location };
}

test("go to graphs reloads where only the hash would change", () => {
  const same = page("http://host:6006/team/tb/?ckpt=k#ckptmeta");
  goToGraphs(same, graphsUrl(FRAME, same.location.search, "k"));
  assert.deepEqual(same.seen, ["go http://host:6006/team/tb/?ckpt=k#graphs", "reload"]);
});

test("go to graphs leaves the load to the browser where the query changes", () => {
  const other = page("http://host:6006/team/tb/#ckptmeta");
  goToGraphs(other, graphsUrl(FRAME, other.location.search, "k"));
  assert.deepEqual(other.seen, ["go http://host:6006/team/tb/?ckpt=k#graphs"]);
});
