import type { Builder } from "../src/api";

export const BUILDERS: Builder[];
export function startFakeTensorBoard(options?: { port?: number; scenario?: string; delay?: number }): Promise<{
  url: string;
  base: string;
  requests: { method: string; path: string; headers: Record<string, string>; body: unknown }[];
  answers: Map<string, (body: unknown) => unknown[] | Promise<unknown[]>>;
  close: () => void;
}>;
