import { describe, expect, test } from "vitest";
import { backendOfDevice, findDevice } from "../../../src/run/native-engine.js";

const DEVICES = [{ name: "Vulkan0" }, { name: "Vulkan1" }, { name: "CPU" }];

describe("device names", () => {
  test("no name means the CPU and its libraries", () => {
    expect(findDevice(DEVICES, undefined)).toBe("CPU");
    expect(backendOfDevice(undefined)).toBe("cpu");
  });

  test.each([
    ["cpu", "CPU", "cpu"],
    ["vulkan:1", "Vulkan1", "vulkan"],
    ["vulkan", "Vulkan0", "vulkan"],
    ["Vulkan1", "Vulkan1", "vulkan"],
  ])("%s is %s of the %s libraries", (wanted, name, backend) => {
    expect(findDevice(DEVICES, wanted)).toBe(name);
    expect(backendOfDevice(wanted)).toBe(backend);
  });

  test("Metal is found under ggml's short name and under its long one", () => {
    expect(findDevice([{ name: "MTL0" }], "metal")).toBe("MTL0");
    expect(findDevice([{ name: "Metal" }], "metal")).toBe("Metal");
    expect(backendOfDevice("metal")).toBe("metal");
    expect(backendOfDevice("MTL0")).toBe("metal");
  });

  test("a device that is not there is refused with those that are", () => {
    expect(() => findDevice(DEVICES, "cuda:0")).toThrow(/expected one of Vulkan0, Vulkan1, CPU, received "cuda:0"/u);
    expect(() => findDevice(DEVICES, "vulkan:2")).toThrow(/received "vulkan:2"/u);
  });
});
