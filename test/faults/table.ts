import type { Figure } from "./figures.ts";

/** The table of `docs/reliability.md`, in Markdown, from the figures of a run. */
export function renderReliability(figures: readonly Figure[]): string {
  const stories = [...new Set(figures.map(({ story }) => story))].sort();
  const lines = stories.flatMap((story) => [
    `### ${story.replace(/^\d+\w? /, "")}`,
    "",
    "| What was done | What is promised | Measured | |",
    "| --- | --- | --- | --- |",
    ...figures
      .filter((figure) => figure.story === story)
      .map(({ row, promise, figure, holds }) => {
        const cells = [row, promise, figure, holds ? "holds" : "**broken**"];
        return `| ${cells.map((cell) => cell.replaceAll("|", "\\|").replaceAll("\n", " ")).join(" | ")} |`;
      }),
    "",
  ]);
  return lines.join("\n");
}
