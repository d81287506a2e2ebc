// Bundles the tab into the one ES module that TensorBoard's iframe imports.
// With `--test`, bundles the unit tests for node's own test runner instead.
import { copyFileSync, mkdirSync, readdirSync, rmSync, statSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { build, transform } from "esbuild";

const here = dirname(fileURLToPath(import.meta.url));
const shared = { bundle: true, format: "esm", target: "es2022", logLevel: "warning", absWorkingDir: here };

// A minifier leaves template literals alone, and most of an element is template: this takes the comments
// and indentation out of the styles, and the indentation out of the markup. A line break stays a line
// break, so no word joins another; texts whose spaces count live outside of `elements/`.
const slimTemplates = {
  name: "slim-templates",
  setup({ onLoad }) {
    onLoad({ filter: /src\/(elements\/[^/]+|styles)\.ts$/ }, async ({ path }) => {
      const source = await readFile(path, "utf8");
      const parts = await Promise.all(
        source.split(/(?<=\bcss`)([^`]*)(?=`)/).map((part, i) => (i % 2 === 1 ? slimStyles(part) : part)),
      );
      return { contents: parts.join("").replace(/\n\s+/g, "\n"), loader: "ts" };
    });
  },
};

async function slimStyles(styles) {
  const holes = [];
  const filled = styles.replace(/\$\{[^}]*\}/g, (hole) => `hole-${holes.push(hole) - 1}-`);
  const { code } = await transform(filled, { loader: "css", minify: true });
  return code.trim().replaceAll("\\", "\\\\").replace(/hole-(\d+)-/g, (_, i) => holes[i]);
}

if (process.argv.includes("--test")) {
  rmSync(join(here, "build/test"), { recursive: true, force: true });
  await build({
    ...shared,
    entryPoints: readdirSync(join(here, "test"))
      .filter((name) => name.endsWith(".test.ts"))
      .map((name) => `test/${name}`),
    outdir: "build/test",
    platform: "node",
    // Some of its dependencies are CommonJS, which node loads better than a bundle does.
    external: ["happy-dom"],
    sourcemap: "inline",
  });
} else {
  const folder = join(here, "../tb_ckptmeta/plugin/static");
  mkdirSync(folder, { recursive: true });
  await build({
    ...shared,
    entryPoints: ["src/index.ts"],
    outfile: join(folder, "index.js"),
    platform: "browser",
    minify: true,
    plugins: [slimTemplates],
    // Lit's licence asks for its notice to travel along: once, and not once a file.
    legalComments: "none",
    banner: { js: "/*! Contains Lit (BSD-3-Clause): see LICENSE.lit.txt beside this file. */" },
  });
  copyFileSync(join(here, "node_modules/lit/LICENSE"), join(folder, "LICENSE.lit.txt"));
  console.log(`index.js: ${(statSync(join(folder, "index.js")).size / 1000).toFixed(1)} kB`);
}
