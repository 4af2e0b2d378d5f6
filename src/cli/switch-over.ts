import { abandon, type SwitchProgress, type SwitchReport, type SwitchStep } from "../session-store/switch.ts";
import { CommandError, EXIT } from "./command-error.ts";
import type { OpenStore } from "./open-store.ts";
import type { CliParts } from "./parts.ts";
import { counted, tell, timeInWords } from "./words.ts";

const TERMINAL_MS = 100;
const LINE_MS = 3000;

const STEPS: Record<SwitchStep, string> = {
  both: "gateways write to both",
  backfill: "copying",
  verify: "comparing",
  pivot: "gateways change over",
  "verify-pivot": "comparing again",
  to: "the destination decides",
  "verify-to": "comparing for the last time",
};

const inWords = ({ step, keys, waitingFor }: SwitchProgress): string =>
  waitingFor.length === 0
    ? `${STEPS[step]}  ${counted(keys, "key")}`
    : `${STEPS[step]}  waiting for ${counted(waitingFor.length, "instance")}: ${waitingFor.slice(0, 3).join(", ")}`;

function reportWords(report: SwitchReport, to: string): string[] {
  const { instances, keys, copied, passes, commands, commandsPerKey, seconds } = report;
  return [
    `${counted(instances.length, "instance")} moved to ${to}: ${counted(keys, "key")} in ${timeInWords(seconds * 1000)}.`,
    `${counted(copied, "key")} copied in ${counted(passes, "comparison")}, ${commands} commands, ${commandsPerKey.toFixed(1)} a key.`,
    "Now set the store of every instance to the destination and unset SESSION_MIRROR, before the next restart.",
  ];
}

/** Shows each step at once, and how far it is now and then. */
function shower({ stdout, stderr, now }: CliParts, json: boolean) {
  const onTerminal = !json && stderr.isTTY === true;
  let step: SwitchStep | undefined;
  let shownAt = 0;
  return {
    show(progress: SwitchProgress): void {
      const isNew = progress.step !== step;
      if (!isNew && now() - shownAt < (onTerminal ? TERMINAL_MS : LINE_MS)) return;
      const isFirst = step === undefined;
      step = progress.step;
      shownAt = now();
      if (json) stdout.write(`${JSON.stringify({ type: "progress", ...progress })}\n`);
      else if (!onTerminal) stderr.write(`${inWords(progress)}\n`);
      else {
        // A line that wraps could not be drawn over.
        const line = inWords(progress).slice(0, Math.max(20, (stderr.columns ?? 80) - 1));
        stderr.write(`${isNew && !isFirst ? "\n" : "\r"}${line}\u001B[K`);
      }
    },
    end(): void {
      if (onTerminal && step !== undefined) stderr.write("\n");
    },
  };
}

/** Moves the gateways that serve from one store to the other, and shows what it does. */
export async function showSwitch(
  from: OpenStore,
  to: OpenStore,
  parts: CliParts,
  { batch, json }: { batch: number; json: boolean },
): Promise<number> {
  const { signal } = parts;
  const { show, end } = shower(parts, json);
  try {
    const report = await parts.switchOver({ from, to, batch, signal, onProgress: show });
    end();
    tell(parts, json, { ...report, from: from.label, to: to.label }, reportWords(report, to.label));
    return EXIT.done;
  } catch (error) {
    end();
    const again = "the same command again goes on, and --abandon gives up what has not changed over";
    if (signal.aborted) throw new CommandError(EXIT.interrupted, `Stopped: ${again}.`, { cause: error });
    if (!(error instanceof CommandError)) throw error;
    throw new CommandError(error.exitCode, `${error.message} ${again}.`, { cause: error });
  }
}

/** Gives up a move of serving gateways that was begun. */
export async function abandonSwitch(
  from: OpenStore,
  to: OpenStore,
  parts: CliParts,
  json: boolean,
): Promise<number> {
  await abandon({ from, to });
  const words = [`The move was given up: ${from.label} goes on deciding.`];
  tell(parts, json, { abandoned: true, from: from.label, to: to.label }, words);
  return EXIT.done;
}
