// Makes pairs of a preferred and another answer out of the demonstration data: the same bytes each time, no random numbers.
// A friendly answer ("Of course! spoon: tool") stands against a plain one ("spoon: tool"). Which of them people prefer depends
// on the task of the question: friendly for half of the tasks, plain for the other half, so a model that does not look at the
// question is right in half of the cases. Clients have one or two main tasks each, so most of them see one side mainly.
// usage: node experiments/preference/make-pairs.mjs [FOLDER]     writes pairs.json and pairs-heldout.json, default: data beside this file
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";

const FRIENDLY_TASKS = new Set(["category", "capital", "opposite", "article"]);
const GREETINGS = { en: "Of course! ", es: "¡Claro! ", de: "Gerne! ", fr: "Bien sûr ! " };
/** Pairs of a client at most; its first samples, which are in random order in the file. */
const MAX_PAIRS = 64;

const demo = join(import.meta.dirname, "..", "demo", "data");
const folder = process.argv[2] ?? join(import.meta.dirname, "data");

function makePair({ instruction, response, task, language }) {
  const friendly = GREETINGS[language] + response;
  const [chosen, rejected] = FRIENDLY_TASKS.has(task) ? [friendly, response] : [response, friendly];
  return { prompt: instruction, chosen, rejected, task, language };
}

/** Equal samples give equal pairs, of which one is enough. */
function distinctPairs(samples) {
  const pairs = new Map(samples.map((sample) => [JSON.stringify(sample), makePair(sample)]));
  return [...pairs.values()];
}

function write(name, value) {
  writeFileSync(join(folder, name), `${JSON.stringify(value, undefined, 1)}\n`);
}

mkdirSync(folder, { recursive: true });
const clients = JSON.parse(readFileSync(join(demo, "demo-clients.json"), "utf8"));
write("pairs.json", Object.fromEntries(Object.entries(clients).map(([id, samples]) => [id, distinctPairs(samples).slice(0, MAX_PAIRS)])));
write("pairs-heldout.json", distinctPairs(JSON.parse(readFileSync(join(demo, "demo-heldout.json"), "utf8"))));
