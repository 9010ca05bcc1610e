/** What a run's ledger says, arm by arm, beside the arms that have no guarantee. */
import { existsSync } from "node:fs";
import { loadConfig } from "../config/load.js";
import { parseClaim, reportArm, type ArmPrivacyReport } from "../privacy/claim.js";
import { PrivacyLedger } from "../privacy/ledger.js";
import { PAPER_WARNING } from "../privacy/paper-noise.js";
import type { RunPaths } from "./run-folder.js";

export interface PrivacyReport {
  readonly arms: readonly ArmPrivacyReport[];
  readonly unprotected: readonly { readonly arm: string; readonly reason: string }[];
}

/** Reads the ledger and changes nothing. Throws METRICS_INVALID or IO_FAILED for one that cannot be read. */
export async function readPrivacyReport(paths: RunPaths): Promise<PrivacyReport> {
  const { config } = await loadConfig({ file: paths.config });
  const arms = existsSync(paths.privacy) ? readLedger(paths.privacy) : [];
  const unprotected = config.arms.flatMap(({ name, privacy }) => {
    if (privacy?.dp === "user") return arms.some(({ arm }) => arm === name) ? [] : [{ arm: name, reason: "It was not begun yet." }];
    return [{ arm: name, reason: privacy?.dp === "paper" ? `${PAPER_WARNING}.` : "It has no noise; whoever has its adapters may learn of single clients' samples." }];
  });
  return { arms, unprotected };
}

/** The arms of a ledger. Throws METRICS_INVALID or IO_FAILED for one that cannot be read. */
export function readLedger(path: string): readonly ArmPrivacyReport[] {
  const ledger = new PrivacyLedger(path, { readonly: true });
  try {
    return ledger.arms().map((arm) => reportArm(arm, parseClaim(arm.claim), ledger.releases(arm.name)));
  } finally {
    ledger.close();
  }
}
