/** Which adapter of a run is meant by arm, client, group and round. */
import { expect, test } from "vitest";
import { adaptedModels, chooseModel } from "../../../src/serve/choose-model.js";
import type { ModelChoice } from "../../../src/serve/choose-model.js";

const model = (id: string) => ({ id, files: { modelPath: "base.gguf", adapterPath: `${id}.gguf` }, created: 0 });
const base = { id: "base", files: { modelPath: "base.gguf" }, created: 0 };
const ids = ["f16-fedavg", "f16-fedavg/rounds/2", "f16-fedavg/groups/German", "f16-local/ana", "f16-local/%2E%2E%2Fup", "f16-local/finetuned/ana"];
const models = [...ids.map(model), base];

test.each<[ModelChoice, string]>([
  [{ arm: "f16-fedavg" }, "f16-fedavg"],
  [{ arm: "f16-fedavg", round: 2 }, "f16-fedavg/rounds/2"],
  [{ arm: "f16-fedavg", group: "German" }, "f16-fedavg/groups/German"],
  [{ arm: "f16-local", client: "ana" }, "f16-local/ana"],
  [{ arm: "f16-local", client: "../up" }, "f16-local/%2E%2E%2Fup"],
  [{ arm: "f16-local", client: "ana", finetuned: true }, "f16-local/finetuned/ana"],
])("%j is %s", (choice, id) => {
  expect(chooseModel(models, choice)?.id).toBe(id);
});

test("an arm need not be named where only one has adapters, and a model alone has none", () => {
  expect(chooseModel([model("only"), base], {})?.id).toBe("only");
  expect(chooseModel([base], { finetuned: false })).toBeUndefined();
  expect(adaptedModels(models, "f16-local").map(({ id }) => id)).toEqual(ids.slice(3));
});

test.each<[ModelChoice, string]>([
  [{}, "--arm: expected one of f16-fedavg, f16-local, received none"],
  [{ arm: "q4" }, "--arm: expected f16-fedavg, f16-local, received q4"],
  [{ arm: "f16-local" }, "expected one of f16-local/ana"],
  [{ arm: "f16-local", client: "nobody" }, "received f16-local/nobody"],
  [{ arm: "f16-fedavg", client: "ana", group: "German" }, "--client, --group and --round: expected one of them, received 2"],
])("%j is refused with what there is", (choice, message) => {
  expect(() => chooseModel(models, choice)).toThrow(message);
});

test("choosing something of a model without adapters is refused", () => {
  expect(() => chooseModel([base], { client: "ana" })).toThrow("expected a run with adapters, received none");
});
