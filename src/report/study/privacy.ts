/** Privacy that arms spent, by the ledgers of the runs that have one. */
import type { ArmCells } from "./cells.js";
import type { OpenRun } from "./source.js";
import type { PrivacyLine } from "./study.js";

/** Empty where no run has a ledger. */
export function privacyLines(arms: readonly ArmCells[], runs: readonly OpenRun[]): PrivacyLine[] {
  return arms.flatMap(({ arm, trainings }) => {
    const reports = trainings.flatMap(({ run, name }) => runs[run]?.privacy.find((report) => report.arm === name) ?? []);
    const [first] = reports;
    if (first === undefined) return [];
    const spent = reports.map(({ epsilonSpent }) => epsilonSpent);
    return [
      {
        arm,
        ...(spent.includes(null) ? {} : { epsilon: Math.max(...spent.map((epsilon) => epsilon ?? 0)) }),
        delta: Math.max(...reports.map(({ delta }) => delta)),
        ...(first.epsilon === null ? {} : { budget: first.epsilon }),
        numReleases: reports.reduce((sum, { numReleases }) => sum + numReleases, 0),
        isInsecure: reports.some(({ isInsecure }) => isInsecure),
      },
    ];
  });
}

/** A page with figures of single clients must not be published together with a claim of privacy. */
export function privacyNotes(lines: readonly PrivacyLine[]): string[] {
  if (lines.length === 0) return [];
  return ["Arms with differential privacy protect their adapters only: losses and counts of single clients, which this report shows, are not covered by it. Do not publish them."];
}
