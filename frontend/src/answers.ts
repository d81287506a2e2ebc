/** Answers to questions that overlap: each is kept under what was asked, and only the latest counts. */

import { type Problem, toProblem } from "./api";

export interface Answer<T> {
  readonly running: boolean;
  /** When the question under way was asked, in milliseconds since the epoch. */
  readonly askedAt: number;
  readonly answeredAt: number;
  /** The last good answer; it stays while a newer question is under way. */
  readonly value: T | null;
  readonly problem: Problem | null;
}

/**
 * Keeps answers by key. A key names everything that was asked about (checkpoint, builder, arguments), so
 * that an answer cannot be shown under another question, however late it comes; of two questions under
 * one key, the one that was asked last wins.
 */
export class Answers<T> {
  readonly #answers = new Map<string, Answer<T>>();
  readonly #turns = new Map<string, number>();
  readonly #changed: () => void;

  constructor(changed: () => void) {
    this.#changed = changed;
  }

  get(key: string): Answer<T> | null {
    return this.#answers.get(key) ?? null;
  }

  /** Resolves when `question` is settled, whether or not its answer still counted. */
  async ask(key: string, question: () => Promise<T>): Promise<void> {
    const turn = (this.#turns.get(key) ?? 0) + 1;
    this.#turns.set(key, turn);
    const before = this.get(key);
    const pending = {
      running: true,
      askedAt: Date.now(),
      answeredAt: before?.answeredAt ?? 0,
      value: before?.value ?? null,
      problem: before?.problem ?? null,
    };
    this.#set(key, pending);
    let settled: Partial<Answer<T>>;
    try {
      settled = { value: await question(), problem: null };
    } catch (thrown) {
      settled = { problem: toProblem(thrown) };
    }
    if (this.#turns.get(key) !== turn) return;
    this.#set(key, { ...pending, ...settled, running: false, answeredAt: Date.now() });
  }

  #set(key: string, answer: Answer<T>): void {
    this.#answers.set(key, answer);
    this.#changed();
  }
}
