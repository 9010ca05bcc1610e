// Makes small question files in the forms of MMLU and GSM8K out of the demonstration's held-out questions, which this project generated: four options
// of which three are other answers to the same kind of question, and sums as problems. Draws are fixed, so the files are always the same.
// usage: node experiments/demo-metrics/make-questions.mjs FOLDER
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";

const [folder] = process.argv.slice(2);
if (folder === undefined) {
  console.error("usage: node experiments/demo-metrics/make-questions.mjs FOLDER");
  process.exit(2);
}

/** Kinds with at least four different answers; the first items of each are the examples. */
const KINDS = ["category", "opposite", "next", "capital", "translate"];
const NUM_EXAMPLES = 2;
const samples = JSON.parse(readFileSync(join(import.meta.dirname, "..", "demo", "data", "demo-heldout.json"), "utf8"));
const csv = (fields) => fields.map((field) => `"${field.replaceAll('"', '""')}"`).join(",");

for (const split of ["dev", "test"]) mkdirSync(join(folder, "mmlu", split), { recursive: true });
for (const kind of KINDS) {
  const rows = ["en", "es", "de", "fr"].flatMap((language) => choices(samples.filter((sample) => sample.task === kind && sample.language === language)));
  writeFileSync(join(folder, "mmlu", "dev", `${kind}_dev.csv`), `${rows.slice(0, NUM_EXAMPLES).join("\n")}\n`);
  writeFileSync(join(folder, "mmlu", "test", `${kind}_test.csv`), `${rows.slice(NUM_EXAMPLES).join("\n")}\n`);
}
const sums = samples.filter(({ task }) => task === "sum").map(({ instruction, response }) => JSON.stringify({ question: instruction, answer: `#### ${response}` }));
writeFileSync(join(folder, "gsm8k.jsonl"), `${sums.join("\n")}\n`);

/** Right and wrong answers at places that go round. */
function choices(own) {
  const answers = [...new Set(own.map(({ response }) => response))];
  if (answers.length < 4) return [];
  return own.map(({ instruction, response }, index) => {
    const others = answers.filter((answer) => answer !== response);
    const wrong = [0, 1, 2].map((step) => others[(index + step) % others.length]);
    const place = index % 4;
    return csv([instruction, ...wrong.slice(0, place), response, ...wrong.slice(place), "ABCD"[place]]);
  });
}
