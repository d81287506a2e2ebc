/** The entry module: TensorBoard's iframe imports it and calls `render()`. */

import "./elements/app";

export function render(): void {
  document.documentElement.lang = "en";
  document.title = "Checkpoints";
  document.body.style.margin = "0";
  document.body.append(document.createElement("ckptmeta-app"));
}
