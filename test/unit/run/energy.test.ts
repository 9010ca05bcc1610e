/** Goal: energy is what the counters say, and nothing where they say nothing. The counters are files as Linux has them, in a folder of the test. */
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { meterOf, openRapl } from "../../../src/run/energy.js";
import { PowerSum, openNvidiaPower, parseNvidiaLine, parsePowermetricsLine } from "../../../src/run/power-samples.js";
import { makeTemporaryFolder } from "../../helpers/temporary-folder.js";

function writeDomain(folder: string, domain: string, name: string, microjoules: number): void {
  mkdirSync(join(folder, domain), { recursive: true });
  writeFileSync(join(folder, domain, "name"), `${name}\n`);
  writeFileSync(join(folder, domain, "energy_uj"), `${String(microjoules)}\n`);
  writeFileSync(join(folder, domain, "max_energy_range_uj"), "10000000\n");
}

describe("RAPL", () => {
  test("sums packages and memory, not their parts, the platform or a second way to the same counter", () => {
    const folder = makeTemporaryFolder();
    const write = (microjoules: number) => {
      writeDomain(folder, "intel-rapl:0", "package-0", microjoules);
      writeDomain(folder, "intel-rapl:0:0", "core", microjoules);
      writeDomain(folder, "intel-rapl:0:1", "dram", microjoules);
      writeDomain(folder, "intel-rapl:1", "psys", microjoules);
      writeDomain(folder, "intel-rapl-mmio:0", "package-0", microjoules);
    };
    write(1_000_000);
    const counter = openRapl(folder);
    const meter = meterOf(counter === undefined ? [] : [counter]);
    write(3_500_000);
    expect(meter.read()).toEqual({ cpuJoules: 5, source: "rapl" });
    expect(meter.read()).toEqual({ cpuJoules: 0, source: "rapl" });
    // The counter passes its largest value, 10 J, and begins again: 6.5 + 1 J on each of two.
    write(1_000_000);
    expect(meter.read()).toEqual({ cpuJoules: 15, source: "rapl" });
    meter.dispose();
  });

  test("tells nothing where there are no counters, or none that may be read", () => {
    const folder = makeTemporaryFolder();
    expect(openRapl(join(folder, "none"))).toBeUndefined();
    mkdirSync(join(folder, "intel-rapl:0"));
    writeFileSync(join(folder, "intel-rapl:0", "name"), "package-0\n");
    expect(openRapl(folder)).toBeUndefined();
    expect(meterOf([]).read()).toBeUndefined();
  });
});

describe("programs that print power", () => {
  test("their lines are read, and what says nothing is left out", () => {
    expect(parseNvidiaLine("0, 71.23")).toEqual({ part: "0", watts: 71.23 });
    expect(parseNvidiaLine("1, [N/A]")).toBeUndefined();
    expect(parsePowermetricsLine("Combined Power (CPU + GPU + ANE): 1234 mW")).toEqual({ part: "chip", watts: 1.234 });
    expect(parsePowermetricsLine("CPU Power: 900 mW")).toBeUndefined();
  });

  test("power holds until the next sample, for each card by itself, but not for ever", () => {
    const sum = new PowerSum();
    expect(sum.joules(0)).toBeUndefined();
    sum.add("0", 100, 0);
    sum.add("1", 50, 0);
    sum.add("0", 200, 1000);
    // 100 W and 200 W for a second each, 50 W for two.
    expect(sum.joules(2000)).toBe(400);
    // Both count for 2.5 s after their last sample and no longer, however often somebody asks: 200 W until 3.5 s, 50 W until 2.5 s.
    expect([sum.joules(60_000), sum.joules(90_000)]).toEqual([725, 725]);
  });

  test("a program that is not there tells nothing", async () => {
    const counter = openNvidiaPower(join(makeTemporaryFolder(), "no-such-program"));
    await new Promise((done) => setTimeout(done, 20));
    expect(counter.joules()).toBeUndefined();
    expect(meterOf([counter]).read()).toBeUndefined();
    counter.dispose();
  });
});
