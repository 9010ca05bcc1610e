/** Runs on the page: where the numbers come from, with the full configuration, the environment and links to the adapters. */
import { formatBytes } from "../format.js";
import type { StudyRun } from "../study/study.js";
import { element, relativeHref, text } from "./html.js";

/** Address of a file of a run, relative to the page; undefined where files cannot be reached from it. */
export type HrefOf = (run: StudyRun, path: string) => string | undefined;

export function renderRun(run: StudyRun, hrefOf: HrefOf): string {
  const { record, folderName, state, seed, config, index } = run;
  const { machine, versions, git, hashes } = record;
  const pairs: readonly (readonly [string, string])[] = [
    ["state", state],
    ["seed", String(seed)],
    ["started", record.startedAt],
    ["machine", `${machine.cpu}, ${String(machine.numCores)} cores, ${formatBytes(machine.memoryBytes)}, ${machine.platform} ${machine.osRelease} ${machine.architecture}`],
    ["computed on", `${machine.device}, ${String(machine.numThreads)} threads`],
    ["versions", `fedllm-native ${versions.fedllmNative}, Node ${versions.node}, node-llama-cpp ${versions.nodeLlamaCpp}, llama.cpp ${versions.llamaCpp}`],
    ...(git === undefined ? [] : [["git commit", `${git.commit}${git.hasChanges ? " with changes" : ""}`] as const]),
    ...(record.syntheticData === undefined ? [] : [["synthetic data", `${record.syntheticData.profile}, seed ${String(record.syntheticData.seed)}`] as const]),
    ...Object.entries(hashes).map(([role, hash]) => [`SHA-256 of ${role}`, hash] as const),
  ];
  return element(
    "details",
    { id: `run-${String(index)}` },
    element("summary", {}, `${text(folderName)}: seed ${String(seed)}, ${state}`),
    element("dl", { class: "pairs" }, ...pairs.map(([name, value]) => element("dt", {}, text(name)) + element("dd", {}, text(value)))),
    renderAdapters(run, hrefOf),
    element("h4", {}, "Configuration"),
    element("pre", { tabindex: 0, role: "region", "aria-label": `configuration of ${folderName}` }, config.split(/\r?\n/u).map(text).join("\n")),
  );
}

function renderAdapters(run: StudyRun, hrefOf: HrefOf): string {
  const links = run.arms.flatMap(({ adapters }) =>
    adapters.map((path) => {
      const href = hrefOf(run, path);
      return element("li", {}, href === undefined ? text(path) : element("a", { href: relativeHref(href) }, text(path)));
    }),
  );
  return links.length === 0 ? "" : element("h4", {}, "Adapters") + element("ul", {}, ...links);
}
