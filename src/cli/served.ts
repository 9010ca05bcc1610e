/** The models behind what a command line names: a run, an adapter file or a model file. */
import type { TemplateName } from "../data/prompt-template.js";
import { findServedModels } from "../serve/served-models.js";
import type { ServedModel } from "../serve/served-models.js";

/** Finds them; precisions that are not there yet are made on the processor. Throws as findServedModels. */
export async function servedOf({ subject, model, template }: { readonly subject: string; readonly model?: string | undefined; readonly template?: TemplateName | undefined }): Promise<readonly ServedModel[]> {
  const openEngine = async () => {
    const [{ createNativeEngine }, { availableParallelism }] = await Promise.all([import("../run/native-engine.js"), import("node:os")]);
    return createNativeEngine({ numThreads: availableParallelism(), onProgress: (line) => process.stderr.write(`${line}\n`) });
  };
  return findServedModels({ subject, openEngine, ...(model === undefined ? {} : { base: model }), ...(template === undefined ? {} : { template }) });
}
