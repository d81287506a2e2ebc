// Looks at the built tab without Python: `npm run build && node test/serve.mjs [PORT] [SCENARIO]`.
// Scenarios: usual, many, empty, bare, no-builders, loading, problems, detached.
import { startFakeTensorBoard } from "./fake-tensorboard.mjs";

const { url } = await startFakeTensorBoard({ port: Number(process.argv[2] ?? 6106), scenario: process.argv[3] });
console.log(`Open ${url}`);
