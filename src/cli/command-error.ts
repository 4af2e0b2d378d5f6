/** What the process's exit code says. `interrupted` is what a shell has for Ctrl-C. */
export const EXIT = { done: 0, failed: 1, usage: 2, store: 3, interrupted: 130 } as const;
export type ExitCode = (typeof EXIT)[keyof typeof EXIT];

/** Why a command ended early. Its message is for the operator: plain words that say what to do, and no secret. */
export class CommandError extends Error {
  readonly exitCode: ExitCode;

  constructor(exitCode: ExitCode, message: string, options?: ErrorOptions) {
    super(message, options);
    this.name = "CommandError";
    this.exitCode = exitCode;
  }
}

/** The words are wrong, or a setting is. */
export const usage = (message: string): CommandError => new CommandError(EXIT.usage, message);

/** Ends the command if Ctrl-C was pressed. Asked between two batches, so that none is left half done. */
export function stopIfAsked(signal: AbortSignal, words: string): void {
  if (signal.aborted) throw new CommandError(EXIT.interrupted, words);
}
