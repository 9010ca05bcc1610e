/** How far each run is, for the head of the live page. */
import { element, text } from "../page/html.js";
import type { Study } from "../study/study.js";

export function renderProgress({ runs }: Study): string {
  if (runs.length === 0) return element("p", {}, "No run has begun yet.");
  return element(
    "ul",
    { class: "progress" },
    ...runs.map(({ folderName, state, arms }) => {
      const [done, all] = [arms.reduce((sum, arm) => sum + arm.lastRound, 0), arms.reduce((sum, arm) => sum + arm.numRounds, 0)];
      const current = state === "finished" ? undefined : arms.find(({ lastRound, numRounds }) => lastRound < numRounds);
      const at = current === undefined ? "" : `, at round ${String(current.lastRound)} of ${String(current.numRounds)} of ${current.arm}`;
      const bar = element("progress", { max: Math.max(1, all), value: done, "aria-label": `progress of ${folderName}` });
      return element("li", {}, element("strong", {}, text(folderName)), " ", element("span", { class: "state" }, state), " ", bar, text(` ${String(done)} of ${String(all)} rounds${at}`));
    }),
  );
}
