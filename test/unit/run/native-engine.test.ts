import { describe, expect, test } from "vitest";
import { FedllmError } from "../../../src/errors.js";
import { backendOfDevice, chooseDevice, findDevice, rankDevices } from "../../../src/run/device-choice.js";

const DEVICES = [{ name: "Vulkan0" }, { name: "Vulkan1" }, { name: "CPU" }];

describe("device names", () => {
  test("no name means the CPU and its libraries", () => {
    expect(findDevice(DEVICES, undefined)).toBe("CPU");
    expect(backendOfDevice(undefined, () => true)).toBe("cpu");
  });

  test.each([
    ["cpu", "CPU", "cpu"],
    ["vulkan:1", "Vulkan1", "vulkan"],
    ["vulkan", "Vulkan0", "vulkan"],
    ["Vulkan1", "Vulkan1", "vulkan"],
  ])("%s is %s of the %s libraries", (wanted, name, backend) => {
    expect(findDevice(DEVICES, wanted)).toBe(name);
    expect(backendOfDevice(wanted, () => true)).toBe(backend);
  });

  test("Metal is found under ggml's short name and under its long one", () => {
    expect(findDevice([{ name: "MTL0" }], "metal")).toBe("MTL0");
    expect(findDevice([{ name: "Metal" }], "metal")).toBe("Metal");
    expect(backendOfDevice("metal", () => true)).toBe("metal");
    expect(backendOfDevice("MTL0", () => true)).toBe("metal");
  });

  test("a device that is not there is refused with those that are", () => {
    expect(() => findDevice(DEVICES, "cuda:0")).toThrow(/expected auto or one of Vulkan0, Vulkan1, CPU, received "cuda:0"/u);
    expect(() => findDevice(DEVICES, "vulkan:2")).toThrow(/received "vulkan:2".*vulkaninfo/u);
    expect(() => findDevice(DEVICES, "cuda0")).toThrow(/nvidia-smi.*doctor/u);
    expect(() => findDevice(DEVICES, "tpu")).toThrow(/doctor/u);
  });
});

describe("auto", () => {
  const device = (name: string, type: "cpu" | "gpu" | "igpu", description = "a card") => ({ name, type, description, freeBytes: 1, totalBytes: 1 });
  const machine = [
    device("CPU", "cpu"),
    device("Vulkan0", "igpu"),
    device("Vulkan1", "gpu"),
    device("Vulkan2", "gpu", "llvmpipe (LLVM 19.1.7, 256 bits)"),
  ];

  test("tries cards, then graphics units of the processor, then the processor, and never a driver in software", () => {
    expect(rankDevices(machine)).toEqual(["Vulkan1", "Vulkan0", "CPU"]);
    expect(rankDevices([device("Vulkan0", "gpu", "llvmpipe"), device("CPU", "cpu")])).toEqual(["CPU"]);
  });

  test("takes the first device on which the model fits", async () => {
    const tried: string[] = [];
    const fitsOnly = (wanted: string) => (name: string) => {
      tried.push(name);
      return name === wanted ? Promise.resolve() : Promise.reject(new FedllmError("OUT_OF_MEMORY", "too large"));
    };
    expect(await chooseDevice(machine, fitsOnly("Vulkan0"))).toBe("Vulkan0");
    expect(tried).toEqual(["Vulkan1", "Vulkan0"]);
    expect(await chooseDevice(machine, fitsOnly("none"))).toBe("CPU");
    await expect(chooseDevice(machine, () => Promise.reject(new FedllmError("MODEL_LOAD_FAILED", "broken")))).rejects.toThrow("broken");
  });
});
