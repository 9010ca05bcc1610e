/** Where MLflow is and who we are there, by the variables that its own programs read. */
import { problemError } from "../errors.js";
import { Secret } from "../util/secret.js";
import { readSecret, valueOf } from "./environment.js";
import type { Variables } from "./environment.js";

/** MLFLOW_TRACKING_URI, and MLFLOW_TRACKING_TOKEN or MLFLOW_TRACKING_USERNAME with MLFLOW_TRACKING_PASSWORD. Throws CONFIG_INVALID without an http(s) address. */
export function readMlflowServer(variables: Variables = process.env): { readonly url: string; readonly authorization?: Secret } {
  const url = valueOf(variables, "MLFLOW_TRACKING_URI");
  if (url === undefined || !/^https?:\/\//u.test(url) || !URL.canParse(url)) {
    throw problemError("CONFIG_INVALID", { subject: "MLFLOW_TRACKING_URI", expected: "the address of a tracking server, such as http://127.0.0.1:5000", received: url === undefined ? "nothing" : "another form" });
  }
  if (valueOf(variables, "MLFLOW_TRACKING_TOKEN") !== undefined) return { url, authorization: new Secret(`Bearer ${readSecret("MLFLOW_TRACKING_TOKEN", variables).reveal()}`) };
  const user = valueOf(variables, "MLFLOW_TRACKING_USERNAME");
  if (user === undefined) return { url };
  const password = readSecret("MLFLOW_TRACKING_PASSWORD", variables).reveal();
  return { url, authorization: new Secret(`Basic ${Buffer.from(`${user}:${password}`).toString("base64")}`) };
}
